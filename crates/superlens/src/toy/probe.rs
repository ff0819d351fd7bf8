//! What a linear map can read from a layer, and how many dimensions a layer uses.

use superlens_tensor::Mat;

/// A linear map with an offset, fitted by least squares.
pub(super) struct Probe {
    /// `[d + 1, outputs]` row-major; the last row is the offset.
    weights: Vec<f64>,
    outputs: usize,
}

impl Probe {
    /// Fits `y [rows, outputs]` from `x [rows, d]`; `ridge` is weighed against the mean square of a column.
    pub fn fit(x: &Mat, y: &Mat, ridge: f64) -> Probe {
        assert_eq!(x.rows(), y.rows(), "rows of {:?} and {:?}", x.shape(), y.shape());
        let (d, k) = (x.cols() + 1, y.cols());
        let (mut gram, mut right) = (vec![0.0; d * d], vec![0.0; d * k]);
        for r in 0..x.rows() {
            let at = |i: usize| x.row(r).get(i).map_or(1.0, |v| f64::from(*v));
            for i in 0..d {
                let xi = at(i);
                (0..=i).for_each(|j| gram[i * d + j] += xi * at(j));
                (y.row(r).iter().zip(&mut right[i * k..])).for_each(|(y, s)| *s += xi * f64::from(*y));
            }
        }
        let mean = (0..d - 1).map(|i| gram[i * d + i]).sum::<f64>() / (d - 1).max(1) as f64;
        (0..d).for_each(|i| gram[i * d + i] += ridge * mean.max(f64::MIN_POSITIVE));
        solve(&mut gram, &mut right, d, k);
        Probe { weights: right, outputs: k }
    }

    /// `[rows, outputs]`.
    pub fn read(&self, x: &Mat) -> Mat {
        let offset = &self.weights[x.cols() * self.outputs..];
        Mat::from_fn(x.rows(), self.outputs, |r, o| {
            let terms = x.row(r).iter().enumerate().map(|(i, v)| f64::from(*v) * self.weights[i * self.outputs + o]);
            (offset[o] + terms.sum::<f64>()) as f32
        })
    }
}

/// Solves `A X = B` for a symmetric positive `A [d, d]` (lower half given) by Cholesky; `b [d, k]` becomes `X`.
fn solve(a: &mut [f64], b: &mut [f64], d: usize, k: usize) {
    for i in 0..d {
        for j in 0..=i {
            let sum = a[i * d + j] - (0..j).map(|l| a[i * d + l] * a[j * d + l]).sum::<f64>();
            // A column that depends on the others is left out: its pivot becomes huge.
            a[i * d + j] = match (i == j, sum > 1e-12 * a[i * d + i].abs().max(1e-300)) {
                (true, true) => sum.sqrt(),
                (true, false) => 1e150,
                _ => sum / a[j * d + j],
            };
        }
    }
    for o in 0..k {
        for i in 0..d {
            let sum = (0..i).map(|l| a[i * d + l] * b[l * k + o]).sum::<f64>();
            b[i * k + o] = (b[i * k + o] - sum) / a[i * d + i];
        }
        for i in (0..d).rev() {
            let sum = (i + 1..d).map(|l| a[l * d + i] * b[l * k + o]).sum::<f64>();
            b[i * k + o] = (b[i * k + o] - sum) / a[i * d + i];
        }
    }
}

/// The share of the variance of `want` that `got` leaves, over all entries, each column about its mean.
pub(super) fn unexplained(got: &Mat, want: &Mat) -> f64 {
    assert_eq!(got.shape(), want.shape(), "two matrices to compare");
    let rows = want.rows().max(1) as f64;
    let (mut left, mut total) = (0.0, 0.0);
    for j in 0..want.cols() {
        let mean = (0..want.rows()).map(|r| f64::from(want[(r, j)])).sum::<f64>() / rows;
        for r in 0..want.rows() {
            left += f64::from(got[(r, j)] - want[(r, j)]).powi(2);
            total += (f64::from(want[(r, j)]) - mean).powi(2);
        }
    }
    if total > 0.0 { left / total } else { 0.0 }
}

/// The column with the largest entry of each row.
pub(super) fn largest(x: &Mat) -> Vec<usize> {
    let best = |r: usize| (0..x.cols()).fold(0, |b, j| if x[(r, j)] > x[(r, b)] { j } else { b });
    (0..x.rows()).map(best).collect()
}

/// The share of equal entries.
pub(super) fn agreement<T: PartialEq>(a: &[T], b: &[T]) -> f64 {
    assert_eq!(a.len(), b.len(), "two lists to compare");
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len().max(1) as f64
}

/// `(Σλ)² / Σλ²` over the eigenvalues of the covariance: the number of dimensions, were they all alike.
pub(super) fn participation_ratio(x: &Mat) -> f64 {
    let (rows, d) = x.shape();
    let mean: Vec<f64> =
        (0..d).map(|j| (0..rows).map(|r| f64::from(x[(r, j)])).sum::<f64>() / rows.max(1) as f64).collect();
    let mut covariance = vec![0.0; d * d];
    for r in 0..rows {
        let at = |j: usize| f64::from(x[(r, j)]) - mean[j];
        for i in 0..d {
            let xi = at(i);
            (0..d).for_each(|j| covariance[i * d + j] += xi * at(j));
        }
    }
    let trace: f64 = (0..d).map(|i| covariance[i * d + i]).sum();
    let squares: f64 = covariance.iter().map(|c| c * c).sum();
    if squares > 0.0 { trace * trace / squares } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn a_linear_map_is_found_and_a_column_twice_does_no_harm() {
        let mut rng = Rng::new(1);
        let mut x = Mat::from_fn(200, 4, |_, _| rng.normal());
        (0..200).for_each(|r| x[(r, 3)] = x[(r, 0)]);
        let y = Mat::from_fn(200, 2, |r, o| 2.0 * x[(r, 0)] - x[(r, 1 + o)] + 3.0);
        assert!(unexplained(&Probe::fit(&x, &y, 0.0).read(&x), &y) < 1e-9);
        assert!(unexplained(&Probe::fit(&x, &y, 1e-3).read(&x), &y) < 1e-2);
    }

    #[test]
    fn dimensions_are_counted() {
        let mut rng = Rng::new(2);
        let x = Mat::from_fn(4000, 6, |_, j| if j < 3 { rng.normal() } else { 1.0 });
        assert!((participation_ratio(&x) - 3.0).abs() < 0.05);
        assert_eq!(participation_ratio(&Mat::from_fn(9, 2, |_, _| 1.0)), 0.0);
        assert_eq!(largest(&Mat::from_vec(2, 2, vec![0.0, 1.0, 3.0, 2.0])), [1, 0]);
        assert_eq!(agreement(&[1, 2], &[1, 3]), 0.5);
    }
}
