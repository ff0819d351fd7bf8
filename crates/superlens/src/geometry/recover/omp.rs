//! Orthogonal matching pursuit over any set of directions, all rows of a block at once.
//!
//! Per row: take the atom that correlates best with the residual, fit all atoms taken so far by least squares, repeat.
//! The correlations follow from the Gram matrix without touching the residual (Rubinstein, Zibulevsky and Elad 2008,
//! *Efficient implementation of the K-SVD algorithm using batch OMP*). The non-negative variant takes positive
//! correlations only and keeps the fit feasible as Lawson and Hanson (1974, ch. 23) do, dropping an atom whose
//! coefficient would turn negative.

use super::{Dictionary, Recovery, Sparse};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::kernels::pursuit::{combine, largest};

/// A row is done when no atom correlates with its residual by more than this share of the row's norm: what is left
/// is rounding.
const DONE: f32 = 1e-5;
/// An atom with less than this squared distance from the span of those taken adds nothing but rounding.
const DEPENDENT: f64 = 1e-6;

/// Orthogonal matching pursuit with at most `k` atoms a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Omp {
    pub k: usize,
    pub non_negative: bool,
}

impl Recovery for Omp {
    fn name(&self) -> &'static str {
        "omp"
    }

    fn recover(&self, dictionary: &Dictionary, x: &Mat) -> Vec<Sparse> {
        let correlations = dictionary.correlations(x);
        (0..x.rows())
            .into_par_iter()
            .map_init(Default::default, |(fit, rest), i| self.row(dictionary, x.row(i), correlations.row(i), fit, rest))
            .collect()
    }
}

impl Omp {
    /// One row; what `fit` and `correlations` hold before does not matter.
    fn row(&self, atoms: &Dictionary, x: &[f32], start: &[f32], fit: &mut Fit, correlations: &mut Vec<f32>) -> Sparse {
        let (k, non_negative) = (self.k.min(atoms.n()), self.non_negative);
        let done = DONE * dot(x, x).sqrt();
        fit.clear();
        correlations.clear();
        correlations.extend_from_slice(start);
        // Each turn takes one atom; the non-negative fit may drop some again, hence more turns than atoms. Every turn
        // lowers the residual, and the bound only guards against rounding.
        for turn in 0..3 * k {
            if fit.atoms.len() == k {
                break;
            }
            if turn > 0 {
                correlate(atoms, x, start, fit, correlations);
            }
            let Some((best, height)) = largest(correlations, non_negative) else { break };
            if height <= done || !fit.take(best, start[best], |j| f64::from(atoms.inner(best, j))) {
                break;
            }
            fit.solve(non_negative);
        }
        let found = fit.atoms.iter().zip(&fit.coefficients);
        let mut active: Sparse = found.map(|(&j, &c)| (j as u32, c as f32 / atoms.norms()[j])).collect();
        active.sort_unstable_by_key(|a| a.0);
        active
    }
}

/// Correlations of every atom with the residual of `fit`.
fn correlate(atoms: &Dictionary, x: &[f32], start: &[f32], fit: &Fit, out: &mut [f32]) {
    if let Some(gram) = atoms.gram() {
        let taken = fit.atoms.iter().zip(&fit.coefficients);
        let terms: Vec<(f32, &[f32])> = taken.map(|(&j, &c)| (-c as f32, gram.row(j))).collect();
        combine(start, &terms, out);
    } else {
        let mut residual = x.to_vec();
        for (&j, &c) in fit.atoms.iter().zip(&fit.coefficients) {
            axpy(-c as f32, atoms.atoms().row(j), &mut residual);
        }
        for (j, o) in out.iter_mut().enumerate() {
            *o = dot(atoms.atoms().row(j), &residual);
        }
    }
    // Zero by the normal equations; rounding must not let an atom be taken twice.
    fit.atoms.iter().for_each(|&j| out[j] = 0.0);
}

/// The least-squares fit of one row: atoms taken, their coefficients, and the inverse of their Gram matrix.
#[derive(Default)]
struct Fit {
    atoms: Vec<usize>,
    coefficients: Vec<f64>,
    /// Correlation of each taken atom with the row itself.
    targets: Vec<f64>,
    /// `inverse[a][b]`, symmetric, of the Gram matrix of `atoms`.
    inverse: Vec<Vec<f64>>,
}

impl Fit {
    fn clear(&mut self) {
        self.atoms.clear();
        self.coefficients.clear();
        self.targets.clear();
        self.inverse.clear();
    }

    /// Takes `atom` with coefficient zero, by the bordering formula. False, and nothing changes, where the atom lies in
    /// the span of those already taken.
    fn take(&mut self, atom: usize, target: f32, gram: impl Fn(usize) -> f64) -> bool {
        let column: Vec<f64> = self.atoms.iter().map(|&j| gram(j)).collect();
        let solved: Vec<f64> = self.inverse.iter().map(|row| dot(row, &column)).collect();
        let distance = gram(atom) - dot(&column, &solved);
        if distance < DEPENDENT {
            return false;
        }
        for (row, &a) in self.inverse.iter_mut().zip(&solved) {
            row.iter_mut().zip(&solved).for_each(|(m, b)| *m += a * b / distance);
            row.push(-a / distance);
        }
        let mut last: Vec<f64> = solved.iter().map(|a| -a / distance).collect();
        last.push(1.0 / distance);
        self.inverse.push(last);
        self.atoms.push(atom);
        self.coefficients.push(0.0);
        self.targets.push(f64::from(target));
        true
    }

    /// Drops the atom at `place`: the inverse of the smaller Gram matrix is the Schur complement.
    fn drop_at(&mut self, place: usize) {
        let gone = self.inverse.remove(place);
        let pivot = gone[place];
        for row in &mut self.inverse {
            let factor = row[place] / pivot;
            row.iter_mut().zip(&gone).for_each(|(m, g)| *m -= factor * g);
            row.remove(place);
        }
        self.atoms.remove(place);
        self.coefficients.remove(place);
        self.targets.remove(place);
    }

    /// Refits all coefficients. With `non_negative`, walks from the last feasible coefficients towards the fit and drops
    /// whatever reaches zero on the way.
    fn solve(&mut self, non_negative: bool) {
        loop {
            let free: Vec<f64> = self.inverse.iter().map(|row| dot(row, &self.targets)).collect();
            let blocking = |(place, &f): (usize, &f64)| {
                (f <= 0.0).then(|| (place, self.coefficients[place] / (self.coefficients[place] - f)))
            };
            let nearest = free.iter().enumerate().filter_map(blocking).min_by(|a, b| a.1.total_cmp(&b.1));
            match nearest {
                Some((place, step)) if non_negative => {
                    let step = if step.is_finite() { step } else { 0.0 };
                    self.coefficients.iter_mut().zip(&free).for_each(|(c, f)| *c += step * (f - *c));
                    self.drop_at(place);
                }
                _ => {
                    self.coefficients = free;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MAX_GRAM_ATOMS, unit_rows};
    use super::*;
    use superlens_tensor::Rng;
    use superlens_tensor::kernels::gemm::matmul;

    fn encode(atoms: &Mat, x: &Mat, k: usize, non_negative: bool) -> Vec<Sparse> {
        Omp { k, non_negative }.recover(&Dictionary::new(atoms), x)
    }

    /// Rows `s · atoms` with `k` active atoms of strength 1 to 2, and their supports and coefficients.
    fn planted(atoms: &Mat, rows: usize, k: usize, signed: bool, rng: &mut Rng) -> (Mat, Vec<Sparse>) {
        let mut x = Mat::zeros(rows, atoms.cols());
        let truth = (0..rows)
            .map(|i| {
                let mut active: Sparse = rng.permutation(atoms.rows())[..k]
                    .iter()
                    .map(|&j| (j as u32, (1.0 + rng.uniform()) * if signed && rng.chance(0.5) { -1.0 } else { 1.0 }))
                    .collect();
                active.sort_unstable_by_key(|a| a.0);
                for &(j, s) in &active {
                    axpy(s, atoms.row(j as usize), x.row_mut(i));
                }
                active
            })
            .collect();
        (x, truth)
    }

    #[test]
    fn planted_supports_come_back_exactly() {
        let mut rng = Rng::new(0).fork("omp");
        // 256 random directions in 128 dimensions; rows of 4: incoherent enough for exact recovery.
        for (n, signed) in [(256, true), (256, false), (MAX_GRAM_ATOMS + 1, false)] {
            let atoms = unit_rows(n, 128, &mut rng);
            let (x, truth) = planted(&atoms, if n > 256 { 20 } else { 200 }, 4, signed, &mut rng);
            let dictionary = Dictionary::new(&atoms);
            assert_eq!(dictionary.gram().is_some(), n <= MAX_GRAM_ATOMS);
            let found = Omp { k: 8, non_negative: !signed }.recover(&dictionary, &x);
            for (i, (got, want)) in found.iter().zip(&truth).enumerate() {
                let support = |row: &Sparse| row.iter().map(|a| a.0).collect::<Vec<_>>();
                assert_eq!(support(got), support(want), "support of row {i}, {n} atoms");
                assert!(got.iter().zip(want).all(|(g, w)| (g.1 - w.1).abs() < 1e-3), "coefficients of row {i}");
            }
        }
    }

    #[test]
    fn coefficients_belong_to_the_rows_as_given() {
        let mut rng = Rng::new(1).fork("omp");
        let atoms = unit_rows(20, 40, &mut rng);
        let (x, truth) = planted(&atoms, 10, 2, false, &mut rng);
        let mut doubled = atoms.clone();
        doubled.data_mut().iter_mut().for_each(|v| *v *= 2.0);
        for (got, want) in encode(&doubled, &x, 2, false).iter().zip(&truth) {
            assert!(got.iter().zip(want).all(|(g, w)| (2.0 * g.1 - w.1).abs() < 1e-4));
        }
    }

    /// Non-negative fits of dense data over a coherent dictionary: no coefficient is negative, and the residual is
    /// orthogonal to every taken atom.
    #[test]
    fn non_negative_fits_meet_the_optimality_conditions() {
        let mut rng = Rng::new(2).fork("omp");
        let atoms = unit_rows(60, 6, &mut rng);
        let x = Mat::from_fn(300, 6, |_, _| rng.normal());
        for (i, active) in encode(&atoms, &x, 6, true).iter().enumerate() {
            assert!((1..=6).contains(&active.len()) && active.iter().all(|a| a.1 > 0.0), "row {i}: {active:?}");
            let mut residual = x.row(i).to_vec();
            active.iter().for_each(|&(j, v)| axpy(-v, atoms.row(j as usize), &mut residual));
            for &(j, _) in active {
                assert!(dot(atoms.row(j as usize), &residual).abs() < 1e-4, "row {i} atom {j}");
            }
        }
    }

    #[test]
    fn duplicates_zeros_and_empty_supports_are_harmless() {
        let atoms = Mat::from_vec(4, 2, vec![1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let x = Mat::from_vec(3, 2, vec![3.0, 0.0, 0.0, 0.0, -1.0, -2.0]);
        let encode = |k, non_negative| encode(&atoms, &x, k, non_negative);
        assert_eq!(encode(4, false), [vec![(0, 3.0)], vec![], vec![(0, -1.0), (3, -2.0)]]);
        assert_eq!(encode(4, true)[2], []);
        assert!(encode(0, false).iter().all(Vec::is_empty));
    }

    /// The oblique atom correlates best and is taken first, but once both axes are in, its coefficient would be −0.3.
    #[test]
    fn an_atom_that_turns_negative_is_dropped() {
        let atoms = Mat::from_vec(3, 3, vec![2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        let x = Mat::from_vec(1, 3, vec![1.0, 1.0, -0.1]);
        let encode = |k, non_negative| encode(&atoms, &x, k, non_negative).remove(0);
        assert_eq!(encode(1, true)[0].0, 0);
        let fitted = encode(3, true);
        assert!(fitted.len() == 2 && fitted.iter().zip([1, 2]).all(|(f, j)| f.0 == j && (f.1 - 1.0).abs() < 1e-5));
        assert!((encode(3, false)[0].1 + 0.3).abs() < 1e-5);
    }

    #[test]
    fn dropping_an_atom_leaves_the_inverse_of_the_smaller_gram_matrix() {
        let atoms = unit_rows(4, 6, &mut Rng::new(3).fork("omp"));
        let gram = matmul(&atoms, atoms.t());
        let mut fit = Fit::default();
        for j in 0..4 {
            assert!(fit.take(j, 1.0, |i| f64::from(gram[(i, j)])));
        }
        fit.drop_at(1);
        assert_eq!(fit.atoms, [0, 2, 3]);
        for (a, row) in fit.inverse.iter().enumerate() {
            for b in 0..3 {
                let product: f64 = (0..3).map(|c| row[c] * f64::from(gram[(fit.atoms[c], fit.atoms[b])])).sum();
                assert!((product - f64::from(a == b)).abs() < 1e-5, "{a} {b}: {product}");
            }
        }
    }
}
