//! `toy modular_addition`: the grokking curve of a + b mod p, and the cosines that do it.

use super::grokking::{self, Look};
use super::tied::{setting, short};
use super::{Heat, HeatPanel, Lab, Outcome, Picture, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::modular_addition::{ModularAddition, ONE_FREQUENCY, only_cosines, power, strongest};
use crate::toy::{ToyModel, Truth};
use serde_json::json;
use std::ops::ControlFlow;
use std::time::Instant;
use superlens_tensor::optim::{AdamConfig, Optimiser, Schedule};
use superlens_tensor::train::{Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

pub const TOY: Toy = Toy {
    name: "modular_addition",
    about: "a + b mod p: first learned by heart, then understood, by neurons that multiply cosines",
    source: "Gromov 2023, Grokking modular arithmetic (arXiv 2301.02679); Nanda et al. 2023 (arXiv 2301.05217)",
    settings: SETTINGS,
    keys: &[
        "Each instance has loss (mean over the training pairs), train_accuracy, test_accuracy, learned_at and understood_at (steps at which \
           99 % of the training pairs and of the held-out pairs are right; null before), delay (their ratio), frequency_share (median over live \
           neurons of the share of their input's variance at one frequency), single_frequency (share of the live neurons with at least 0.85 there), \
           live (neurons above a hundredth of the largest variance), frequencies (how many frequencies have a live neuron), cosine_accuracy (on the held-out pairs, with each \
           neuron cut down to its strongest frequency), truth and history (step, loss, accuracy on training pairs, on held-out pairs).",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("p", "23", "the modulus, an odd number from 3 to 257"),
    setting("neurons", "128", "neurons, 1 to 4096"),
    setting("train_share", "0.6", "share of the p² pairs that is trained on, above 0 and below 1"),
    setting("lr", "3e-3", "learning rate of AdamW"),
    setting("weight_decay", "1", "decoupled weight decay"),
    setting("steps", "4000", "training steps, each over all training pairs"),
];

/// A neuron with less than this share of the largest variance is dead.
const LIVE: f64 = 0.01;

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let model = modular(s)?;
    let start = Instant::now();
    let grown = lab.side_by_side(lab.instances, "training", |_, rng, tell| grow(&model, rng, tell))?;
    let steps = model.training.steps * lab.instances as u64;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    let head =
        ["loss", "learned at", "understood at", "held out", "one frequency", "frequencies", "cosines alone", "truth"];
    outcome.table.push(head.map(String::from).to_vec());
    grown.iter().enumerate().for_each(|(i, g)| describe(i, g, &mut outcome));
    outcome.says.push(format!(
        "a + b mod {} from {} % of the pairs. Steps at which 99 % of the training pairs, and of the held-out pairs, are right; \
         the median share of a neuron's variance at one frequency; and how many of the held-out pairs are right with each neuron \
         cut down to that frequency.",
        model.p,
        short(100.0 * model.train_share)
    ));
    outcome.says.push(
        "cos(α + β) = cos α cos β − sin α sin β: to add angles a neuron must multiply waves of both numbers. So it answers to \
         both, in every basis that keeps the numbers apart, because of what it computes."
            .into(),
    );
    outcome.pictures.extend(grown.first().map(|g| grokking::curve(&g.history)));
    outcome.pictures.extend(grown.first().map(|g| spectrum(&g.params)));
    Ok(outcome)
}

struct Grown {
    params: Params,
    history: Vec<Look>,
    cosine_accuracy: f64,
    truth: Truth,
}

fn grow(model: &ModularAddition, rng: &Rng, tell: &mut dyn FnMut(f64) -> ControlFlow<()>) -> Option<Grown> {
    let objective = model.objective(&rng.fork("batches"));
    let (params, mut noted) = grokking::grow(objective, |o, p| o.accuracies(p), &model.training, rng, tell)?;
    let cosine_accuracy = noted.inner.accuracies(&only_cosines(&params)).1;
    Some(Grown { cosine_accuracy, truth: model.truth(&params), params, history: std::mem::take(&mut noted.history) })
}

/// The strongest frequency of each live neuron and the share of its variance there.
pub(super) fn live(params: &Params) -> Vec<(usize, f64)> {
    let all = strongest(&power(params));
    let largest = all.iter().map(|n| n.2).fold(0.0, f64::max);
    all.iter().filter(|n| n.2 > LIVE * largest).map(|n| (n.0, n.1)).collect()
}

fn describe(i: usize, g: &Grown, outcome: &mut Outcome) {
    let &(_, loss, train, test) = g.history.last().expect("a look after the last step");
    let (learned, understood) = grokking::steps(&g.history);
    let live = live(&g.params);
    let shares: Vec<f64> = live.iter().map(|n| n.1).collect();
    // Without any live neuron there is no share to speak of.
    let share = (!shares.is_empty()).then(|| super::experiment::median(&shares));
    let single = shares.iter().filter(|s| **s >= ONE_FREQUENCY).count() as f64 / shares.len().max(1) as f64;
    let mut frequencies: Vec<usize> = live.iter().map(|n| n.0).collect();
    frequencies.sort_unstable();
    frequencies.dedup();
    outcome.table.push(vec![
        short(loss),
        grokking::step(learned),
        grokking::step(understood),
        short(test),
        share.map_or("–".into(), short),
        frequencies.len().to_string(),
        short(g.cosine_accuracy),
        g.truth.label(),
    ]);
    let delay = learned.zip(understood).map(|(l, u)| u as f64 / l as f64);
    let value = json!({
        "seed": i, "loss": loss, "train_accuracy": train, "test_accuracy": test, "learned_at": learned,
        "understood_at": understood, "delay": delay, "frequency_share": share, "single_frequency": single,
        "live": live.len(), "frequencies": frequencies.len(), "cosine_accuracy": g.cosine_accuracy,
        "truth": g.truth.label(), "history": g.history,
    });
    outcome.instances.push(value.as_object().cloned().unwrap_or_default());
}

/// Power over frequencies of each live neuron, neurons ordered by their strongest frequency.
pub(super) fn spectrum(params: &Params) -> Picture {
    let p: Mat = power(params);
    let best = strongest(&p);
    let largest = best.iter().map(|n| n.2).fold(0.0, f64::max);
    let mut order: Vec<usize> = (0..best.len()).filter(|&j| best[j].2 > LIVE * largest).collect();
    order.sort_by_key(|&j| (best[j].0, j));
    // Every so many, so that rows are not averaged away.
    let skip = order.len().div_ceil(64).max(1);
    let row = |j: usize| {
        let total = best[j].2.max(f64::MIN_POSITIVE);
        (0..p.rows()).map(|k| f64::from(p[(k, j)]) / total).collect()
    };
    Picture::Heat(Heat {
        name: "spectrum",
        title: "How much of each neuron is one frequency?".into(),
        caption: "Share of each neuron's variance at each frequency, over both numbers; neurons in the order of their strongest frequency, \
                  at most 64 of them."
            .into(),
        across: format!("frequency, 1 to {}", p.rows()),
        down: "neurons".into(),
        panels: vec![HeatPanel {
            label: "first instance".into(),
            rows: order.into_iter().step_by(skip).map(row).collect(),
        }],
    })
}

fn modular(s: &Settings) -> Result<ModularAddition, SettingError> {
    let p = s.whole("p", 3..=257)?;
    if p.is_multiple_of(2) {
        return Err(s.wrong("p", "an odd number"));
    }
    let (lr, weight_decay) = (s.real("lr", 1e-12..=10.0)?, s.real("weight_decay", 0.0..=1e3)?);
    Ok(ModularAddition {
        p,
        neurons: s.whole("neurons", 1..=4096)?,
        train_share: s.real("train_share", 1e-6..=0.999_999)?,
        training: TrainConfig {
            steps: s.whole("steps", 1..=100_000_000)? as u64,
            optimiser: Optimiser::Adam(AdamConfig { lr, weight_decay, beta2: 0.98, ..AdamConfig::default() }),
            schedule: Schedule::Constant,
            clip_norm: None,
        },
    })
}

fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    Ok(Box::new(modular(s)?))
}
