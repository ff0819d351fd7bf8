//! How many active atoms are too many: the phase transition of sparse recovery, measured beside its formula.
//!
//! Axes as in the literature: δ = measurements / unknowns and ρ = active / measurements. For a dictionary of `n` atoms in `d`
//! dimensions δ = d/n and ρ = k/d.

use super::{Amp, Dictionary, Recovery, Sparse, unit_rows};
use rayon::prelude::*;
use statrs::distribution::{Continuous, ContinuousCDF, Normal};
use std::ops::ControlFlow;
use superlens_tensor::kernels::pointwise::axpy;
use superlens_tensor::{Mat, Rng};

/// A row is recovered if its coefficients are off by less than this share.
pub const SUCCESS: f32 = 1e-3;

/// Donoho and Tanner's weak threshold ρ(δ), from the state evolution of message passing (Donoho, Maleki and Montanari 2009), and the
/// threshold τ that reaches it: `ρ = max_z (1 − (κ/δ) g(z)) / (1 + z² − κ g(z))` with `g(z) = (1 + z²) Φ(−z) − z φ(z)`, κ = 2 for signed
/// and 1 for non-negative coefficients.
///
/// Panics unless `0 < delta < 1`.
pub fn weak_threshold(delta: f64, non_negative: bool) -> (f64, f64) {
    assert!(delta > 0.0 && delta < 1.0, "δ of {delta}, outside (0, 1)");
    let normal = Normal::standard();
    let kappa = if non_negative { 1.0 } else { 2.0 };
    let rho = |z: f64| {
        let g = (1.0 + z * z) * normal.cdf(-z) - z * normal.pdf(z);
        (1.0 - kappa / delta * g) / (1.0 + z * z - kappa * g)
    };
    // One hump: coarse steps, then golden section.
    let coarse = (0..=400).map(|i| 0.01 * f64::from(i)).max_by(|a, b| rho(*a).total_cmp(&rho(*b))).unwrap_or(1.0);
    let (mut low, mut high) = ((coarse - 0.02).max(0.0), coarse + 0.02);
    let golden = 0.5 * (5f64.sqrt() - 1.0);
    for _ in 0..60 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if rho(a) > rho(b) { high = b } else { low = a }
    }
    let z = 0.5 * (low + high);
    (rho(z), z)
}

/// `rows` random sums of `k` atoms, with coefficients of size 1 to 2 (positive, or of either sign), and those coefficients.
pub fn planted(
    dictionary: &Dictionary,
    rows: usize,
    k: usize,
    non_negative: bool,
    rng: &mut Rng,
) -> (Mat, Vec<Sparse>) {
    let one = |_| {
        let mut row: Sparse = rng.permutation(dictionary.n())[..k.min(dictionary.n())]
            .iter()
            .map(|&j| {
                let sign = if !non_negative && rng.chance(0.5) { -1.0 } else { 1.0 };
                (j as u32, sign * (1.0 + rng.uniform()))
            })
            .collect();
        row.sort_unstable_by_key(|a| a.0);
        row
    };
    let truth: Vec<Sparse> = (0..rows).map(one).collect();
    (dictionary.rebuild(&truth), truth)
}

/// Whether `found` has the coefficients of `truth`.
pub fn recovered(found: &Sparse, truth: &Sparse, n: usize) -> bool {
    let mut difference = vec![0.0f32; n];
    found.iter().for_each(|&(j, c)| difference[j as usize] += c);
    truth.iter().for_each(|&(j, c)| difference[j as usize] -= c);
    let size = |v: &mut dyn Iterator<Item = f32>| v.map(|v| v * v).sum::<f32>();
    let off = size(&mut difference.iter().copied());
    off <= SUCCESS * SUCCESS * size(&mut truth.iter().map(|a| a.1))
}

/// What the transition is measured with.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// Unknowns: atoms of each random dictionary.
    pub atoms: usize,
    pub deltas: Vec<f64>,
    /// Trials at each k that is tried.
    pub trials: usize,
    pub non_negative: bool,
}

/// One δ of a transition.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub delta: f64,
    /// ρ at which half of the trials succeed, by interpolation, and what the formula says.
    pub half: f64,
    pub theory: f64,
    /// Share recovered at each ρ that was tried, in ascending order.
    pub tried: Vec<(f64, f64)>,
}

impl Transition {
    /// Finds the k at which half of the trials succeed, by message passing: from the formula's k outwards until both sides are
    /// seen, then by bisection. Each δ and k draws from streams of its own.
    ///
    /// `watch` is told the share done and may break; then there is no answer.
    pub fn measure(&self, rng: &Rng, watch: &(dyn Fn(f64) -> ControlFlow<()> + Sync)) -> Option<Vec<Point>> {
        let mut points = Vec::new();
        for (i, &delta) in self.deltas.iter().enumerate() {
            let tell = |share: f64| watch((i as f64 + share) / self.deltas.len() as f64);
            points.push(self.point(delta, &rng.fork_index(i as u64), &tell)?);
        }
        Some(points)
    }

    fn point(&self, delta: f64, rng: &Rng, watch: &dyn Fn(f64) -> ControlFlow<()>) -> Option<Point> {
        let d = ((delta * self.atoms as f64).round() as usize).clamp(1, self.atoms - 1);
        let (theory, _) = weak_threshold(d as f64 / self.atoms as f64, self.non_negative);
        let rho = |k: usize| k as f64 / d as f64;
        let mut tried: Vec<(usize, f64)> = Vec::new();
        let middle = ((theory * d as f64).round() as usize).max(1);
        // The transition is about √n wide; four looks on each side of the formula's k find it.
        let step = ((0.015 * d as f64).round() as usize).max(1);
        for look in 0..9usize {
            let k = (middle + look * step).saturating_sub(4 * step).clamp(1, d);
            if tried.iter().all(|t| t.0 != k) {
                tried.push((k, self.successes(d, k, &rng.fork_index(k as u64))));
            }
            if watch((look + 1) as f64 / 9.0).is_break() {
                return None;
            }
        }
        tried.sort_by_key(|t| t.0);
        let shares: Vec<(f64, f64)> = tried.iter().map(|&(k, share)| (rho(k), share)).collect();
        Some(Point { delta: d as f64 / self.atoms as f64, half: half(&shares), theory, tried: shares })
    }

    /// The share of trials that message passing recovers, each on a dictionary of its own.
    fn successes(&self, d: usize, k: usize, rng: &Rng) -> f64 {
        let one = |trial: usize| {
            let mut rng = rng.fork_index(trial as u64);
            let dictionary = Dictionary::without_gram(unit_rows(self.atoms, d, &mut rng));
            let (x, truth) = planted(&dictionary, 1, k, self.non_negative, &mut rng);
            let found = Amp::tuned(&dictionary, self.non_negative).recover(&dictionary, &x);
            recovered(&found[0], &truth[0], self.atoms)
        };
        let won = (0..self.trials).into_par_iter().with_max_len(1).filter(|&t| one(t)).count();
        won as f64 / self.trials.max(1) as f64
    }
}

/// Where the share of successes falls through one half: the last crossing by interpolation, or the end where it never does.
fn half(shares: &[(f64, f64)]) -> f64 {
    let crossing = shares.windows(2).rev().find(|w| w[0].1 >= 0.5 && w[1].1 < 0.5);
    match (crossing, shares.first(), shares.last()) {
        (Some(w), ..) => w[0].0 + (w[1].0 - w[0].0) * (w[0].1 - 0.5) / (w[0].1 - w[1].1),
        (None, Some(first), _) if first.1 < 0.5 => first.0,
        (None, _, Some(last)) => last.0,
        _ => f64::NAN,
    }
}

/// Adds Gaussian noise of standard deviation `sigma` to every entry.
pub fn noisy(x: &Mat, sigma: f32, rng: &mut Rng) -> Mat {
    let mut noise = Mat::from_fn(x.rows(), x.cols(), |_, _| rng.normal());
    let mut out = x.clone();
    axpy(sigma, noise.data_mut(), out.data_mut());
    out
}

#[cfg(test)]
mod tests {
    use super::super::{BasisPursuit, Omp};
    use super::*;

    /// Values of the formula, and the known 0.386 and 0.558 at δ = 1/2.
    #[test]
    fn the_weak_threshold_is_the_published_curve() {
        for (delta, signed, positive, tau) in
            [(0.1, 0.1894, 0.2410, 1.736), (0.25, 0.2674, 0.3651, 1.292), (0.5, 0.3857, 0.5582, 0.877)]
        {
            let (rho, z) = weak_threshold(delta, false);
            assert!((rho - signed).abs() < 1e-4 && (z - tau).abs() < 1e-3, "{delta}: {rho} at {z}");
            assert!((weak_threshold(delta, true).0 - positive).abs() < 1e-4);
        }
    }

    #[test]
    fn the_transition_is_near_the_formula_already_at_small_sizes() {
        let t = Transition { atoms: 300, deltas: vec![0.5], trials: 12, non_negative: false };
        let points = t.measure(&Rng::new(0), &|_| ControlFlow::Continue(())).unwrap();
        assert!((points[0].half - points[0].theory).abs() < 0.06, "{points:?}");
        assert!(points[0].tried.first().unwrap().1 > points[0].tried.last().unwrap().1);
    }

    /// k < (1 + 1/μ)/2 active atoms are found whatever they are (Tropp 2004).
    #[test]
    fn a_low_coherence_guarantees_recovery() {
        let mut rng = Rng::new(4);
        // The identity beside a Hadamard matrix: μ = 1/√d.
        let d = 64usize;
        let entry = |i: usize, j: usize| match i < d {
            true => f32::from(i == j),
            false => (1.0 - 2.0 * (((i - d) & j).count_ones() % 2) as f32) / (d as f32).sqrt(),
        };
        let dictionary = Dictionary::new(&Mat::from_fn(2 * d, d, entry));
        let k = 4;
        for non_negative in [false, true] {
            let (x, truth) = planted(&dictionary, 200, k, non_negative, &mut rng);
            let methods: [&dyn Recovery; 2] = [&Omp { k, non_negative }, &BasisPursuit { non_negative }];
            for method in methods {
                let found = method.recover(&dictionary, &x);
                let all = found.iter().zip(&truth).all(|(f, t)| recovered(f, t, 2 * d));
                assert!(all, "{}", method.name());
            }
        }
    }

    #[test]
    fn the_half_is_where_the_shares_cross() {
        assert_eq!(half(&[(0.1, 1.0), (0.2, 0.75), (0.3, 0.25), (0.4, 0.0)]), 0.25);
        assert_eq!((half(&[(0.1, 0.2)]), half(&[(0.1, 1.0)])), (0.1, 0.1));
    }
}
