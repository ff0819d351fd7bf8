//! `stuck`: networks with room for one feature a neuron that training leaves short of it.

use super::hidden_layer::{HiddenLayer, Init, Task, balanced, neurons, pairs};
use super::truth::Cause;
use super::{Origin, Sample, ToyModel, Truth};
use crate::verdict::Mechanism;
use superlens_tensor::kernels::tied::Response;
use superlens_tensor::train::{Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

/// One hidden layer of ReLUs with biases, trained for `|x|` or for all pairwise ANDs of a few inputs.
///
/// Solutions with one feature a neuron and no loss exist: `ReLU(±x_i)`, and `ReLU(x_a + x_b − 1)`. Training seldom ends there: it
/// is stuck beside them, or ends without loss in mixtures of them. Nothing forces features to share, so this is no superposition
/// but orthogonal/rotated; that optimisation is to blame only a second training would show.
#[derive(Clone, Debug)]
pub struct Stuck {
    /// [`Task::Abs`] or [`Task::And`].
    pub task: Task,
    pub n_inputs: usize,
    pub d_hidden: usize,
    pub density: f64,
    pub readout: Response,
    pub init: Init,
    /// Rows per training step.
    pub batch: usize,
    pub training: TrainConfig,
}

/// A weight is one of a neuron's inputs or outputs if its square is at least this share of the largest.
const COUNTS: f32 = 0.1;
/// A neuron whose part in the outputs varies less than this, relative to the neuron with most of it, is dead.
const LIVE: f64 = 1e-4;
/// Rows that say whether a neuron is alive.
const ROWS: usize = 4000;

impl Stuck {
    pub fn layer(&self) -> HiddenLayer {
        HiddenLayer {
            task: self.task.clone(),
            density: vec![self.density; self.n_inputs],
            d_hidden: self.d_hidden,
            importance: vec![1.0; self.task.outputs(self.n_inputs)],
            hidden_bias: true,
            output_bias: true,
            readout: self.readout,
            init: self.init,
            batch: self.batch,
            training: self.training.clone(),
        }
    }

    /// Mean square of a target, `E[y²]`: what a loss is held against.
    pub fn mean_square(&self) -> f64 {
        match self.task {
            Task::And => self.density * self.density,
            _ => self.density / 3.0,
        }
    }

    /// Features that a network without loss has to tell apart: halves of inputs, or pairs.
    pub fn n_features(&self) -> usize {
        match self.task {
            Task::And => self.task.outputs(self.n_inputs),
            _ => 2 * self.n_inputs,
        }
    }

    /// For each neuron whether it is alive, and whether it is polysemantic: more inputs than a right neuron has, two for an AND
    /// and one for |x|, or more than one output.
    pub fn neurons(&self, params: &Params) -> Vec<(bool, bool)> {
        let h = neurons(params, &self.layer().inputs(ROWS, &Rng::new(0).fork("alive")));
        let (w1, w2) = (params.get("w1"), params.get("w2"));
        let part = |k: usize| {
            let column = || (0..h.rows()).map(|r| f64::from(h[(r, k)]));
            let mean = column().sum::<f64>() / ROWS as f64;
            let variance = column().map(|v| (v - mean).powi(2)).sum::<f64>() / ROWS as f64;
            variance * w2.row(k).iter().map(|w| f64::from(w * w)).sum::<f64>()
        };
        let parts: Vec<f64> = (0..self.d_hidden).map(part).collect();
        let most = parts.iter().copied().fold(0.0, f64::max);
        let own = if self.task == Task::And { 2 } else { 1 };
        let polysemantic = |k: usize| {
            let into: Vec<f32> = (0..w1.rows()).map(|i| w1[(i, k)]).collect();
            count(&into) > own || count(w2.row(k)) > 1
        };
        parts.iter().enumerate().map(|(k, &p)| (p > LIVE * most, polysemantic(k))).collect()
    }

    /// Share of the outputs behind a closed ReLU whatever the input: a plateau of its own kind.
    pub fn dead_outputs(&self, params: &Params) -> f64 {
        if self.readout == Response::Linear {
            return 0.0;
        }
        let h = neurons(params, &self.layer().inputs(ROWS, &Rng::new(0).fork("alive")));
        let y = superlens_tensor::kernels::gemm::matmul(&h, params.get("w2"));
        let b2 = params.get("b2");
        let dead = |o: &usize| (0..y.rows()).all(|r| y[(r, *o)] + b2[(0, *o)] <= 0.0);
        (0..y.cols()).filter(dead).count() as f64 / y.cols() as f64
    }
}

/// Weights that count beside the largest.
fn count(w: &[f32]) -> usize {
    let largest = w.iter().fold(0.0f32, |m, w| m.max(w * w));
    w.iter().filter(|w| **w * **w >= COUNTS * largest && **w != 0.0).count()
}

impl ToyModel for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    fn source(&self) -> &'static str {
        "one hidden layer on |x| and on pairwise AND, with solutions of one feature a neuron that training seldom finds"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        Origin::Trained(self.layer().objective(stream), self.training.clone())
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        self.layer().sample(params, rows, stream)
    }

    fn truth(&self, params: &Params) -> Truth {
        let even = balanced(params);
        let neurons = self.neurons(&even);
        let fits = self.d_hidden >= self.n_features();
        let cause = if fits { Cause::Orthogonal(Mechanism::Rotated) } else { Cause::Superposition };
        let causes = neurons.iter().map(|&(live, poly)| (live && poly).then_some(cause)).collect();
        Truth::of_causes(self.layer().directions(&even), neurons.iter().map(|n| n.0).collect(), causes)
    }
}

/// The network without loss and with one feature a neuron, written down: `ReLU(±x_i)`, or `ReLU(x_a + x_b − 1)`.
pub fn solution(task: &Task, n: usize) -> Params {
    let (w1, b1, w2) = match task {
        Task::And => {
            let pairs: Vec<(usize, usize)> = pairs(n).collect();
            let sees = |i: usize, k: usize| f32::from(i == pairs[k].0 || i == pairs[k].1);
            let m = pairs.len();
            (Mat::from_fn(n, m, sees), Mat::from_fn(1, m, |_, _| -1.0), Mat::from_fn(m, m, |k, o| f32::from(k == o)))
        }
        _ => {
            let sign = |k: usize| if k < n { 1.0 } else { -1.0 };
            (
                Mat::from_fn(n, 2 * n, |i, k| if k % n == i { sign(k) } else { 0.0 }),
                Mat::zeros(1, 2 * n),
                Mat::from_fn(2 * n, n, |k, o| f32::from(k % n == o)),
            )
        }
    };
    let b2 = Mat::zeros(1, w2.cols());
    Params { blocks: [("w1", w1), ("b1", b1), ("w2", w2), ("b2", b2)].map(|(n, b)| (n.to_string(), b)).to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::make;
    use crate::toy::tied::recipe;
    use std::ops::ControlFlow;

    fn stuck(task: Task, d_hidden: usize, steps: u64) -> Stuck {
        let readout = if task == Task::And { Response::Linear } else { Response::Relu };
        Stuck {
            task,
            n_inputs: 4,
            d_hidden,
            density: 0.5,
            readout,
            init: Init::Xavier,
            batch: 256,
            training: recipe(steps, 5e-3),
        }
    }

    #[test]
    fn the_written_solutions_have_no_loss_and_one_feature_a_neuron() {
        for (task, m) in [(Task::Abs, 8), (Task::And, 6)] {
            let model = stuck(task, m, 1);
            let params = solution(&model.task, 4);
            assert!(model.layer().fresh_loss(&params, 2000, &Rng::new(0)) < 1e-12);
            let truth = model.truth(&params);
            assert_eq!((truth.label().as_str(), truth.rank), ("monosemantic", m));
            assert_eq!(model.dead_outputs(&params), 0.0);
        }
    }

    #[test]
    fn a_wide_network_solves_and_yet_mixes() {
        let model = stuck(Task::And, 24, 4000);
        let made = make(&model, &Rng::new(1), &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(made.loss.unwrap() < 1e-3 * model.mean_square(), "{:?}", made.loss);
        assert_eq!(model.truth(&made.params).label(), "orthogonal/rotated");
    }

    #[test]
    fn small_weights_do_not_count() {
        assert_eq!((count(&[1.0, -0.9, 0.3]), count(&[0.0, 0.0]), count(&[0.0, 1e-9])), (2, 0, 1));
    }
}
