//! Between text and matrices: documents and their tokens, and what a model computes at its hooks, kept on disk.

pub mod corpus;
pub mod generate;
pub mod harvest;
pub mod hub;
pub mod intervene;
pub mod model;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod store;
mod text_error;
pub mod tokenizer;

pub use text_error::{TextError, TextProblem};
