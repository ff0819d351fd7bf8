//! Between text and matrices: what a model computes at its hooks, kept on disk.

pub mod store;
