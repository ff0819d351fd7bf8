//! `toy skip_trigram`: what softmax attention does that no sum of skip-trigrams can.

use super::tied::{LR, STEPS, setting, short};
use super::{Axis, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError, made};
use crate::toy::probe::unexplained;
use crate::toy::skip_trigram::{SkipTrigram, Task, attention, best_sum, sets};
use crate::toy::tied::recipe;
use crate::toy::{Made, ToyModel};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::Mat;

pub const TOY: Toy = Toy {
    name: "skip_trigram",
    about: "one layer of softmax attention with inhibition, against the best sum of skip-trigrams",
    source: "after Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; the example is derived",
    settings: SETTINGS,
    keys: &[
        "Each instance has l1, loss (mean squared error over all sets of keys), fvu (share of the task's variance that the \
           model leaves), task_sum_fvu and answer_sum_fvu (what the best sum of keys leaves of the task and of the model's \
           answers), layer_sum_fvu (what the best sums leave of the layer's variance), l0 (neurons above 1e-3, averaged over \
           sets), polysemantic, truth and answers (set by set). The document also has alone and both (the example's first key \
           alone; with the others), sum_predicts, gap, example_sum_error (root mean square over all sets of what the best sum \
           is off) and example_answers.",
    ],
    model: Some(|s| Ok(Box::new(model(s, s.over_instances("l1", 1, 0.0..=1e3)?[0])?))),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("keys", "6", "keys that may be present, 1 to 12; training is on all 2^keys sets"),
    setting("neurons", "8", "neurons of the layer, 1 to 256"),
    setting("d_head", "8", "dimensions of queries and keys, 1 to 256"),
    setting("task", "strongest", "strongest (the last key present speaks, values 1 and 0 in turns) or sum"),
    setting("l1", "0", "weight of the mean of Σ|z|, over the instances: a number or a list"),
    Setting { default: "1500", ..STEPS },
    Setting { default: "2e-2", ..LR },
    setting("logits", "5,3", "the example: attention logits of its keys, the silencing one first; at most 12"),
    setting("values", "0,1", "the example: values of its keys"),
];

/// A neuron above this is on.
const ON: f32 = 1e-3;

fn model(s: &Settings, l1: f64) -> Result<SkipTrigram, SettingError> {
    Ok(SkipTrigram {
        keys: s.whole("keys", 1..=12)?,
        d_head: s.whole("d_head", 1..=256)?,
        neurons: s.whole("neurons", 1..=256)?,
        task: s.choice("task", &[("strongest", Task::Strongest), ("sum", Task::Sum)])?,
        l1,
        training: recipe(s.whole("steps", 1..=10_000_000)? as u64, s.real("lr", 1e-12..=1e3)?),
    })
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let models = (s.over_instances("l1", lab.instances, 0.0..=1e3)?.into_iter())
        .map(|l1| model(s, l1))
        .collect::<Result<Vec<_>, _>>()?;
    let (logits, values) = (s.reals("logits", -30.0..=30.0)?, s.reals("values", -1e6..=1e6)?);
    if logits.len() != values.len() || logits.len() > 12 {
        return Err(s
            .wrong("values", &format!("one for each of at most 12 logits; there are {}", logits.len()))
            .into());
    }
    let start = Instant::now();
    let made = lab.side_by_side(models.len(), "training", |i, rng, tell| made(&models[i], rng, tell))?;
    let steps = models.iter().map(|m| m.training.steps).sum();
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    describe(&models, &made, &mut outcome);
    example(&logits, &values, &mut outcome);
    Ok(outcome)
}

fn describe(models: &[SkipTrigram], made: &[Made], outcome: &mut Outcome) {
    let heading = ["l1", "loss", "unexplained", "by the best sum", "layer beyond sums", "neurons on", "truth"];
    outcome.table.push(heading.map(String::from).to_vec());
    for (i, (m, made)) in models.iter().zip(made).enumerate() {
        let (layer, answers) = m.run(&made.params, &sets(m.keys));
        let (wanted, truth) = (m.wanted(), m.truth(&made.params));
        let fvu = unexplained(&answers, &wanted);
        let by_sum = unexplained(&best_sum(&wanted, m.keys), &wanted);
        let of_layer = unexplained(&best_sum(&layer, m.keys), &layer);
        let l0 = layer.data().iter().filter(|z| **z > ON).count() as f64 / layer.rows() as f64;
        let loss = squared(&answers, &wanted);
        // What is left of a sum by rounding is nothing.
        let row = [m.l1, loss, fvu, if by_sum < 1e-9 { 0.0 } else { by_sum }, of_layer, l0].map(short);
        outcome.table.push(row.into_iter().chain([truth.label()]).collect());
        let value = json!({
            "seed": i, "l1": m.l1, "loss": loss, "fvu": fvu, "task_sum_fvu": by_sum,
            "answer_sum_fvu": unexplained(&best_sum(&answers, m.keys), &answers), "layer_sum_fvu": of_layer, "l0": l0,
            "polysemantic": truth.polysemantic(), "truth": truth.label(), "answers": answers.data(),
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
        if i == 0 {
            outcome.pictures.push(against_sums(&answers, &best_sum(&answers, m.keys)));
        }
    }
    outcome.says.push(
        "Unexplained is the share of the task's variance, over all sets of keys, that the model leaves, and beside it what the \
         best sum of one number a key leaves. The layer beyond sums is the share of its variance that no such sums explain: a \
         key's contribution depends on the others, so it is not linear in them."
            .into(),
    );
}

fn squared(got: &Mat, want: &Mat) -> f64 {
    let squares = got.data().iter().zip(want.data()).map(|(g, w)| f64::from(g - w).powi(2));
    squares.sum::<f64>() / want.data().len() as f64
}

/// The answer to each set over what the best sum predicts.
fn against_sums(answers: &Mat, sums: &Mat) -> Picture {
    let points = (0..answers.rows()).map(|s| (f64::from(sums[(s, 0)]), f64::from(answers[(s, 0)]))).collect();
    let ends = sums
        .data()
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(f64::from(*v)), hi.max(f64::from(*v))));
    Picture::Sweep {
        name: "sums",
        title: "Attention against the best sum of skip-trigrams".into(),
        caption: "A point a set of keys: what the trained layer answers, over what the best sum of one number a key predicts. \
                  Were attention a sum, all points would lie on the line. It isn't: a key that is present takes the attention \
                  away from others."
            .into(),
        x: Axis::linear("predicted by the best sum"),
        y: Axis::linear("answer of the layer"),
        series: vec![
            Series { name: "a set of keys".into(), points, line: false },
            Series { name: "a sum".into(), points: vec![(ends.0, ends.0), (ends.1, ends.1)], line: true },
        ],
        levels: Vec::new(),
    }
}

/// The example by hand: the last key alone, and with all others.
fn example(logits: &[f64], values: &[f64], outcome: &mut Outcome) {
    let n = logits.len();
    let all: Vec<f64> = (0..1usize << n).map(|set| attention(logits, values, set)).collect();
    let (alone, both) = (all[1 << (n - 1)], all[(1 << n) - 1]);
    let predicted = all[0] + (0..n).map(|i| all[1 << i] - all[0]).sum::<f64>();
    let outputs = Mat::from_fn(1 << n, 1, |s, _| all[s] as f32);
    let error = squared(&best_sum(&outputs, n), &outputs).sqrt();
    for (key, value) in [
        ("alone", alone),
        ("both", both),
        ("sum_predicts", predicted),
        ("gap", predicted - both),
        ("example_sum_error", error),
    ] {
        outcome.keys.insert(key.into(), value.into());
    }
    outcome.keys.insert("example_answers".into(), all.into());
    outcome.says.push(format!(
        "By hand: a key of logit {} and value {} against a background of 0 gives {}; with the other {} as well, {}. A sum of \
         skip-trigrams predicts {} there. The best sum is off by {} (root mean square over all {} sets).",
        logits[n - 1],
        values[n - 1],
        short(alone),
        if n == 2 { "key".into() } else { format!("{} keys", n - 1) },
        short(both),
        short(predicted),
        short(error),
        1 << n
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_the_numbers_of_the_claims() {
        let mut outcome = Outcome::default();
        example(&[5.0, 3.0], &[0.0, 1.0], &mut outcome);
        let of = |key: &str| outcome.keys[key].as_f64().unwrap();
        for (key, want) in [("alone", 0.9526), ("both", 0.1185), ("sum_predicts", 0.9526), ("gap", 0.8341)] {
            assert!((of(key) - want).abs() < 1e-4, "{key}: {}", of(key));
        }
        assert!((of("example_sum_error") - 0.2085).abs() < 1e-4);
    }
}
