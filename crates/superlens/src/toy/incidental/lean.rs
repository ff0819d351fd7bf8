//! Training that leaves out the neurons which the penalty holds at zero: most of them, soon.
//!
//! Adam never sets a weight to zero; under `λ|w|` it lets it tremble around zero by about the learning rate. Once all weights
//! of a neuron do so, and what the errors pull at them is weaker than `λ`, zero is where each of them would rest (the
//! optimality condition of the penalty), so the neuron is set to zero and left out. The plain loop over [`super::OneHot`] is
//! the reference.

use super::{Incidental, Law, OneHot, clean, fourth_power, penalise};
use std::ops::ControlFlow;
use superlens_tensor::kernels::adam::{AdamStep, adam_step_here};
use superlens_tensor::optim::{AdamConfig, Optimiser};
use superlens_tensor::train::{Objective, Params, train};
use superlens_tensor::{Mat, Rng};

/// Steps between two looks at which neurons rest, and between two calls of the watcher.
const LOOK: u64 = 25;
/// Trembling weights stay below this many learning rates.
const TREMBLE: f64 = 5.0;
/// Neurons are taken out once their share is worth the copying.
const WORTH: f64 = 0.05;

/// What came of a training.
pub struct Grown {
    pub start: Mat,
    pub w: Mat,
    /// Sum of squared errors over the one-hot inputs at the end, with the penalty and, if there is any, with noise.
    pub loss: f64,
    /// [`fourth_power`] over the steps.
    pub history: Vec<(u64, f64)>,
}

/// Trains `model` from weights drawn from `stream`, by the lean loop where there is a penalty, no noise and Adam, and by the plain
/// one otherwise. `tell` is told the share done; where it breaks, there is nothing.
pub fn grow(model: &Incidental, stream: &Rng, tell: &mut dyn FnMut(f64) -> ControlFlow<()>) -> Option<Grown> {
    match model.training.optimiser {
        Optimiser::Adam(adam) if model.l1 > 0.0 && model.noise.law == Law::None => lean(model, adam, stream, tell),
        _ => plain(model, stream, tell),
    }
}

/// Steps at which the history is written: about every seventh part more.
fn is_noted(step: u64, steps: u64) -> bool {
    let part = |s: u64| ((s as f64).ln() * 7.0).floor();
    step == steps || step <= 7 || part(step) > part(step - 1)
}

fn plain(model: &Incidental, stream: &Rng, tell: &mut dyn FnMut(f64) -> ControlFlow<()>) -> Option<Grown> {
    let steps = model.training.steps;
    let mut objective = Noted { inner: OneHot { model: model.clone(), stream: stream.fork("noise") }, history: vec![] };
    let start = objective.inner.init(&mut stream.fork("init")).get("w").clone();
    let mut end = ControlFlow::Continue(());
    let params = train(&mut objective, &model.training, &mut stream.fork("init"), &mut |s| {
        if s.step.is_multiple_of(LOOK) {
            end = tell(s.step as f64 / steps as f64);
        }
        end
    });
    end.is_continue().then(|| {
        let loss = objective.inner.loss(&params, steps, &mut params.zeros_like());
        let w = params.get("w").clone();
        objective.history.push((steps, fourth_power(&w)));
        Grown { start, w, loss, history: objective.history }
    })
}

/// Writes the history beside the training.
struct Noted {
    inner: OneHot,
    history: Vec<(u64, f64)>,
}

impl Objective for Noted {
    fn init(&self, rng: &mut Rng) -> Params {
        self.inner.init(rng)
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        if step > 0 && is_noted(step, u64::MAX) {
            self.history.push((step, fourth_power(params.get("w"))));
        }
        self.inner.loss(params, step, grad)
    }
}

/// The neurons still at work, and the state of their weights, all `[n_features, neurons.len()]`.
struct Working {
    neurons: Vec<usize>,
    w: Mat,
    grad: Mat,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Working {
    /// Keeps the neurons at these places.
    fn keep(&mut self, places: &[usize]) {
        let (n, old) = self.w.shape();
        let kept = |data: &[f32]| -> Vec<f32> {
            (0..n).flat_map(|i| places.iter().map(move |&k| i * old + k)).map(|at| data[at]).collect()
        };
        (self.first, self.second) = (kept(&self.first), kept(&self.second));
        self.w = self.w.select_cols(places);
        self.grad = Mat::zeros(n, places.len());
        self.neurons = places.iter().map(|&k| self.neurons[k]).collect();
    }

    /// Places of the neurons that do not rest: a weight that is more than trembling, or an error that pulls harder than half
    /// of the penalty. `grad` is that of the errors alone. What is not a number does not rest, so that it shows.
    fn awake(&self, trembling: f32, l1: f32) -> Vec<usize> {
        let mut resting = vec![true; self.neurons.len()];
        for i in 0..self.w.rows() {
            for ((r, w), g) in resting.iter_mut().zip(self.w.row(i)).zip(self.grad.row(i)) {
                *r &= w.abs() <= trembling && g.abs() <= 0.5 * l1;
            }
        }
        (0..resting.len()).filter(|&k| !resting[k]).collect()
    }

    fn whole(&self, d_hidden: usize) -> Mat {
        let mut whole = Mat::zeros(self.w.rows(), d_hidden);
        for i in 0..self.w.rows() {
            for (&j, &w) in self.neurons.iter().zip(self.w.row(i)) {
                whole[(i, j)] = w;
            }
        }
        whole
    }
}

fn lean(
    model: &Incidental,
    adam: AdamConfig,
    stream: &Rng,
    tell: &mut dyn FnMut(f64) -> ControlFlow<()>,
) -> Option<Grown> {
    let (n, m, steps) = (model.n_features, model.d_hidden, model.training.steps);
    let objective = OneHot { model: model.clone(), stream: stream.clone() };
    let start = objective.init(&mut stream.fork("init")).get("w").clone();
    let zeros = || vec![0.0; n * m];
    let mut at = Working {
        neurons: (0..m).collect(),
        w: start.clone(),
        grad: Mat::zeros(n, m),
        first: zeros(),
        second: zeros(),
    };
    let mut history = Vec::new();
    for t in 1..=steps {
        at.grad.data_mut().fill(0.0);
        clean(&at.w, &mut at.grad);
        if t.is_multiple_of(LOOK) {
            let awake = at.awake((TREMBLE * adam.lr) as f32, model.l1);
            if (awake.len() as f64) < (1.0 - WORTH) * at.neurons.len() as f64 {
                at.keep(&awake);
                clean(&at.w, &mut at.grad);
            }
            tell(t as f64 / steps as f64).is_continue().then_some(())?;
        }
        penalise(model.l1, &at.w, &mut at.grad);
        let lr = adam.lr * model.training.schedule.factor(t - 1, steps);
        let AdamConfig { beta1, beta2, eps, weight_decay, .. } = adam;
        let c = AdamStep { lr, beta1, beta2, eps, weight_decay, t };
        adam_step_here(at.w.data_mut(), at.grad.data(), &mut at.first, &mut at.second, c);
        if is_noted(t, steps) {
            history.push((t, fourth_power(&at.w)));
        }
    }
    let w = at.whole(m);
    let loss = clean(&w, &mut Mat::zeros(n, m)) + penalise(model.l1, &w, &mut Mat::zeros(n, m));
    Some(Grown { start, w, loss, history })
}

#[cfg(test)]
mod tests {
    use super::super::{Noise, collisions, converged};
    use super::*;
    use superlens_tensor::optim::Schedule;
    use superlens_tensor::train::TrainConfig;

    #[test]
    fn resting_neurons_change_nothing_that_counts() {
        let model = Incidental {
            n_features: 24,
            d_hidden: 96,
            l1: 1e-3,
            noise: Noise::NONE,
            density: 0.1,
            training: TrainConfig {
                steps: 4500,
                optimiser: Optimiser::Adam(AdamConfig { weight_decay: 0.01, ..AdamConfig::default() }),
                schedule: Schedule::Constant,
                clip_norm: None,
            },
        };
        for seed in 0..3 {
            let stream = Rng::new(seed);
            let (a, b) = (
                grow(&model, &stream, &mut |_| ControlFlow::Continue(())).unwrap(),
                plain(&model, &stream, &mut |_| ControlFlow::Continue(())).unwrap(),
            );
            assert_eq!(a.start, b.start);
            assert_eq!((collisions(&a.w), converged(&a.w)), (collisions(&b.w), converged(&b.w)), "seed {seed}");
            let furthest = a.w.data().iter().zip(b.w.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(furthest < 0.02, "a weight is {furthest} off");
        }
    }
}
