//! `toy head_superposition`: skip-trigrams on fewer attention heads than there are of them.

use super::hidden_layer::{self, best, object, restarts};
use super::tied::{self, setting, short};
use super::{Axis, Heat, HeatPanel, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::head_superposition::{HeadSuperposition, Spread, trigrams};
use crate::toy::{ToyModel, Truth};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::Rng;

pub const TOY: Toy = Toy {
    name: "head_superposition",
    about: "more skip-trigrams than attention heads: each is written as a pattern of attention over several heads",
    source: "Jermyn, Olah and Henighan 2023, Attention head superposition (Circuits Updates, May 2023)",
    settings: SETTINGS,
    keys: &[
        "Each instance has trigrams (how many), per_head, loss (cross-entropy over all inputs), learned (share of the skip-trigrams whose output \
           is the most likely one), accuracy (over all inputs), heads_per_trigram (effective number of heads in each, (Σ|part|)²/Σpart²) and its \
           mean spread, trigrams_per_head (skip-trigrams of which a head has at least a tenth of the largest part), and (how much of a soft \
           AND attention is, 1 for a full one), per_parameter (learned skip-trigrams over weights of the QK circuits), truth, \
           polysemantic_heads and restart_losses.",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("sources", "2", "source tokens, 1 to 100"),
    setting("destinations", "12", "destination tokens, 1 to 200"),
    setting(
        "trigrams",
        "16..4",
        "skip-trigrams, over the instances; each a random source and destination with an output of its own",
    ),
    setting("heads", "4", "attention heads"),
    setting("d_head", "2", "dimensions of a head"),
    setting("steps", "3000", "training steps, each over all inputs"),
    tied::OPTIMISER,
    setting("lr", "2e-2", tied::LR.says),
    hidden_layer::NO_DECAY,
    hidden_layer::SCHEDULE,
    setting("restarts", "2", tied::RESTARTS.says),
];

fn models(s: &Settings, lab: &Lab) -> Result<Vec<HeadSuperposition>, SettingError> {
    let (sources, destinations) = (s.whole("sources", 1..=100)?, s.whole("destinations", 1..=200)?);
    let (heads, d_head) = (s.whole("heads", 1..=64)?, s.whole("d_head", 1..=256)?);
    let training = hidden_layer::training(s)?;
    let most = sources * destinations;
    let counts = s.over_instances("trigrams", lab.instances, 1.0..=most as f64)?;
    let of = |(i, count): (usize, f64)| HeadSuperposition {
        sources,
        destinations,
        trigrams: trigrams(
            sources,
            destinations,
            count.round() as usize,
            &mut lab.rng.fork_index(i as u64).fork("trigrams"),
        ),
        heads,
        d_head,
        training: training.clone(),
    };
    Ok(counts.into_iter().enumerate().map(of).collect())
}

/// The first instance.
fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    let lab = Lab { instances: 1, rng: Rng::new(0), watch: &|_, _| std::ops::ControlFlow::Continue(()) };
    Ok(Box::new(models(s, &lab)?.remove(0)))
}

struct Learned {
    losses: Vec<f64>,
    loss: f64,
    accuracy: f64,
    spreads: Vec<Spread>,
    truth: Truth,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let models = models(s, lab)?;
    let starts = restarts(s, "restarts", lab.instances)?;
    let start = Instant::now();
    let made = hidden_layer::train(lab, models.len(), starts, |i| models[i].clone())?;
    let steps = models[0].training.steps * (models.len() * starts) as u64;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    let learned = models.iter().zip(&made).map(|(model, made)| {
        let losses: Vec<f64> = made.iter().map(|m| m.loss.unwrap_or(f64::NAN)).collect();
        let kept = best(&losses);
        let params = &made[kept].params;
        Learned {
            loss: losses[kept],
            losses,
            accuracy: model.accuracy(params),
            spreads: model.spreads(params),
            truth: model.truth(params),
        }
    });
    describe(&models, &learned.collect::<Vec<_>>(), &mut outcome);
    Ok(outcome)
}

impl Learned {
    fn mean(&self, of: impl Fn(&Spread) -> f64) -> f64 {
        self.spreads.iter().map(of).sum::<f64>() / self.spreads.len().max(1) as f64
    }

    /// For each head the skip-trigrams of which it has at least a tenth of the largest part.
    fn trigrams_per_head(&self, heads: usize) -> Vec<usize> {
        let has = |s: &&Spread, h: usize| {
            let largest = s.parts.iter().fold(0.0f64, |m, p| m.max(p.abs()));
            largest > 0.0 && s.parts[h].abs() >= 0.1 * largest
        };
        (0..heads).map(|h| self.spreads.iter().filter(|s| has(s, h)).count()).collect()
    }
}

fn describe(models: &[HeadSuperposition], learned: &[Learned], outcome: &mut Outcome) {
    let head = ["trigrams", "heads", "loss", "learned", "accuracy", "heads a trigram", "AND", "a QK weight", "truth"];
    outcome.table.push(head.map(String::from).to_vec());
    for (seed, (model, l)) in models.iter().zip(learned).enumerate() {
        let count = model.trigrams.len();
        let right = l.spreads.iter().filter(|s| s.learned).count();
        let per_parameter = right as f64 / model.attention_parameters() as f64;
        let (share, spread, and) = (right as f64 / count as f64, l.mean(|s| s.heads), l.mean(|s| s.and));
        let numbers = [l.loss, share, l.accuracy, spread, and, per_parameter].map(short);
        let row = [count.to_string(), model.heads.to_string()].into_iter().chain(numbers).chain([l.truth.label()]);
        outcome.table.push(row.collect());
        outcome.instances.push(object(json!({
            "trigrams": count, "per_head": count as f64 / model.heads as f64, "seed": seed, "loss": l.loss, "learned": share,
            "accuracy": l.accuracy, "spread": spread, "heads_per_trigram": l.spreads.iter().map(|s| s.heads).collect::<Vec<_>>(),
            "trigrams_per_head": l.trigrams_per_head(model.heads), "and": and, "per_parameter": per_parameter,
            "truth": l.truth.label(), "polysemantic_heads": l.truth.polysemantic(), "restart_losses": l.losses,
        })));
    }
    let model = &models[0];
    outcome.says.push(format!(
        "{} heads of {} dimensions, {} sources and {} destinations. What a head says depends on the source alone, so skip-trigrams that share \
         one can't have the same head to themselves: with more of them than heads each becomes a pattern over heads.",
        model.heads, model.d_head, model.sources, model.destinations
    ));
    outcome.pictures.push(spread_sweep(models, learned));
    outcome.pictures.push(parts(models, learned));
}

fn spread_sweep(models: &[HeadSuperposition], learned: &[Learned]) -> Picture {
    let over = |of: &dyn Fn(&Learned) -> Vec<f64>| {
        let each = |(m, l): (&HeadSuperposition, &Learned)| {
            of(l).into_iter().map(|v| (m.trigrams.len() as f64, v)).collect::<Vec<_>>()
        };
        models.iter().zip(learned).flat_map(each).collect::<Vec<_>>()
    };
    Picture::Sweep {
        name: "spread",
        title: "In how many heads is a skip-trigram?".into(),
        caption: "A point a skip-trigram: the effective number of heads that write its output. The line is their mean. One head each would be the \
                  level at one."
            .into(),
        x: Axis::linear("skip-trigrams"),
        y: Axis::linear("effective number of heads"),
        series: vec![
            Series { name: "a skip-trigram".into(), points: over(&|l| l.spreads.iter().map(|s| s.heads).collect()), line: false },
            Series { name: "mean".into(), points: over(&|l| vec![l.mean(|s| s.heads)]), line: true },
        ],
        levels: vec![(1.0, "one head".into()), (models[0].heads as f64, "all heads".into())],
    }
}

/// What each head adds for each skip-trigram, with few and with many of them.
fn parts(models: &[HeadSuperposition], learned: &[Learned]) -> Picture {
    let mut shown = vec![0, models.len() / 2, models.len() - 1];
    shown.dedup();
    let panel = |i: usize| HeatPanel {
        label: format!("{} trigrams", models[i].trigrams.len()),
        rows: learned[i].spreads.iter().map(|s| s.parts.clone()).collect(),
    };
    Picture::Heat(Heat {
        name: "parts",
        title: "What each head adds for each skip-trigram".into(),
        caption: "A row a skip-trigram, a column a head: what the head adds to the logit of the right output beyond what it adds to the others. One \
                  square a row: a head of its own."
            .into(),
        across: "heads".into(),
        down: "skip-trigrams".into(),
        panels: shown.into_iter().map(panel).collect(),
    })
}
