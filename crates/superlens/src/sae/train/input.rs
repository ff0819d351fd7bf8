//! What is done to activations before they are learned from.

use super::super::arch::FitError;
use super::super::moments::Moments;
use superlens_tensor::Mat;

/// One factor for all activations, and the variance after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputScale {
    /// Multiplies the input so that mean‖x‖² = d_in; hyper-parameters then carry over between layers.
    pub scale: f32,
    /// `mean‖x − x̄‖²` of the scaled input.
    pub variance: f64,
}

impl InputScale {
    /// Measured on all rows; 1 each where they would be 0.
    ///
    /// # Errors
    /// [`FitError::NotFinite`] where the rows hold NaN, infinite or huge values.
    pub fn of(x: &Mat) -> Result<Self, FitError> {
        let d = x.cols();
        let moments = Moments::of(x);
        let scatter: f64 = (0..d).map(|j| moments.covariance[j * d + j]).sum();
        let square = scatter + moments.mean.iter().map(|m| m * m).sum::<f64>();
        let scale = if square > 0.0 { (d as f64 / square).sqrt() } else { 1.0 };
        let variance = scatter * scale * scale;
        let usable = square.is_finite() && (scale as f32).is_normal();
        if !usable {
            return Err(FitError::NotFinite { what: "the mean square of the activations, or its inverse," });
        }
        Ok(InputScale { scale: scale as f32, variance: if variance > 0.0 { variance } else { 1.0 } })
    }

    /// The rows, scaled.
    pub fn scaled(&self, mut rows: Mat) -> Mat {
        rows.data_mut().iter_mut().for_each(|v| *v *= self.scale);
        rows
    }
}

/// The point with the least sum of distances to the rows (Weiszfeld's iteration, at most 100 steps, until it moves by
/// less than 1e-5 of its distance to the rows): a centre that a few large rows do not pull away.
pub(super) fn geometric_median(x: &Mat) -> Vec<f32> {
    let mut point = weighted_mean(x, &vec![1.0; x.rows()]);
    for _ in 0..100 {
        let distances: Vec<f64> =
            (0..x.rows()).map(|i| distance(x.row(i).iter().map(|&v| f64::from(v)), &point)).collect();
        let mean = distances.iter().sum::<f64>() / x.rows() as f64;
        if mean == 0.0 {
            break;
        }
        let weights: Vec<f64> = distances.iter().map(|r| 1.0 / r.max(1e-9 * mean)).collect();
        let next = weighted_mean(x, &weights);
        let moved = distance(next.iter().copied(), &point);
        point = next;
        if moved < 1e-5 * mean {
            break;
        }
    }
    point.iter().map(|&v| v as f32).collect()
}

fn weighted_mean(x: &Mat, weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    let mut mean = vec![0.0; x.cols()];
    for (i, weight) in weights.iter().enumerate() {
        mean.iter_mut().zip(x.row(i)).for_each(|(m, &v)| *m += weight / total * f64::from(v));
    }
    mean
}

fn distance(a: impl Iterator<Item = f64>, b: &[f64]) -> f64 {
    a.zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometric_median_ignores_a_far_row() {
        let mut x = Mat::from_fn(21, 2, |i, j| ((i * (j + 2)) % 5) as f32 * 0.1);
        let quiet = geometric_median(&x);
        x.row_mut(0).fill(1e6);
        let loud = geometric_median(&x);
        assert!(quiet.iter().zip(&loud).all(|(a, b)| (a - b).abs() < 0.05), "{quiet:?} {loud:?}");
        assert_eq!(geometric_median(&Mat::from_fn(4, 2, |_, _| 3.0)), [3.0, 3.0]);
    }
}
