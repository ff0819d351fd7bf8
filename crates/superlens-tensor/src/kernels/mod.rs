//! The inner loops: plain functions on slices and views.

pub mod adam;
pub mod gemm;
pub mod pointwise;
pub mod sparse;
pub mod topk;
