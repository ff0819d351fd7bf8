//! `toy sparsification`: one feature's weights under the penalty alone, and how fast they gather.

use super::tied::{setting, short};
use super::{Axis, Lab, Outcome, Picture, Series, Setting, Settings, Toy, ToyError};
use serde_json::json;
use std::ops::ControlFlow;
use std::time::Instant;
use superlens_tensor::Rng;

pub const TOY: Toy = Toy {
    name: "sparsification",
    about: "one feature's weights under gradient flow: the penalty makes them few, ‖w‖₁ ≈ 1/(1/√m + λt)",
    source: "Lecomte et al. 2024, What Causes Polysemanticity? (arXiv 2312.03096), the speed of sparsification",
    settings: SETTINGS,
    keys: &[
        "Each instance has loss (1 − ‖w‖²)² at the end, history (time, ‖w‖₁, weights left), factor (for the times with λt from \
           10/√m to 1/4: the larger of ‖w‖₁ and 1/(1/√m + λt) over the smaller; null without such times), count_factor (the same of the weights left and \
           1/(1/√m + λt)²) and left (weights at the end).",
    ],
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("d_hidden", "100000", "weights, 2 to 10,000,000"),
    setting("l1", "1e-5", "λ"),
    setting("start", "0.9", "size of the weights at the start: |N(0, start²/m)|"),
    setting("step", "0.25", "length of a step of time, at most 0.5"),
    setting("until", "5", "time at the end, in units of 1/λ"),
];

/// Weights that are moved, at most, between two calls of the watcher: some tenths of a second.
const LOOK: u64 = 1 << 27;

struct Flow {
    m: usize,
    l1: f64,
    step: f64,
    /// Steps in all.
    steps: u64,
    start: f64,
}

/// What one run shows.
struct Run {
    /// Time, `‖w‖₁`, weights above zero.
    history: Vec<(f64, f64, usize)>,
    loss: f64,
    left: usize,
}

impl Flow {
    fn new(s: &Settings) -> Result<Flow, ToyError> {
        let (l1, step) = (s.real("l1", 1e-9..=1.0)?, s.real("step", 1e-6..=0.5)?);
        let steps = (s.real("until", 1e-6..=1e3)? / l1 / step).ceil();
        if steps > 1e10 {
            return Err(s.wrong("step", "a longer step: this one makes more than 10,000,000,000 of them").into());
        }
        let (m, start) = (s.whole("d_hidden", 2..=10_000_000)?, s.real("start", 1e-3..=1.5)?);
        Ok(Flow { m, l1, step, steps: steps as u64, start })
    }

    /// `dw = ((1 − ‖w‖²) w − λ) dt` by Euler's method; what falls to zero is dropped. Weights keep their order, since all grow by
    /// one factor and lose the same: so they are sorted once and dropped from the end, and the largest at the start is the last.
    fn run(&self, rng: &Rng, tell: &mut dyn FnMut(f64) -> ControlFlow<()>) -> Option<Run> {
        let mut rng = rng.fork("start");
        let size = self.start / (self.m as f64).sqrt();
        let mut w: Vec<f64> = (0..self.m).map(|_| size * rng.normal_f64().abs()).collect();
        w.sort_by(|a, b| b.total_cmp(a));
        let (mut history, mut next) = (Vec::new(), 0.0);
        let mut loss = 0.0;
        for k in 0..self.steps {
            let time = k as f64 * self.step;
            let square: f64 = w.iter().map(|w| w * w).sum();
            loss = (1.0 - square).powi(2);
            if time >= next {
                history.push((time, w.iter().sum(), w.len()));
                next = (time * 1.1).max(time + 1.0);
            }
            let grow = 1.0 + self.step * (1.0 - square);
            let lose = self.step * self.l1;
            w.iter_mut().for_each(|w| *w = *w * grow - lose);
            while w.last().is_some_and(|w| *w <= 0.0) {
                w.pop();
            }
            if k.is_multiple_of((LOOK / self.m as u64).clamp(1, 4096)) {
                tell(k as f64 / self.steps as f64).is_continue().then_some(())?;
            }
        }
        history.push((self.steps as f64 * self.step, w.iter().sum(), w.len()));
        Some(Run { history, loss, left: w.len() })
    }

    /// `1/(1/√m + λt)`.
    fn predicted(&self, time: f64) -> f64 {
        1.0 / (1.0 / (self.m as f64).sqrt() + self.l1 * time)
    }

    fn mid_range(&self, time: f64) -> bool {
        (10.0 / (self.m as f64).sqrt()..=0.25).contains(&(self.l1 * time))
    }
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let flow = Flow::new(s)?;
    let start = Instant::now();
    let runs = lab.side_by_side(lab.instances, "flowing", |_, rng, tell| flow.run(rng, tell))?;
    let mut outcome =
        Outcome { training: start.elapsed(), steps: flow.steps * lab.instances as u64, ..Outcome::default() };
    let head = ["instance", "loss", "weights left", "factor of ‖w‖₁", "factor of the count"];
    outcome.table.push(head.map(String::from).to_vec());
    for (i, r) in runs.iter().enumerate() {
        let apart = |a: f64, b: f64| (a / b).max(b / a);
        let middle = || r.history.iter().filter(|(t, ..)| flow.mid_range(*t));
        let factor = middle().map(|(t, sum, _)| apart(*sum, flow.predicted(*t))).reduce(f64::max);
        let count = middle().map(|(t, _, left)| apart(*left as f64, flow.predicted(*t).powi(2))).reduce(f64::max);
        // There is no such time where the weights are few or the penalty is large.
        let shown = |v: Option<f64>| v.map_or("–".into(), short);
        outcome.table.push(vec![i.to_string(), short(r.loss), r.left.to_string(), shown(factor), shown(count)]);
        let value = json!({
            "seed": i, "loss": r.loss, "left": r.left, "factor": factor, "count_factor": count,
            "history": r.history,
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    }
    outcome.says.push(
        "The penalty takes the same from every weight, and the pull towards norm 1 gives to each in proportion: small weights \
         die first, and order is kept, so the largest at the start is the last. Theory: ‖w‖₁ falls as 1/(1/√m + λt), and the \
         weights left as its square."
            .into(),
    );
    outcome.pictures.push(picture(&flow, &runs));
    Ok(outcome)
}

fn picture(flow: &Flow, runs: &[Run]) -> Picture {
    let first = runs.first().map_or(&[][..], |r| &r.history);
    let shown = || first.iter().filter(|(t, ..)| *t > 0.0);
    let series = |name: &str, points: Vec<(f64, f64)>| Series { name: name.into(), points, line: true };
    Picture::Sweep {
        name: "sparsification",
        title: "How fast one feature's weights become few".into(),
        caption: "Gradient flow of one feature: the sum of its weights, and how many are left, beside what theory says of the sum, \
                  1/(1/√m + λt), and of the count, its square."
            .into(),
        x: Axis::log("time t"),
        y: Axis::log("‖w‖₁, weights left"),
        series: vec![
            series("‖w‖₁", shown().map(|(t, sum, _)| (*t, *sum)).collect()),
            series("1/(1/√m + λt)", shown().map(|(t, ..)| (*t, flow.predicted(*t))).collect()),
            series("weights left", shown().map(|(t, _, n)| (*t, *n as f64)).collect()),
            series("its square", shown().map(|(t, ..)| (*t, flow.predicted(*t).powi(2))).collect()),
        ],
        levels: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_weight_is_left_and_the_sum_follows_theory() {
        let flow = Flow { m: 2000, l1: 1e-3, step: 0.25, steps: 20_000, start: 0.9 };
        let run = flow.run(&Rng::new(1), &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(run.left == 1 && run.loss < 1e-4);
        let (time, sum, _) = *run.history.iter().find(|(t, ..)| flow.mid_range(*t)).unwrap();
        assert!((0.6..1.6).contains(&(sum / flow.predicted(time))), "{sum} at {time}");
        assert!(flow.run(&Rng::new(1), &mut |_| ControlFlow::Break(())).is_none());
    }
}
