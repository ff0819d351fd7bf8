//! `toy k_gon`: the critical levels of the high-sparsity limit, where one feature is on at a time.
//!
//! In the plane the surviving features stand on a regular polygon; the others are dead, and either answer nothing or a
//! constant. Each such state has a loss of its own, and searches end on these levels.

use super::tied::{setting, short};
use super::{Axis, Lab, Outcome, Panel, Picture, Series, Setting, Settings, Toy, ToyError};
use serde_json::{Map, Value, json};
use std::f64::consts::TAU;
use superlens_tensor::Rng;
use superlens_tensor::lbfgs::{Stop, minimise};

pub const TOY: Toy = Toy {
    name: "k_gon",
    about: "one feature on at a time, in two dimensions: the critical levels at which a search can end",
    source: "Chen et al. 2023, Dynamical versus Bayesian phase transitions in a toy model of superposition (arXiv 2310.06301)",
    settings: SETTINGS,
    keys: &[
        "An instance is a level that was reached: alive (features on the polygon), positive (dead features with a positive bias), \
           dead_biases, loss (the lowest found there), critical (computed), reached (searches that ended there), error (relative, \
           of loss against critical), W and b. For the document: levels (all that exist: alive, positive, loss), on_a_level (share of searches), \
           global (share that reached the lowest level), lowest_found_over_lowest (losses), off_level (their losses). --instances is not used.",
    ],
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "6", "features, 2 to 32"),
    setting("starts", "1000", "random starts"),
    setting("bias_scale", "0.5", "standard deviation of the biases at the start"),
];

/// Longer features are alive.
const ALIVE: f64 = 0.3;
/// A search ended on a level if its loss is within this share of it.
const ON_LEVEL: f64 = 1e-4;

/// `(1/n) Σ_i E_λ ‖λ e_i − ReLU(WᵀW λ e_i + b)‖²` with `λ` uniform in `[0, 1]`, integrated in closed form.
///
/// `p` is `W [n, 2]` and then `b [n]`.
fn potential(n: usize, p: &[f64], grad: &mut [f64]) -> f64 {
    grad.fill(0.0);
    let (w, b) = p.split_at(2 * n);
    let mut loss = 0.0;
    for i in 0..n {
        for j in 0..n {
            let g = w[2 * i] * w[2 * j] + w[2 * i + 1] * w[2 * j + 1];
            let (cost, dg, db) = cost(g, b[j], if i == j { 1.0 } else { 0.0 });
            loss += cost / n as f64;
            for k in 0..2 {
                grad[2 * i + k] += dg * w[2 * j + k] / n as f64;
                grad[2 * j + k] += dg * w[2 * i + k] / n as f64;
            }
            grad[2 * n + j] += db / n as f64;
        }
    }
    loss
}

/// `∫₀¹ (ReLU(λ g + b) − λ t)² dλ` and its derivatives by `g` and `b`.
fn cost(g: f64, b: f64, t: f64) -> (f64, f64, f64) {
    let root = -b / g;
    // Where the ReLU is open.
    let (lo, hi) = match (b > 0.0, g + b > 0.0) {
        (true, true) => (0.0, 1.0),
        (true, false) => (0.0, root),
        (false, true) => (root, 1.0),
        (false, false) => (0.0, 0.0),
    };
    let power = |k: i32| (hi.powi(k) - lo.powi(k)) / f64::from(k);
    let (p1, p2, p3) = (power(1), power(2), power(3));
    let s = g - t;
    let open = s * s * p3 + 2.0 * s * b * p2 + b * b * p1;
    let closed = t * t * (1.0 / 3.0 - p3);
    (open + closed, 2.0 * (s * p3 + b * p2), 2.0 * (s * p2 + b * p1))
}

/// A critical state: a polygon of `alive` features, and among the dead ones `positive` with a positive bias.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Level {
    alive: usize,
    positive: usize,
    loss: f64,
}

/// All levels, from the highest loss to the lowest. A dead feature with `b ≤ 0` costs `1/3`; with the best positive
/// bias, `b = 1/(2n)`, it costs `1/3 − 1/(4n)`. The polygon's length and bias are minimised.
fn levels(n: usize) -> Vec<Level> {
    let mut all = Vec::new();
    for alive in 0..=n {
        let polygon = polygon(n, alive);
        for positive in 0..=n - alive {
            let dead = (n - alive) as f64 / 3.0 - positive as f64 / (4.0 * n as f64);
            all.push(Level { alive, positive, loss: (polygon + dead) / n as f64 });
        }
    }
    all.sort_by(|a, b| b.loss.total_cmp(&a.loss));
    all
}

/// Least cost of `k` features on a regular polygon among `n`, over its length and its common bias.
fn polygon(n: usize, k: usize) -> f64 {
    if k == 0 {
        return 0.0;
    }
    let mut value = |p: &[f64], grad: &mut [f64]| {
        let (length, b) = (p[0], p[1]);
        // The dead features, when on, leave only the bias.
        let (mut loss, _, mut db) = cost(0.0, b, 0.0);
        (loss, db) = (loss * (n - k) as f64, db * (n - k) as f64);
        let mut dl = 0.0;
        for j in 0..k {
            let cosine = (TAU * j as f64 / k as f64).cos();
            let (c, dg, d) = cost(length * length * cosine, b, if j == 0 { 1.0 } else { 0.0 });
            loss += c;
            dl += 2.0 * length * cosine * dg;
            db += d;
        }
        (grad[0], grad[1]) = (k as f64 * dl, k as f64 * db);
        k as f64 * loss
    };
    let from = |b: f64| minimise(&mut value, &mut [1.0, b], Stop::default());
    [-0.3, -0.05, 0.05].map(from).into_iter().fold(f64::INFINITY, f64::min)
}

/// Where a search ended.
#[derive(Clone, Debug)]
struct End {
    loss: f64,
    params: Vec<f64>,
    alive: usize,
    positive: usize,
}

/// Whether feature `i` has a direction, and its output ever opens for it.
fn is_alive(n: usize, p: &[f64], i: usize) -> bool {
    let square = p[2 * i].powi(2) + p[2 * i + 1].powi(2);
    square > ALIVE * ALIVE && square + p[2 * n + i] > 0.0
}

fn search(n: usize, spread: f64, rng: &mut Rng) -> End {
    let scale = (2.0 / (n + 2) as f64).sqrt();
    let mut p: Vec<f64> = (0..3 * n).map(|k| rng.normal_f64() * if k < 2 * n { scale } else { spread }).collect();
    let stop = Stop { iterations: 5000, gradient: 1e-10, decrease: 0.0 };
    let loss = minimise(&mut |p, g| potential(n, p, g), &mut p, stop);
    let alive = (0..n).filter(|&i| is_alive(n, &p, i)).count();
    let positive = (0..n).filter(|&i| !is_alive(n, &p, i) && p[2 * n + i] > 0.0).count();
    End { loss, params: p, alive, positive }
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let n = s.whole("n_features", 2..=32)?;
    let starts = s.whole("starts", 1..=1_000_000)?;
    let spread = s.real("bias_scale", 0.0..=10.0)?;
    let ends = lab.side_by_side(starts, "searching", |_, rng, _| Some(search(n, spread, &mut rng.clone())))?;
    let levels = levels(n);
    let lowest = levels.last().expect("at least one level");
    let on = |e: &&End, l: &Level| {
        e.alive == l.alive && e.positive == l.positive && (e.loss / l.loss.max(1e-12) - 1.0).abs() < ON_LEVEL
    };
    let mut outcome = Outcome::default();
    let head = ["polygon", "dead, b ≤ 0", "dead, b > 0", "critical loss", "found", "reached"];
    outcome.table.push(head.map(String::from).to_vec());
    let (mut reached, mut panels) = (0, Vec::new());
    for level in &levels {
        let here: Vec<&End> = ends.iter().filter(|e| on(e, level)).collect();
        let Some(best) = here.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)) else { continue };
        reached += here.len();
        outcome.table.push(vec![
            level.alive.to_string(),
            (n - level.alive - level.positive).to_string(),
            level.positive.to_string(),
            format!("{:.6}", level.loss),
            format!("{:.6}", best.loss),
            here.len().to_string(),
        ]);
        outcome.instances.push(instance(n, level, best, here.len()));
        panels.push(Panel {
            label: format!("{}{}: {:.4}", level.alive, "+".repeat(level.positive.min(4)), level.loss),
            points: (0..n)
                .map(
                    |i| {
                        if is_alive(n, &best.params, i) {
                            [best.params[2 * i], best.params[2 * i + 1]]
                        } else {
                            [0.0; 2]
                        }
                    },
                )
                .collect(),
        });
    }
    let off: Vec<f64> = ends.iter().filter(|e| !levels.iter().any(|l| on(e, l))).map(|e| e.loss).collect();
    if outcome.instances.is_empty() {
        let best = ends.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).expect("at least one start");
        let none = Level { alive: best.alive, positive: best.positive, loss: f64::NAN };
        outcome.instances.push(instance(n, &none, best, 1));
        outcome.table.push(vec![
            "none".into(),
            String::new(),
            String::new(),
            String::new(),
            short(best.loss),
            "0".into(),
        ]);
    }
    let global = ends.iter().filter(|e| on(e, lowest)).count();
    let share = |k: usize| k as f64 / starts as f64;
    let list = |l: &Level| json!({"alive": l.alive, "positive": l.positive, "loss": l.loss});
    outcome.keys.insert("levels".into(), levels.iter().map(list).collect());
    outcome.keys.insert("on_a_level".into(), share(reached).into());
    outcome.keys.insert("global".into(), share(global).into());
    outcome.keys.insert("lowest_found_over_lowest".into(), (least(&ends) / lowest.loss).into());
    outcome.keys.insert("off_level".into(), off.clone().into());
    outcome.says.push(format!(
        "{starts} searches from random weights; {reached} ended on a critical level, {global} on the lowest, a {}-gon with {} \
         dead features of positive bias. Each + is a dead feature that answers a constant.",
        lowest.alive, lowest.positive
    ));
    outcome.says.push(
        "Up to four features at right angles or more cost nothing, so that below a pentagon a level depends on the dead \
         features alone, and its polygon need not be regular."
            .into(),
    );
    outcome.pictures.push(Picture::Directions {
        name: "levels",
        title: "The critical levels that searches reached, high loss to low".into(),
        caption: "Features that survive stand on a polygon, at right angles or more; dead ones are points at the centre. The label \
                  is how many survive, a + for each dead feature with a positive bias, and the loss."
            .into(),
        panels,
    });
    let reached: Vec<Level> = levels.iter().filter(|l| ends.iter().any(|e| on(&e, l))).copied().collect();
    outcome.pictures.push(histogram(&ends, &reached));
    Ok(outcome)
}

fn least(ends: &[End]) -> f64 {
    ends.iter().map(|e| e.loss).fold(f64::INFINITY, f64::min)
}

fn instance(n: usize, level: &Level, best: &End, reached: usize) -> Map<String, Value> {
    let (w, b) = best.params.split_at(2 * n);
    let rows: Vec<Vec<f64>> = (0..2).map(|k| (0..n).map(|i| w[2 * i + k]).collect()).collect();
    let dead = |i: &usize| !is_alive(n, &best.params, *i);
    let value = json!({
        "alive": level.alive,
        "positive": level.positive,
        "dead_biases": (0..n).filter(dead).map(|i| b[i]).collect::<Vec<f64>>(),
        "loss": best.loss,
        "critical": level.loss,
        "error": (best.loss / level.loss - 1.0).abs(),
        "reached": reached,
        "W": rows,
        "b": b,
    });
    let Value::Object(map) = value else { unreachable!("an object was written down") };
    map
}

/// The losses at which searches ended, in order: levels show as steps.
fn histogram(ends: &[End], levels: &[Level]) -> Picture {
    let mut losses: Vec<f64> = ends.iter().map(|e| e.loss).collect();
    losses.sort_by(|a, b| b.total_cmp(a));
    let share = |k: usize| (k as f64 + 0.5) / losses.len() as f64;
    let (low, high) = (losses[losses.len() - 1] * 0.98, losses[0] * 1.02);
    // Names of levels that nearly coincide would cover one another.
    let mut shown: Vec<(f64, String)> = Vec::new();
    for l in levels.iter().filter(|l| (low..=high).contains(&l.loss)) {
        if shown.last().is_none_or(|last| (last.0 - l.loss).abs() > 0.05 * (high - low)) {
            shown.push((l.loss, format!("{}{}", l.alive, "+".repeat(l.positive.min(4)))));
        }
    }
    Picture::Sweep {
        name: "losses",
        title: "Where searches end".into(),
        caption:
            "All searches in order of their loss. Each step is a critical level (dotted: computed); its width is how \
                  often it is reached."
                .into(),
        x: Axis::linear("share of the searches"),
        y: Axis::linear("loss"),
        series: vec![Series {
            name: "searches".into(),
            points: losses.iter().enumerate().map(|(k, &l)| (share(k), l)).collect(),
            line: true,
        }],
        levels: shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_value() {
        let mut rng = Rng::new(5);
        let n = 5;
        let p: Vec<f64> = (0..3 * n).map(|_| 0.6 * rng.normal_f64()).collect();
        let mut grad = vec![0.0; 3 * n];
        potential(n, &p, &mut grad);
        for k in 0..p.len() {
            let at = |step: f64| {
                let mut p = p.clone();
                p[k] += step;
                potential(n, &p, &mut vec![0.0; 3 * n])
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((grad[k] - numeric).abs() < 1e-6, "derivative {k}: {} for {numeric}", grad[k]);
        }
    }

    /// The integral against a sum over many λ.
    #[test]
    fn the_cost_is_the_integral() {
        for (g, b, t) in [(0.8, -0.2, 1.0), (-0.5, 0.3, 0.0), (0.4, 0.1, 1.0), (-1.0, -0.1, 0.0), (0.0, 0.2, 1.0)] {
            let n = 20_000;
            let at = |k: usize| {
                let x = (k as f64 + 0.5) / n as f64;
                ((g * x + b).max(0.0) - x * t).powi(2) / n as f64
            };
            let want: f64 = (0..n).map(at).sum();
            assert!((cost(g, b, t).0 - want).abs() < 1e-7, "{g} {b} {t}");
        }
    }

    /// Four features at right angles cost nothing; what is dead costs what the closed form says.
    #[test]
    fn levels_are_critical_points() {
        let all = levels(6);
        let level = |alive, positive| all.iter().find(|l| l.alive == alive && l.positive == positive).unwrap().loss;
        assert!((level(4, 0) - 2.0 / 18.0).abs() < 1e-9 && (level(4, 1) - (2.0 / 3.0 - 1.0 / 24.0) / 6.0).abs() < 1e-9);
        assert!(level(5, 0) < level(4, 0) && level(5, 1) < level(5, 0));
        // A search from nowhere ends on one of them, most of the time.
        let ends: Vec<End> = (0..40).map(|k| search(6, 0.5, &mut Rng::new(3).fork_index(k))).collect();
        let on = ends.iter().filter(|e| all.iter().any(|l| (e.loss / l.loss - 1.0).abs() < ON_LEVEL)).count();
        assert!(on >= 36, "{on} of 40");
    }
}
