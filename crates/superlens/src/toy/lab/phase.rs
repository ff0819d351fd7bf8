//! `toy phase`: when does one feature too many go unrepresented, take a dimension, or share one?
//!
//! Each cell is one density and one relative importance of the last feature; the loss is integrated exactly and minimised
//! from several starts, so that the diagram shows optima and not the luck of training.

use super::tied::{self, setting, short};
use super::{Grid, Lab, Outcome, Picture, Setting, Settings, Toy, ToyError};
use crate::toy::exact::ExactLoss;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

pub const TOY: Toy = Toy {
    name: "phase",
    about: "the phase diagram of one feature too many: n features in n − 1 dimensions, by exact loss",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652), superposition as a phase change",
    settings: SETTINGS,
    keys: "An instance is a cell: density, importance (of the last feature), loss (sum over features), closed_form (the best \
           of the named configurations) and its region, reached (at least as good), same_region, region (found), W and b. --instances is not used; with check=K, K \
           cells also have sampled_loss, the best of `starts` models trained on samples.",
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "2", "2 or 3"),
    setting("cells", "40", "cells along each axis"),
    setting("importance", "0.1..10", "importance of the last feature, the others having 1: LO..HI, log-spaced"),
    tied::DENSITY,
    setting("bias", "true", "whether there is one"),
    setting("starts", "10", "random starts a cell, of which the best is kept"),
    setting("check", "0", "cells that are also trained on samples"),
    tied::STEPS,
];

/// What becomes of the last feature.
const REGIONS: [&str; 3] = ["not represented", "in superposition", "has a dimension"];
const MISSING: usize = 0;
const SHARED: usize = 1;
const ALONE: usize = 2;

struct Cell {
    density: f64,
    importance: f64,
    loss: f64,
    params: Vec<f64>,
    region: usize,
    theory: (f64, usize),
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
            let (loss, params) = exact.minimum(starts, &lab.rng.fork("cells").fork_index(i as u64));
            let share = (done.fetch_add(1, Ordering::Relaxed) + 1) as f64 / places.len() as f64;
            if (lab.watch)(share, "minimising the exact loss").is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
            let region = region(&params, n);
            Some(Cell { density, importance, loss, params, region, theory: theory(n, density, importance, bias) })
        })
        .collect();
    cells.into_iter().collect::<Option<Vec<Cell>>>().ok_or(ToyError::Stopped)
}

/// What becomes of the last feature in weights `[n, n − 1]`.
fn region(params: &[f64], n: usize) -> usize {
    let m = n - 1;
    let row = |i: usize| &params[i * m..(i + 1) * m];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let last = row(n - 1);
    let norm = dot(last, last).sqrt();
    let shared: f64 = (0..n - 1).map(|j| (dot(last, row(j)) / norm.max(1e-12)).powi(2)).sum();
    match (norm < 0.5, shared > 0.25) {
        (true, _) => MISSING,
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
        "same_region": c.region == c.theory.1,
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
        // The engine's loss is the mean over features.
        let best = trained.iter().map(|t| t.loss * n as f64).fold(f64::INFINITY, f64::min);
        outcome.steps += (steps * starts) as u64;
        outcome.instances[i].insert("sampled_loss".into(), best.into());
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
         configuration; in {} the last feature fares as it does there. The rest lie beside the boundaries, where weights \
         between the named configurations are better still.",
        dimensions(n),
        percent(reached),
        percent(agree)
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

    /// The boundary between dropping and pairing is p* = 4r/(2 + 5r) with a bias, 2r/(1 + r) without.
    #[test]
    fn the_boundary_is_where_the_closed_forms_cross() {
        for r in [0.1, 0.25, 0.5, 0.9] {
            for (bias, p) in [(true, 4.0 * r / (2.0 + 5.0 * r)), (false, 2.0 * r / (1.0 + r))] {
                assert_eq!(theory(2, 0.99 * p, r, bias).1, SHARED, "r {r}");
                assert_eq!(theory(2, (1.01 * p).min(1.0), r, bias).1, MISSING, "r {r}");
            }
        }
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
    }
}
