//! FISTA: the LASSO by accelerated proximal steps on whole vectors (Beck and Teboulle 2009, *A fast iterative
//! shrinkage-thresholding algorithm for linear inverse problems*), restarted where momentum leads astray (O'Donoghue and Candès 2015).
//!
//! Slower than [`Lasso`](super::Lasso) where few atoms matter, but all rows of a block move at once through two products of
//! matrices, however many atoms they use.

use super::lasso::broken;
use super::measure::CONVERGED;
use super::{Dictionary, Recovery, Sparse};
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::{gemm, matmul};

/// Steps of the power method that finds the largest eigenvalue of the Gram matrix, and the room left for its error.
const POWER: usize = 60;
const SLACK: f32 = 1.02;
/// Steps after which rows are asked whether they have converged.
const ASK: usize = 20;

/// The LASSO `½ ‖x − s D‖² + λ ‖s‖₁`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fista {
    pub lambda: f32,
    pub non_negative: bool,
    /// Steps at most: a row of nearly parallel atoms at a small λ may take more, and is then not at its optimum.
    pub steps: usize,
    /// A row is done when its optimality conditions hold to this share of λ.
    pub tolerance: f32,
}

impl Fista {
    pub fn new(lambda: f32) -> Self {
        Fista { lambda, non_negative: false, steps: 10_000, tolerance: 0.5 * CONVERGED }
    }
}

impl Recovery for Fista {
    fn name(&self) -> &'static str {
        "fista"
    }

    fn recover(&self, dictionary: &Dictionary, x: &Mat) -> Vec<Sparse> {
        let step = 1.0 / (SLACK * largest_eigenvalue(dictionary.atoms())).max(f32::MIN_POSITIVE);
        let mut found: Vec<Sparse> = vec![Vec::new(); x.rows()];
        let mut moving = Moving::new(x, dictionary.n());
        let mut taken = 0;
        while !moving.rows.is_empty() {
            for _ in 0..ASK.min(self.steps - taken) {
                self.advance(dictionary, &mut moving, step);
            }
            taken = (taken + ASK).min(self.steps);
            let last = taken == self.steps;
            let pulls = moving.pulls(dictionary);
            let done = |r: usize| last || self.converged(dictionary, moving.s.row(r), pulls.row(r));
            let (done, left): (Vec<usize>, Vec<usize>) = (0..moving.rows.len()).partition(|&r| done(r));
            for r in done {
                let active = moving.s.row(r).iter().enumerate().filter(|(_, s)| **s != 0.0);
                found[moving.rows[r]] = active.map(|(j, s)| (j as u32, s / dictionary.norms()[j])).collect();
            }
            if left.len() < moving.rows.len() {
                moving = moving.only(&left);
            }
        }
        found
    }
}

/// The rows that have not converged yet.
struct Moving {
    /// Which they are.
    rows: Vec<usize>,
    x: Mat,
    /// Coefficients of unit atoms, and where momentum carries them, `[rows, n]`.
    s: Mat,
    ahead: Mat,
    momentum: Vec<f32>,
}

impl Moving {
    fn new(x: &Mat, n: usize) -> Self {
        let zero = Mat::zeros(x.rows(), n);
        let rows = x.rows();
        Moving { rows: (0..rows).collect(), x: x.clone(), s: zero.clone(), ahead: zero, momentum: vec![1.0; rows] }
    }

    fn only(&self, left: &[usize]) -> Self {
        Moving {
            rows: left.iter().map(|&r| self.rows[r]).collect(),
            x: self.x.select_rows(left),
            s: self.s.select_rows(left),
            ahead: self.ahead.select_rows(left),
            momentum: left.iter().map(|&r| self.momentum[r]).collect(),
        }
    }

    /// Correlations of all atoms with the residuals.
    fn pulls(&self, dictionary: &Dictionary) -> Mat {
        let mut rest = self.x.clone();
        gemm(-1.0, self.s.view(), dictionary.atoms().view(), 1.0, &mut rest);
        dictionary.correlations(&rest)
    }
}

impl Fista {
    /// One step of every row.
    fn advance(&self, dictionary: &Dictionary, m: &mut Moving, step: f32) {
        let atoms = dictionary.atoms();
        // rest = x − ahead · D; next = shrink(ahead + step · rest · Dᵀ).
        let mut rest = m.x.clone();
        gemm(-1.0, m.ahead.view(), atoms.view(), 1.0, &mut rest);
        let mut next = m.ahead.clone();
        gemm(step, rest.view(), atoms.t(), 1.0, &mut next);
        next.data_mut().iter_mut().for_each(|v| *v = self.shrink(*v, step));
        for (r, momentum) in m.momentum.iter_mut().enumerate() {
            let (next, s, ahead) = (next.row(r), m.s.row(r), m.ahead.row_mut(r));
            let uphill: f32 = next.iter().zip(s).zip(&*ahead).map(|((n, s), a)| (a - n) * (n - s)).sum();
            let faster = 0.5 * (1.0 + (1.0 + 4.0 * *momentum * *momentum).sqrt());
            let (pace, new) = if uphill > 0.0 { (0.0, 1.0) } else { ((*momentum - 1.0) / faster, faster) };
            ahead.iter_mut().zip(next).zip(s).for_each(|((a, n), s)| *a = n + pace * (n - s));
            *momentum = new;
        }
        m.s = next;
    }

    fn shrink(&self, v: f32, step: f32) -> f32 {
        let by = step * self.lambda;
        if self.non_negative { (v - by).max(0.0) } else { v.signum() * (v.abs() - by).max(0.0) }
    }

    fn converged(&self, dictionary: &Dictionary, s: &[f32], pulls: &[f32]) -> bool {
        let enough = self.tolerance * self.lambda;
        let holds = |j: usize| broken(s[j], pulls[j], self.lambda, self.non_negative) <= enough;
        (0..s.len()).all(|j| dictionary.norms()[j] == 0.0 || holds(j))
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
    use super::super::measure::Measure;
    use super::super::{Lasso, unit_rows};
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn it_agrees_with_coordinate_descent() {
        let mut rng = Rng::new(6);
        let dictionary = Dictionary::new(&unit_rows(90, 30, &mut rng));
        let x = Mat::from_fn(6, 30, |_, _| rng.normal());
        for non_negative in [false, true] {
            let slow = Fista { non_negative, tolerance: 1e-5, ..Fista::new(0.5) }.recover(&dictionary, &x);
            let fast = Lasso { non_negative, tolerance: 1e-5, ..Lasso::new(0.5) }.recover(&dictionary, &x);
            let (a, b) = (dictionary.rebuild(&slow), dictionary.rebuild(&fast));
            assert!(a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() < 2e-3));
        }
        // A row ends where it would alone.
        let together = Fista::new(0.5).recover(&dictionary, &x);
        let alone = Fista::new(0.5).recover(&dictionary, &Mat::from_vec(1, 30, x.row(3).to_vec()));
        assert_eq!(
            together[3].iter().map(|c| c.0).collect::<Vec<_>>(),
            alone[0].iter().map(|c| c.0).collect::<Vec<_>>()
        );
        let none = Fista::new(100.0).recover(&dictionary, &x);
        assert!(none.iter().all(Vec::is_empty));
    }

    /// A small λ takes thousands of steps; the conditions hold at the end, and where steps run out that is counted.
    #[test]
    fn rows_stop_at_the_optimum_or_are_counted() {
        let mut rng = Rng::new(7);
        let dictionary = Dictionary::new(&unit_rows(60, 30, &mut rng));
        let x = Mat::from_fn(5, 30, |_, _| rng.normal());
        let of = |fista: Fista| {
            let found = fista.recover(&dictionary, &x);
            Measure::of(&dictionary, &x, &found, None, Some(0.01), false).optimality.unwrap()
        };
        let whole = of(Fista::new(0.01));
        assert!(whole.unconverged == 0 && whole.largest_violation < f64::from(CONVERGED), "{whole:?}");
        let short = of(Fista { steps: 30, ..Fista::new(0.01) });
        assert!(short.unconverged == 5 && short.largest_violation > 0.1, "{short:?}");
    }
}
