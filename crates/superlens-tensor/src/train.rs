//! One trait for everything that is trained, and the loop that trains it.

use crate::kernels::adam::clip_global_norm;
use crate::optim::{Optimiser, Schedule};
use crate::{Mat, Rng};
use std::ops::ControlFlow;

/// Named parameter blocks of a model; vectors are `[1, n]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    pub blocks: Vec<(String, Mat)>,
}

impl Params {
    /// The block called `name`. Panics if there is none: names are the objective's own.
    pub fn get(&self, name: &str) -> &Mat {
        &self.blocks.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no parameter called {name}")).1
    }

    pub fn get_mut(&mut self, name: &str) -> &mut Mat {
        &mut self.blocks.iter_mut().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no parameter called {name}")).1
    }

    /// Zeros of the same names and shapes.
    pub fn zeros_like(&self) -> Params {
        Params { blocks: self.blocks.iter().map(|(n, m)| (n.clone(), Mat::zeros(m.rows(), m.cols()))).collect() }
    }
}

/// What is trained: where it starts, its loss with gradient, and what holds after every step.
pub trait Objective {
    /// Fresh parameters.
    fn init(&self, rng: &mut Rng) -> Params;

    /// The loss on the batch of step `step`; its gradient is added to `grad`, which comes in as zeros.
    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64;

    /// Called with the gradient before the optimiser's step (for instance to project it). Default: nothing.
    fn project(&self, _params: &Params, _grad: &mut Params) {}

    /// Called after the optimiser's step (for instance to renormalise rows). Default: nothing.
    fn constrain(&self, _params: &mut Params) {}
}

/// How an objective is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    pub steps: u64,
    pub optimiser: Optimiser,
    pub schedule: Schedule,
    /// The gradient is scaled down to this norm, all blocks together, where it is longer.
    pub clip_norm: Option<f32>,
}

/// What the observer of [`train`] sees after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// From 0.
    pub step: u64,
    /// The loss before the step.
    pub loss: f64,
    pub lr: f64,
}

/// Trains `objective` from fresh parameters and returns them after the last step, or after the step at which
/// `observe` breaks.
///
/// A step is: loss and gradient, [`project`](Objective::project), clipping, the optimiser's step,
/// [`constrain`](Objective::constrain), `observe`.
pub fn train(
    objective: &mut dyn Objective,
    config: &TrainConfig,
    rng: &mut Rng,
    observe: &mut dyn FnMut(Step) -> ControlFlow<()>,
) -> Params {
    let mut params = objective.init(rng);
    let mut grad = params.zeros_like();
    let mut stepper = config.optimiser.start(&params);
    for step in 0..config.steps {
        for (_, block) in &mut grad.blocks {
            block.data_mut().fill(0.0);
        }
        let loss = objective.loss(&params, step, &mut grad);
        objective.project(&params, &mut grad);
        if let Some(max) = config.clip_norm {
            clip_global_norm(grad.blocks.iter_mut().map(|(_, block)| block.data_mut()), max);
        }
        let lr = config.optimiser.lr() * config.schedule.factor(step, config.steps);
        stepper.step(&mut params, &grad, lr);
        objective.constrain(&mut params);
        if observe(Step { step, loss, lr }).is_break() {
            break;
        }
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `½ Σ cᵢ (wᵢ − targetᵢ)²`, with the first coordinate held at zero by `project` and `constrain` when
    /// asked.
    struct Quadratic {
        target: Vec<f32>,
        hold_first: bool,
    }

    impl Objective for Quadratic {
        fn init(&self, rng: &mut Rng) -> Params {
            Params { blocks: vec![("w".into(), Mat::from_fn(1, self.target.len(), |_, _| rng.normal()))] }
        }

        fn loss(&mut self, params: &Params, _step: u64, grad: &mut Params) -> f64 {
            let mut loss = 0.0;
            for (i, g) in grad.get_mut("w").data_mut().iter_mut().enumerate() {
                let (c, e) = ((i + 1) as f32, params.get("w").data()[i] - self.target[i]);
                *g += c * e;
                loss += 0.5 * f64::from(c * e * e);
            }
            loss
        }

        fn project(&self, _params: &Params, grad: &mut Params) {
            if self.hold_first {
                grad.get_mut("w").data_mut()[0] = 0.0;
            }
        }

        fn constrain(&self, params: &mut Params) {
            if self.hold_first {
                params.get_mut("w").data_mut()[0] = 0.0;
            }
        }
    }

    fn config(steps: u64) -> TrainConfig {
        TrainConfig {
            steps,
            optimiser: Optimiser::adam(0.1),
            schedule: Schedule::WarmupDecay { warmup: 10, fraction: 0.5 },
            clip_norm: Some(1.0),
        }
    }

    #[test]
    fn a_quadratic_is_solved_and_its_constraint_held() {
        for hold_first in [false, true] {
            let mut objective = Quadratic { target: vec![0.5, -2.0, 1.0], hold_first };
            let mut losses = Vec::new();
            let params = train(&mut objective, &config(400), &mut Rng::new(0), &mut |s| {
                assert_eq!(s.step, losses.len() as u64);
                losses.push(s.loss);
                ControlFlow::Continue(())
            });
            let w = params.get("w").data();
            assert!((w[0] - if hold_first { 0.0 } else { 0.5 }).abs() < 1e-3, "{w:?}");
            assert!((w[1] + 2.0).abs() < 1e-3 && (w[2] - 1.0).abs() < 1e-3, "{w:?}");
            assert!(losses[399] < losses[0] && losses.len() == 400);
        }
    }

    #[test]
    fn breaking_keeps_what_was_learned_so_far() {
        let mut objective = Quadratic { target: vec![1.0; 4], hold_first: false };
        let mut seen = 0;
        let broken = train(&mut objective, &config(400), &mut Rng::new(0), &mut |s| {
            seen += 1;
            assert!(s.lr <= 0.1);
            if s.step == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(seen, 5);
        // The schedule depends on the planned number of steps, so the same five steps of the same plan are
        // compared.
        let mut whole = Vec::new();
        let mut probe = Quadratic { target: vec![1.0; 4], hold_first: false };
        train(&mut probe, &config(400), &mut Rng::new(0), &mut |s| {
            whole.push(s.loss);
            ControlFlow::Continue(())
        });
        assert_eq!(objective.loss(&broken, 5, &mut broken.zeros_like()), whole[5]);
    }
}
