//! `toy correlated`: concepts that occur together, or exclude each other, on one neuron; and texts of a genre and a language.

use super::tied::{setting, short};
use super::{Heat, HeatPanel, Lab, Outcome, Panel, Picture, Setting, SettingError, Settings, Toy, ToyError, made};
use crate::toy::correlated::{Correlated, Relation, kinds_loss, pair_loss};
use crate::toy::exact::ExactLoss;
use crate::toy::{ToyModel, Truth};
use serde_json::{Value, json};
use std::f64::consts::SQRT_2;
use std::time::Instant;
use superlens_tensor::lbfgs::{Stop, minimise};
use superlens_tensor::optim::Schedule;
use superlens_tensor::train::TrainConfig;
use superlens_tensor::{Mat, Rng};

pub const TOY: Toy = Toy {
    name: "correlated",
    about: "concepts that occur together, or exclude each other, share a neuron; seven texts as points of genre and language",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652), correlated features; p/12 in closed form",
    settings: SETTINGS,
    keys: &[
        "For together and apart: each instance has density, loss (exact, one pair through one neuron, a sum over its concepts), \
           loss_per_density, W, b, weight_ratio (W1/W2), opposite (whether an opposite pair is a minimum of its own: what descent \
           from there keeps), opposite_per_density (its loss / density; null where it is none), minima (loss / density, W1, W2, share of \
           the starts), and of a layer of pairs trained on samples: truth, correlated_neurons, joined (share of its pairs whose concepts \
           both reach 0.5 on their neuron, with the same sign where they occur together and opposite signs where they don't) and layer_loss. For kinds: loss, W, b, restart_losses, one_hot (read-outs that answer to exactly one \
           kind), reached (share of the starts without error), latent_on (share of the kinds in which each of the two factors is \
           on) and truth.",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting(
        "relation",
        "together",
        "together: both concepts of a pair are on at once; apart: never both; kinds: texts of a genre and a language",
    ),
    setting(
        "density",
        "0.1",
        "probability that a pair is on, over the instances: a number, a list whose length divides --instances, or HI..LO",
    ),
    setting("bias", "false", "whether the read-out of the single pair has one"),
    setting("starts", "20", "starts of the exact minimisation"),
    setting("kinds", "7", "kinds of text, 3 to 32, exactly one at a time"),
    setting("pairs", "12", "pairs of the layer that is trained on samples, a neuron each"),
    setting("steps", "3000", "training steps there"),
    setting("batch", "512", "fresh rows a step"),
    setting("lr", "0.01", "learning rate, with a cosine down to a hundredth"),
];

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let start = Instant::now();
    let relation = relation(s)?;
    let mut outcome = match relation {
        Some(relation) => pairs(s, lab, relation)?,
        None => kinds(s, lab)?,
    };
    outcome.training = start.elapsed();
    Ok(outcome)
}

/// `None` for kinds.
fn relation(s: &Settings) -> Result<Option<Relation>, SettingError> {
    s.choice("relation", &[("together", Some(Relation::Together)), ("apart", Some(Relation::Apart)), ("kinds", None)])
}

fn layer(s: &Settings, relation: Relation, density: f64) -> Result<Correlated, SettingError> {
    let (steps, lr) = (s.whole("steps", 1..=100_000_000)? as u64, s.real("lr", 1e-12..=10.0)?);
    let optimiser = superlens_tensor::optim::Optimiser::adam(lr);
    Ok(Correlated {
        pairs: s.whole("pairs", 1..=500)?,
        density,
        relation,
        batch: s.whole("batch", 1..=1 << 20)?,
        training: TrainConfig { steps, optimiser, schedule: Schedule::Cosine { floor: 0.01 }, clip_norm: None },
    })
}

/// One pair through one neuron, exactly.
struct Single {
    loss: f64,
    w: [f64; 2],
    b: Vec<f64>,
    /// Loss, weights, share of the starts; the lowest first.
    minima: Vec<(f64, [f64; 2], f64)>,
    /// Where descent from an opposite pair ends, if it stays one.
    opposite: Option<f64>,
}

impl Single {
    fn find(exact: &ExactLoss, starts: usize, rng: &Rng) -> Single {
        let ends: Vec<(f64, Vec<f64>)> = exact.minima(starts, rng).collect();
        let mut minima: Vec<(f64, [f64; 2], f64)> = Vec::new();
        for (loss, p) in &ends {
            // The sign of the neuron means nothing.
            let sign = if p[0] + p[1] < 0.0 { -1.0 } else { 1.0 };
            let same = |m: &&mut (f64, [f64; 2], f64)| {
                (m.0 - loss).abs() < 1e-4 * loss.abs().max(1e-9) && (m.1[0] * m.1[1] < 0.0) == (p[0] * p[1] < 0.0)
            };
            match minima.iter_mut().find(same) {
                Some(m) => m.2 += 1.0 / ends.len() as f64,
                None => minima.push((*loss, [sign * p[0], sign * p[1]], 1.0 / ends.len() as f64)),
            }
        }
        minima.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (loss, p) = ends.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("at least one start");
        let mut from = vec![0.0; exact.parameters()];
        (from[0], from[1]) = (0.9, -0.9);
        let opposite = minimise(&mut |p, g| exact.value(p, g), &mut from, Stop::default());
        let opposite = (from[0] * from[1] < -1e-3).then_some(opposite);
        Single { loss, w: minima[0].1, b: p[2..].to_vec(), minima, opposite }
    }
}

fn pairs(s: &Settings, lab: &Lab, relation: Relation) -> Result<Outcome, ToyError> {
    let density = s.over_instances("density", lab.instances, 1e-6..=1.0)?;
    let (bias, starts) = (s.flag("bias")?, s.whole("starts", 1..=100_000)?);
    let layers = density.iter().map(|&p| layer(s, relation, p)).collect::<Result<Vec<_>, _>>()?;
    let made = lab.side_by_side(lab.instances, "training", |i, rng, tell| {
        let single = Single::find(&pair_loss(relation, density[i], bias), starts, &rng.fork("single"));
        Some((single, made(&layers[i], &rng.fork("layer"), tell)?))
    })?;
    let mut outcome = Outcome { steps: layers.iter().map(|l| l.training.steps).sum(), ..Outcome::default() };
    let head = ["density", "loss / p", "theory", "W1/W2", "opposite / p", "layer", "pairs joined"];
    outcome.table.push(head.map(String::from).to_vec());
    let theory = if relation == Relation::Together { 1.0 / 12.0 } else { 0.0 };
    let mut panels = Vec::new();
    for (i, ((single, layer), p)) in made.iter().zip(&density).enumerate() {
        let truth = layers[i].truth(&layer.params);
        let w = layer.params.get("w");
        let joined = joined(relation, w);
        let ratio = single.w[0] / single.w[1];
        outcome.table.push(vec![
            short(*p),
            short(single.loss / p),
            short(theory),
            short(ratio),
            single.opposite.map_or("none".into(), |loss| short(loss / p)),
            truth.label(),
            short(joined),
        ]);
        let minima: Vec<Value> =
            single.minima.iter().map(|(loss, w, share)| json!([loss / p, w[0], w[1], share])).collect();
        let value = json!({
            "seed": i, "density": p, "loss": single.loss, "loss_per_density": single.loss / p, "W": [single.w],
            "b": single.b, "weight_ratio": ratio, "opposite": single.opposite.is_some(),
            "opposite_per_density": single.opposite.map(|loss| loss / p), "minima": minima, "truth": truth.label(),
            "correlated_neurons": count(&truth, "correlated"), "joined": joined, "layer_loss": layer.loss,
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
        if panels.len() < 5 {
            let rows = (0..w.rows()).map(|i| w.row(i).iter().map(|&v| f64::from(v)).collect()).collect();
            panels.push(HeatPanel { label: format!("p = {}", short(*p)), rows });
        }
    }
    outcome.says.push(match relation {
        Relation::Together => "Two concepts that are always on together, with sizes of their own, on one neuron: the sum is kept, the \
            difference lost, p/12 in all. Keeping one concept costs p/3; an opposite pair is a minimum of its own, but a worse one."
            .into(),
        Relation::Apart => "Two concepts that exclude each other lie opposite on one neuron and lose nothing.".into(),
    });
    outcome.says.push(
        "The layer has a neuron for each of many such pairs and is trained on samples. Its neurons answer to two concepts each, \
         since the data never ask for more; a start may end in a worse minimum."
            .into(),
    );
    outcome.pictures.push(Picture::Heat(Heat {
        name: "weights",
        title: "Pairs of concepts on single neurons".into(),
        caption: "Weights of a layer trained on samples, a neuron a pair. Two rows that follow one another are a pair: both concepts \
                  lie on its neuron, with the same sign where they occur together and with opposite signs where they exclude each other."
            .into(),
        across: "neurons".into(),
        down: "concepts, pair after pair".into(),
        panels,
    }));
    Ok(outcome)
}

fn count(truth: &Truth, cause: &str) -> usize {
    (0..truth.causes.len()).filter(|&j| truth.cause(j) == Some(cause)).count()
}

/// Share of the pairs of which both concepts are on their neuron, as they should: with one sign or with opposite ones.
fn joined(relation: Relation, w: &Mat) -> f64 {
    let is_joined = |k: &usize| {
        let (a, b) = (w[(2 * k, *k)], w[(2 * k + 1, *k)]);
        a.abs().min(b.abs()) > 0.5 && (a * b > 0.0) == (relation == Relation::Together)
    };
    (0..w.cols()).filter(is_joined).count() as f64 / w.cols() as f64
}

/// Read-outs that answer with more than a half to one kind and with less than a twentieth to all others, for `W [kinds, 2]`
/// and a bias.
fn one_hot(kinds: usize, p: &[f64]) -> usize {
    let answer = |i: usize, j: usize| p[2 * i] * p[2 * j] + p[2 * i + 1] * p[2 * j + 1] + p[2 * kinds + i];
    let single = |i: &usize| (0..kinds).all(|j| if j == *i { answer(*i, j) > 0.5 } else { answer(*i, j) < 0.05 });
    (0..kinds).filter(single).count()
}

fn kinds(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let (kinds, starts) = (s.whole("kinds", 3..=32)?, s.whole("starts", 1..=100_000)?);
    let exact = kinds_loss(kinds);
    let made =
        lab.side_by_side(lab.instances, "minimising", |_, rng, _| Some(exact.minima(starts, rng).collect::<Vec<_>>()))?;
    let mut outcome = Outcome::default();
    let head =
        ["instance", "loss", "starts without error", "one-hot read-outs", "factors on", "as kinds", "as factors"];
    outcome.table.push(head.map(String::from).to_vec());
    let mut panels = Vec::new();
    for (i, ends) in made.iter().enumerate() {
        let (loss, p) = ends.iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("at least one start");
        let w = Mat::from_fn(kinds, 2, |k, j| p[2 * k + j] as f32);
        let share = 1.0 / kinds as f64;
        let truth = Truth::of_directions(&w, &vec![share * (1.0 - share); kinds]);
        let on = |j: usize| (0..kinds).filter(|k| p[2 * k + j].abs() > 0.05).count() as f64 / kinds as f64;
        let reached = ends.iter().filter(|e| e.0 < 1e-6).count() as f64 / ends.len() as f64;
        let sharp = one_hot(kinds, p);
        outcome.table.push(vec![
            i.to_string(),
            short(*loss),
            short(reached),
            format!("{sharp} of {kinds}"),
            format!("{}, {}", short(on(0)), short(on(1))),
            truth.label(),
            "two dimensions, two factors".into(),
        ]);
        let column = |j: usize| (0..kinds).map(|k| p[2 * k + j]).collect::<Vec<f64>>();
        let value = json!({
            "seed": i, "loss": loss, "W": [column(0), column(1)],
            "b": p[2 * kinds..].to_vec(), "restart_losses": ends.iter().map(|e| e.0).collect::<Vec<_>>(), "one_hot": sharp,
            "reached": reached, "latent_on": [on(0), on(1)], "truth": truth.label(),
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
        if panels.len() < 5 {
            let points = (0..kinds).map(|k| [p[2 * k] / SQRT_2, p[2 * k + 1] / SQRT_2]).collect();
            panels.push(Panel { label: format!("instance {i}"), points });
        }
    }
    outcome.says.push(format!(
        "{kinds} kinds of text, each a pair of a genre and a language, lie in two dimensions in which both factors are on in nearly \
         every text. One layer of ReLUs reads each kind off alone: a dense code of two factors becomes {kinds} one-hot features. Two \
         dimensions hold two dense factors, or {kinds} sparse products in superposition: the same points, and the activations \
         don't say which is meant."
    ));
    outcome.pictures.push(Picture::Directions {
        name: "kinds",
        title: "Kinds of text as points of genre and language".into(),
        caption: "One arrow a kind: across one factor, up the other. Where each kind is a corner, a ReLU can cut it off from all \
                  others."
            .into(),
        panels,
    });
    Ok(outcome)
}

/// The layer of the first density.
fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    let relation = relation(s)?.ok_or_else(|| s.wrong("relation", "together or apart, for a layer"))?;
    // Of several, the first.
    let density = s.over_instances("density", s.text("density").split(',').count(), 1e-6..=1.0)?;
    Ok(Box::new(layer(s, relation, density[0])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_best_and_an_opposite_pair_a_worse_minimum() {
        let single = Single::find(&pair_loss(Relation::Together, 0.1, false), 12, &Rng::new(1));
        assert!((single.loss / 0.1 * 12.0 - 1.0).abs() < 0.01, "{}", single.loss);
        assert!((single.w[0] - 0.5f64.sqrt()).abs() < 0.01 && single.opposite.is_some_and(|l| l > 2.0 * single.loss));
        let apart = Single::find(&pair_loss(Relation::Apart, 0.1, false), 12, &Rng::new(1));
        assert!(apart.loss < 1e-9 && apart.w[0] * apart.w[1] < -0.9, "{:?}", apart.w);
    }

    #[test]
    fn joined_pairs_and_sharp_read_outs_are_counted() {
        let w = Mat::from_vec(4, 2, vec![0.7, 0.0, 0.7, 0.0, 0.0, 1.0, 0.0, -1.0]);
        assert_eq!((joined(Relation::Together, &w), joined(Relation::Apart, &w)), (0.5, 0.5));
        assert_eq!(one_hot(2, &[1.0, 0.0, -1.0, 0.0, 0.0, 0.0]), 2);
        assert_eq!(one_hot(2, &[1.0, 0.0, 1.0, 0.0, 0.0, 0.0]), 0);
    }
}
