//! The toy lab: small models whose features, and so the cause of whose polysemanticity, are known.
//!
//! One file per model. The ground truth is always read from the trained weights, never assumed from the setting.

pub mod abs_value;
pub mod bit_extraction;
pub mod boolean_and;
pub mod circular;
pub mod compressed_computation;
mod concepts;
pub mod correlated;
pub mod data;
pub mod demo;
mod dictionary;
pub mod disentangle;
pub mod exact;
pub mod fused;
pub mod geometry;
pub mod groups;
pub mod head_superposition;
pub mod hidden_layer;
pub mod incidental;
pub mod induction;
pub mod irreducible;
pub mod lab;
pub mod lookup;
pub mod memoriser;
pub mod modular_addition;
pub mod noise;
pub mod one_neuron_resnet;
pub mod onion;
pub mod polytope;
mod probe;
pub mod product;
pub mod relu_hidden;
pub mod relu_output;
pub mod residual_mlp;
pub mod rotated;
pub mod skip_trigram;
pub mod stuck;
mod taped;
mod tied;
pub mod transformer_addition;
mod truth;

use std::ops::ControlFlow;
use superlens_tensor::train::{Objective, Params, TrainConfig, train};
use superlens_tensor::{Mat, Rng};

pub use truth::{Cause, Truth};

/// A small model whose layer can be read and whose ground truth is known. The value itself is the configuration.
pub trait ToyModel: Send + Sync {
    /// A short name, `relu_output` for instance.
    fn name(&self) -> &'static str;

    /// Where the model comes from.
    fn source(&self) -> &'static str;

    /// Where its weights come from; all that is random is drawn from streams below `stream`.
    fn origin(&self, stream: &Rng) -> Origin;

    /// The layer's activations on `rows` fresh inputs.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample;

    /// What the layer represents, and how, measured from its weights.
    fn truth(&self, params: &Params) -> Truth;
}

/// Where the weights of a [`ToyModel`] come from.
pub enum Origin {
    /// Training takes them from random ones, by a recipe that reliably leads to the model's truth.
    Trained(Box<dyn Objective>, TrainConfig),
    /// They are written down: a construction.
    Written(Params),
}

/// The weights of a [`ToyModel`].
#[derive(Clone, Debug)]
pub struct Made {
    pub params: Params,
    /// The loss on batches that no step has seen; `None` for a construction, infinite where the training diverged.
    pub loss: Option<f64>,
}

impl Made {
    /// Whether training ran away from every minimum.
    pub fn diverged(&self) -> bool {
        self.loss.is_some_and(|loss| !loss.is_finite())
    }
}

/// A weight beyond this has run away: losses have its fourth power, which `f32` does not hold.
const LARGEST: f32 = 1e9;

/// Whether these weights can have come from a training that didn't diverge. Losses don't tell: a ReLU makes 0 of what is not a
/// number.
pub fn are_bounded(weights: &[f32]) -> bool {
    weights.iter().all(|w| w.abs() < LARGEST)
}

/// Batches that the loss on fresh ones is averaged over.
const FRESH_BATCHES: u64 = 32;

/// The weights of `model`, trained or written. `watch` is told the share of the training that is done; where it breaks, there
/// are none.
pub fn make(model: &dyn ToyModel, stream: &Rng, watch: &mut dyn FnMut(f64) -> ControlFlow<()>) -> Option<Made> {
    match model.origin(&stream.fork("batches")) {
        Origin::Written(params) => Some(Made { params, loss: None }),
        Origin::Trained(mut objective, config) => {
            let mut end = ControlFlow::Continue(());
            let params = train(objective.as_mut(), &config, &mut stream.fork("init"), &mut |step| {
                end = watch((step.step + 1) as f64 / config.steps.max(1) as f64);
                end
            });
            end.is_continue().then(|| {
                if !params.blocks.iter().all(|(_, block)| are_bounded(block.data())) {
                    return Made { params, loss: Some(f64::INFINITY) };
                }
                let mut spare = params.zeros_like();
                let fresh = |k| objective.loss(&params, config.steps + k, &mut spare);
                let loss = (0..FRESH_BATCHES).map(fresh).sum::<f64>() / FRESH_BATCHES as f64;
                Made { params, loss: Some(loss) }
            })
        }
    }
}

/// Inputs and what the layer makes of them.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `[rows, n_features]`: the value of every ground-truth feature.
    pub features: Mat,
    /// `[rows, neurons]`.
    pub activations: Mat,
}
