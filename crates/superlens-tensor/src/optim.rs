//! Optimisers over [`Params`], and the learning rate over a run.

use crate::kernels::adam::{AdamStep, adam_step};
use crate::kernels::pointwise::axpy;
use crate::train::Params;

/// The constants of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// The peak learning rate; a [`Schedule`] scales it.
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Decoupled decay of all weights (AdamW); 0 is plain Adam.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// The constants of [`Sgd`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdConfig {
    /// The peak learning rate; a [`Schedule`] scales it.
    pub lr: f64,
    pub momentum: f32,
    /// Decoupled decay of all weights: each step also takes off `lr · weight_decay · w`.
    pub weight_decay: f64,
}

/// What makes a step of a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimiser {
    /// Adam, or AdamW where there is weight decay.
    Adam(AdamConfig),
    Sgd(SgdConfig),
}

impl Optimiser {
    /// Adam with its usual constants.
    pub fn adam(lr: f64) -> Self {
        Optimiser::Adam(AdamConfig { lr, ..AdamConfig::default() })
    }

    /// The peak learning rate.
    pub fn lr(&self) -> f64 {
        match self {
            Optimiser::Adam(c) => c.lr,
            Optimiser::Sgd(c) => c.lr,
        }
    }

    /// A fresh state for parameters like `params`.
    pub fn start(&self, params: &Params) -> Stepper {
        match *self {
            Optimiser::Adam(c) => Stepper::Adam(Adam::new(c, params)),
            Optimiser::Sgd(c) => Stepper::Sgd(Sgd::new(c, params)),
        }
    }
}

/// An [`Optimiser`] at work.
#[derive(Clone, Debug, PartialEq)]
pub enum Stepper {
    Adam(Adam),
    Sgd(Sgd),
}

impl Stepper {
    /// One step with learning rate `lr`. Panics with the names and shapes unless `grad` is like `params`.
    pub fn step(&mut self, params: &mut Params, grad: &Params, lr: f64) {
        match self {
            Stepper::Adam(adam) => adam.step(params, grad, lr),
            Stepper::Sgd(sgd) => sgd.step(params, grad, lr),
        }
    }
}

/// Adam or AdamW with its moments in `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    pub config: AdamConfig,
    /// Running mean of the gradients.
    pub m: Params,
    /// Running mean of their squares.
    pub v: Params,
    /// Steps made.
    pub steps: u64,
}

impl Adam {
    /// Zero moments for parameters like `params`.
    pub fn new(config: AdamConfig, params: &Params) -> Self {
        Self { config, m: params.zeros_like(), v: params.zeros_like(), steps: 0 }
    }

    /// One step with learning rate `lr`. Panics with the names and shapes unless `grad` is like `params`.
    pub fn step(&mut self, params: &mut Params, grad: &Params, lr: f64) {
        self.steps += 1;
        let AdamConfig { beta1, beta2, eps, weight_decay, .. } = self.config;
        let c = AdamStep { lr, beta1, beta2, eps, weight_decay, t: self.steps };
        check_alike(params, grad);
        check_alike(params, &self.m);
        for (((w, g), m), v) in
            params.blocks.iter_mut().zip(&grad.blocks).zip(&mut self.m.blocks).zip(&mut self.v.blocks)
        {
            adam_step(w.1.data_mut(), g.1.data(), m.1.data_mut(), v.1.data_mut(), c);
        }
    }
}

/// Gradient descent with heavy-ball momentum: `u ← momentum · u + g`, `w ← (1 − lr · decay) w − lr · u`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    pub config: SgdConfig,
    pub velocity: Params,
}

impl Sgd {
    /// Zero velocity for parameters like `params`.
    pub fn new(config: SgdConfig, params: &Params) -> Self {
        Self { config, velocity: params.zeros_like() }
    }

    /// One step with learning rate `lr`. Panics with the names and shapes unless `grad` is like `params`.
    pub fn step(&mut self, params: &mut Params, grad: &Params, lr: f64) {
        check_alike(params, grad);
        check_alike(params, &self.velocity);
        let keep = 1.0 - (lr * self.config.weight_decay) as f32;
        for ((w, g), u) in params.blocks.iter_mut().zip(&grad.blocks).zip(&mut self.velocity.blocks) {
            for (u, g) in u.1.data_mut().iter_mut().zip(g.1.data()) {
                *u = self.config.momentum * *u + g;
            }
            w.1.data_mut().iter_mut().for_each(|w| *w *= keep);
            axpy(-lr as f32, u.1.data(), w.1.data_mut());
        }
    }
}

fn check_alike(a: &Params, b: &Params) {
    let shapes = |p: &Params| p.blocks.iter().map(|(n, m)| (n.clone(), m.shape())).collect::<Vec<_>>();
    let same = a.blocks.len() == b.blocks.len()
        && a.blocks.iter().zip(&b.blocks).all(|(a, b)| a.0 == b.0 && a.1.shape() == b.1.shape());
    assert!(same, "parameters {:?} against {:?}", shapes(a), shapes(b));
}

/// The learning rate over a run, as a factor of its peak.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Schedule {
    #[default]
    Constant,
    /// Linear from `1 / warmup` at step 0 to 1 at step `warmup - 1`, then constant.
    Warmup { warmup: u64 },
    /// Constant, then linear towards 0 over the last `fraction` of the steps; it would be 0 just after the
    /// last.
    Decay { fraction: f64 },
    /// Half a cosine from 1 at step 0 to `floor` just after the last.
    Cosine { floor: f64 },
    /// [`Warmup`](Self::Warmup) and [`Decay`](Self::Decay).
    WarmupDecay { warmup: u64, fraction: f64 },
    /// [`Warmup`](Self::Warmup), then [`Cosine`](Self::Cosine) over what is left.
    WarmupCosine { warmup: u64, floor: f64 },
}

impl Schedule {
    /// The factor at step `step` (from 0) of `steps`.
    pub fn factor(self, step: u64, steps: u64) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Warmup { warmup } => rise(step, warmup),
            Schedule::Decay { fraction } => fall(step, steps, fraction),
            Schedule::Cosine { floor } => cosine(step, steps, floor),
            // The least of the two, not their product: where they overlap in a short run, the rate stays a
            // ramp.
            Schedule::WarmupDecay { warmup, fraction } => rise(step, warmup).min(fall(step, steps, fraction)),
            Schedule::WarmupCosine { warmup, .. } if step < warmup => rise(step, warmup),
            Schedule::WarmupCosine { warmup, floor } => cosine(step - warmup, steps.saturating_sub(warmup), floor),
        }
    }
}

fn rise(step: u64, warmup: u64) -> f64 {
    if step < warmup { (step + 1) as f64 / warmup as f64 } else { 1.0 }
}

fn fall(step: u64, steps: u64, fraction: f64) -> f64 {
    let length = fraction * steps as f64;
    let left = steps.saturating_sub(step) as f64;
    if left < length { left / length } else { 1.0 }
}

fn cosine(step: u64, steps: u64, floor: f64) -> f64 {
    let done = if steps == 0 { 1.0 } else { (step as f64 / steps as f64).min(1.0) };
    floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mat;

    #[test]
    fn schedules_at_their_knots() {
        let at = |s: Schedule, step| s.factor(step, 100);
        assert_eq!(at(Schedule::Constant, 57), 1.0);

        let warmup = Schedule::Warmup { warmup: 10 };
        assert_eq!([0, 4, 9, 10, 99].map(|s| at(warmup, s)), [0.1, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(at(Schedule::Warmup { warmup: 0 }, 0), 1.0);

        let decay = Schedule::Decay { fraction: 0.2 };
        assert_eq!([0, 79, 80, 90, 99, 100].map(|s| at(decay, s)), [1.0, 1.0, 1.0, 0.5, 0.05, 0.0]);
        assert_eq!(at(Schedule::Decay { fraction: 0.0 }, 99), 1.0);

        let cosine = Schedule::Cosine { floor: 0.1 };
        for (step, want) in [(0, 1.0), (50, 0.55), (100, 0.1), (130, 0.1)] {
            assert!((at(cosine, step) - want).abs() < 1e-12);
        }

        let both = Schedule::WarmupDecay { warmup: 10, fraction: 0.2 };
        assert_eq!([0, 9, 50, 80, 90].map(|s| at(both, s)), [0.1, 1.0, 1.0, 1.0, 0.5]);

        let both = Schedule::WarmupCosine { warmup: 20, floor: 0.0 };
        for (step, want) in [(0, 0.05), (19, 1.0), (20, 1.0), (60, 0.5), (100, 0.0)] {
            assert!((at(both, step) - want).abs() < 1e-12);
        }
    }

    #[test]
    fn momentum_sums_past_gradients() {
        let one = |x| Params { blocks: vec![("w".into(), Mat::from_vec(1, 1, vec![x]))] };
        let (mut w, g) = (one(1.0), one(2.0));
        let mut sgd = Sgd::new(SgdConfig { lr: 0.1, momentum: 0.5, weight_decay: 0.0 }, &w);
        sgd.step(&mut w, &g, 0.1); // u = 2
        sgd.step(&mut w, &g, 0.1); // u = 3
        assert!((w.get("w").data()[0] - 0.5).abs() < 1e-6);
    }

    #[test]
    #[should_panic(expected = "(1, 2)")]
    fn gradients_of_another_shape_are_refused() {
        let block = |n| Params { blocks: vec![("w".into(), Mat::zeros(1, n))] };
        Adam::new(AdamConfig::default(), &block(3)).step(&mut block(3), &block(2), 0.1);
    }
}
