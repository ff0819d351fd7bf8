//! True directions: random unit vectors, pushed apart a little.

use crate::geometry::recover::unit_rows;
use rayon::prelude::*;
use superlens_tensor::kernels::adam::{AdamStep, adam_step};
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::kernels::pointwise::dot;
use superlens_tensor::{Mat, Rng};

/// How the directions are pushed apart: steps of Adam and their size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    pub steps: u64,
    pub lr: f64,
}

/// `n` unit rows in `dims` dimensions that descend `Σ_{i≠j} (eᵢ·eⱼ)² + n Σᵢ (‖eᵢ‖² − 1)²` for a while, the loss of SynthSAEBench
/// (arXiv 2602.14687).
///
/// The `[n, n]` products are never made. `watch` is told the share that is done.
pub fn directions(n: usize, dims: usize, apart: Apart, rng: &mut Rng, watch: &mut dyn FnMut(f64)) -> Mat {
    let mut e = unit_rows(n, dims, rng);
    let (mut m, mut v) = (Mat::zeros(n, dims), Mat::zeros(n, dims));
    let mut g = Mat::zeros(n, dims);
    for t in 1..=apart.steps {
        gradient(&e, &mut g);
        let step = AdamStep { lr: apart.lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, t };
        adam_step(e.data_mut(), g.data(), m.data_mut(), v.data_mut(), step);
        watch(t as f64 / apart.steps as f64);
    }
    e.data_mut().par_chunks_mut(dims).for_each(|row| {
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|w| *w /= norm);
    });
    e
}

/// `g ← 4 (E EᵀE − ‖eᵢ‖² eᵢ + n (‖eᵢ‖² − 1) eᵢ)`, row by row.
fn gradient(e: &Mat, g: &mut Mat) {
    let (n, dims) = e.shape();
    let gram = matmul(e.t(), e);
    gemm(1.0, e.view(), gram.view(), 0.0, g);
    g.data_mut().par_chunks_mut(dims).zip(e.data().par_chunks(dims)).for_each(|(g, e)| {
        let square = dot(e, e);
        let own = n as f32 * (square - 1.0) - square;
        g.iter_mut().zip(e).for_each(|(g, e)| *g = 4.0 * (*g + own * e));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Σ cos²` over all pairs, a direction with itself too; `n²/dims` at least (Welch 1974).
    fn potential(e: &Mat) -> f64 {
        matmul(e, e.t()).data().iter().map(|c| f64::from(c * c)).sum()
    }

    #[test]
    fn directions_are_of_unit_length_and_nearer_to_the_bound_of_welch() {
        let (n, dims) = (300, 32);
        let excess = |steps| {
            let e = directions(n, dims, Apart { steps, lr: 3e-3 }, &mut Rng::new(0).fork("apart"), &mut |_| {});
            assert!((0..n).all(|i| (dot(e.row(i), e.row(i)) - 1.0).abs() < 1e-5));
            potential(&e) - (n * n) as f64 / dims as f64
        };
        let (before, after) = (excess(0), excess(60));
        assert!(after > -1e-2 && after < 0.5 * before, "{before} {after}");
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let loss = |e: &Mat| {
            let n = e.rows();
            let mut sum = 0.0f64;
            for i in 0..n {
                for j in 0..n {
                    let product: f64 = e.row(i).iter().zip(e.row(j)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    sum += if i == j { n as f64 * (product - 1.0).powi(2) } else { product * product };
                }
            }
            sum
        };
        let mut rng = Rng::new(3).fork("apart");
        let start = Mat::from_fn(6, 4, |_, _| rng.normal());
        let mut g = Mat::zeros(6, 4);
        gradient(&start, &mut g);
        for at in 0..24 {
            let mut e = start.clone();
            let mut side = |by: f32| {
                e.data_mut()[at] = start.data()[at] + by;
                loss(&e)
            };
            let slope = (side(1.0 / 256.0) - side(-1.0 / 256.0)) * 128.0;
            let got = f64::from(g.data()[at]);
            assert!((slope - got).abs() < 1e-3 * got.abs().max(10.0), "{at}: {slope} {got}");
        }
    }
}
