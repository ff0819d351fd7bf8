//! `noise`: activations without features, which only share their mean and covariance with a real layer.

use super::data::BLOCK_ROWS;
use rayon::prelude::*;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// A Gaussian with a given mean and covariance.
#[derive(Clone, Debug)]
pub struct Gaussian {
    mean: Vec<f32>,
    /// `[d, d]` with `rootᵀ root` the covariance.
    root: Mat,
}

impl Gaussian {
    /// The Gaussian with the mean and covariance of the rows of `x`. Panics if `x` holds NaN or infinity, or no row.
    pub fn like(x: &Mat) -> Gaussian {
        let (rows, d) = x.shape();
        assert!(rows > 0, "the covariance of no rows, {:?}", x.shape());
        let mut mean = vec![0.0f64; d];
        for r in 0..rows {
            mean.iter_mut().zip(x.row(r)).for_each(|(m, &v)| *m += f64::from(v) / rows as f64);
        }
        let mean: Vec<f32> = mean.iter().map(|&m| m as f32).collect();
        let centred = Mat::from_fn(rows, d, |i, j| x[(i, j)] - mean[j]);
        let covariance: Vec<f64> =
            matmul(centred.t(), &centred).data().iter().map(|&c| f64::from(c) / rows as f64).collect();
        let eigen = sym_eigen(&covariance, d).expect("activations without NaN or infinity");
        let root = Mat::from_fn(d, d, |k, j| (eigen.values[k].max(0.0).sqrt() * eigen.vectors[k][j]) as f32);
        Gaussian { mean, root }
    }

    /// `[rows, d]` fresh draws from `stream` alone.
    pub fn sample(&self, rows: usize, stream: &Rng) -> Mat {
        let d = self.mean.len();
        let mut z = Mat::zeros(rows, d);
        z.data_mut().par_chunks_mut(BLOCK_ROWS * d.max(1)).enumerate().for_each(|(b, block)| {
            let mut rng = stream.fork_index(b as u64);
            block.iter_mut().for_each(|z| *z = rng.normal());
        });
        let mut x = matmul(&z, &self.root);
        for r in 0..rows {
            x.row_mut(r).iter_mut().zip(&self.mean).for_each(|(x, m)| *x += m);
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_covariance_are_kept_and_nothing_else() {
        let mut rng = Rng::new(8);
        // Two dependent, strongly skewed columns, and one that is constant.
        let x = Mat::from_fn(4000, 3, |_, _| 0.0);
        let x = (0..x.rows()).fold(x, |mut x, r| {
            let spike = if rng.chance(0.05) { 1.0 } else { 0.0 };
            x.row_mut(r).copy_from_slice(&[spike, 2.0 * spike + 0.1 * rng.normal(), 5.0]);
            x
        });
        let y = Gaussian::like(&x).sample(100_000, &Rng::new(1));
        let moment = |m: &Mat, f: &dyn Fn(&[f32]) -> f32| {
            (0..m.rows()).map(|r| f64::from(f(m.row(r)))).sum::<f64>() / m.rows() as f64
        };
        for j in 0..2 {
            let (mx, my) = (moment(&x, &|r| r[j]), moment(&y, &|r| r[j]));
            assert!((mx - my).abs() < 0.01, "mean {mx} became {my}");
            let centred = |m: &Mat, mean: f64, power: i32| moment(m, &|r| (r[j] - mean as f32).powi(power));
            let (vx, vy) = (centred(&x, mx, 2), centred(&y, my, 2));
            assert!((vy / vx - 1.0).abs() < 0.03, "variance {vx} became {vy}");
            assert!(centred(&x, mx, 4) > 10.0 * vx * vx && (centred(&y, my, 4) / (vy * vy) - 3.0).abs() < 0.15);
        }
        let cross = |m: &Mat| moment(m, &|r| r[0] * r[1]) - moment(m, &|r| r[0]) * moment(m, &|r| r[1]);
        assert!((cross(&y) / cross(&x) - 1.0).abs() < 0.03);
        assert!((moment(&y, &|r| (r[2] - 5.0).abs())) < 1e-3);
    }
}
