//! `toy product`: x·y from four ReLUs of x ± y, a computation that misses the neuron basis without superposition.

use super::tied::{setting, short};
use super::{Lab, Outcome, Setting, Settings, Toy, ToyError};
use rayon::prelude::*;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use superlens_tensor::Rng;
use superlens_tensor::lbfgs::{Stop, minimise};

pub const TOY: Toy = Toy {
    name: "product",
    about: "x·y from ReLUs of x ± y: each neuron answers to both inputs because the computation mixes them",
    source: "x·y = ((x + y)² − (x − y)²) / 4, with a·ReLU(|x ± y| − t) for the squares; x, y standard normal",
    settings: SETTINGS,
    keys: "Each instance has loss (mean squared error on fresh samples; the variance of x·y is 1), restart_losses, angle (largest \
           angle in degrees between a neuron and its nearest diagonal), signs_right (+ along x + y, − along x − y), thresholds \
           (of |x ± y|), threshold_spread (largest over least), contrast_mixes (share of each neuron's answer to x alone that \
           it also gives to y alone) and neurons (input weights, bias, output weight). The document also has seed_formula, \
           seed_best and symmetric_best: mean squared errors of a·ReLU(|x ± y| − t).",
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("neurons", "4", "ReLU neurons, 1 to 64"),
    setting("restarts", "20", "models trained for each instance, of which the best is kept"),
    setting("iterations", "1500", "iterations of L-BFGS"),
];

/// Half the side and cells of the grid on which the loss is integrated.
const REACH: f64 = 5.0;
const CELLS: usize = 61;
/// Fresh samples that the kept model is judged on.
const FRESH: usize = 1_000_000;

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let neurons = s.whole("neurons", 1..=64)?;
    let restarts = s.whole("restarts", 1..=100_000)?;
    let iterations = s.whole("iterations", 1..=1_000_000)?;
    let start = Instant::now();
    let grid = Grid::new();
    let total = restarts * lab.instances;
    let done = AtomicUsize::new(0);
    let trained: Vec<Option<Net>> = (0..total)
        .into_par_iter()
        .with_max_len(1)
        .map(|k| {
            let rng = lab.rng.fork_index((k / restarts) as u64).fork_index((k % restarts) as u64);
            let net = Net::train(neurons, iterations, &grid, &rng);
            let share = (done.fetch_add(1, Ordering::Relaxed) + 1) as f64 / total as f64;
            (lab.watch)(share, "training").is_continue().then_some(net)
        })
        .collect();
    let trained: Vec<Net> = trained.into_iter().collect::<Option<_>>().ok_or(ToyError::Stopped)?;
    let mut outcome = Outcome { training: start.elapsed(), ..Outcome::default() };
    outcome
        .table
        .push(["instance", "loss", "worst restart", "angle", "thresholds", "signs"].map(String::from).to_vec());
    for (i, nets) in trained.chunks(restarts).enumerate() {
        let losses: Vec<f64> = nets.iter().map(|n| n.loss).collect();
        let best = nets.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).expect("at least one restart").canonical();
        let fresh = best.fresh_loss(&mut lab.rng.fork_index(i as u64).fork("fresh"));
        let (angle, signs, thresholds) = (best.angle(), best.signs_right(), best.thresholds());
        let spread =
            |v: &[f64]| v.iter().fold(0.0f64, |a, t| a.max(*t)) / v.iter().fold(f64::INFINITY, |a, t| a.min(*t));
        outcome.table.push(vec![
            i.to_string(),
            short(fresh),
            short(losses.iter().copied().fold(0.0, f64::max)),
            format!("{angle:.1}°"),
            thresholds.iter().map(|t| short(*t)).collect::<Vec<_>>().join(" "),
            if signs { "right" } else { "mixed" }.into(),
        ]);
        let value = json!({
            "seed": i, "loss": fresh, "restart_losses": losses, "angle": angle, "signs_right": signs,
            "thresholds": thresholds, "threshold_spread": spread(&thresholds), "contrast_mixes": best.contrast(),
            "neurons": best.neurons, "truth": "orthogonal/computational",
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    }
    for (key, value) in [
        ("seed_formula", symmetric_error(1.0, 1.0)),
        ("seed_best", symmetric_error(1.0, best_factor(1.0))),
        ("symmetric_best", best_symmetric().2),
    ] {
        outcome.keys.insert(key.into(), value.into());
    }
    outcome.says = says();
    Ok(outcome)
}

fn says() -> Vec<String> {
    let (t, a, error) = best_symmetric();
    vec![
        format!(
            "Theory: ReLU(|x ± y| − 1) leaves {} of the variance, with the best factor {}; the best threshold {} and factor {} \
             leave {}. Neurons then lie along the diagonals, + along x + y and − along x − y.",
            short(symmetric_error(1.0, 1.0)),
            short(symmetric_error(1.0, best_factor(1.0))),
            short(t),
            short(a),
            short(error)
        ),
        "Every neuron is polysemantic in x and y, yet two dimensions hold two features, x + y and x − y: turned by 45° the \
         neurons are monosemantic. Varying x alone or y alone makes each look like a detector of |x| or |y|: the contrast-pair \
         trap. Most restarts miss the best solution; the worst is shown beside it."
            .into(),
    ]
}

/// `E[(u²/4 − a ReLU(|u| − t))^k]` for `u = x ± y`, normal with variance 2.
fn moment(t: f64, a: f64, k: i32) -> f64 {
    let (n, reach) = (20_000, 14.0);
    let step = reach / n as f64;
    let density = |u: f64| (-u * u / 4.0).exp() / (4.0 * std::f64::consts::PI).sqrt();
    let g = |u: f64| (u * u / 4.0 - a * (u - t).max(0.0)).powi(k);
    2.0 * (0..n).map(|i| (i as f64 + 0.5) * step).map(|u| density(u) * g(u)).sum::<f64>() * step
}

/// Mean squared error of `a (ReLU(|x + y| − t) − ReLU(|x − y| − t))`: the two halves are independent and alike, so it is
/// twice the variance of the error of one.
fn symmetric_error(t: f64, a: f64) -> f64 {
    2.0 * (moment(t, a, 2) - moment(t, a, 1).powi(2))
}

/// The best factor at threshold `t`: the error is quadratic in it.
fn best_factor(t: f64) -> f64 {
    let (low, middle, high) = (symmetric_error(t, 0.0), symmetric_error(t, 1.0), symmetric_error(t, 2.0));
    let (curve, slope) = ((low - 2.0 * middle + high) / 2.0, (4.0 * middle - 3.0 * low - high) / 2.0);
    -slope / (2.0 * curve)
}

/// Threshold, factor and error of the best symmetric network, by golden section.
fn best_symmetric() -> (f64, f64, f64) {
    let error = |t: f64| symmetric_error(t, best_factor(t));
    let golden = 0.5 * (5f64.sqrt() - 1.0);
    let (mut low, mut high) = (0.5, 2.0);
    for _ in 0..30 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if error(a) < error(b) { high = b } else { low = a }
    }
    let t = 0.5 * (low + high);
    (t, best_factor(t), error(t))
}

/// Places in the plane and their weights under two standard normals.
struct Grid(Vec<[f64; 3]>);

impl Grid {
    fn new() -> Self {
        let at = |i: usize| REACH * (2.0 * (i as f64 + 0.5) / CELLS as f64 - 1.0);
        let mut points: Vec<[f64; 3]> = (0..CELLS * CELLS)
            .map(|k| (at(k / CELLS), at(k % CELLS)))
            .map(|(x, y)| [x, y, (-(x * x + y * y) / 2.0).exp()])
            .collect();
        let total: f64 = points.iter().map(|p| p[2]).sum();
        points.iter_mut().for_each(|p| p[2] /= total);
        Grid(points)
    }
}

/// `Σ_k v_k ReLU(w_k · (x, y) + b_k) + w_0 · (x, y) + c`; the linear part appears only in the canonical form.
#[derive(Clone, Debug)]
struct Net {
    /// Input weights, bias, output weight of each neuron.
    neurons: Vec<[f64; 4]>,
    linear: [f64; 2],
    constant: f64,
    loss: f64,
}

impl Net {
    fn train(neurons: usize, iterations: usize, grid: &Grid, rng: &Rng) -> Net {
        let mut rng = rng.clone();
        let mut p: Vec<f64> = (0..4 * neurons + 1).map(|_| 0.7 * rng.normal_f64()).collect();
        let mut f = |p: &[f64], g: &mut [f64]| loss(p, grid, g);
        let loss = minimise(&mut f, &mut p, Stop { iterations, gradient: 1e-9, decrease: 1e-12 });
        let constant = p[4 * neurons];
        let neurons = p[..4 * neurons].chunks_exact(4).map(|n| [n[0], n[1], n[2], n[3]]).collect();
        Net { neurons, linear: [0.0; 2], constant, loss }
    }

    /// The same function with no positive bias: `ReLU(z) = z + ReLU(−z)` turns a neuron round at the price of a linear part
    /// and a constant. Only then can signs and thresholds be compared.
    fn canonical(&self) -> Net {
        let mut net = self.clone();
        for [wx, wy, b, v] in &mut net.neurons {
            if *b > 0.0 {
                net.linear[0] += *v * *wx;
                net.linear[1] += *v * *wy;
                net.constant += *v * *b;
                (*wx, *wy, *b) = (-*wx, -*wy, -*b);
            }
        }
        net
    }

    fn at(&self, x: f64, y: f64) -> f64 {
        let neurons: f64 = self.neurons.iter().map(|[wx, wy, b, v]| v * (wx * x + wy * y + b).max(0.0)).sum();
        neurons + self.linear[0] * x + self.linear[1] * y + self.constant
    }

    fn fresh_loss(&self, rng: &mut Rng) -> f64 {
        let square = |rng: &mut Rng| {
            let (x, y) = (rng.normal_f64(), rng.normal_f64());
            (self.at(x, y) - x * y).powi(2)
        };
        (0..FRESH).map(|_| square(rng)).sum::<f64>() / FRESH as f64
    }

    /// Largest angle in degrees between a neuron's direction and its nearest diagonal.
    fn angle(&self) -> f64 {
        let off = |[wx, wy, ..]: &[f64; 4]| {
            let turned = wy.atan2(*wx).to_degrees().rem_euclid(90.0);
            (turned - 45.0).abs()
        };
        self.neurons.iter().map(off).fold(0.0, f64::max)
    }

    fn signs_right(&self) -> bool {
        self.neurons.iter().all(|[wx, wy, _, v]| (wx * wy > 0.0) == (*v > 0.0))
    }

    /// Where along `|x ± y|` each neuron begins to answer.
    fn thresholds(&self) -> Vec<f64> {
        let at = |[wx, wy, b, _]: &[f64; 4]| -b * 2f64.sqrt() / wx.hypot(*wy).max(1e-12);
        self.neurons.iter().map(at).collect()
    }

    /// How alike each neuron's answers to `(±x, 0)` and to `(0, ±y)` are: the smaller over the larger.
    fn contrast(&self) -> Vec<f64> {
        let answer = |[wx, wy, ..]: &[f64; 4]| wx.abs().min(wy.abs()) / wx.abs().max(wy.abs()).max(1e-12);
        self.neurons.iter().map(answer).collect()
    }
}

/// Mean squared error on the grid, with its gradient. Parameters are those of the neurons and then the constant.
fn loss(p: &[f64], grid: &Grid, grad: &mut [f64]) -> f64 {
    let (neurons, constant) = p.split_at(p.len() - 1);
    grad.fill(0.0);
    let mut loss = 0.0;
    for &[x, y, weight] in &grid.0 {
        let pre = |n: &[f64]| n[0] * x + n[1] * y + n[2];
        let out = neurons.chunks_exact(4).map(|n| n[3] * pre(n).max(0.0)).sum::<f64>() + constant[0];
        let error = out - x * y;
        loss += weight * error * error;
        let e = 2.0 * weight * error;
        for (n, g) in neurons.chunks_exact(4).zip(grad.chunks_exact_mut(4)) {
            let z = pre(n);
            if z > 0.0 {
                g[0] += e * n[3] * x;
                g[1] += e * n[3] * y;
                g[2] += e * n[3];
                g[3] += e * z;
            }
        }
        grad[p.len() - 1] += e;
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_forms_are_those_of_the_claims() {
        assert!((symmetric_error(1.0, 1.0) - 0.04302).abs() < 2e-5);
        let a = best_factor(1.0);
        assert!((a - 1.0977).abs() < 1e-3 && (symmetric_error(1.0, a) - 0.03538).abs() < 2e-5);
        let (t, a, error) = best_symmetric();
        assert!((t - 1.1236).abs() < 2e-3 && (a - 1.1749).abs() < 2e-3 && (error - 0.03305).abs() < 2e-5);
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let grid = Grid::new();
        let mut rng = Rng::new(4);
        let p: Vec<f64> = (0..9).map(|_| rng.normal_f64()).collect();
        let mut g = vec![0.0; 9];
        loss(&p, &grid, &mut g);
        for k in 0..9 {
            let at = |step: f64| {
                let mut p = p.clone();
                p[k] += step;
                loss(&p, &grid, &mut [0.0; 9])
            };
            let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((g[k] - numeric).abs() < 1e-3 * g[k].abs().max(1e-2), "{k}: {} for {numeric}", g[k]);
        }
    }

    #[test]
    fn the_canonical_form_is_the_same_function() {
        let net = Net::train(3, 5, &Grid::new(), &Rng::new(1));
        let turned = net.canonical();
        assert!(turned.neurons.iter().all(|n| n[2] <= 0.0));
        for (x, y) in [(0.3, -1.0), (2.0, 0.5), (-1.5, -0.2)] {
            assert!((net.at(x, y) - turned.at(x, y)).abs() < 1e-12);
        }
    }
}
