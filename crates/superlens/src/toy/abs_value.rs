//! `abs_value`: absolute values of sparse inputs computed by neurons that features may have to share.

use super::hidden_layer::{HiddenLayer, Init, Task};
use super::{Origin, Sample, ToyModel, Truth};
use superlens_tensor::kernels::tied::Response;
use superlens_tensor::train::{Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

/// The absolute-value model of Elhage et al. 2022, *Toy Models of Superposition*: `h = ReLU(W1 x)`, `y = ReLU(W2 h + b)`,
/// untied, trained for `y = |x|` on sparse inputs that are uniform in `(−1, 1)`.
///
/// Its layer is `h`. A feature is half an input: its positive or its negative part, since `|x| = ReLU(x) + ReLU(−x)`. Two
/// neurons an input suffice; with fewer and sparse inputs they are shared.
#[derive(Clone, Debug)]
pub struct AbsValue {
    /// Probability of each input to be on.
    pub density: Vec<f64>,
    pub d_hidden: usize,
    pub importance: Vec<f64>,
    /// Rows per training step.
    pub batch: usize,
    pub training: TrainConfig,
}

impl AbsValue {
    pub fn layer(&self) -> HiddenLayer {
        HiddenLayer {
            task: Task::Abs,
            density: self.density.clone(),
            d_hidden: self.d_hidden,
            importance: self.importance.clone(),
            hidden_bias: false,
            output_bias: true,
            readout: Response::Relu,
            init: Init::Xavier,
            batch: self.batch,
            training: self.training.clone(),
        }
    }
}

impl ToyModel for AbsValue {
    fn name(&self) -> &'static str {
        "abs_value"
    }

    fn source(&self) -> &'static str {
        "Elhage et al. 2022, Toy Models of Superposition (computation in superposition)"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        Origin::Trained(self.layer().objective(stream), self.training.clone())
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        self.layer().sample(params, rows, stream)
    }

    fn truth(&self, params: &Params) -> Truth {
        self.layer().truth(params)
    }
}

/// The asymmetric superposition of the paper: neuron `shared` reads input `strong` strongly and input `weak` weakly, with the
/// other sign, and writes them the other way round; what it then wrongly writes to `weak` when `strong` is on, neuron
/// `inhibitor` takes away. In the paper's example the shared neuron has `W1 = [2, −½]` and `W2 = [½, 2]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Motif {
    pub shared: usize,
    pub strong: usize,
    pub weak: usize,
    pub inhibitor: usize,
}

/// What a neuron computes of an input counts from this gain on, of an ideal 1; interference too.
const GAIN: f32 = 0.5;
/// How much more strongly one input is read than the other, and less strongly written.
const ASYMMETRY: f32 = 2.0;

/// Every asymmetric motif in `w1 [n, m]` and `w2 [m, n]`, at most one a pair of inputs and shared neuron.
pub fn motifs(w1: &Mat, w2: &Mat) -> Vec<Motif> {
    let (n, m) = w1.shape();
    let gain = |i: usize, k: usize| w1[(i, k)].abs() * w2[(k, i)];
    let mut found = Vec::new();
    for shared in 0..m {
        for strong in (0..n).filter(|&i| gain(i, shared) > GAIN) {
            for weak in (0..n).filter(|&j| gain(j, shared) > GAIN) {
                let opposite = w1[(strong, shared)] * w1[(weak, shared)] < 0.0;
                let read = w1[(strong, shared)].abs() > ASYMMETRY * w1[(weak, shared)].abs();
                let written = w2[(shared, weak)] > ASYMMETRY * w2[(shared, strong)];
                if !(opposite && read && written) {
                    continue;
                }
                let interference = w1[(strong, shared)].abs() * w2[(shared, weak)];
                let takes = |k: usize| (w1[(strong, k)] * w1[(strong, shared)].signum()).max(0.0) * -w2[(k, weak)];
                let inhibitor = (0..m).filter(|&k| k != shared).max_by(|&a, &b| takes(a).total_cmp(&takes(b)));
                if let Some(inhibitor) = inhibitor.filter(|&k| takes(k) > GAIN * interference) {
                    found.push(Motif { shared, strong, weak, inhibitor });
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::make;
    use crate::toy::tied::recipe;
    use std::ops::ControlFlow;

    /// With two neurons an input, each half gets one: nothing is shared.
    #[test]
    fn with_room_for_both_halves_neurons_are_monosemantic() {
        let model = AbsValue {
            density: vec![0.5; 3],
            d_hidden: 6,
            importance: vec![1.0; 3],
            batch: 256,
            training: recipe(4000, 1e-2),
        };
        // Most starts are stuck above zero, so the best of some is looked at.
        let start = |seed: u64| {
            let made = make(&model, &Rng::new(seed), &mut |_| ControlFlow::Continue(())).unwrap();
            (made.loss.unwrap(), made.params)
        };
        let (loss, params) = (0..20).map(start).min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
        assert!(loss < 1e-6, "{loss}");
        let truth = model.truth(&params);
        assert_eq!((truth.label().as_str(), truth.features.len()), ("monosemantic", 6));
        let sample = model.sample(&params, 500, &Rng::new(1));
        assert_eq!((sample.features.shape(), sample.activations.shape()), ((500, 6), (500, 6)));
    }

    #[test]
    fn the_motif_of_the_paper_is_found_and_plain_pairs_are_not() {
        // Neuron 0 is shared, neuron 1 inhibits, neurons 2 and 3 are the other halves.
        let w1 = Mat::from_vec(2, 4, vec![2.0, 1.0, -1.0, 0.0, -0.5, 0.0, 0.0, 1.0]);
        let w2 = Mat::from_vec(4, 2, vec![0.5, 2.0, 0.0, -4.0, 1.0, 0.0, 0.0, 1.0]);
        assert_eq!(motifs(&w1, &w2), [Motif { shared: 0, strong: 0, weak: 1, inhibitor: 1 }]);
        let without = Mat::from_vec(4, 2, vec![0.5, 2.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        assert!(motifs(&w1, &without).is_empty());
        let plain = Mat::from_vec(2, 4, vec![1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0, -1.0]);
        assert!(motifs(&plain, &plain.transposed()).is_empty());
    }
}
