//! `toy readout`: how many features fit into `d` dimensions depends on how they are read and on what is forgiven.
//!
//! Linearly, `d`. Behind a ReLU, which silences whatever is negative, `2d`. Where a read-out with a threshold, or a loss that
//! doesn't mind small interference, forgives up to ε, as many directions as lie that far apart: exponentially many in `d`.

use super::tied::{setting, short};
use super::{Axis, Lab, Outcome, Panel, Picture, Series, Setting, Settings, Toy, ToyError};
use crate::geometry::readout::exact::{antipodal_pairs, linear_error};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use superlens_tensor::Rng;
use superlens_tensor::lbfgs::{Stop, minimise};

pub const TOY: Toy = Toy {
    name: "readout",
    about: "how many features fit in d dimensions: linear, ReLU or thresholded read-out, and losses that forgive small interference",
    source: "closed forms: Eckart and Young 1936; Rankin 1955; spherical codes found by L-BFGS",
    settings: SETTINGS,
    keys: &[
        "An instance is a tolerance: epsilon, linear (features that a linear read-out carries), relu, positive (features with pairwise \
           inner products of at most epsilon: a threshold at epsilon, or a loss that forgives positive interference and silences \
           negative), both (|inner product| at most epsilon: a loss that forgives both signs), loss (left at `positive` features), W. \
           positive_2d and both_2d: what angles allow where d = 2. For the document: pair_error (of [I, −I], largest over rows without an antipodal pair), pair_cost (its loss on pairs \
           over 1/6 each), linear_excess and pair_excess (‖1 − WᵀW‖² of the best linear read-out of 2d features and of [I, −I]/√2, over n − d), \
           most_apart (least over starts of the largest cosine of 2d + 1 directions) and negative_apart (of d + 2).",
    ],
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("d_hidden", "3", "dimensions, 2 to 8"),
    setting(
        "epsilon",
        "0.05..0.5",
        "tolerances, one an instance: a list whose length divides --instances, or LO..HI, log-spaced",
    ),
    setting("starts", "30", "random starts for each number of features"),
    setting("rows", "100000", "rows for the costs that are measured"),
];

/// The largest sets that were found: with positive interference forgiven, and with both signs.
type Packings = (Vec<f64>, Vec<f64>);

/// Features at most: the search ends there.
const MOST: usize = 240;
/// An excess of an inner product below this is none.
const NONE: f64 = 1e-6;
/// Numbers of features beyond the last that fitted which are tried too, since searches may fail.
const BEYOND: usize = 2;

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let d = s.whole("d_hidden", 2..=8)?;
    let starts = s.whole("starts", 1..=10_000)?;
    let rows = s.whole("rows", 100..=100_000_000)?;
    let epsilons = s.over_instances("epsilon", lab.instances, 0.0..=0.6)?;
    let found = lab.side_by_side(lab.instances, "packing directions", |i, rng, tell| {
        let positive = capacity(d, epsilons[i], false, starts, &rng.fork("positive"), &mut |share| tell(0.5 * share))?;
        let both = capacity(d, epsilons[i], true, starts, &rng.fork("both"), &mut |share| tell(0.5 + 0.5 * share))?;
        Some((positive, both))
    })?;
    let mut outcome = Outcome::default();
    let head = ["forgiven", "linear", "ReLU", "threshold, positive", "both signs"];
    outcome.table.push(head.map(String::from).to_vec());
    for (epsilon, (positive, both)) in epsilons.iter().zip(&found) {
        let (p, b) = (positive.len() / d, both.len() / d);
        outcome.table.push(vec![short(*epsilon), d.to_string(), (2 * d).to_string(), p.to_string(), b.to_string()]);
        let w: Vec<Vec<f64>> = (0..d).map(|k| (0..p).map(|i| positive[i * d + k]).collect()).collect();
        let mut value = json!({
            "epsilon": epsilon,
            "linear": d,
            "relu": 2 * d,
            "positive": p,
            "both": b,
            "loss": excess(positive, d, *epsilon, false, &mut vec![0.0; positive.len()]),
            "W": w,
        });
        if d == 2 {
            value["positive_2d"] = (std::f64::consts::TAU / epsilon.acos() + 1e-9).floor().into();
            value["both_2d"] = (std::f64::consts::PI / epsilon.acos() + 1e-9).floor().into();
        }
        let Value::Object(map) = value else { unreachable!("an object was written down") };
        outcome.instances.push(map);
    }
    outcome.keys = closed_forms(d, starts, rows, &lab.rng.fork("closed forms"));
    outcome.says.push(format!(
        "{d} dimensions carry {d} features linearly and {} behind a ReLU. What is beyond counts only those whose inner products are \
         forgiven: up to ε where a threshold or the loss forgives positive ones (negative ones being silenced), within ±ε where it \
         forgives both. The counts are what searches from {starts} starts found.",
        2 * d
    ));
    outcome.pictures.push(picture(&epsilons, &found, d));
    if d == 2 {
        let panel = |(e, (w, _)): (&f64, &Packings)| Panel {
            label: format!("ε = {}", short(*e)),
            points: w.chunks_exact(2).map(|w| [w[0], w[1]]).collect(),
        };
        outcome.pictures.push(Picture::Directions {
            name: "directions",
            title: "As many directions as fit".into(),
            caption: "The largest set whose inner products are at most ε.".into(),
            panels: epsilons.iter().zip(&found).map(panel).collect(),
        });
    }
    Ok(outcome)
}

/// `Σ_{i<j} (g_ij − ε)₊²` of the unit vectors along `w [n, d]`; with `both`, of `|g_ij|`. Zero where all is forgiven.
fn excess(w: &[f64], d: usize, epsilon: f64, both: bool, grad: &mut [f64]) -> f64 {
    let n = w.len() / d;
    let norms: Vec<f64> = w.chunks_exact(d).map(|w| w.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12)).collect();
    let unit: Vec<f64> = w.iter().enumerate().map(|(k, v)| v / norms[k / d]).collect();
    let mut du = vec![0.0; w.len()];
    let mut loss = 0.0;
    for i in 0..n {
        for j in 0..i {
            let g: f64 = (0..d).map(|k| unit[i * d + k] * unit[j * d + k]).sum();
            let over = if both { g.abs() } else { g } - epsilon;
            if over > 0.0 {
                loss += over * over;
                let slope = 2.0 * over * if both { g.signum() } else { 1.0 };
                for k in 0..d {
                    du[i * d + k] += slope * unit[j * d + k];
                    du[j * d + k] += slope * unit[i * d + k];
                }
            }
        }
    }
    // Through the normalisation: only what is at right angles to the vector moves it.
    for i in 0..n {
        let along: f64 = (0..d).map(|k| du[i * d + k] * unit[i * d + k]).sum();
        (0..d).for_each(|k| grad[i * d + k] = (du[i * d + k] - along * unit[i * d + k]) / norms[i]);
    }
    loss
}

/// The largest inner product (or |inner product|) of the unit vectors along `w`.
fn largest(w: &[f64], d: usize, both: bool) -> f64 {
    let unit: Vec<Vec<f64>> = w
        .chunks_exact(d)
        .map(|w| {
            let norm = w.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
            w.iter().map(|v| v / norm).collect()
        })
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let pairs = (0..unit.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let cosines = pairs.map(|(i, j)| dot(&unit[i], &unit[j]));
    cosines.map(|c| if both { c.abs() } else { c }).fold(-1.0, f64::max)
}

/// `n` directions whose inner products exceed `epsilon` as little as was found.
fn pack(n: usize, d: usize, epsilon: f64, both: bool, starts: usize, rng: &Rng) -> Vec<f64> {
    let mut best = (f64::INFINITY, Vec::new());
    for k in 0..starts {
        let mut rng = rng.fork_index(k as u64);
        let mut w: Vec<f64> = (0..n * d).map(|_| rng.normal_f64()).collect();
        let stop = Stop { iterations: 3000, gradient: 1e-13, decrease: 1e-12 };
        minimise(&mut |w, g| excess(w, d, epsilon, both, g), &mut w, stop);
        let most = largest(&w, d, both);
        if most < best.0 {
            best = (most, w);
        }
        if most <= epsilon + NONE {
            break;
        }
    }
    best.1
}

/// The largest set of directions that was found with inner products up to `epsilon`.
fn capacity(
    d: usize,
    epsilon: f64,
    both: bool,
    starts: usize,
    rng: &Rng,
    tell: &mut dyn FnMut(f64) -> std::ops::ControlFlow<()>,
) -> Option<Vec<f64>> {
    let axes = |sign: f64| (0..d * d).map(move |k| if k / d == k % d { sign } else { 0.0 });
    let mut best: Vec<f64> = if both { axes(1.0).collect() } else { axes(1.0).chain(axes(-1.0)).collect() };
    let mut n = best.len() / d + 1;
    while n <= (best.len() / d + BEYOND).min(MOST) {
        tell(n as f64 / MOST as f64).is_continue().then_some(())?;
        let w = pack(n, d, epsilon, both, starts, &rng.fork_index(n as u64));
        if largest(&w, d, both) <= epsilon + NONE {
            best = w;
        }
        n += 1;
    }
    Some(best)
}

/// What is exact: the pairs `[I, −I]` behind a ReLU, and the bounds on what fits.
fn closed_forms(d: usize, starts: usize, rows: usize, rng: &Rng) -> Map<String, Value> {
    let n = 2 * d;
    let mut keys = Map::new();
    let (error, cost) = antipodal_pairs(d, rows, &mut rng.fork("pairs"));
    keys.insert("pair_error".into(), error.into());
    keys.insert("pair_cost".into(), (cost / (1.0 / 6.0)).into());
    let least = (0..starts).into_par_iter().map(|k| linear_error(n, d, &mut rng.fork("linear").fork_index(k as u64)));
    let least = least.reduce(|| f64::INFINITY, f64::min);
    keys.insert("linear_excess".into(), (least / (n - d) as f64).into());
    // `[I, −I]` with columns shortened to 1/√2: WᵀW is a projection of rank d.
    let pairs = |i: usize, j: usize| 0.5 * if i == j { 1.0 } else { -f64::from(u8::from(i.abs_diff(j) == d)) };
    let off = |i: usize, j: usize| f64::from(u8::from(i == j)) - pairs(i, j);
    let scaled: f64 = (0..n * n).map(|k| off(k / n, k % n).powi(2)).sum();
    keys.insert("pair_excess".into(), (scaled / (n - d) as f64).into());
    let apart =
        |n: usize, epsilon: f64, name: &str| largest(&pack(n, d, epsilon, false, starts, &rng.fork(name)), d, false);
    keys.insert("most_apart".into(), apart(2 * d + 1, 0.0, "apart").into());
    keys.insert("negative_apart".into(), apart(d + 2, -0.5 / d as f64, "negative").into());
    keys
}

fn picture(epsilons: &[f64], found: &[Packings], d: usize) -> Picture {
    let line = |name: &str, of: &dyn Fn(&Packings) -> usize| Series {
        name: name.into(),
        points: epsilons.iter().zip(found).map(|(e, f)| (*e, of(f) as f64)).collect(),
        line: true,
    };
    Picture::Sweep {
        name: "capacity",
        title: format!("How many features fit in {d} dimensions?"),
        caption: "By what is forgiven: inner products up to ε (a threshold behind the read-out, or a loss that does not mind \
                  them), or within ±ε. Linear and ReLU read-outs, which forgive none and all negative ones, are levels."
            .into(),
        x: Axis::linear("ε, the interference that is forgiven"),
        y: Axis::linear("features"),
        series: vec![
            line("up to ε", &|f| f.0.len() / d),
            line("within ±ε", &|f| f.1.len() / d),
        ],
        levels: vec![(d as f64, "linear".into()), (2.0 * d as f64, "ReLU".into())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_value() {
        let mut rng = Rng::new(2);
        let w: Vec<f64> = (0..5 * 3).map(|_| rng.normal_f64()).collect();
        for both in [false, true] {
            let mut grad = vec![0.0; w.len()];
            excess(&w, 3, 0.1, both, &mut grad);
            for k in 0..w.len() {
                let at = |step: f64| {
                    let mut w = w.clone();
                    w[k] += step;
                    excess(&w, 3, 0.1, both, &mut vec![0.0; w.len()])
                };
                let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((grad[k] - numeric).abs() < 1e-6, "derivative {k}: {} for {numeric}", grad[k]);
            }
        }
    }

    /// In the plane the counts follow from angles; in space eight directions fit at 0.2613 (the square antiprism).
    #[test]
    fn known_packings_are_found() {
        let fits = |d, epsilon, both| {
            capacity(d, epsilon, both, 20, &Rng::new(1), &mut |_| std::ops::ControlFlow::Continue(())).unwrap().len()
                / d
        };
        assert_eq!((fits(2, 0.0, false), fits(2, 0.32, false), fits(2, 0.51, false)), (4, 5, 6));
        assert_eq!((fits(2, 0.0, true), fits(2, 0.51, true)), (2, 3));
        assert_eq!((fits(3, 0.0, false), fits(3, 0.265, false), fits(3, 0.45, true)), (6, 8, 6));
    }

    #[test]
    fn bounds_hold() {
        let keys = closed_forms(3, 10, 20_000, &Rng::new(1));
        let of = |key: &str| keys[key].as_f64().unwrap();
        assert!(of("pair_error") < 1e-24, "{}", of("pair_error"));
        assert!((of("pair_cost") - 1.0).abs() < 0.03 && (of("linear_excess") - 1.0).abs() < 1e-6);
        assert!((of("pair_excess") - 1.0).abs() < 1e-12);
        assert!(of("most_apart") > 0.0 && of("negative_apart") >= -1e-6);
    }
}
