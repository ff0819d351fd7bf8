//! The toy lab: small models whose features, and so the cause of whose polysemanticity, are known.
//!
//! One file per model. The ground truth is always read from the trained weights, never assumed from the setting.

pub mod data;
pub mod demo;
pub mod exact;
pub mod fused;
pub mod geometry;
pub mod lab;
pub mod noise;
pub mod relu_hidden;
pub mod relu_output;
mod tied;
mod truth;

use superlens_tensor::train::{Objective, Params};
use superlens_tensor::{Mat, Rng};

pub use truth::Truth;

/// A small model whose layer can be read and whose ground truth is known. The value itself is the configuration.
pub trait ToyModel: Send + Sync {
    /// A short name, `relu_output` for instance.
    fn name(&self) -> &'static str;

    /// Where the model comes from.
    fn source(&self) -> &'static str;

    /// What trains it; its batches are drawn from streams below `stream`.
    fn objective(&self, stream: &Rng) -> Box<dyn Objective>;

    /// The layer's activations on `rows` fresh inputs.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample;

    /// What the layer represents, and how, measured from its weights.
    fn truth(&self, params: &Params) -> Truth;
}

/// Inputs and what the layer makes of them.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `[rows, n_features]`: the value of every ground-truth feature.
    pub features: Mat,
    /// `[rows, neurons]`.
    pub activations: Mat,
}
