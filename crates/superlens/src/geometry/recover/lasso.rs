//! The LASSO, `½ ‖x − s D‖² + λ ‖s‖₁`, by coordinate descent on the atoms that matter (Friedman, Hastie and Tibshirani 2010,
//! *Regularization paths for generalized linear models via coordinate descent*), and basis pursuit as its limit at λ → 0.
//!
//! Of thousands of atoms a row uses a few. So the descent runs among the few alone, on their corner of the Gram matrix, and only
//! when it has settled are the others asked whether one of them should come in.

use super::feature_sign::FeatureSign;
use super::fit::solve;
use super::measure::CONVERGED;
use super::{Dictionary, Recovery, Sparse};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::kernels::pursuit::{combine, dots};

/// Sweeps over the atoms in use, before their optimum is computed instead.
const SWEEPS: usize = 60;
/// Rounds of asking the others.
const ROUNDS: usize = 500;
/// Correlations, as a share of the largest, below which rounding in `f32` hides what is left.
const ROUNDING: f32 = 2e-7;

/// The LASSO at one λ, or at the end of a path to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lasso {
    /// Weight of the absolute coefficients of unit atoms, in the units of the rows.
    pub lambda: f32,
    pub non_negative: bool,
    /// The optimality conditions hold to this share of λ, as far as `f32` can tell.
    pub tolerance: f32,
}

impl Lasso {
    /// Optimal to half of [`CONVERGED`].
    pub fn new(lambda: f32) -> Self {
        Lasso { lambda, non_negative: false, tolerance: 0.5 * CONVERGED }
    }
}

impl Recovery for Lasso {
    fn name(&self) -> &'static str {
        "lasso"
    }

    fn recover(&self, dictionary: &Dictionary, x: &Mat) -> Vec<Sparse> {
        let correlations = dictionary.correlations(x);
        let row = |i: usize| {
            let mut state = State::new(dictionary, x.row(i), correlations.row(i), self.non_negative);
            state.descend(self.lambda, self.tolerance);
            state.coefficients()
        };
        (0..x.rows()).into_par_iter().map(row).collect()
    }
}

/// Basis pursuit, the least `‖s‖₁` with `x = s D`: the LASSO along a falling λ, until its atoms explain the row.
///
/// Rows with noise have no exact answer; there the path ends at the last λ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BasisPursuit {
    pub non_negative: bool,
}

/// λ falls by this factor, from the largest correlation down to this share of it.
const FALL: f32 = 0.7;
const LAST: f32 = 1e-4;
/// Share of a row that may be left unexplained.
const EXACT: f64 = 1e-5;
/// A coefficient below this share of the largest is rounding.
const NOTHING: f64 = 1e-4;

impl Recovery for BasisPursuit {
    fn name(&self) -> &'static str {
        "basis_pursuit"
    }

    fn recover(&self, dictionary: &Dictionary, x: &Mat) -> Vec<Sparse> {
        let correlations = dictionary.correlations(x);
        let row = |i: usize| {
            let (x, start) = (x.row(i), correlations.row(i));
            let mut state = State::new(dictionary, x, start, self.non_negative);
            let top = state.largest();
            let mut lambda = top;
            while lambda > LAST * top {
                lambda *= FALL;
                state.descend(lambda, 0.5 * CONVERGED);
                if let Some(exact) = self.exact(dictionary, x, &state) {
                    return exact;
                }
            }
            state.coefficients()
        };
        (0..x.rows()).into_par_iter().map(row).collect()
    }
}

impl BasisPursuit {
    /// The fit of the atoms in use without a penalty, if it explains the row with the signs that the LASSO gave them. Then the LASSO
    /// stays on these atoms down to λ = 0, and this is its limit. Atoms that get nothing but rounding are left out.
    fn exact(&self, dictionary: &Dictionary, x: &[f32], state: &State) -> Option<Sparse> {
        let mut support = state.support();
        if support.is_empty() || support.len() > dictionary.d() {
            return None;
        }
        let fit = |support: &[usize]| {
            let targets: Vec<f64> = support.iter().map(|&j| f64::from(state.start[j])).collect();
            solve(dictionary, support, &targets)
        };
        let first = fit(&support);
        let largest = first.iter().fold(0.0f64, |a, c| a.max(c.abs()));
        let mut kept = first.iter().map(|c| c.abs() > NOTHING * largest);
        support.retain(|_| kept.next().unwrap_or(false));
        let unit = fit(&support);
        let mut rest = x.to_vec();
        for (&j, &c) in support.iter().zip(&unit) {
            axpy(-c as f32, dictionary.atoms().row(j), &mut rest);
        }
        let left = f64::from(dot(&rest, &rest)).sqrt() / f64::from(dot(x, x)).sqrt();
        let same = support.iter().zip(&unit).all(|(&j, c)| (*c > 0.0) == (state.s[j] > 0.0));
        let coefficient = |(&j, &c): (&usize, &f64)| (j as u32, c as f32 / dictionary.norms()[j]);
        (left < EXACT && same).then(|| support.iter().zip(&unit).map(coefficient).collect())
    }
}

/// The descent of one row.
struct State<'a> {
    dictionary: &'a Dictionary,
    x: &'a [f32],
    /// Correlations of the atoms with the row.
    start: &'a [f32],
    non_negative: bool,
    /// Coefficients of unit atoms, all `n`.
    s: Vec<f32>,
    /// Correlations with the residual, kept for all atoms between rounds.
    rest: Vec<f32>,
    /// Atoms in use, in the order in which they came.
    active: Vec<usize>,
}

impl<'a> State<'a> {
    fn new(dictionary: &'a Dictionary, x: &'a [f32], start: &'a [f32], non_negative: bool) -> Self {
        let n = dictionary.n();
        State { dictionary, x, start, non_negative, s: vec![0.0; n], rest: start.to_vec(), active: Vec::new() }
    }

    /// The λ from which on every coefficient is zero.
    fn largest(&self) -> f32 {
        let size = |c: &f32| if self.non_negative { *c } else { c.abs() };
        self.start.iter().map(size).fold(0.0, f32::max)
    }

    fn support(&self) -> Vec<usize> {
        let mut support: Vec<usize> = self.active.iter().copied().filter(|&j| self.s[j] != 0.0).collect();
        support.sort_unstable();
        support
    }

    fn coefficients(&self) -> Sparse {
        self.support().into_iter().map(|j| (j as u32, self.s[j] / self.dictionary.norms()[j])).collect()
    }

    /// Brings the coefficients to the optimum at `lambda`, from wherever they are.
    fn descend(&mut self, lambda: f32, tolerance: f32) {
        let enough = (tolerance * lambda).max(ROUNDING * self.largest());
        for _ in 0..ROUNDS {
            let before = self.support();
            if self.settle(lambda, enough) {
                self.refresh();
            } else {
                self.settle_exactly(lambda);
                self.refresh_exactly();
                if self.support() == before {
                    // Solved exactly, and again: what is still broken is rounding of the coefficients.
                    return;
                }
            }
            // Whoever breaks its condition most comes in, with all that break theirs half as much.
            let live = |j: &usize| self.dictionary.norms()[*j] > 0.0;
            let broken = |j: usize| broken(self.s[j], self.rest[j], lambda, self.non_negative);
            let worst = (0..self.rest.len()).filter(live).map(broken).fold(0.0, f32::max);
            if worst <= enough {
                return;
            }
            let idle = (0..self.rest.len()).filter(live).filter(|&j| self.s[j] == 0.0);
            let new: Vec<usize> = idle.filter(|&j| broken(j) >= 0.5 * worst).collect();
            self.active.retain(|&j| self.s[j] != 0.0);
            self.active.extend(new);
        }
    }

    /// Coordinate descent among the atoms in use; `false` if it creeps.
    fn settle(&mut self, lambda: f32, enough: f32) -> bool {
        let a = self.active.len();
        let corner: Vec<f32> = self
            .active
            .iter()
            .flat_map(|&i| self.active.iter().map(move |&j| (i, j)))
            .map(|(i, j)| self.dictionary.inner(i, j))
            .collect();
        let mut rest: Vec<f32> = self.active.iter().map(|&j| self.rest[j]).collect();
        let mut s: Vec<f32> = self.active.iter().map(|&j| self.s[j]).collect();
        let settled = (0..SWEEPS).any(|_| {
            for k in 0..a {
                let free = rest[k] + s[k];
                let new = if self.non_negative {
                    (free - lambda).max(0.0)
                } else {
                    free.signum() * (free.abs() - lambda).max(0.0)
                };
                let change = new - s[k];
                if change != 0.0 {
                    axpy(-change, &corner[k * a..(k + 1) * a], &mut rest);
                    s[k] = new;
                }
            }
            (0..a).all(|k| broken(s[k], rest[k], lambda, self.non_negative) <= 0.5 * enough)
        });
        self.active.iter().zip(&s).for_each(|(&j, &s)| self.s[j] = s);
        settled
    }

    /// The optimum among the atoms in use by feature-sign search, in `f64`.
    fn settle_exactly(&mut self, lambda: f32) {
        let wide = |row: &[f32]| row.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
        let atoms: Vec<Vec<f64>> = self.active.iter().map(|&j| wide(self.dictionary.atoms().row(j))).collect();
        let a = atoms.len();
        let mut corner = vec![0.0f64; a * a];
        for i in 0..a {
            for j in 0..=i {
                corner[i * a + j] = dot(&atoms[i], &atoms[j]);
                corner[j * a + i] = corner[i * a + j];
            }
        }
        let x = wide(self.x);
        let start: Vec<f64> = atoms.iter().map(|atom| dot(atom, &x)).collect();
        let mut s: Vec<f64> = self.active.iter().map(|&j| f64::from(self.s[j])).collect();
        let lambda = f64::from(lambda);
        FeatureSign { corner: &corner, start: &start, lambda, non_negative: self.non_negative }.solve(&mut s);
        self.active.iter().zip(&s).for_each(|(&j, &s)| self.s[j] = s as f32);
    }

    /// As [`refresh`](Self::refresh), with the residual summed in `f64`: beside a tiny λ rounding of the inner products counts.
    fn refresh_exactly(&mut self) {
        let mut rest: Vec<f64> = self.x.iter().map(|v| f64::from(*v)).collect();
        for &j in &self.active {
            let s = f64::from(self.s[j]);
            rest.iter_mut().zip(self.dictionary.atoms().row(j)).for_each(|(r, v)| *r -= s * f64::from(*v));
        }
        let rest: Vec<f32> = rest.iter().map(|v| *v as f32).collect();
        dots(self.dictionary.atoms(), &rest, &mut self.rest);
    }

    /// Correlations of all atoms with the residual, afresh, so that rounding does not add up.
    fn refresh(&mut self) {
        if let Some(gram) = self.dictionary.gram() {
            let used = self.active.iter().filter(|&&j| self.s[j] != 0.0);
            let terms: Vec<(f32, &[f32])> = used.map(|&j| (-self.s[j], gram.row(j))).collect();
            combine(self.start, &terms, &mut self.rest);
        } else {
            self.rest.copy_from_slice(self.start);
            let mut sum = vec![0.0; self.dictionary.d()];
            for &j in self.active.iter().filter(|&&j| self.s[j] != 0.0) {
                axpy(self.s[j], self.dictionary.atoms().row(j), &mut sum);
            }
            for (j, rest) in self.rest.iter_mut().enumerate() {
                *rest -= dot(self.dictionary.atoms().row(j), &sum);
            }
        }
    }
}

/// By how much the coefficient `s` of an atom breaks its optimality condition, where the atom's correlation with the residual is `rest`: that
/// is λ times the sign where a coefficient stands, and no more than λ elsewhere.
pub(super) fn broken(s: f32, rest: f32, lambda: f32, non_negative: bool) -> f32 {
    if s != 0.0 {
        (rest - lambda * s.signum()).abs()
    } else {
        (if non_negative { rest } else { rest.abs() } - lambda).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Measure;
    use super::super::planted::planted;
    use super::super::unit_rows;
    use super::*;
    use superlens_tensor::Rng;

    /// The subgradient conditions: the correlation with the residual is λ times the sign where a coefficient stands, and at most λ
    /// elsewhere.
    #[test]
    fn the_optimality_conditions_hold() {
        let mut rng = Rng::new(1);
        for (n, d) in [(120, 40), (4100, 30)] {
            let dictionary = Dictionary::new(&unit_rows(n, d, &mut rng));
            let x = Mat::from_fn(8, d, |_, _| rng.normal());
            for non_negative in [false, true] {
                let lambda = 0.4;
                let found = Lasso { non_negative, tolerance: 1e-4, ..Lasso::new(lambda) }.recover(&dictionary, &x);
                let fit = dictionary.rebuild(&found);
                for (i, row) in found.iter().enumerate() {
                    let rest: Vec<f32> = x.row(i).iter().zip(fit.row(i)).map(|(a, b)| a - b).collect();
                    assert!(row.len() > 3);
                    for j in 0..n {
                        let c = dot(dictionary.atoms().row(j), &rest);
                        match row.iter().find(|a| a.0 as usize == j) {
                            Some((_, s)) => assert!((c - lambda * s.signum()).abs() < 1e-3, "{c}"),
                            None if non_negative => assert!(c < lambda + 1e-3, "{c}"),
                            None => assert!(c.abs() < lambda + 1e-3, "{c}"),
                        }
                    }
                }
            }
        }
    }

    /// On an orthonormal dictionary the coefficients are the correlations, shrunk by λ.
    #[test]
    fn shrinkage_is_lambda() {
        let dictionary = Dictionary::new(&Mat::from_fn(5, 5, |i, j| f32::from(i == j) * 2.0));
        let x = Mat::from_vec(1, 5, vec![3.0, -2.0, 0.4, 0.0, 1.0]);
        let shrunk = Lasso::new(0.5).recover(&dictionary, &x);
        assert_eq!(shrunk[0], [(0, 1.25), (1, -0.75), (4, 0.25)]);
    }

    /// Atoms that are nearly parallel and a tiny λ, where coordinate descent alone stopped with conditions broken by up to 3 λ.
    #[test]
    fn coherent_atoms_and_a_tiny_lambda_converge() {
        let mut rng = Rng::new(9);
        for (n, d, shared) in [(200, 40, 4.0f32), (60, 80, 10.0)] {
            let atoms = Mat::from_fn(n, d, |_, j| rng.normal() / (d as f32).sqrt() + if j == 0 { shared } else { 0.0 });
            let dictionary = Dictionary::new(&atoms);
            let x = Mat::from_fn(4, d, |_, _| rng.normal());
            let longest = (0..4).map(|i| dot(x.row(i), x.row(i)).sqrt()).fold(0.0, f32::max);
            for (non_negative, lambda) in [(false, 1e-2), (true, 1e-2), (false, 1e-3), (true, 1e-3)] {
                let found = Lasso { non_negative, ..Lasso::new(lambda) }.recover(&dictionary, &x);
                let m = Measure::of(&dictionary, &x, &found, None, Some(lambda), non_negative);
                let off = m.optimality.unwrap().largest_violation as f32 * lambda;
                // Beside the smaller λ, coefficients rounded to `f32` can do no better than about a millionth of the row.
                let allowed = if lambda > 5e-3 { CONVERGED * lambda } else { 1e-6 * longest };
                assert!(off <= allowed, "{n}, {lambda}: {off} of {allowed}");
            }
        }
    }

    #[test]
    fn basis_pursuit_finds_planted_rows_exactly() {
        let mut rng = Rng::new(2);
        let dictionary = Dictionary::new(&unit_rows(160, 60, &mut rng));
        for non_negative in [false, true] {
            let (x, truth) = planted(&dictionary, 20, 9, non_negative, &mut rng);
            let found = BasisPursuit { non_negative }.recover(&dictionary, &x);
            for (got, want) in found.iter().zip(&truth) {
                assert!(
                    got.len() == want.len()
                        && got.iter().zip(want).all(|(g, w)| g.0 == w.0 && (g.1 - w.1).abs() < 1e-3)
                );
            }
        }
        let empty = BasisPursuit { non_negative: false }.recover(&dictionary, &Mat::zeros(2, 60));
        assert!(empty.iter().all(Vec::is_empty));
    }
}
