//! The least-squares fit of one row by a few atoms.

use super::{Dictionary, Sparse};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::pointwise::dot;

/// `found` `[rows]` for `x` `[rows, d]`, each row fitted again by least squares on its atoms: without the penalty, which shrinks every
/// coefficient. Where none may be negative, atoms that would get such a coefficient are left out. A row with more atoms than dimensions stays as
/// it is: that is no support. Panics where numbers of rows differ.
pub fn refit(dictionary: &Dictionary, x: &Mat, found: &[Sparse], non_negative: bool) -> Vec<Sparse> {
    assert_eq!(found.len(), x.rows(), "rows found and rows given");
    let row = |(i, row): (usize, &Sparse)| {
        if row.len() > dictionary.d() {
            return row.clone();
        }
        let mut support: Vec<usize> = row.iter().map(|c| c.0 as usize).collect();
        loop {
            let fitted = least_squares(dictionary, x.row(i), &support);
            if !non_negative || fitted.iter().all(|c| c.1 > 0.0) {
                return fitted;
            }
            support = fitted.iter().filter(|c| c.1 > 0.0).map(|c| c.0 as usize).collect();
        }
    };
    found.par_iter().enumerate().map(row).collect()
}

/// Least squares of `x` on the atoms of `support`, by Cholesky's method in `f64`; coefficients belong to the dictionary as it was
/// given. An atom in the span of those before it gets none.
pub(super) fn least_squares(dictionary: &Dictionary, x: &[f32], support: &[usize]) -> Sparse {
    let targets: Vec<f64> = support.iter().map(|&j| f64::from(dot(dictionary.atoms().row(j), x))).collect();
    let unit = solve(dictionary, support, &targets);
    let mut found: Sparse = support
        .iter()
        .zip(unit)
        .map(|(&j, c)| (j as u32, c as f32 / dictionary.norms()[j].max(f32::MIN_POSITIVE)))
        .collect();
    found.retain(|(_, c)| *c != 0.0);
    found.sort_unstable_by_key(|a| a.0);
    found
}

/// Solves `G_SS c = targets` on the unit atoms of `support`.
pub(super) fn solve(dictionary: &Dictionary, support: &[usize], targets: &[f64]) -> Vec<f64> {
    /// Squared distance from the span of the earlier atoms below which an atom is left out.
    const DEPENDENT: f64 = 1e-7;
    let n = support.len();
    let mut l = vec![0.0f64; n * n];
    let mut free = vec![true; n];
    for i in 0..n {
        for j in 0..=i {
            let done: f64 = (0..j).map(|k| l[i * n + k] * l[j * n + k]).sum();
            let entry = f64::from(dictionary.inner(support[i], support[j])) - done;
            if i == j {
                free[i] = entry > DEPENDENT;
                l[i * n + i] = if free[i] { entry.sqrt() } else { 0.0 };
            } else if free[j] {
                l[i * n + j] = entry / l[j * n + j];
            }
        }
    }
    let mut c = vec![0.0; n];
    for i in 0..n {
        let done: f64 = (0..i).map(|k| l[i * n + k] * c[k]).sum();
        c[i] = if free[i] { (targets[i] - done) / l[i * n + i] } else { 0.0 };
    }
    for i in (0..n).rev() {
        let done: f64 = (i + 1..n).map(|k| l[k * n + i] * c[k]).sum();
        c[i] = if free[i] { (c[i] - done) / l[i * n + i] } else { 0.0 };
    }
    c
}

#[cfg(test)]
mod tests {
    use super::super::unit_rows;
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn the_rest_is_at_right_angles_to_every_atom_taken() {
        let mut rng = Rng::new(5);
        let mut atoms = unit_rows(9, 12, &mut rng);
        atoms.data_mut().iter_mut().for_each(|v| *v *= 3.0);
        // A repeated atom must do no harm.
        let copy = atoms.row(2).to_vec();
        atoms.row_mut(7).copy_from_slice(&copy);
        let dictionary = Dictionary::new(&atoms);
        let x = Mat::from_fn(1, 12, |_, _| rng.normal());
        let found = least_squares(&dictionary, x.row(0), &[4, 2, 7, 0]);
        assert_eq!(found.iter().map(|a| a.0).collect::<Vec<_>>(), [0, 2, 4]);
        let fit = dictionary.rebuild(&[found]);
        let rest: Vec<f32> = x.row(0).iter().zip(fit.row(0)).map(|(a, b)| a - b).collect();
        assert!([0, 2, 4].iter().all(|&j| dot(atoms.row(j), &rest).abs() < 1e-5));
    }

    #[test]
    fn a_fit_gives_back_what_a_penalty_took() {
        let dictionary = Dictionary::new(&Mat::from_fn(5, 5, |i, j| f32::from(i == j) * 2.0));
        let x = Mat::from_vec(1, 5, vec![3.0, -2.0, 0.4, 0.0, 1.0]);
        assert_eq!(
            refit(&dictionary, &x, &[vec![(0, 1.25), (1, -0.75), (4, 0.25)]], false)[0],
            [(0, 1.5), (1, -1.0), (4, 0.5)]
        );
        assert_eq!(refit(&dictionary, &x, &[vec![(0, 1.25), (1, 0.1)]], true)[0], [(0, 1.5)]);
        let pair = Dictionary::new(&Mat::from_vec(2, 1, vec![1.0, 2.0]));
        let both = vec![vec![(0, 0.5), (1, 0.1)]];
        assert_eq!(refit(&pair, &Mat::from_vec(1, 1, vec![3.0]), &both, false), both);
    }
}
