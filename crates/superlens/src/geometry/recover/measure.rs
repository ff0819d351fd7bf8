//! What can be said of coefficients that were found: how many, how near the rows, how near the optimum, how near the truth.

use super::lasso::broken;
use super::planted::{Score, active_atoms};
use super::{Dictionary, Sparse};
use superlens_tensor::Mat;

/// A row has converged if its optimality conditions hold to this share of λ.
pub const CONVERGED: f32 = 1e-3;
/// Rows at a time.
const BLOCK: usize = 512;

/// Coefficients of many rows, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Mean number of active atoms of a row: all whose coefficient is not zero.
    pub active: f64,
    /// Mean over the rows of `‖x − s D‖ / ‖x‖`.
    pub residual: f64,
    /// Where the truth is known.
    pub score: Option<Score>,
    /// Where a penalty was minimised.
    pub optimality: Option<Optimality>,
}

/// How near the least `½ ‖x − s D‖² + λ ‖s‖₁` a set of coefficients is; `s` counts unit atoms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Optimality {
    /// Mean over the rows.
    pub objective: f64,
    /// Duality gap as a share of `‖x‖²`: mean and largest over the rows. No row is further above its least value than this.
    pub gap: f64,
    pub largest_gap: f64,
    /// By how much an optimality condition is broken, as a share of λ: the most over atoms and rows; and the rows in which one is broken by
    /// more than [`CONVERGED`]. As measured on the coefficients, whatever the solver thought of them.
    pub largest_violation: f64,
    pub unconverged: usize,
}

impl Measure {
    /// Of `found` for the rows `x`; with `lambda` the duality gap is taken too. Panics where numbers of rows differ.
    pub fn of(
        dictionary: &Dictionary,
        x: &Mat,
        found: &[Sparse],
        truth: Option<&[Sparse]>,
        lambda: Option<f32>,
        non_negative: bool,
    ) -> Measure {
        assert_eq!(found.len(), x.rows(), "rows found and rows given");
        let rows = found.len().max(1) as f64;
        let (mut residual, mut optimality) = (0.0, Optimality::default());
        for from in (0..x.rows()).step_by(BLOCK) {
            let to = (from + BLOCK).min(x.rows());
            let rest = residuals(dictionary, x, found, from, to);
            let pulls = lambda.map(|_| dictionary.correlations(&rest));
            for i in from..to {
                let (whole, left) = (squared(x.row(i)), squared(rest.row(i - from)));
                residual += (left / whole.max(f64::MIN_POSITIVE)).sqrt();
                if let (Some(lambda), Some(pulls)) = (lambda, &pulls) {
                    let pull = pulls.row(i - from).iter().map(|p| if non_negative { *p } else { p.abs() });
                    let highest = f64::from(pull.fold(0.0, f32::max));
                    let sum = absolute_sum(dictionary, &found[i]);
                    let (objective, dual) = objectives(x.row(i), rest.row(i - from), f64::from(lambda), sum, highest);
                    let gap = (objective - dual).max(0.0) / whole.max(f64::MIN_POSITIVE);
                    optimality.objective += objective / rows;
                    optimality.gap += gap / rows;
                    optimality.largest_gap = optimality.largest_gap.max(gap);
                    let off = violation(dictionary, &found[i], pulls.row(i - from), lambda, non_negative);
                    optimality.largest_violation = optimality.largest_violation.max(off);
                    optimality.unconverged += usize::from(off > f64::from(CONVERGED));
                }
            }
        }
        Measure {
            active: found.iter().map(|row| active_atoms(row).count()).sum::<usize>() as f64 / rows,
            residual: residual / rows,
            score: truth.map(|truth| Score::of(found, truth)),
            optimality: lambda.map(|_| optimality),
        }
    }
}

/// `x − s D` of the rows `from..to`, summed in `f64`: near an exact fit it is much smaller than what it is the difference of.
fn residuals(dictionary: &Dictionary, x: &Mat, found: &[Sparse], from: usize, to: usize) -> Mat {
    let mut rest = Vec::with_capacity((to - from) * x.cols());
    for i in from..to {
        let mut row: Vec<f64> = x.row(i).iter().map(|v| f64::from(*v)).collect();
        for &(j, c) in &found[i] {
            let c = f64::from(c) * f64::from(dictionary.norms()[j as usize]);
            row.iter_mut().zip(dictionary.atoms().row(j as usize)).for_each(|(r, a)| *r -= c * f64::from(*a));
        }
        rest.extend(row.iter().map(|v| *v as f32));
    }
    Mat::from_vec(to - from, x.cols(), rest)
}

/// The most by which the optimality condition of an atom is broken, as a share of λ; `pulls` are the correlations with the residual.
fn violation(dictionary: &Dictionary, found: &Sparse, pulls: &[f32], lambda: f32, non_negative: bool) -> f64 {
    let mut found = found.iter().peekable();
    let mut worst = 0.0f32;
    for (j, &pull) in pulls.iter().enumerate() {
        let s = found.next_if(|c| c.0 as usize == j).map_or(0.0, |c| c.1);
        if dictionary.norms()[j] > 0.0 {
            worst = worst.max(broken(s, pull, lambda, non_negative));
        }
    }
    f64::from(worst) / f64::from(lambda)
}

/// The objective, and that of the dual at the residual, scaled down until no atom correlates with it by more than λ.
fn objectives(x: &[f32], rest: &[f32], lambda: f64, sum: f64, highest: f64) -> (f64, f64) {
    let scale = if highest > lambda { lambda / highest } else { 1.0 };
    let left = squared(rest);
    let along: f64 = x.iter().zip(rest).map(|(x, r)| f64::from(*x) * f64::from(*r)).sum();
    (0.5 * left + lambda * sum, scale * along - 0.5 * scale * scale * left)
}

fn squared(row: &[f32]) -> f64 {
    row.iter().map(|&v| f64::from(v).powi(2)).sum()
}

/// `‖s‖₁` of the unit atoms.
fn absolute_sum(dictionary: &Dictionary, row: &Sparse) -> f64 {
    row.iter().map(|&(j, c)| f64::from(c.abs()) * f64::from(dictionary.norms()[j as usize])).sum()
}

#[cfg(test)]
mod tests {
    use super::super::planted::{noisy, planted};
    use super::super::{Lasso, Recovery, unit_rows};
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn the_gap_closes_at_the_optimum_and_only_there() {
        let mut rng = Rng::new(1);
        let mut directions = unit_rows(60, 30, &mut rng);
        directions.data_mut().iter_mut().for_each(|v| *v *= 3.0);
        let dictionary = Dictionary::new(&directions);
        for non_negative in [false, true] {
            let (x, truth) = planted(&dictionary, BLOCK + 5, 4, non_negative, &mut rng);
            let x = noisy(&x, 0.1, &mut rng);
            let lasso = Lasso { non_negative, tolerance: 1e-4, ..Lasso::new(0.5) };
            let found = lasso.recover(&dictionary, &x);
            let of = |found: &[Sparse]| Measure::of(&dictionary, &x, found, Some(&truth), Some(0.5), non_negative);
            let best = of(&found);
            let optimality = best.optimality.unwrap();
            assert!(optimality.largest_gap < 1e-5 && optimality.gap <= optimality.largest_gap, "{optimality:?}");
            assert!(best.score.unwrap().recall > 0.99 && best.residual < 0.2 && best.active > 3.9);
            let worse = of(&truth).optimality.unwrap();
            assert!(worse.gap > 1e-3 && worse.objective > optimality.objective);
        }
    }

    #[test]
    fn nothing_found_leaves_the_whole_row() {
        let dictionary = Dictionary::new(&Mat::from_fn(3, 3, |i, j| f32::from(i == j)));
        let x = Mat::from_vec(2, 3, vec![3.0, 4.0, 0.0, 0.0, 0.0, 0.0]);
        let m = Measure::of(&dictionary, &x, &[vec![], vec![]], None, Some(4.0), false);
        assert_eq!((m.active, m.residual, m.score), (0.0, 0.5, None));
        assert_eq!(m.optimality, Some(Optimality { objective: 6.25, ..Optimality::default() }));
    }
}
