//! `toy incidental`: polysemantic neurons by chance, where there is room for every feature.

use super::tied::{self, setting, short};
use super::{Axis, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::incidental::lean::{Grown, grow};
use crate::toy::incidental::{Incidental, Law, Noise, OWN, collisions, converged, fourth_power};
use crate::toy::{ToyModel, Truth, are_bounded};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::Mat;
use superlens_tensor::optim::Schedule;
use superlens_tensor::train::{Params, TrainConfig};

pub const TOY: Toy = Toy {
    name: "incidental",
    about: "features that meet on a neuron by chance at the start, and stay: y = ReLU(WWᵀx), more neurons than features",
    source: "Lecomte et al. 2024, What Causes Polysemanticity? (arXiv 2312.03096); collisions n²/(4m)",
    settings: SETTINGS,
    keys: &[
        "Each instance has d_hidden, loss (sum of squared errors over the n one-hot inputs, with the penalty), polysemantic \
           (neurons with two or more weights from 0.8 to 1.2), predicted (n²/(4m)), converged (share of features with exactly \
           one such weight), fourth (mean over features of Σ w⁴: 1 where each has one neuron), largest_start_wins (share of the \
           converged features that ended where their weight was largest at the start), truth and history (step, fourth). The \
           document has one number a size d_hidden: sizes, mean_polysemantic, ratio (to n²/(4m)) and mean_converged; \
           converged_sizes and converged_ratio for those sizes in which 95 % converged, deviations ((mean − n²/(4m)) / √(n²/(4m) / \
           instances) there), and slope (of log mean over log size there, if there are two).",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "64", "features, 2 to 2048"),
    setting(
        "d_hidden",
        "256",
        "neurons, 2 to 16384, over the instances: a number, or a list whose length divides --instances",
    ),
    setting("l1", "1e-3", "weight of Σ |w|"),
    setting("noise", "none", "noise on the neurons: none, bipolar:S (±S) or gaussian:S, fresh at every step"),
    setting("noise_shared", "false", "whether all inputs of a step share one draw, as in the published code"),
    tied::OPTIMISER,
    tied::LR,
    tied::WEIGHT_DECAY,
    setting("steps", "6000", "steps, each over all n one-hot inputs"),
    setting(
        "density",
        "0.05",
        "density of the features in rows that are drawn to be diagnosed; training knows one-hot inputs",
    ),
];

/// Share of features that must have one neuron each for the count to mean anything.
const SETTLED: f64 = 0.95;

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let models = models(s, lab.instances)?;
    let start = Instant::now();
    let grown = lab.side_by_side(models.len(), "training", |i, rng, tell| {
        grow(&models[i], rng, tell).filter(|g| are_bounded(g.w.data()) && g.loss.is_finite())
    })?;
    let steps = models.iter().map(|m| m.training.steps).sum();
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    let head = ["neurons", "loss", "polysemantic", "n²/(4m)", "converged", "Σw⁴", "largest start wins", "truth"];
    outcome.table.push(head.map(String::from).to_vec());
    for (i, (model, g)) in models.iter().zip(&grown).enumerate() {
        describe(i, model, g, &mut outcome);
    }
    let sizes = by_size(&models, &grown);
    summarise(&sizes, models[0].n_features, &mut outcome);
    outcome.pictures.push(sparsification(&models, &grown));
    outcome.pictures.extend(counts(&sizes));
    Ok(outcome)
}

fn describe(i: usize, model: &Incidental, g: &Grown, outcome: &mut Outcome) {
    let (poly, settled, fourth, predicted) = (collisions(&g.w), converged(&g.w), fourth_power(&g.w), predicted(model));
    let (wins, truth) = (largest_start_wins(&g.start, &g.w), truth(model, &g.w));
    outcome.table.push(vec![
        model.d_hidden.to_string(),
        short(g.loss),
        poly.to_string(),
        short(predicted),
        short(settled),
        short(fourth),
        wins.map_or("–".into(), short),
        truth.label(),
    ]);
    let value = json!({
        "seed": i, "d_hidden": model.d_hidden, "loss": g.loss, "polysemantic": poly, "predicted": predicted,
        "converged": settled, "fourth": fourth, "largest_start_wins": wins, "truth": truth.label(), "history": g.history,
    });
    outcome.instances.push(value.as_object().cloned().unwrap_or_default());
}

fn predicted(model: &Incidental) -> f64 {
    (model.n_features * model.n_features) as f64 / (4 * model.d_hidden) as f64
}

fn truth(model: &Incidental, w: &Mat) -> Truth {
    model.truth(&Params { blocks: vec![("w".into(), w.clone())] })
}

/// Among the features with a neuron of their own, the share for which it is the one where they were strongest at the start.
fn largest_start_wins(start: &Mat, w: &Mat) -> Option<f64> {
    let strongest = |m: &Mat, i: usize| {
        let row = m.row(i);
        (0..row.len()).max_by(|&a, &b| row[a].abs().total_cmp(&row[b].abs())).unwrap_or(0)
    };
    let own = |i: &usize| w.row(*i).iter().filter(|v| OWN.contains(&v.abs())).count() == 1;
    let settled: Vec<usize> = (0..w.rows()).filter(own).collect();
    let kept = settled.iter().filter(|&&i| strongest(start, i) == strongest(w, i)).count();
    (!settled.is_empty()).then(|| kept as f64 / settled.len() as f64)
}

/// What all instances of one size show together.
struct Size {
    d_hidden: usize,
    predicted: f64,
    mean: f64,
    converged: f64,
    instances: usize,
}

fn by_size(models: &[Incidental], grown: &[Grown]) -> Vec<Size> {
    let mut widths: Vec<usize> = models.iter().map(|m| m.d_hidden).collect();
    widths.sort_unstable();
    widths.dedup();
    let of = |d_hidden: usize| {
        let mine: Vec<&Mat> =
            models.iter().zip(grown).filter(|(m, _)| m.d_hidden == d_hidden).map(|(_, g)| &g.w).collect();
        let mean = |f: &dyn Fn(&Mat) -> f64| mine.iter().map(|w| f(w)).sum::<f64>() / mine.len() as f64;
        let n = models[0].n_features as f64;
        Size {
            d_hidden,
            predicted: n * n / (4.0 * d_hidden as f64),
            mean: mean(&|w| collisions(w) as f64),
            converged: mean(&converged),
            instances: mine.len(),
        }
    };
    widths.into_iter().map(of).collect()
}

fn summarise(sizes: &[Size], n_features: usize, outcome: &mut Outcome) {
    let settled: Vec<&Size> = sizes.iter().filter(|s| s.converged >= SETTLED).collect();
    let slope = slope(&settled.iter().map(|s| ((s.d_hidden as f64).ln(), s.mean.ln())).collect::<Vec<_>>());
    let all = |f: &dyn Fn(&Size) -> f64| sizes.iter().map(f).collect::<Vec<f64>>();
    let of_settled = |f: &dyn Fn(&Size) -> f64| settled.iter().map(|s| f(s)).collect::<Vec<f64>>();
    for (key, values) in [
        ("sizes", all(&|s| s.d_hidden as f64)),
        ("mean_polysemantic", all(&|s| s.mean)),
        ("ratio", all(&|s| s.mean / s.predicted)),
        ("mean_converged", all(&|s| s.converged)),
        ("converged_sizes", of_settled(&|s| s.d_hidden as f64)),
        ("converged_ratio", of_settled(&|s| s.mean / s.predicted)),
        ("deviations", of_settled(&|s| (s.mean - s.predicted) / (s.predicted / s.instances as f64).sqrt())),
    ] {
        outcome.keys.insert(key.into(), json!(values));
    }
    outcome.keys.insert("slope".into(), json!(slope));
    for s in sizes {
        let unsettled =
            if s.converged < SETTLED { " Too few features have gathered for the count to mean much." } else { "" };
        outcome.says.push(format!(
            "{}: on average {} have two features, where n²/(4m) = {} is expected; {} % of the features have one neuron \
             of their own.{unsettled}",
            tied::many(s.d_hidden, "neuron"),
            short(s.mean),
            short(s.predicted),
            short(100.0 * s.converged),
        ));
    }
    let room = match sizes.iter().all(|s| s.d_hidden >= n_features) {
        true => "There is room for each feature. Yet",
        false => "Where there are fewer neurons than features, some must share. Besides,",
    };
    outcome.says.push(format!(
        "{room} n²/(2m) pairs of features have their largest weight on the same neuron at the start, and half of those, with \
         opposite signs, can stay: the read-out's ReLU cuts off what is negative. A neuron has a feature where its weight is \
         {} to {}, and is counted as polysemantic from two on.",
        OWN.start(),
        OWN.end()
    ));
}

/// The slope of the straight line closest to the points; `None` unless two differ and all are finite.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let mean = |f: fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / n;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let across = points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>();
    let slope = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / across;
    slope.is_finite().then_some(slope)
}

fn sparsification(models: &[Incidental], grown: &[Grown]) -> Picture {
    // One instance a size, at most four lines.
    let mut shown: Vec<usize> = Vec::new();
    for (i, m) in models.iter().enumerate() {
        if shown.iter().all(|&k| models[k].d_hidden != m.d_hidden) {
            shown.push(i);
        }
    }
    let line = |&i: &usize| Series {
        name: tied::many(models[i].d_hidden, "neuron"),
        points: grown[i].history.iter().map(|(step, v)| (*step as f64, *v)).collect(),
        line: true,
    };
    Picture::Sweep {
        name: "sparsification",
        title: "Do features gather on single neurons?".into(),
        caption: "Σw⁴ of a feature, averaged over features: small while its weight is spread over many neurons, 1 when one neuron \
                  has it all. One instance a size."
            .into(),
        x: Axis::log("step"),
        y: Axis::linear("mean Σw⁴ of a feature"),
        series: shown.iter().take(4).map(line).collect(),
        levels: vec![(1.0, "one neuron each".into())],
    }
}

/// Collisions over the number of neurons, as the paper plots them.
fn counts(sizes: &[Size]) -> Option<Picture> {
    let points = |f: &dyn Fn(&Size) -> f64| sizes.iter().map(|s| (s.d_hidden as f64, f(s))).collect::<Vec<_>>();
    (sizes.len() > 1).then(|| Picture::Sweep {
        name: "collisions",
        title: "Chance collisions".into(),
        caption: "Neurons with two features, averaged over the instances of a size, and the n²/(4m) that chance at the start \
                  predicts."
            .into(),
        x: Axis::log("neurons, m"),
        y: Axis::log("polysemantic neurons"),
        series: vec![
            Series { name: "found".into(), points: points(&|s| s.mean), line: true },
            Series { name: "n²/(4m)".into(), points: points(&|s| s.predicted), line: true },
        ],
        levels: vec![],
    })
}

fn models(s: &Settings, instances: usize) -> Result<Vec<Incidental>, SettingError> {
    let wrong = || s.wrong("d_hidden", "whole numbers from 2 to 16384");
    let widths = s.over_instances("d_hidden", instances, 2.0..=16_384.0)?;
    if widths.iter().any(|w| w.fract() != 0.0) {
        return Err(wrong());
    }
    let size = |text: &str| text.parse::<f32>().ok().filter(|v| (0.0..=10.0).contains(v));
    let law = match s.text("noise").split_once(':') {
        None if s.text("noise") == "none" => Some(Law::None),
        Some(("bipolar", text)) => size(text).map(Law::Bipolar),
        Some(("gaussian", text)) => size(text).map(Law::Gaussian),
        _ => None,
    };
    let law = law.ok_or_else(|| s.wrong("noise", "none, bipolar:S or gaussian:S with S from 0 to 10"))?;
    let model = Incidental {
        n_features: s.whole("n_features", 2..=2048)?,
        d_hidden: 0,
        l1: s.real("l1", 0.0..=100.0)? as f32,
        noise: Noise { law, shared: s.flag("noise_shared")? },
        density: s.real("density", 1e-6..=1.0)?,
        training: TrainConfig {
            steps: s.whole("steps", 1..=100_000_000)? as u64,
            optimiser: tied::optimiser(s)?,
            schedule: Schedule::Constant,
            clip_norm: None,
        },
    };
    let widest = widths.iter().copied().fold(0.0, f64::max) as usize;
    tied::fits(s, &["n_features", "d_hidden"], instances, model.n_features * widest)?;
    Ok(widths.into_iter().map(|w| Incidental { d_hidden: w as usize, ..model.clone() }).collect())
}

fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    // Of a list of sizes, the first.
    let count = s.reals("d_hidden", 2.0..=16_384.0)?.len();
    Ok(Box::new(models(s, count)?.swap_remove(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slope_is_that_of_the_line() {
        assert!((slope(&[(0.0, 1.0), (1.0, -1.0), (2.0, -3.0)]).unwrap() + 2.0).abs() < 1e-12);
        assert_eq!((slope(&[(1.0, 2.0)]), slope(&[(0.0, f64::NEG_INFINITY), (1.0, 2.0)])), (None, None));
    }

    #[test]
    fn the_largest_start_is_looked_up_for_converged_features() {
        let start = Mat::from_vec(3, 3, vec![0.5, 0.1, -0.2, 0.1, -0.6, 0.3, 0.3, 0.2, 0.1]);
        let end = Mat::from_vec(3, 3, vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.6, 0.6, 0.0]);
        assert_eq!(largest_start_wins(&start, &end), Some(0.5));
        assert_eq!(largest_start_wins(&start, &Mat::zeros(3, 3)), None);
    }

    #[test]
    fn sizes_over_instances_must_be_whole_and_in_range() {
        let models = |text: &str| {
            let pairs = [format!("d_hidden={text}")];
            models(&Settings::parse(TOY.name, SETTINGS, &pairs).unwrap(), 4)
        };
        assert_eq!(models("64,128").unwrap().iter().map(|m| m.d_hidden).collect::<Vec<_>>(), [64, 128, 64, 128]);
        for text in ["64.5", "1", "1e9", "NaN", "64,128,256", "256..64.3"] {
            assert!(models(text).is_err(), "{text} passed");
        }
    }
}
