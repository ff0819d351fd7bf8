//! `toy circular`: a circle among sparse features, and whether its two dimensions could be taken apart.

use super::tied::{BATCH, LR, STEPS, setting, short};
use super::{Axis, Lab, Outcome, Panel, Picture, Series, Setting, SettingError, Settings, Toy, ToyError, made};
use crate::toy::circular::{Circular, Positions};
use crate::toy::irreducible::{Yardstick, circle_mixture_index, mixture_index, separability_index};
use crate::toy::tied::recipe;
use crate::toy::{Made, ToyModel};
use serde_json::json;
use std::f32::consts::TAU;
use std::time::Instant;
use superlens_tensor::{Mat, Rng};

pub const TOY: Toy = Toy {
    name: "circular",
    about: "a position on a circle among sparse features, trained to turn on: two dimensions that can't be taken apart",
    source: "indices of Engels et al. 2024, Not All Language Model Features Are One-Dimensionally Linear (arXiv 2405.14860)",
    settings: SETTINGS,
    keys: &[
        "Each instance has loss (mean squared error on fresh batches), error_degrees (mean distance of the position that the \
           answer shows from the right one), ellipse (smaller over larger axis of the circle in the layer), mixture (the \
           ε-mixture index of the circle, ε = 0.1, as published), mixture_centred (with the width of the strip measured by \
           the deviation about the mean), separability (bits), the same three of a mixture of two directions with two_ in \
           front, polysemantic, truth and positions (the circle in its plane). The document also has perfect and \
           perfect_centred: the mixture indices of a perfect circle.",
    ],
    model: Some(|s| Ok(Box::new(model(s)?))),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("units", "16", "receptive fields that see the position, 3 to 1000"),
    setting("values", "0", "positions on the circle: 7 for days, up to 1000; 0 for all of it"),
    setting("others", "6", "sparse features beside the circle, 2 to 1000"),
    setting("density", "0.1", "probability that one of them is on"),
    setting("shift", "0.142857142857", "how far the answer lies on, in turns: a seventh is the next day"),
    setting("d_hidden", "8", "neurons of the bottleneck, 2 to 1000"),
    Setting { default: "1500", ..STEPS },
    Setting { default: "256", ..BATCH },
    Setting { default: "2e-2", ..LR },
];

/// Width of the strip of the mixture index.
const EPSILON: f64 = 0.1;
/// Rows on which the indices are measured.
const ROWS: usize = 4000;

fn model(s: &Settings) -> Result<Circular, SettingError> {
    let values = s.whole("values", 0..=1000)?;
    if matches!(values, 1 | 2) {
        return Err(s.wrong("values", "0, or at least 3 positions: fewer make no circle"));
    }
    Ok(Circular {
        units: s.whole("units", 3..=1000)?,
        values,
        others: s.whole("others", 2..=1000)?,
        density: s.real("density", 1e-4..=1.0)?,
        shift: s.real("shift", -1.0..=1.0)? as f32,
        d_hidden: s.whole("d_hidden", 2..=1000)?,
        batch: s.whole("batch", 1..=1 << 20)?,
        training: recipe(s.whole("steps", 1..=10_000_000)? as u64, s.real("lr", 1e-12..=1e3)?),
    })
}

/// Mixture indices with both yardsticks, and the separability index.
struct Indices {
    published: f64,
    centred: f64,
    separability: f64,
}

impl Indices {
    fn of(points: &[[f64; 2]]) -> Self {
        Indices {
            published: mixture_index(points, EPSILON, Yardstick::Published),
            centred: mixture_index(points, EPSILON, Yardstick::Centred),
            separability: separability_index(points),
        }
    }
}

/// What was measured of one model.
struct Measured {
    made: Made,
    error: f64,
    ellipse: f64,
    circle: Indices,
    two: Indices,
    positions: Vec<[f64; 2]>,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let toy = model(s)?;
    let start = Instant::now();
    let measured = lab.side_by_side(lab.instances, "training", |_, rng, tell| {
        let made = made(&toy, rng, tell)?;
        Some(measure(&toy, made, &rng.fork("measured")))
    })?;
    let steps = toy.training.steps * lab.instances as u64;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    describe(&toy, &measured, &mut outcome);
    Ok(outcome)
}

fn measure(toy: &Circular, made: Made, rng: &Rng) -> Measured {
    let at = toy.draw(ROWS, rng);
    let axes = toy.axes(&made.params);
    let plane = Plane::of(&axes[0], &axes[1]);
    // The feature by itself: the others off, as a feature and not as a layer.
    let alone = |turns: &[f32]| {
        let bare = Positions { turns: turns.to_vec(), others: Mat::zeros(turns.len(), toy.others) };
        plane.place(&toy.layer(&made.params, &toy.inputs(&bare, 0.0)))
    };
    // Evenly spaced, so that no chance heap of rows fills the strip.
    let all = if toy.values == 0 { ROWS } else { toy.values };
    let circle = Indices::of(&alone(&(0..all).map(|k| k as f32 / all as f32).collect::<Vec<_>>()));
    let shown: Vec<f32> = match toy.values {
        0 => (0..24).map(|k| k as f32 / 24.0).collect(),
        n => (0..n.min(24)).map(|k| k as f32 / n as f32).collect(),
    };
    let positions = alone(&shown);
    let error = error_degrees(toy, &made, &at);
    Measured { error, ellipse: plane.ellipse, circle, two: two_features(toy, &made, rng), positions, made }
}

/// Two of the other features, where at least one of them is on and the rest of the layer is off.
fn two_features(toy: &Circular, made: &Made, rng: &Rng) -> Indices {
    let enc = made.params.get("enc");
    let (a, b) = (enc.row(toy.units), enc.row(toy.units + 1));
    let plane = Plane::of(a, b);
    let mut rng = rng.fork("two features");
    // Given that one is on, the other is on as well with probability p / (2 − p).
    let p = toy.density;
    let value = |i: usize, rng: &mut Rng| {
        let both = rng.chance(p / (2.0 - p));
        let first = rng.chance(0.5);
        let x = |on: bool, rng: &mut Rng| if on { rng.uniform() } else { 0.0 };
        let (u, v) = (x(both || first, rng), x(both || !first, rng));
        (i, u, v)
    };
    let drawn: Vec<(usize, f32, f32)> = (0..ROWS).map(|i| value(i, &mut rng)).collect();
    let rows = Mat::from_fn(ROWS, toy.d_hidden, |r, j| drawn[r].1 * a[j] + drawn[r].2 * b[j]);
    Indices::of(&plane.place(&rows))
}

/// An orthonormal basis of the plane of two vectors.
struct Plane {
    first: Vec<f64>,
    second: Vec<f64>,
    /// Smaller over larger axis of the ellipse `a cos θ + b sin θ`.
    ellipse: f64,
}

impl Plane {
    fn of(a: &[f32], b: &[f32]) -> Self {
        let [a, b] = [a, b].map(|v| v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let unit = |v: Vec<f64>| {
            let norm = dot(&v, &v).sqrt().max(f64::MIN_POSITIVE);
            v.into_iter().map(|x| x / norm).collect::<Vec<_>>()
        };
        let (aa, bb, ab) = (dot(&a, &a), dot(&b, &b), dot(&a, &b));
        let (mean, half) = (0.5 * (aa + bb), (0.25 * (aa - bb).powi(2) + ab * ab).sqrt());
        let ellipse = ((mean - half).max(0.0) / (mean + half).max(f64::MIN_POSITIVE)).sqrt();
        let first = unit(a);
        let along = dot(&first, &b);
        let second = unit(b.iter().zip(&first).map(|(b, f)| b - along * f).collect());
        Plane { first, second, ellipse }
    }

    fn place(&self, rows: &Mat) -> Vec<[f64; 2]> {
        let along = |row: &[f32], v: &[f64]| row.iter().zip(v).map(|(x, v)| f64::from(*x) * v).sum();
        (0..rows.rows()).map(|r| [along(rows.row(r), &self.first), along(rows.row(r), &self.second)]).collect()
    }
}

/// Mean distance in degrees between the position that the answer shows and the right one, everything else being as it may.
fn error_degrees(toy: &Circular, made: &Made, at: &Positions) -> f64 {
    let answers = toy.answers(&made.params, &toy.inputs(at, 0.0));
    let off = |r: usize| {
        let (mut x, mut y) = (0.0, 0.0);
        for i in 0..toy.units {
            let angle = TAU * i as f32 / toy.units as f32;
            x += answers[(r, i)] * angle.cos();
            y += answers[(r, i)] * angle.sin();
        }
        let away = y.atan2(x) / TAU - at.turns[r] - toy.shift;
        f64::from((away - away.round()).abs()) * 360.0
    };
    (0..at.turns.len()).map(off).sum::<f64>() / at.turns.len().max(1) as f64
}

fn describe(toy: &Circular, measured: &[Measured], outcome: &mut Outcome) {
    let heading =
        ["instance", "loss", "error", "ellipse", "M circle", "M centred", "M of two", "S circle", "S of two", "truth"];
    outcome.table.push(heading.map(String::from).to_vec());
    let theory = [Yardstick::Published, Yardstick::Centred].map(|y| circle_mixture_index(EPSILON, y));
    let mut row = vec!["theory".to_string(), "–".into(), "0°".into(), "–".into(), short(theory[0]), short(theory[1])];
    row.extend(["≥ 0.5", "–", "–", "nonlinear"].map(String::from));
    outcome.table.push(row);
    for (i, m) in measured.iter().enumerate() {
        let truth = toy.truth(&m.made.params);
        let loss = m.made.loss.unwrap_or(0.0);
        let mut row = vec![i.to_string(), short(loss), format!("{:.1}°", m.error), short(m.ellipse)];
        let indices =
            [m.circle.published, m.circle.centred, m.two.published, m.circle.separability, m.two.separability];
        row.extend(indices.map(short));
        row.push(truth.label());
        outcome.table.push(row);
        let value = json!({
            "seed": i, "loss": loss, "error_degrees": m.error, "ellipse": m.ellipse, "mixture": m.circle.published,
            "mixture_centred": m.circle.centred, "separability": m.circle.separability, "two_mixture": m.two.published,
            "two_mixture_centred": m.two.centred, "two_separability": m.two.separability, "positions": m.positions,
            "polysemantic": truth.polysemantic(), "truth": truth.label(),
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    }
    outcome.keys.insert("perfect".into(), theory[0].into());
    outcome.keys.insert("perfect_centred".into(), theory[1].into());
    outcome.says = says(&theory);
    outcome.pictures = vec![circles(toy, measured), tuning(toy, &measured[0])];
}

fn says(theory: &[f64; 2]) -> Vec<String> {
    vec![
        format!(
            "M is the largest share of points in a strip of half-width 0.1 times a yardstick, over directions and places. With \
             the published yardstick, the root mean square of v·f + c, a perfect circle has {}; with the deviation about the \
             mean, {}. A mixture of two directions has half its points on a line. S is the mutual information of two \
             coordinates, in bits, where it is least: 0 for two independent features.",
            short(theory[0]),
            short(theory[1])
        ),
        "Trained: the model sees a position through broad receptive fields and is asked for the one a step on. Each neuron \
         answers to half of the circle or so, and to sparse features: polysemantic, without more features than fit."
            .into(),
    ]
}

fn circles(toy: &Circular, measured: &[Measured]) -> Picture {
    let panel = |(i, m): (usize, &Measured)| {
        let n = m.positions.len().max(1) as f64;
        let middle = [0, 1].map(|k| m.positions.iter().map(|p| p[k]).sum::<f64>() / n);
        let points: Vec<[f64; 2]> = m.positions.iter().map(|p| [p[0] - middle[0], p[1] - middle[1]]).collect();
        let far = points.iter().map(|p| p[0].hypot(p[1])).fold(f64::MIN_POSITIVE, f64::max);
        Panel { label: format!("instance {i}"), points: points.iter().map(|p| p.map(|v| v / far)).collect() }
    };
    Picture::Directions {
        name: "circle",
        title: "Positions on a circle".into(),
        caption: format!(
            "The plane that holds them. One arrow a position, {}, from the middle of the circle to its place in the layer; darker the earlier. What \
             matters is the angle: no arrow is a feature of its own.",
            if toy.values == 0 { "24 of all there are".into() } else { format!("{} in all", toy.values) }
        ),
        panels: measured.iter().take(5).enumerate().map(panel).collect(),
    }
}

/// How the neurons answer over the circle.
fn tuning(toy: &Circular, m: &Measured) -> Picture {
    let turns: Vec<f32> = (0..=96).map(|k| k as f32 / 96.0).collect();
    let bare = Positions { turns: turns.clone(), others: Mat::zeros(turns.len(), toy.others) };
    let layer = toy.layer(&m.made.params, &toy.inputs(&bare, 0.0));
    let series = |j: usize| Series {
        name: format!("neuron {j}"),
        points: (0..turns.len()).map(|r| (f64::from(turns[r]) * 360.0, f64::from(layer[(r, j)]))).collect(),
        line: true,
    };
    Picture::Sweep {
        name: "tuning",
        title: "Which positions does each neuron answer to?".into(),
        caption:
            "Activation of the first four neurons over the circle, the sparse features being off: waves of one period, \
                  each with its own phase. Looked at by itself, such a neuron seems to stand for several neighbouring \
                  positions at once."
                .into(),
        x: Axis::linear("position, degrees"),
        y: Axis::linear("activation"),
        series: (0..toy.d_hidden.min(4)).map(series).collect(),
        levels: Vec::new(),
    }
}
