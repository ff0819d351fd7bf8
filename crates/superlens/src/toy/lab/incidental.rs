//! `toy incidental`: polysemantic neurons by chance, where there is room for every feature.

use super::tied::{setting, short};
use super::{Lab, Outcome, Series, Setting, SettingError, Settings, Toy, ToyError};
use rayon::prelude::*;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use superlens_tensor::kernels::adam::{AdamStep, adam_step_here};
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::{Mat, Rng};

pub const TOY: Toy = Toy {
    name: "incidental",
    about: "features that meet on a neuron by chance at the start, and stay: y = ReLU(WWᵀx), more neurons than features",
    source: "Lecomte et al. 2024, What Causes Polysemanticity? (arXiv 2312.03096); collisions n²/(4m)",
    settings: SETTINGS,
    keys: "Each instance has loss (sum of squared errors over the n one-hot inputs), polysemantic (neurons with two or more \
           weights from 0.8 to 1.2), predicted (n²/(4m)), ratio, converged (share of features with exactly one such weight), \
           fourth (mean over features of Σ w⁴: 1 where each has one neuron) and history (step, fourth).",
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "64", "features, 2 to 2048"),
    setting("d_hidden", "256", "neurons, 2 to 16384"),
    setting("l1", "1e-3", "weight of Σ |w|"),
    setting("noise", "none", "noise on the neurons: none, bipolar:S (±S) or gaussian:S, fresh for each row"),
    setting("optimiser", "adamw", "adamw or sgd"),
    setting("lr", "1e-3", "learning rate"),
    setting("weight_decay", "0.01", "decoupled weight decay of AdamW"),
    setting("steps", "6000", "steps, each over all n one-hot inputs"),
];

/// A weight of this size is a feature's own.
const BIG: std::ops::RangeInclusive<f32> = 0.8..=1.2;
/// Steps between two calls of the watcher.
const LOOK: usize = 20;

#[derive(Clone, Copy)]
enum Noise {
    None,
    Bipolar(f32),
    Gaussian(f32),
}

#[derive(Clone, Copy)]
struct Model {
    n: usize,
    m: usize,
    l1: f32,
    noise: Noise,
    adam: bool,
    lr: f64,
    weight_decay: f64,
    steps: usize,
}

struct Grown {
    w: Mat,
    loss: f64,
    history: Vec<(usize, f64)>,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let model = model(s)?;
    let start = Instant::now();
    let (done, total) = (AtomicUsize::new(0), (model.steps * lab.instances) as f64);
    let tell = |steps: usize| {
        let now = done.fetch_add(steps, Ordering::Relaxed) + steps;
        (lab.watch)(now as f64 / total, "training").is_continue()
    };
    let grown: Vec<Option<Grown>> = (0..lab.instances)
        .into_par_iter()
        .with_max_len(1)
        .map(|i| model.grow(&lab.rng.fork_index(i as u64), &tell))
        .collect();
    let grown: Vec<Grown> = grown.into_iter().collect::<Option<_>>().ok_or(ToyError::Stopped)?;
    let mut outcome =
        Outcome { training: start.elapsed(), steps: (model.steps * lab.instances) as u64, ..Outcome::default() };
    describe(&model, &grown, &mut outcome);
    Ok(outcome)
}

fn describe(model: &Model, grown: &[Grown], outcome: &mut Outcome) {
    let predicted = (model.n * model.n) as f64 / (4 * model.m) as f64;
    outcome.table.push(["instance", "loss", "polysemantic", "n²/(4m)", "converged", "Σw⁴"].map(String::from).to_vec());
    for (i, g) in grown.iter().enumerate() {
        let (poly, converged, fourth) = (polysemantic(&g.w), converged(&g.w), fourth(&g.w));
        let row = [i.to_string(), short(g.loss), poly.to_string(), short(predicted), short(converged), short(fourth)];
        outcome.table.push(row.to_vec());
        let truth = if poly == 0 { "monosemantic" } else { "orthogonal/incidental" };
        let value = json!({
            "seed": i, "loss": g.loss, "polysemantic": poly, "predicted": predicted, "ratio": poly as f64 / predicted,
            "converged": converged, "fourth": fourth, "history": g.history, "truth": truth,
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    }
    let mean = grown.iter().map(|g| polysemantic(&g.w) as f64).sum::<f64>() / grown.len().max(1) as f64;
    outcome.says.push(format!(
        "{} features, {} neurons: room for each. On average {} neurons have two features, where n²/(4m) = {} is expected: n²/(2m) \
         pairs of features have their largest weight on the same neuron at the start, and half of those, with opposite signs, \
         can stay.",
        model.n,
        model.m,
        short(mean),
        short(predicted)
    ));
    outcome.pictures.push(super::Picture::Sweep {
        name: "sparsification",
        title: "Features gather on single neurons".into(),
        caption: "Σw⁴ of a feature, averaged: small while its weight is spread over many neurons, 1 when one neuron has it all.".into(),
        x: super::Axis::log("step"),
        y: super::Axis::linear("mean Σw⁴ of a feature"),
        series: (grown.iter().enumerate().take(4))
            .map(|(i, g)| Series {
                name: format!("instance {i}"),
                points: g.history.iter().map(|(step, v)| (*step as f64, *v)).collect(),
                line: true,
            })
            .collect(),
        levels: vec![(1.0, "one neuron each".into())],
    });
}

fn model(s: &Settings) -> Result<Model, SettingError> {
    let size = |text: &str| text.parse::<f32>().ok().filter(|v| (0.0..=10.0).contains(v));
    let noise = match s.text("noise").split_once(':') {
        None if s.text("noise") == "none" => Some(Noise::None),
        Some(("bipolar", text)) => size(text).map(Noise::Bipolar),
        Some(("gaussian", text)) => size(text).map(Noise::Gaussian),
        _ => None,
    };
    Ok(Model {
        n: s.whole("n_features", 2..=2048)?,
        m: s.whole("d_hidden", 2..=16_384)?,
        l1: s.real("l1", 0.0..=100.0)? as f32,
        noise: noise.ok_or_else(|| s.wrong("noise", "none, bipolar:S or gaussian:S with S from 0 to 10"))?,
        adam: s.choice("optimiser", &[("adamw", true), ("sgd", false)])?,
        lr: s.real("lr", 1e-12..=10.0)?,
        weight_decay: s.real("weight_decay", 0.0..=100.0)?,
        steps: s.whole("steps", 1..=100_000_000)?,
    })
}

impl Model {
    /// Trains from `W ~ N(0, 1/m)`; `None` where `tell` says to stop.
    fn grow(&self, rng: &Rng, tell: &(dyn Fn(usize) -> bool + Sync)) -> Option<Grown> {
        let (n, m) = (self.n, self.m);
        let mut init = rng.fork("init");
        let scale = 1.0 / (m as f32).sqrt();
        let mut w = Mat::from_fn(n, m, |_, _| scale * init.normal());
        let mut draws = rng.fork("noise");
        let (mut grad, mut first, mut second) = (Mat::zeros(n, m), vec![0.0; n * m], vec![0.0; n * m]);
        let mut history = vec![(1, fourth(&w))];
        let mut next = 2;
        let mut loss = 0.0;
        for step in 1..=self.steps {
            loss = self.gradient(&w, &mut draws, &mut grad);
            if self.adam {
                let (lr, weight_decay) = (self.lr, self.weight_decay);
                let c = AdamStep { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, t: step as u64 };
                adam_step_here(w.data_mut(), grad.data(), &mut first, &mut second, c);
            } else {
                let lr = self.lr as f32;
                w.data_mut().iter_mut().zip(grad.data()).for_each(|(w, g)| *w -= lr * g);
            }
            if step >= next || step == self.steps {
                history.push((step, fourth(&w)));
                next = (step as f64 * 1.15) as usize + 1;
            }
            if step % LOOK == 0 && !tell(LOOK) {
                return None;
            }
        }
        Some(Grown { w, loss, history })
    }

    /// The loss `Σ (ReLU(HWᵀ) − I)² + l1 Σ|w|` with `H = W + noise`, and its gradient `Eᵀ H + E W + l1 sign W`, where
    /// `E = 2 (ReLU(HWᵀ) − I) [HWᵀ > 0]`.
    fn gradient(&self, w: &Mat, draws: &mut Rng, grad: &mut Mat) -> f64 {
        let noisy = self.with_noise(w, draws);
        let h = noisy.as_ref().unwrap_or(w);
        let mut e = matmul(h, w.t());
        let mut loss = 0.0;
        for i in 0..self.n {
            for (j, e) in e.row_mut(i).iter_mut().enumerate() {
                let error = e.max(0.0) - f32::from(i == j);
                loss += f64::from(error * error);
                *e = if *e > 0.0 { 2.0 * error } else { 0.0 };
            }
        }
        gemm(1.0, e.t(), h.view(), 0.0, grad);
        gemm(1.0, e.view(), w.view(), 1.0, grad);
        for (g, w) in grad.data_mut().iter_mut().zip(w.data()) {
            loss += f64::from(self.l1 * w.abs());
            *g += self.l1 * (f32::from(*w > 0.0) - f32::from(*w < 0.0));
        }
        loss
    }

    fn with_noise(&self, w: &Mat, rng: &mut Rng) -> Option<Mat> {
        let draw = |rng: &mut Rng| match self.noise {
            Noise::None => 0.0,
            Noise::Bipolar(s) => {
                if rng.chance(0.5) {
                    s
                } else {
                    -s
                }
            }
            Noise::Gaussian(s) => s * rng.normal(),
        };
        if matches!(self.noise, Noise::None) {
            return None;
        }
        let mut h = w.clone();
        h.data_mut().iter_mut().for_each(|v| *v += draw(rng));
        Some(h)
    }
}

/// Neurons with at least two big weights.
fn polysemantic(w: &Mat) -> usize {
    let big = |j: usize| (0..w.rows()).filter(|&i| BIG.contains(&w[(i, j)].abs())).count();
    (0..w.cols()).filter(|&j| big(j) >= 2).count()
}

/// Share of the features with exactly one big weight.
fn converged(w: &Mat) -> f64 {
    let one = |i: &usize| w.row(*i).iter().filter(|v| BIG.contains(&v.abs())).count() == 1;
    (0..w.rows()).filter(one).count() as f64 / w.rows() as f64
}

/// Mean over features of `Σ w⁴`.
fn fourth(w: &Mat) -> f64 {
    w.data().iter().map(|v| f64::from(*v).powi(4)).sum::<f64>() / w.rows() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(noise: Noise) -> Model {
        Model { n: 6, m: 9, l1: 0.05, noise, adam: true, lr: 1e-3, weight_decay: 0.0, steps: 1 }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        for noise in [Noise::None, Noise::Bipolar(0.1), Noise::Gaussian(0.1)] {
            let model = small(noise);
            let mut rng = Rng::new(6);
            let w = Mat::from_fn(6, 9, |_, _| 0.6 * rng.normal());
            let mut grad = Mat::zeros(6, 9);
            // The same noise at every evaluation.
            model.gradient(&w, &mut Rng::new(9), &mut grad);
            for k in 0..w.data().len() {
                let at = |step: f32| {
                    let mut w = w.clone();
                    w.data_mut()[k] += step;
                    model.gradient(&w, &mut Rng::new(9), &mut Mat::zeros(6, 9))
                };
                let numeric = (at(1e-3) - at(-1e-3)) / 2e-3;
                let g = f64::from(grad.data()[k]);
                assert!((g - numeric).abs() < 2e-2 * g.abs().max(0.5), "{k}: {g} for {numeric}");
            }
        }
    }

    #[test]
    fn neurons_are_counted_by_their_big_weights() {
        let w = Mat::from_vec(3, 3, vec![1.0, 0.1, 0.0, -0.9, 0.0, 0.0, 0.0, 0.0, 1.1]);
        assert_eq!((polysemantic(&w), converged(&w)), (1, 1.0));
    }
}
