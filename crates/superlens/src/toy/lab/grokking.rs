//! What the toys share that are learned by heart before they are understood: accuracies written down beside the training.

use super::{Axis, Picture, Series};
use crate::toy::are_bounded;
use std::ops::ControlFlow;
use superlens_tensor::Rng;
use superlens_tensor::train::{Objective, Params, TrainConfig, train};

/// Accuracies are looked at about this often.
const LOOKS: u64 = 150;

/// Step, loss, and the shares of the training pairs and of the held-out pairs that are right.
pub type Look = (u64, f64, f64, f64);

/// An objective with its history.
pub struct Noted<T> {
    pub inner: T,
    pub history: Vec<Look>,
    accuracies: fn(&mut T, &Params) -> (f64, f64),
    every: u64,
}

impl<T> Noted<T> {
    fn look(&mut self, step: u64, loss: f64, params: &Params) {
        let (train, test) = (self.accuracies)(&mut self.inner, params);
        self.history.push((step, loss, train, test));
    }
}

impl<T: Objective> Objective for Noted<T> {
    fn init(&self, rng: &mut Rng) -> Params {
        self.inner.init(rng)
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let loss = self.inner.loss(params, step, grad);
        // Early steps are looked at more often: the curve is drawn over the logarithm of the step.
        let every = (step / 10).clamp(1, self.every);
        if step > 0 && step.is_multiple_of(every) {
            self.look(step, loss, params);
        }
        loss
    }

    fn project(&self, params: &Params, grad: &mut Params) {
        self.inner.project(params, grad);
    }

    fn constrain(&self, params: &mut Params) {
        self.inner.constrain(params);
    }
}

/// Trains `objective` from `rng` with a look at its accuracies now and then, and after the last step. None where `tell` broke, or the weights ran away.
pub fn grow<T: Objective>(
    objective: T,
    accuracies: fn(&mut T, &Params) -> (f64, f64),
    config: &TrainConfig,
    rng: &Rng,
    tell: &mut dyn FnMut(f64) -> ControlFlow<()>,
) -> Option<(Params, Noted<T>)> {
    let steps = config.steps;
    let mut noted = Noted { inner: objective, history: Vec::new(), accuracies, every: (steps / LOOKS).max(1) };
    let mut end = ControlFlow::Continue(());
    let params = train(&mut noted, config, &mut rng.fork("init"), &mut |s| {
        end = tell((s.step + 1) as f64 / steps as f64);
        end
    });
    end.is_continue().then_some(())?;
    params.blocks.iter().all(|(_, block)| are_bounded(block.data())).then_some(())?;
    let loss = noted.inner.loss(&params, steps, &mut params.zeros_like());
    noted.look(steps, loss, &params);
    Some((params, noted))
}

/// The steps at which 99 % of the training pairs, and of the held-out pairs, were right for the first time.
pub fn steps(history: &[Look]) -> (Option<u64>, Option<u64>) {
    let first = |of: fn(&Look) -> f64| history.iter().find(|look| of(look) >= 0.99).map(|look| look.0);
    (first(|l| l.2), first(|l| l.3))
}

/// Such a step in words.
pub fn step(at: Option<u64>) -> String {
    at.map_or("not yet".into(), |s| s.to_string())
}

/// Both accuracies over the steps.
pub fn curve(history: &[Look]) -> Picture {
    let series = |name: &str, of: fn(&Look) -> f64| Series {
        name: name.into(),
        points: history.iter().map(|look| (look.0 as f64, of(look))).collect(),
        line: true,
    };
    Picture::Sweep {
        name: "grokking",
        title: "Learned by heart or understood?".into(),
        caption: "Share of the pairs whose sum is right, over the steps, in the first instance: those it is trained on, and those held \
                  out."
            .into(),
        x: Axis::log("step"),
        y: Axis::linear("accuracy"),
        series: vec![series("training pairs", |l| l.2), series("held-out pairs", |l| l.3)],
        levels: vec![],
    }
}
