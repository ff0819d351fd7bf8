//! `toy rotated`: the layer of another toy, seen in a random basis.

use super::tied::{setting, short};
use super::{Heat, HeatPanel, Lab, Outcome, Picture, Setting, SettingError, Settings, TOYS, Toy, ToyError, made};
use crate::toy::ToyModel;
use crate::toy::rotated::{Rotated, without_rotation};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::Mat;

pub const TOY: Toy = Toy {
    name: "rotated",
    about: "the layer of another toy in a random basis: features that fit now miss every neuron, superposition stays what it is",
    source: "a rotation drawn from the Haar measure (Mezzadri 2007); exact, whatever toy it turns",
    settings: SETTINGS,
    keys: &[
        "Each instance has of, loss (of the other toy on fresh inputs; null for a construction), truth_before, truth, polysemantic_before and \
           polysemantic (shares of the live neurons), kurtosis_before and kurtosis (mean over live neurons, 3 for a normal law) and largest_share_before \
           and largest_share (mean over features of the share of its squared length that lies on one neuron).",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("of", "relu_hidden", "the toy to turn"),
    setting(
        "with",
        "n_features=24; d_hidden=36; density=0.05; l1=0.1; steps=2000; lr=0.01",
        "settings of that toy, KEY=VALUE with semicolons between them; empty for its own",
    ),
];

/// Neurons of a layer at most: a rotation of as many dimensions takes a minute.
const WIDEST: usize = 2048;
/// Rows from which kurtosis is measured.
const ROWS: usize = 20_000;

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let turned = turned(s)?;
    let start = Instant::now();
    let made = lab.side_by_side(lab.instances, "training", |_, rng, tell| made(&turned, rng, tell))?;
    let mut outcome = Outcome { training: start.elapsed(), ..Outcome::default() };
    let head = ["instance", "loss", "before", "turned", "polysemantic before", "turned", "kurtosis before", "turned"];
    outcome.table.push(head.map(String::from).to_vec());
    let mut panels = Vec::new();
    for (i, made) in made.iter().enumerate() {
        let (before, after) = (turned.of.truth(&without_rotation(&made.params)), turned.truth(&made.params));
        let rows = lab.rng.fork_index(i as u64).fork("rows");
        let kurtosis = |model: &dyn ToyModel, live: &[bool]| {
            mean_kurtosis(&model.sample(&made.params, ROWS, &rows).activations, live)
        };
        let polysemantic =
            |t: &crate::toy::Truth| t.polysemantic() as f64 / t.live.iter().filter(|l| **l).count().max(1) as f64;
        let (k0, k1) = (kurtosis(turned.of.as_ref(), &before.live), kurtosis(&turned, &after.live));
        let (p0, p1) = (polysemantic(&before), polysemantic(&after));
        outcome.table.push(vec![
            i.to_string(),
            made.loss.map_or("–".into(), short),
            before.label(),
            after.label(),
            short(p0),
            short(p1),
            short(k0),
            short(k1),
        ]);
        let value = json!({
            "seed": i, "of": turned.of.name(), "loss": made.loss, "truth_before": before.label(), "truth": after.label(),
            "polysemantic_before": p0, "polysemantic": p1, "kurtosis_before": k0, "kurtosis": k1,
            "largest_share_before": largest_share(&before.directions), "largest_share": largest_share(&after.directions),
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
        if i == 0 {
            panels = vec![panel("neurons", &before.directions), panel("turned", &after.directions)];
        }
    }
    outcome.says.push(format!(
        "{} in a random basis. What the layer represents is the same before and after; only the neurons differ. Where features fit and \
         had neurons, they are now spread over all: polysemantic neurons without superposition. Turning brings the kurtosis of \
         single neurons towards the 3 of a normal law.",
        turned.of.name()
    ));
    outcome.pictures.push(Picture::Heat(Heat {
        name: "directions",
        title: "The same features in two bases".into(),
        caption: "Directions of the represented features, one a row, in the neurons of the first instance, and the same after a random rotation."
            .into(),
        across: "neurons".into(),
        down: "features".into(),
        panels,
    }));
    Ok(outcome)
}

fn panel(label: &str, directions: &Mat) -> HeatPanel {
    let row = |i: usize| directions.row(i).iter().map(|&v| f64::from(v)).collect();
    HeatPanel { label: label.into(), rows: (0..directions.rows()).map(row).collect() }
}

/// Mean over the live columns of `E(x − μ)⁴ / σ⁴`.
fn mean_kurtosis(x: &Mat, live: &[bool]) -> f64 {
    let of = |j: usize| {
        let column = || (0..x.rows()).map(|r| f64::from(x[(r, j)]));
        let n = x.rows() as f64;
        let mean = column().sum::<f64>() / n;
        let moment = |k: i32| column().map(|v| (v - mean).powi(k)).sum::<f64>() / n;
        (moment(2) > 0.0).then(|| moment(4) / moment(2).powi(2))
    };
    let all: Vec<f64> = (0..x.cols()).filter(|&j| live[j]).filter_map(of).collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// Mean over features of the share of a direction's squared length that lies on one neuron.
fn largest_share(directions: &Mat) -> f64 {
    let of = |i: usize| {
        let squares = directions.row(i).iter().map(|v| f64::from(*v).powi(2));
        squares.clone().fold(0.0, f64::max) / squares.sum::<f64>().max(f64::MIN_POSITIVE)
    };
    (0..directions.rows()).map(of).sum::<f64>() / directions.rows().max(1) as f64
}

fn turned(s: &Settings) -> Result<Rotated, SettingError> {
    let with_model = TOYS.iter().filter(|toy| toy.model.is_some() && toy.name != TOY.name);
    let names: Vec<&str> = with_model.clone().map(|toy| toy.name).collect();
    let found = with_model.into_iter().find(|toy| toy.name == s.text("of"));
    let toy = found.ok_or_else(|| s.wrong("of", &format!("one of {}", names.join(", "))))?;
    let pairs = s.text("with").split(';').map(str::trim).filter(|pair| !pair.is_empty());
    // The other toy's own message names the key that is wrong.
    let inner = |e: SettingError| SettingError::new(format!("--set with={}: {}: {e}", s.text("with"), toy.name));
    let settings =
        Settings::parse(toy.name, toy.settings, &pairs.map(String::from).collect::<Vec<_>>()).map_err(inner)?;
    let of = toy.model.expect("toys without a model were left out");
    let turned = Rotated { of: of(&settings).map_err(inner)? };
    settings.unused().map_err(inner)?;
    match turned.neurons() {
        0..=WIDEST => Ok(turned),
        n => Err(s.wrong("with", &format!("at most {WIDEST} neurons to turn; {} has {n}", toy.name))),
    }
}

fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    Ok(Box::new(turned(s)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::make;
    use std::ops::ControlFlow;
    use superlens_tensor::Rng;

    fn settings(of: &str, with: &str) -> Settings {
        Settings::parse(TOY.name, SETTINGS, &[format!("of={of}"), format!("with={with}")]).unwrap()
    }

    /// Every toy that has a model can be turned, and turning makes none of its neurons clearer.
    #[test]
    fn every_toy_with_a_model_can_be_turned() {
        for toy in TOYS.iter().filter(|toy| toy.model.is_some() && toy.name != TOY.name) {
            // A model reads no setting of a circuit that it is not.
            let has = |pair: &&&str| {
                let read = |s: &&Setting| !s.says.starts_with("trained:");
                toy.settings.iter().filter(read).any(|s| pair.split('=').next() == Some(s.key))
            };
            let quick = [if toy.name == "product" { "iterations=20" } else { "steps=20" }];
            let with = quick.iter().filter(has).copied().collect::<Vec<_>>().join(";");
            let turned = turned(&settings(toy.name, &with)).unwrap();
            let made = make(&turned, &Rng::new(1), &mut |_| ControlFlow::Continue(())).unwrap();
            let (before, after) = (turned.of.truth(&without_rotation(&made.params)), turned.truth(&made.params));
            assert_eq!(before.causes.len(), after.causes.len(), "{}", toy.name);
            // In two or three dimensions a rotation may happen to keep features near the neurons.
            let kept = after.verdict == before.verdict || after.label() == "orthogonal/rotated";
            assert!(kept || after.causes.len() <= 3, "{}: {} became {}", toy.name, before.label(), after.label());
        }
    }

    #[test]
    fn what_is_wrong_with_the_other_toy_is_told() {
        let error = |of: &str, with: &str| turned(&settings(of, with)).err().unwrap().to_string();
        assert!(error("rotated", "").starts_with("--set of=rotated: expected one of relu_output"));
        assert!(error("relu_hidden", "steps=0").contains("relu_hidden: --set steps=0: expected"));
        assert!(error("relu_hidden", "m=3").contains("has no setting \"m\""));
        assert!(
            error("incidental", "n_features=2;d_hidden=2049")
                .contains("at most 2048 neurons to turn; incidental has 2049")
        );
    }

    #[test]
    fn kurtosis_is_that_of_the_law() {
        let mut rng = Rng::new(2);
        let x = Mat::from_fn(20_000, 2, |_, j| if j == 0 { rng.normal() } else { rng.uniform() });
        assert!((mean_kurtosis(&x, &[true, false]) - 3.0).abs() < 0.15);
        assert!((mean_kurtosis(&x, &[false, true]) - 1.8).abs() < 0.05);
        assert_eq!(largest_share(&Mat::from_vec(1, 2, vec![3.0, 4.0])), 0.64);
    }
}
