//! How many active atoms are too many: the phase transition of sparse recovery, measured beside its formula.
//!
//! Axes as in the literature: δ = measurements / unknowns and ρ = active / measurements. For a dictionary of `n` atoms in `d`
//! dimensions δ = d/n and ρ = k/d.

use super::methods::{Choice, Method, Needs};
use super::planted::{Amplitudes, planted_as, recovered};
use super::{Dictionary, refit, unit_rows};
use rayon::prelude::*;
use statrs::distribution::{Continuous, ContinuousCDF, Normal};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use superlens_tensor::Rng;

/// λ of methods with a penalty: small beside coefficients of size 1, so that the LASSO is near basis pursuit; the fit that follows takes
/// the rest away.
const LAMBDA: f32 = 0.01;
/// Between two ρ that are tried.
const STEP: f64 = 0.015;
/// How many are tried beyond the crossing on each side, so that the picture shows it whole.
const BEYOND: usize = 2;

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

/// What the transition is measured with.
#[derive(Clone, Debug)]
pub struct Transition {
    /// Unknowns: atoms of each random dictionary.
    pub atoms: usize,
    pub deltas: Vec<f64>,
    /// Trials at each k that is tried.
    pub trials: usize,
    pub method: &'static Method,
    pub amplitudes: Amplitudes,
    pub non_negative: bool,
}

/// One δ of a transition.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub delta: f64,
    /// ρ at which half of the trials succeed, by interpolation; `None` where no crossing was seen. And what the formula says.
    pub half: Option<f64>,
    pub theory: f64,
    /// Share recovered at each ρ that was tried, in ascending order.
    pub tried: Vec<(f64, f64)>,
}

impl Transition {
    /// Finds the ρ at which half of the trials succeed: from the formula's k in steps towards the side where it must be, until both sides
    /// are seen. Each δ and k draws from streams of its own.
    ///
    /// `watch` is told the share done and may break; then there is no answer.
    pub fn measure(&self, rng: &Rng, watch: &(dyn Fn(f64) -> ControlFlow<()> + Sync)) -> Option<Vec<Point>> {
        let point = |(i, &delta): (usize, &f64)| {
            let tell = |share: f64| watch((i as f64 + share) / self.deltas.len() as f64);
            self.point(delta, &rng.fork_index(i as u64), &tell)
        };
        self.deltas.iter().enumerate().map(point).collect()
    }

    fn point(&self, delta: f64, rng: &Rng, watch: &dyn Fn(f64) -> ControlFlow<()>) -> Option<Point> {
        let d = ((delta * self.atoms as f64).round() as usize).clamp(1, self.atoms - 1);
        let delta = d as f64 / self.atoms as f64;
        let (theory, _) = weak_threshold(delta, self.non_negative);
        let step = ((STEP * d as f64).round() as usize).max(1);
        let mut tried: BTreeMap<usize, f64> = BTreeMap::new();
        let mut look = |k: usize| {
            let share = *tried.entry(k).or_insert_with(|| self.successes(d, k, &rng.fork_index(k as u64)));
            // How many looks it takes is not known; four or five beyond the first are usual.
            watch(1.0 - 0.7f64.powi(tried.len() as i32)).is_continue().then_some(share)
        };
        let mut k = ((theory * d as f64).round() as usize).clamp(1, d);
        let up = look(k)? >= 0.5;
        loop {
            let next = if up { (k + step).min(d) } else { k.saturating_sub(step).max(1) };
            if next == k || (look(next)? >= 0.5) != up {
                break;
            }
            k = next;
        }
        // The crossing lies between k and the next one; look a little beyond both.
        for away in 1..=BEYOND {
            let (low, high) = if up { (k, k + step) } else { (k.saturating_sub(step), k) };
            look(low.saturating_sub(away * step).max(1))?;
            look((high + away * step).min(d))?;
        }
        let shares: Vec<(f64, f64)> = tried.iter().map(|(&k, &share)| (k as f64 / d as f64, share)).collect();
        Some(Point { delta, half: half(&shares), theory, tried: shares })
    }

    /// The share of trials that are recovered, each on a dictionary of its own.
    fn successes(&self, d: usize, k: usize, rng: &Rng) -> f64 {
        let choice = Choice { k, lambda: LAMBDA, non_negative: self.non_negative };
        let one = |trial: usize| {
            let mut rng = rng.fork_index(trial as u64);
            let atoms = unit_rows(self.atoms, d, &mut rng);
            let dictionary = if self.method.gram { Dictionary::new(&atoms) } else { Dictionary::without_gram(atoms) };
            let (x, truth) = planted_as(&dictionary, 1, k, self.amplitudes, self.non_negative, &mut rng);
            let mut found = self.method.build(&choice, &dictionary).recover(&dictionary, &x);
            if self.method.needs == Needs::Penalty {
                found = refit(&dictionary, &x, &found, self.non_negative);
            }
            recovered(&found[0], &truth[0])
        };
        let won = (0..self.trials).into_par_iter().with_max_len(1).filter(|&t| one(t)).count();
        won as f64 / self.trials.max(1) as f64
    }
}

/// Where the share of successes falls through one half: the last crossing by interpolation, if there is one.
fn half(shares: &[(f64, f64)]) -> Option<f64> {
    let w = shares.windows(2).rev().find(|w| w[0].1 >= 0.5 && w[1].1 < 0.5)?;
    Some(w[0].0 + (w[1].0 - w[0].0) * (w[0].1 - 0.5) / (w[0].1 - w[1].1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transition(method: &str) -> Transition {
        Transition {
            atoms: 300,
            deltas: vec![0.5],
            trials: 12,
            method: Method::find(method).unwrap(),
            amplitudes: Amplitudes::Uniform,
            non_negative: false,
        }
    }

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
        for method in ["amp", "basis_pursuit"] {
            let t = transition(method);
            let points = t.measure(&Rng::new(0), &|_| ControlFlow::Continue(())).unwrap();
            assert!((points[0].half.unwrap() - points[0].theory).abs() < 0.06, "{method}: {points:?}");
            assert!(points[0].tried.first().unwrap().1 > points[0].tried.last().unwrap().1);
        }
    }

    /// The search walks to a crossing far from the formula, gives the same for any number of threads, and stops when told.
    #[test]
    fn the_crossing_is_found_wherever_it_is() {
        let mut t = transition("omp");
        t.amplitudes = Amplitudes::Constant;
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| t.measure(&Rng::new(1), &|_| ControlFlow::Continue(()))).unwrap()
        };
        let points = run(1);
        assert!(points[0].half.unwrap() < points[0].theory - 0.04, "{points:?}");
        assert_eq!(points, run(3));
        assert!(t.measure(&Rng::new(1), &|_| ControlFlow::Break(())).is_none());
    }

    #[test]
    fn the_half_is_where_the_shares_cross() {
        assert_eq!(half(&[(0.1, 1.0), (0.2, 0.75), (0.3, 0.25), (0.4, 0.0)]), Some(0.25));
        assert_eq!((half(&[(0.1, 0.2)]), half(&[(0.1, 1.0)])), (None, None));
    }
}
