//! [`Moments`]: mean and covariance of a matrix of activations, and the whitening that follows from them.

use super::FitError;
use super::model::{blocks, centred};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::decomp::{SymEigen, sym_eigen};
use superlens_tensor::kernels::gemm::matmul;

/// Rows per partial sum of the mean.
const SUM_ROWS: usize = 1024;
/// Directions with less than this share of the largest variance can't be told from the rounding of `f32`.
const NO_VARIANCE: f64 = 1e-6;

/// Mean and covariance (divided by the number of rows), accumulated in `f64`.
#[derive(Clone, Debug)]
pub struct Moments {
    pub rows: usize,
    /// `[d]`.
    pub mean: Vec<f64>,
    /// `[d, d]`, row-major.
    pub covariance: Vec<f64>,
}

impl Moments {
    /// The moments of the rows of `x`. Zeros where there are no rows.
    pub fn of(x: &Mat) -> Self {
        let (rows, d) = x.shape();
        let n = rows.max(1) as f64;
        let mean: Vec<f64> = column_sums(x).iter().map(|s| s / n).collect();
        let shift: Vec<f32> = mean.iter().map(|&m| m as f32).collect();
        let mut covariance = vec![0.0; d * d];
        for (from, to) in blocks(rows, d) {
            // Centred before it is squared: products of f32 must not carry the mean's square.
            let block = centred(x, from, to, &shift);
            let product = matmul(block.t(), &block);
            covariance.iter_mut().zip(product.data()).for_each(|(c, &p)| *c += f64::from(p));
        }
        covariance.iter_mut().for_each(|c| *c /= n);
        Self { rows, mean, covariance }
    }

    /// The mean in the type of the weights.
    pub fn mean_f32(&self) -> Vec<f32> {
        self.mean.iter().map(|&m| m as f32).collect()
    }

    /// Principal directions with variance, largest first. An error if the activations were not finite.
    pub fn principal(&self) -> Result<SymEigen, FitError> {
        let finite = self.covariance.iter().all(|c| c.is_finite());
        let eigen = finite.then(|| sym_eigen(&self.covariance, self.mean.len())).flatten();
        let mut eigen = eigen.ok_or(FitError::NotFinite { what: "the covariance of the activations" })?;
        let floor = NO_VARIANCE * eigen.values.first().copied().unwrap_or(0.0).max(0.0);
        let rank = eigen.values.iter().take_while(|&&v| v > floor).count();
        eigen.values.truncate(rank);
        eigen.vectors.truncate(rank);
        Ok(eigen)
    }
}

fn column_sums(x: &Mat) -> Vec<f64> {
    let d = x.cols();
    let parts: Vec<Vec<f64>> = x
        .data()
        .par_chunks(SUM_ROWS * d.max(1))
        .map(|piece| {
            let mut sum = vec![0.0; d];
            for row in piece.chunks(d.max(1)) {
                sum.iter_mut().zip(row).for_each(|(s, &v)| *s += f64::from(v));
            }
            sum
        })
        .collect();
    parts.iter().fold(vec![0.0; d], |mut total, part| {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        total
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn agrees_with_the_definition_far_from_the_origin() {
        let mut rng = Rng::new(0).fork("moments");
        let x = Mat::from_fn(3000, 3, |_, j| 100.0 + rng.normal() * (j + 1) as f32);
        let moments = Moments::of(&x);
        for a in 0..3 {
            let mean = |j: usize| (0..3000).map(|i| f64::from(x[(i, j)])).sum::<f64>() / 3000.0;
            assert!((moments.mean[a] - mean(a)).abs() < 1e-9);
            for b in 0..3 {
                let want =
                    (0..3000).map(|i| (f64::from(x[(i, a)]) - mean(a)) * (f64::from(x[(i, b)]) - mean(b))).sum::<f64>()
                        / 3000.0;
                assert!((moments.covariance[a * 3 + b] - want).abs() < 1e-4, "{a} {b}");
            }
        }
    }

    #[test]
    fn directions_without_variance_are_left_out() {
        let mut rng = Rng::new(1).fork("moments");
        let mut x = Mat::from_fn(500, 4, |_, _| rng.normal());
        for i in 0..500 {
            x[(i, 2)] = 7.0;
            x[(i, 3)] = 2.0 * x[(i, 0)];
        }
        assert_eq!(Moments::of(&x).principal().unwrap().values.len(), 2);
        assert_eq!(Moments::of(&Mat::zeros(5, 4)).principal().unwrap().values.len(), 0);
        x[(3, 1)] = f32::NAN;
        assert!(Moments::of(&x).principal().is_err());
    }
}
