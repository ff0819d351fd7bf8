//! The inner loops: plain functions on slices and views.

pub mod abreast;
pub mod adam;
pub mod bits;
pub mod encode;
pub mod gemm;
pub mod lanes;
pub mod mlp;
pub mod narrow;
pub mod panels;
pub mod pointwise;
pub mod pursuit;
pub mod random;
pub mod screen;
pub mod smooth;
pub mod sparse;
pub mod tied;
pub mod tiles;
pub mod topk;
pub mod vectors;
pub mod words;
