//! FISTA: the LASSO by accelerated proximal steps on whole vectors (Beck and Teboulle 2009, *A fast iterative
//! shrinkage-thresholding algorithm for linear inverse problems*), restarted where momentum leads astray (O'Donoghue and Candès 2015).
//!
//! Slower than [`Lasso`](super::Lasso) where few atoms matter, but all rows of a block move at once through two products of
//! matrices, however many atoms they use.

use super::fit::least_squares;
use super::{Dictionary, Recovery, Sparse};
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::{gemm, matmul};

/// Steps of the power method that finds the largest eigenvalue of the Gram matrix, and the room left for its error.
const POWER: usize = 60;
const SLACK: f32 = 1.02;

/// The LASSO `½ ‖x − s D‖² + λ ‖s‖₁`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fista {
    pub lambda: f32,
    pub non_negative: bool,
    /// Whether the atoms found are fitted again without the penalty.
    pub debias: bool,
    /// Steps at most.
    pub steps: usize,
    /// Done when no coefficient moves by more than this share of the largest.
    pub tolerance: f32,
}

impl Fista {
    pub fn new(lambda: f32) -> Self {
        Fista { lambda, non_negative: false, debias: false, steps: 2000, tolerance: 1e-5 }
    }
}

impl Recovery for Fista {
    fn name(&self) -> &'static str {
        "fista"
    }

    fn recover(&self, dictionary: &Dictionary, x: &Mat) -> Vec<Sparse> {
        let s = self.descend(dictionary, x);
        let row = |i: usize| -> Sparse {
            let active = s.row(i).iter().enumerate().filter(|(_, s)| **s != 0.0);
            if self.debias {
                let support: Vec<usize> = active.map(|(j, _)| j).collect();
                // More atoms than dimensions are no support.
                if support.len() <= dictionary.d() {
                    return least_squares(dictionary, x.row(i), &support);
                }
                return s
                    .row(i)
                    .iter()
                    .enumerate()
                    .filter(|(_, s)| **s != 0.0)
                    .map(|(j, s)| (j as u32, s / dictionary.norms()[j]))
                    .collect();
            }
            active.map(|(j, s)| (j as u32, s / dictionary.norms()[j])).collect()
        };
        (0..x.rows()).map(row).collect()
    }
}

impl Fista {
    /// Coefficients of unit atoms, `[rows, n]`.
    fn descend(&self, dictionary: &Dictionary, x: &Mat) -> Mat {
        let atoms = dictionary.atoms();
        let step = 1.0 / (SLACK * largest_eigenvalue(atoms)).max(f32::MIN_POSITIVE);
        let mut s = Mat::zeros(x.rows(), atoms.rows());
        let mut ahead = s.clone();
        let mut momentum = 1.0f32;
        for _ in 0..self.steps {
            // rest = x − ahead · D; next = shrink(ahead + step · rest · Dᵀ).
            let mut rest = x.clone();
            gemm(-1.0, ahead.view(), atoms.view(), 1.0, &mut rest);
            let mut next = ahead.clone();
            gemm(step, rest.view(), atoms.t(), 1.0, &mut next);
            next.data_mut().iter_mut().for_each(|v| *v = self.shrink(*v, step));
            let (mut moved, mut largest, mut uphill) = (0.0f32, 0.0f32, 0.0f32);
            for ((n, s), a) in next.data().iter().zip(s.data()).zip(ahead.data()) {
                moved = moved.max((n - s).abs());
                largest = largest.max(n.abs());
                uphill += (a - n) * (n - s);
            }
            let faster = 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt());
            let (pace, new) = if uphill > 0.0 { (0.0, 1.0) } else { ((momentum - 1.0) / faster, faster) };
            for ((a, n), s) in ahead.data_mut().iter_mut().zip(next.data()).zip(s.data()) {
                *a = n + pace * (n - s);
            }
            (s, momentum) = (next, new);
            if moved <= self.tolerance * largest || largest == 0.0 {
                break;
            }
        }
        s
    }

    fn shrink(&self, v: f32, step: f32) -> f32 {
        let by = step * self.lambda;
        if self.non_negative { (v - by).max(0.0) } else { v.signum() * (v.abs() - by).max(0.0) }
    }
}

/// Of `D Dᵀ`, from below, by the power method.
fn largest_eigenvalue(atoms: &Mat) -> f32 {
    // A start that no direction is at right angles to by construction.
    let mut v = Mat::from_fn(1, atoms.cols(), |_, j| 1.0 + 0.01 * ((j * 7919) % 101) as f32);
    let mut value = 0.0;
    for _ in 0..POWER {
        let next = matmul(&matmul(&v, atoms.t()), atoms);
        let norm = next.data().iter().map(|v| v * v).sum::<f32>().sqrt();
        if norm == 0.0 {
            return 0.0;
        }
        let before = v.data().iter().map(|v| v * v).sum::<f32>().sqrt();
        value = norm / before;
        v = next;
        v.data_mut().iter_mut().for_each(|v| *v /= norm);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::{Lasso, unit_rows};
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn it_agrees_with_coordinate_descent() {
        let mut rng = Rng::new(6);
        let dictionary = Dictionary::new(&unit_rows(90, 30, &mut rng));
        let x = Mat::from_fn(6, 30, |_, _| rng.normal());
        for non_negative in [false, true] {
            let slow = Fista { non_negative, tolerance: 1e-7, ..Fista::new(0.5) }.recover(&dictionary, &x);
            let fast = Lasso { non_negative, tolerance: 1e-5, ..Lasso::new(0.5) }.recover(&dictionary, &x);
            let (a, b) = (dictionary.rebuild(&slow), dictionary.rebuild(&fast));
            assert!(a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() < 2e-3));
        }
        let none = Fista::new(100.0).recover(&dictionary, &x);
        assert!(none.iter().all(Vec::is_empty));
    }
}
