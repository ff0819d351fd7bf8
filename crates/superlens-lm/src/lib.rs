//! Between text and matrices: what a model computes at its hooks, and stores that keep it on disk.

pub mod model;
pub mod store;
