//! `toy onion`: tokens of a sequence, stored in layers of magnitude, read linearly and by peeling.

use super::tied::{setting, short};
use super::{Axis, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::concepts::one_hot;
use crate::toy::onion::Onion;
use crate::toy::probe::{Probe, agreement, largest};
use crate::toy::{ToyModel, make};
use serde_json::json;

pub const TOY: Toy = Toy {
    name: "onion",
    about: "a sequence in one vector, each position in its own order of magnitude: written down, not trained",
    source: "Csordás et al. 2024, Recurrent Neural Networks Learn to Store and Generate Sequences using Non-Linear \
             Representations (arXiv 2408.10920)",
    settings: SETTINGS,
    keys: &[
        "Each instance has loss (share of tokens that peeling reads wrong), linear (accuracy of a linear probe for the token \
           at each position, on fresh sequences), onion (that of peeling), chance, linear_first and linear_rest (mean over \
           all positions but the first), onion_least, polysemantic and truth.",
    ],
    model: Some(|s| Ok(Box::new(model(s)?))),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("vocabulary", "16", "tokens, and as many neurons, 2 to 256"),
    setting("length", "6", "positions, 1 to 20"),
    setting("scale", "0.5", "magnitude of a position over the one before, 0.05 to 0.95; above 0.5 layers overlap"),
    setting("noise", "0", "deviation of noise on each neuron, 0 to 10"),
    setting("rows", "4000", "sequences that probes are fitted on, and a quarter as many to judge, 100 to 50000"),
];

fn model(s: &Settings) -> Result<Onion, SettingError> {
    Ok(Onion {
        vocabulary: s.whole("vocabulary", 2..=256)?,
        length: s.whole("length", 1..=20)?,
        scale: s.real("scale", 0.05..=0.95)?,
    })
}

/// Accuracies by position.
struct Measured {
    linear: Vec<f64>,
    onion: Vec<f64>,
    polysemantic: usize,
    truth: String,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let toy = model(s)?;
    let (noise, rows) = (s.real("noise", 0.0..=10.0)? as f32, s.whole("rows", 100..=50_000)?);
    let measured = lab.side_by_side(lab.instances, "probing", |_, rng, tell| {
        let made = make(&toy, rng, &mut |_| std::ops::ControlFlow::Continue(()))?;
        let store = |rows: usize, name: &str| {
            let sequences = toy.sequences(rows, &rng.fork(name));
            let mut h = toy.store(&made.params, &sequences);
            let mut draws = rng.fork(name).fork("noise");
            h.data_mut().iter_mut().for_each(|v| *v += noise * draws.normal());
            (sequences, h)
        };
        let ((train, x), (test, fresh)) = (store(rows, "fit"), store(rows / 4, "fresh"));
        let peeled = toy.peel(&made.params, &fresh);
        let mut m = Measured { linear: Vec::new(), onion: Vec::new(), polysemantic: 0, truth: String::new() };
        for t in 0..toy.length {
            tell(t as f64 / toy.length as f64).is_continue().then_some(())?;
            let at = |s: &[Vec<usize>]| s.iter().map(|s| s[t]).collect::<Vec<_>>();
            let probe = Probe::fit(&x, &one_hot(&at(&train), toy.vocabulary), 1e-6);
            m.linear.push(agreement(&largest(&probe.read(&fresh)), &at(&test)));
            m.onion.push(agreement(&at(&peeled), &at(&test)));
        }
        let truth = toy.truth(&made.params);
        (m.polysemantic, m.truth) = (truth.polysemantic(), truth.label());
        Some(m)
    })?;
    let mut outcome = Outcome::default();
    describe(&toy, &measured, &mut outcome);
    Ok(outcome)
}

fn describe(toy: &Onion, measured: &[Measured], outcome: &mut Outcome) {
    let chance = 1.0 / toy.vocabulary as f64;
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let heading = ["instance", "linear, first position", "linear, others", "chance", "peeling, worst position"];
    outcome.table.push(heading.map(String::from).to_vec());
    for (i, m) in measured.iter().enumerate() {
        let least = m.onion.iter().copied().fold(1.0, f64::min);
        let rest = if toy.length > 1 { mean(&m.linear[1..]) } else { m.linear[0] };
        outcome.table.push([i.to_string(), short(m.linear[0]), short(rest), short(chance), short(least)].to_vec());
        let value = json!({
            "seed": i, "loss": 1.0 - mean(&m.onion), "linear": m.linear, "onion": m.onion, "chance": chance,
            "linear_first": m.linear[0], "linear_rest": rest, "onion_least": least, "polysemantic": m.polysemantic,
            "truth": m.truth,
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    }
    outcome.says.push(format!(
        "{} positions of {} tokens in {} dimensions. A token has one direction, whatever its position; its length says where it \
         stood. By theory a linear probe sees the first position, which outshines the others; peeling takes the largest off and looks \
         again. Written down, not trained.",
        toy.length, toy.vocabulary, toy.vocabulary
    ));
    let first = &measured[0];
    let by_position = |v: &[f64]| v.iter().enumerate().map(|(t, a)| (t as f64 + 1.0, *a)).collect();
    outcome.pictures.push(Picture::Sweep {
        name: "layers",
        title: "What a linear probe reads, and what peeling reads".into(),
        caption: "Accuracy for the token at each position, the first being the largest. The probe is linear and fitted to the \
                  position; peeling takes off what it has read before it reads on. The dashed line is chance."
            .into(),
        x: Axis::linear("position in the sequence"),
        y: Axis::linear("share of tokens read right"),
        series: vec![
            Series { name: "linear probe".into(), points: by_position(&first.linear), line: true },
            Series { name: "peeling".into(), points: by_position(&first.onion), line: true },
        ],
        levels: vec![(chance, "chance".into())],
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_position_has_no_rest() {
        let set = ["length=1", "vocabulary=3", "rows=100"].map(String::from);
        let settings = Settings::parse("onion", SETTINGS, &set).unwrap();
        let watch = |_: f64, _: &str| std::ops::ControlFlow::Continue(());
        let lab = Lab { instances: 2, rng: superlens_tensor::Rng::new(1), watch: &watch };
        let outcome = run(&settings, &lab).unwrap();
        assert_eq!(outcome.instances[0]["linear_rest"], 1.0);
        assert_eq!(outcome.instances[0]["linear"].as_array().unwrap().len(), 1);
    }
}
