//! `toy transformer_addition`: the grokking curve of a transformer that adds mod p, and the waves that do it.

use super::grokking::{self, Look};
use super::hidden_layer::object;
use super::modular_addition::{live, spectrum};
use super::tied::{self, setting, short};
use super::{Lab, Outcome, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::transformer_addition::{TransformerAddition, wave_shares};
use crate::toy::{ToyModel, Truth};
use serde_json::json;
use std::ops::ControlFlow;
use std::time::Instant;
use superlens_lm::model::{Transformer, fresh};
use superlens_tensor::Rng;
use superlens_tensor::optim::{AdamConfig, Optimiser, Schedule};
use superlens_tensor::train::{Params, TrainConfig};

pub const TOY: Toy = Toy {
    name: "transformer_addition",
    about: "a + b mod p by a transformer of one layer: learned by heart, then by waves of a few frequencies",
    source: "Nanda et al. 2023, Progress measures for grokking via mechanistic interpretability (arXiv 2301.05217)",
    settings: SETTINGS,
    keys: &[
        "Each instance has loss (cross-entropy in nats over the training pairs), train_accuracy, test_accuracy, learned_at and understood_at (steps at \
           which 99 % of the training pairs and of the held-out pairs are right; null before), delay (their ratio), logit_share (share of the logits' \
           variance that is waves of a + b − c), frequencies (how many of those have a hundredth of the variance or more), logit_waves (that share for \
           each frequency, from 1), frequency_share (median over live neurons of the share of their input's variance at one frequency), live, truth \
           and history (step, loss, accuracy on training pairs, on held-out pairs). With --out each model is written as a folder that other commands \
           take, model-N.",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("p", "23", "the modulus, an odd number from 3 to 113"),
    setting("heads", "4", "attention heads, 1 to 16"),
    setting("d_head", "16", "numbers of a head, 1 to 64; heads · d_head is the model's width"),
    setting("d_mlp", "128", "neurons, 1 to 2048"),
    setting("train_share", "0.7", "share of the p² pairs that is trained on, above 0 and below 1"),
    setting("lr", "3e-3", "learning rate of AdamW, which rises over the first 10 steps and falls over the last 30 %"),
    setting("weight_decay", "1", "decoupled weight decay"),
    setting("steps", "3000", "training steps, each over all training pairs"),
];

/// A frequency counts from this share of the logits' variance on.
const IN_USE: f64 = 0.01;

fn addition(s: &Settings) -> Result<TransformerAddition, SettingError> {
    let p = s.whole("p", 3..=113)?;
    if p.is_multiple_of(2) {
        return Err(s.wrong("p", "an odd number"));
    }
    let (lr, weight_decay) = (s.real("lr", 1e-12..=10.0)?, s.real("weight_decay", 0.0..=1e3)?);
    Ok(TransformerAddition {
        p,
        heads: s.whole("heads", 1..=16)?,
        d_head: s.whole("d_head", 1..=64)?,
        d_mlp: s.whole("d_mlp", 1..=2048)?,
        train_share: s.real("train_share", 1e-6..=0.999_999)?,
        training: TrainConfig {
            steps: s.whole("steps", 1..=100_000_000)? as u64,
            optimiser: Optimiser::Adam(AdamConfig { lr, weight_decay, beta2: 0.98, ..AdamConfig::default() }),
            // Decay does the work, so the rate stays high for long; but without a fall in the end, one large step may throw a model out again.
            schedule: Schedule::WarmupDecay { warmup: 10, fraction: 0.3 },
            clip_norm: None,
        },
    })
}

fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    Ok(Box::new(addition(s)?))
}

struct Grown {
    model: Transformer,
    halves: Params,
    logit_waves: Vec<f64>,
    truth: Truth,
    history: Vec<Look>,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let of = addition(s)?;
    let first = fresh(&of.settings(), &lab.rng).map_err(|e| SettingError::new(e.to_string()))?;
    tied::fits(s, &["p", "heads", "d_head", "d_mlp"], lab.instances, first.weights.count(&first.config))?;
    let start = Instant::now();
    let grown = lab.side_by_side(lab.instances, "training", |_, rng, tell| grow(&of, rng, tell))?;
    let steps = of.training.steps * lab.instances as u64;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    let head =
        ["loss", "learned at", "understood at", "held out", "logits by waves", "frequencies", "one frequency", "truth"];
    outcome.table.push(head.map(String::from).to_vec());
    for (i, g) in grown.iter().enumerate() {
        describe(i, g, &mut outcome);
        let files = g.model.files(&of.settings()).expect("the settings are those that it was made with");
        outcome.files.extend(files.into_iter().map(|(name, bytes)| (format!("model-{i}/{name}"), bytes)));
    }
    outcome.says.push(format!(
        "a + b mod {} from {} % of the pairs. Steps at which 99 % of the training pairs, and of the held-out pairs, are right; the share of the \
         logits' variance that is waves of a + b − c, and how many frequencies have a hundredth of it; and the median share of a neuron's input at one \
         frequency.",
        of.p,
        short(100.0 * of.train_share)
    ));
    outcome.says.push(
        "A logit of c that is a sum of cos(2πk(a + b − c)/p) is largest at c = a + b: all waves agree there, and nowhere else. To make them of a and b \
         neurons must multiply waves of both numbers."
            .into(),
    );
    outcome.pictures.extend(grown.first().map(|g| grokking::curve(&g.history)));
    outcome.pictures.extend(grown.first().map(|g| spectrum(&g.halves)));
    Ok(outcome)
}

fn grow(of: &TransformerAddition, rng: &Rng, tell: &mut dyn FnMut(f64) -> ControlFlow<()>) -> Option<Grown> {
    let objective = of.objective(&rng.fork("batches")).ok()?;
    let (params, noted) = grokking::grow(objective, |o, p| o.accuracies(p), &of.training, rng, tell)?;
    let model = of.transformer(&params);
    let (halves, logit_waves) = (of.halves(&model), wave_shares(&of.logits(&model), of.p));
    Some(Grown { truth: of.truth(&params), halves, logit_waves, model, history: noted.history })
}

fn describe(i: usize, g: &Grown, outcome: &mut Outcome) {
    let &(_, loss, train, test) = g.history.last().expect("a look after the last step");
    let (learned, understood) = grokking::steps(&g.history);
    let live = live(&g.halves);
    let shares: Vec<f64> = live.iter().map(|n| n.1).collect();
    let share = (!shares.is_empty()).then(|| super::experiment::median(&shares));
    let by_waves: f64 = g.logit_waves.iter().sum();
    let frequencies = g.logit_waves.iter().filter(|s| **s >= IN_USE).count();
    outcome.table.push(vec![
        short(loss),
        grokking::step(learned),
        grokking::step(understood),
        short(test),
        short(by_waves),
        frequencies.to_string(),
        share.map_or("–".into(), short),
        g.truth.label(),
    ]);
    let delay = learned.zip(understood).map(|(l, u)| u as f64 / l as f64);
    outcome.instances.push(object(json!({
        "seed": i, "loss": loss, "train_accuracy": train, "test_accuracy": test, "learned_at": learned,
        "understood_at": understood, "delay": delay, "logit_share": by_waves, "frequencies": frequencies,
        "logit_waves": g.logit_waves, "frequency_share": share, "live": live.len(), "truth": g.truth.label(),
        "history": g.history,
    })));
}
