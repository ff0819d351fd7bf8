//! `toy phase`: when does one feature too many go unrepresented, take a dimension, or share one?
//!
//! Each cell is one density and one relative importance of the last feature; the loss is integrated exactly and minimised
//! from several starts, so that the diagram shows optima and not the luck of training.

use super::tied::{self, setting, short};
use super::{Grid, Lab, Outcome, Picture, Setting, Settings, Toy, ToyError};
use crate::toy::exact::ExactLoss;
use crate::toy::fused::Trained;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use superlens_tensor::Rng;

pub const TOY: Toy = Toy {
    name: "phase",
    about: "the phase diagram of one feature too many: n features in n − 1 dimensions, by exact loss",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652), superposition as a phase change",
    settings: SETTINGS,
    keys: &[
        "An instance is a cell: density, importance (of the last feature), loss (sum over features), closed_form (the best \
           of the named configurations) and closed_form_region (what becomes of the last feature there), reached (at least as good), optimum (the least loss from the starts and from \
           the named configurations), within_3_percent (of it), region (found), same_region, confused (whether that is the region), label_agrees (the same, or within 15 % of \
           the density where two phases meet), W and b. --instances is not used; with check=K, K cells also have sampled_loss, the \
           best of `starts` models trained on samples, and sampled_over_optimum.",
    ],
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "2", "2 or 3"),
    setting("cells", "40", "cells along each axis"),
    setting("importance", "0.1..10", "importance of the last feature, the others having 1: LO..HI, log-spaced"),
    setting("density", "1..0.01", "probability that a feature is on, over the cells: HI..LO, log-spaced"),
    setting("bias", "true", "whether there is one"),
    setting("starts", "10", "random starts a cell, of which the best is kept"),
    setting("check", "0", "cells that are also trained on samples"),
    tied::STEPS,
];

/// What becomes of the last feature.
const REGIONS: [&str; 4] = ["not represented", "in superposition", "has a dimension", "confused with another"];
const MISSING: usize = 0;
const SHARED: usize = 1;
const ALONE: usize = 2;
/// Without a bias: two dense features of like importance become their sum.
const CONFUSED: usize = 3;

struct Cell {
    density: f64,
    importance: f64,
    loss: f64,
    optimum: f64,
    params: Vec<f64>,
    region: usize,
    theory: (f64, usize),
    /// Whether theory has a border near.
    border: bool,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let n = s.whole("n_features", 2..=3)?;
    let side = s.whole("cells", 2..=400)?;
    let starts = s.whole("starts", 1..=10_000)?;
    let bias = s.flag("bias")?;
    let densities = s.over_instances("density", side, 1e-6..=1.0)?;
    let importances = s.over_instances("importance", side, 1e-6..=1e6)?;
    let check = s.whole("check", 0..=side * side)?;
    let steps = s.whole("steps", 1..=10_000_000)?;
    let cells = cells(n, &densities, &importances, starts, bias, lab)?;
    let instances = cells.iter().map(|c| instance(c, n)).collect();
    let mut outcome = Outcome { instances, ..Outcome::default() };
    if check > 0 {
        let start = Instant::now();
        sampled(&cells, n, bias, check, starts, steps, lab, &mut outcome)?;
        outcome.training = start.elapsed();
    }
    describe(&cells, side, n, &mut outcome);
    outcome.pictures.push(picture(&cells, &densities, &importances, n));
    Ok(outcome)
}

/// All cells, importance after importance.
fn cells(
    n: usize,
    densities: &[f64],
    importances: &[f64],
    starts: usize,
    bias: bool,
    lab: &Lab,
) -> Result<Vec<Cell>, ToyError> {
    let places: Vec<(f64, f64)> = importances.iter().flat_map(|&r| densities.iter().map(move |&p| (p, r))).collect();
    let (done, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let cells: Vec<Option<Cell>> = places
        .par_iter()
        .enumerate()
        .with_max_len(1)
        .map(|(i, &(density, importance))| {
            if stopped.load(Ordering::Relaxed) {
                return None;
            }
            let mut weights = vec![1.0; n];
            weights[n - 1] = importance;
            let exact = ExactLoss::new(&weights, n - 1, density, bias);
            let rng = lab.rng.fork("cells").fork_index(i as u64);
            let (loss, params) = exact.minimum(starts, &rng);
            let near = named(n, bias).into_iter().map(|w| nearby(&exact, &w, &rng.fork("named")));
            let (optimum, params) =
                near.chain([(loss, params)]).min_by(|a, b| a.0.total_cmp(&b.0)).expect("several configurations");
            let share = (done.fetch_add(1, Ordering::Relaxed) + 1) as f64 / places.len() as f64;
            if (lab.watch)(share, "minimising the exact loss").is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
            let region = region(&params, n);
            let theory = theory(n, density, importance, bias);
            let border = (density / border(n, importance, bias) - 1.0).abs() < NEAR;
            Some(Cell { density, importance, loss, optimum, params, region, theory, border })
        })
        .collect();
    cells.into_iter().collect::<Option<Vec<Cell>>>().ok_or(ToyError::Stopped)
}

/// The weights `[n, n − 1]` of the configurations that theory names.
fn named(n: usize, bias: bool) -> Vec<Vec<f64>> {
    let half = std::f64::consts::FRAC_1_SQRT_2;
    let mut all: Vec<&[f64]> = match n {
        2 => vec![&[1.0, 0.0], &[0.0, 1.0], &[1.0, -1.0]],
        _ => vec![
            &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
            &[0.0, 0.0, 1.0, 0.0, 0.0, 1.0],
            &[1.0, 0.0, 0.0, 1.0, 0.0, -1.0],
            &[1.0, 0.0, -1.0, 0.0, 0.0, 1.0],
        ],
    };
    let confused = if n == 2 { vec![half; 2] } else { vec![1.0, 0.0, 0.0, half, 0.0, half] };
    if !bias {
        all.push(&confused);
    }
    all.into_iter().map(<[f64]>::to_vec).collect()
}

/// The minimum near `w`, which is left at random since it may be a saddle: loss and parameters.
fn nearby(exact: &ExactLoss, w: &[f64], rng: &Rng) -> (f64, Vec<f64>) {
    let mut start = exact.start(&mut rng.clone());
    start.iter_mut().zip(w).for_each(|(p, w)| *p = w + 0.05 * *p);
    exact.minimum_from(start)
}

/// The share of the density around a border within which a label may go either way.
const NEAR: f64 = 0.15;

/// The density below which two features share a dimension: `4r/(2 + 5r)` with a bias, `2r/(1 + r)` without, `r ≤ 1` being the
/// ratio of their importances. Three features whose last is the most important share the other two, at `r = 1`.
fn border(n: usize, importance: f64, bias: bool) -> f64 {
    let r = if n == 3 { importance.min(1.0) } else { importance.min(1.0 / importance) };
    if bias { 4.0 * r / (2.0 + 5.0 * r) } else { 2.0 * r / (1.0 + r) }
}

/// What becomes of the last feature in weights `[n, n − 1]`.
fn region(params: &[f64], n: usize) -> usize {
    let m = n - 1;
    let row = |i: usize| &params[i * m..(i + 1) * m];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let last = row(n - 1);
    let norm = dot(last, last).sqrt();
    let shared: f64 = (0..n - 1).map(|j| (dot(last, row(j)) / norm.max(1e-12)).powi(2)).sum();
    let along: f64 = (0..n - 1).map(|j| dot(last, row(j))).sum();
    match (norm < 0.5, shared > 0.25) {
        (true, _) => MISSING,
        (_, true) if along > 0.0 => CONFUSED,
        (_, true) => SHARED,
        _ => ALONE,
    }
}

/// The configuration that the paper compares which has the least loss, and what becomes of the last feature in it. The
/// losses are sums over features: a feature that is dropped costs its variance `p/3 − p²/4` (without bias its mean square
/// `p/3`), an antipodal pair `p²/6` for each of the two.
fn theory(n: usize, p: f64, r: f64, bias: bool) -> (f64, usize) {
    let lost = if bias { p / 3.0 - p * p / 4.0 } else { p / 3.0 };
    let pair = p * p / 6.0;
    let mut known = vec![(r * lost, MISSING), (lost, ALONE), ((1.0 + r) * pair, SHARED)];
    if n == 3 {
        known.push((2.0 * pair, ALONE));
    }
    if !bias {
        // Each is read as the mean of both: E (x₁ − x₂)²/4.
        let sum = p / 6.0 - p * p / 8.0;
        known.push(((1.0 + r) * sum, CONFUSED));
        if n == 3 {
            known.push((2.0 * sum, ALONE));
        }
    }
    known.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("three configurations")
}

fn instance(c: &Cell, n: usize) -> Map<String, Value> {
    let m = n - 1;
    let w: Vec<Vec<f64>> = (0..m).map(|k| (0..n).map(|i| c.params[i * m + k]).collect()).collect();
    let value = json!({
        "density": c.density,
        "importance": c.importance,
        "loss": c.loss,
        "region": REGIONS[c.region],
        "closed_form": c.theory.0,
        "reached": c.loss <= 1.001 * c.theory.0,
        "optimum": c.optimum,
        "within_3_percent": c.loss <= 1.03 * c.optimum,
        "same_region": c.region == c.theory.1,
        "label_agrees": c.region == c.theory.1 || c.border,
        "confused": c.region == CONFUSED,
        "closed_form_region": REGIONS[c.theory.1],
        "W": w,
        "b": c.params[n * m..],
    });
    let Value::Object(map) = value else { unreachable!("an object was written down") };
    map
}

/// Trains the models of `check` cells, spread over the diagram, on samples, and notes the best loss.
#[allow(clippy::too_many_arguments)]
fn sampled(
    cells: &[Cell],
    n: usize,
    bias: bool,
    check: usize,
    starts: usize,
    steps: usize,
    lab: &Lab,
    outcome: &mut Outcome,
) -> Result<(), ToyError> {
    // A stride without a factor in common with the side, so that rows and columns are all visited.
    let chosen: Vec<usize> = (0..check).map(|k| (k * cells.len() / check + 7 * k) % cells.len()).collect();
    for (k, &i) in chosen.iter().enumerate() {
        let mut plan = tied::plain_plan(n, n - 1, steps as u64);
        plan.importance[n - 1] = cells[i].importance;
        plan.bias = bias;
        let watch = |share: f64| (lab.watch)((k as f64 + share) / check as f64, "training on samples");
        let density = vec![vec![cells[i].density; n]; starts];
        let trained =
            plan.train(&density, &lab.rng.fork("sampled").fork_index(i as u64), &watch).ok_or(ToyError::Stopped)?;
        // Their exact loss: the least of several noisy ones would be too low.
        let exact = ExactLoss::new(&plan.importance, n - 1, cells[i].density, bias);
        let loss = |t: &Trained| {
            let p: Vec<f64> = t.w.data().iter().chain(&t.b).take(exact.parameters()).map(|v| f64::from(*v)).collect();
            exact.value(&p, &mut vec![0.0; p.len()])
        };
        let best = trained.iter().map(loss).fold(f64::INFINITY, f64::min);
        outcome.steps += (steps * starts) as u64;
        outcome.instances[i].insert("sampled_loss".into(), best.into());
        outcome.instances[i].insert("sampled_over_optimum".into(), (best / cells[i].optimum).into());
    }
    Ok(())
}

fn describe(cells: &[Cell], side: usize, n: usize, outcome: &mut Outcome) {
    outcome.table.push(["last feature", "cells", "in closed form", "both"].map(String::from).to_vec());
    for (k, name) in REGIONS.iter().enumerate() {
        let count = |f: &dyn Fn(&&Cell) -> bool| cells.iter().filter(f).count().to_string();
        outcome.table.push(vec![
            name.to_string(),
            count(&|c| c.region == k),
            count(&|c| c.theory.1 == k),
            count(&|c| c.region == k && c.theory.1 == k),
        ]);
    }
    let reached = cells.iter().filter(|c| c.loss <= c.theory.0 * 1.001).count();
    let agree = cells.iter().filter(|c| c.region == c.theory.1).count();
    let percent = |k: usize| format!("{:.1} %", 100.0 * k as f64 / cells.len() as f64);
    outcome.says.push(format!(
        "{n} features in {}, {side} × {side} cells. In {} of them the search reached at least the best named \
         configuration; in {} the last feature fares as it does there.{}",
        dimensions(n),
        percent(reached),
        percent(agree),
        elsewhere(cells)
    ));
    let checked: Vec<f64> = (outcome.instances.iter().zip(cells))
        .filter_map(|(i, c)| Some(i.get("sampled_loss")?.as_f64()? / c.loss - 1.0))
        .collect();
    if !checked.is_empty() {
        let worst = checked.iter().fold(0.0f64, |a, v| a.max(v.abs()));
        outcome.says.push(format!(
            "{} cells were trained on samples too: at most {} % off the exact minimum.",
            checked.len(),
            short(100.0 * worst)
        ));
    }
}

/// Of the cells whose last feature fares otherwise than in the best named configuration: how many are better still, how many near
/// a border, and in how many the search was not good enough.
fn elsewhere(cells: &[Cell]) -> String {
    let other: Vec<&Cell> = cells.iter().filter(|c| c.region != c.theory.1).collect();
    let better = other.iter().filter(|c| c.optimum < c.theory.0 * 0.999).count();
    let near = other.iter().filter(|c| c.border).count();
    let unreached = cells.iter().filter(|c| c.loss > c.theory.0 * 1.001).count();
    let mut text = String::new();
    if !other.is_empty() {
        text += &format!(
            " Of the {} others, {near} lie within 15 % of a border; in {better} weights between the named configurations are better \
             still.",
            other.len()
        );
    }
    if unreached > 0 {
        text += &format!(" In {unreached} all starts ended above the best named configuration.");
    }
    text
}

fn dimensions(n: usize) -> String {
    format!("{} dimension{}", n - 1, if n == 2 { "" } else { "s" })
}

fn picture(cells: &[Cell], densities: &[f64], importances: &[f64], n: usize) -> Picture {
    Picture::Grid(Grid {
        name: "phases",
        title: format!("What becomes of feature {n} in {}?", dimensions(n)),
        caption: "Across, features are on ever more rarely; upwards, the last feature matters more. Left: the least loss \
                  that was found. Right: the best of the configurations that theory names. The borders are sharp: a phase \
                  change."
            .into(),
        x_name: "1 / density (logarithmic)".into(),
        y_name: "relative importance (logarithmic)".into(),
        x: densities.iter().map(|p| 1.0 / p).collect(),
        y: importances.to_vec(),
        classes: REGIONS.map(String::from).to_vec(),
        panels: vec![
            ("found".into(), cells.iter().map(|c| c.region).collect()),
            ("closed form".into(), cells.iter().map(|c| c.theory.1).collect()),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The boundary between dropping and pairing is p* = 4r/(2 + 5r) with a bias (0.16 at r = 0.1, 4/7 at 1), 2r/(1 + r) without.
    #[test]
    fn the_boundary_is_where_the_closed_forms_cross() {
        for r in [0.1, 0.25, 0.5, 0.9] {
            for bias in [true, false] {
                let p = border(2, r, bias);
                if !bias && p > 4.0 / 7.0 {
                    continue; // Their sum is better than either.
                }
                assert_eq!(theory(2, 0.99 * p, r, bias).1, SHARED, "r {r}");
                assert_eq!(theory(2, (1.01 * p).min(1.0), r, bias).1, MISSING, "r {r}");
            }
        }
        let p: Vec<f64> = [0.1, 0.25, 0.5, 1.0].iter().map(|r| border(2, *r, true)).collect();
        assert!(p.iter().zip([0.160, 0.308, 0.444, 0.571]).all(|(a, b)| (a - b).abs() < 5e-4), "{p:?}");
        // Beyond r = 1 the other two features pair, below p = 4/7.
        assert_eq!((theory(3, 0.56, 3.0, true).1, theory(3, 0.58, 3.0, true).1), (ALONE, ALONE));
        assert!((theory(3, 0.3, 3.0, true).0 - 0.03).abs() < 1e-12);
    }

    #[test]
    fn regions_are_read_from_weights() {
        assert_eq!(region(&[1.0, -1.0, 0.0, 0.0], 2), SHARED);
        assert_eq!(region(&[1.0, 0.1, 0.0, 0.5], 2), MISSING);
        assert_eq!(region(&[0.0, 1.0, 0.5, 0.0], 2), ALONE);
        assert_eq!(region(&[1.0, 0.0, -1.0, 0.0, 0.0, 1.0], 3), ALONE);
        assert_eq!(region(&[0.7, 0.7], 2), CONFUSED);
        // Theory names the best of the named configurations, with its loss.
        let labels = |n| named(n, false).iter().map(|w| region(w, n)).collect::<Vec<_>>();
        assert_eq!(labels(2), [MISSING, ALONE, SHARED, CONFUSED]);
        assert_eq!(labels(3), [MISSING, ALONE, SHARED, ALONE, CONFUSED]);
        for (n, p, r) in [(2, 0.9, 0.2), (2, 0.9, 5.0), (2, 0.1, 1.0), (2, 0.9, 0.9), (3, 0.4, 0.2), (3, 0.4, 0.8)] {
            let mut weights = vec![1.0; n];
            weights[n - 1] = r;
            let exact = ExactLoss::new(&weights, n - 1, p, false);
            let losses = named(n, false).into_iter().map(|w| (exact.value(&w, &mut vec![0.0; w.len()]), region(&w, n)));
            let (loss, label) = losses.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            let want = theory(n, p, r, false);
            assert_eq!(label, want.1, "n {n}, p {p}, r {r}");
            assert!((loss / want.0 - 1.0).abs() < 1e-9, "n {n}, p {p}, r {r}: {loss} for {}", want.0);
        }
    }
}
