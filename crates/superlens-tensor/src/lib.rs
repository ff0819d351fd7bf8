//! Numbers for superlens: matrices, deterministic kernels, random streams, decompositions, readers.
//!
//! This crate knows nothing of interpretability. Everything runs on the current rayon pool and gives
//! the same bytes whatever its number of threads: work is cut into pieces of fixed size, and partial
//! sums are added in a fixed order.

pub mod decomp;
pub mod gradcheck;
pub mod io;
pub mod kernels;
pub mod lbfgs;
mod mat;
mod ops;
pub mod optim;
mod real;
pub mod rng;
mod tape;
mod tensor;
pub mod train;

pub use mat::{Mat, View};
pub use real::Real;
pub use rng::Rng;
pub use tape::{Gradients, Tape, Var};
pub use tensor::Tensor;
