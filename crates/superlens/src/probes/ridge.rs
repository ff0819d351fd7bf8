//! Least squares of many targets on the same rows.

use super::{column_scales, standardised};
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::kernels::vectors::by_vectors;

/// A column with less than this share of its variance outside the span of those before it gets no weight.
const DEPENDENT: f64 = 1e-7;

/// Ridge regressions of several targets, each with an intercept (Hoerl and Kennard 1970, *Ridge regression*).
#[derive(Clone, Debug, PartialEq)]
pub struct Ridge {
    /// `[targets, d]`, in the units of the rows that it was fitted to.
    pub weights: Mat,
    /// `[targets]`.
    pub bias: Vec<f64>,
}

impl Ridge {
    /// Fits `y` `[rows, targets]` from `x` `[rows, d]` by the normal equations. `ridge` is the penalty on squared weights beside the mean
    /// squared error, with columns of `x` at unit variance.
    ///
    /// Panics where the numbers of rows differ.
    pub fn fit(x: &Mat, y: &Mat, ridge: f64) -> Ridge {
        assert_eq!(x.rows(), y.rows(), "rows of {:?} and {:?}", x.shape(), y.shape());
        let (d, targets, n) = (x.cols(), y.cols(), x.rows().max(1) as f64);
        let ((mean, scale), (y_mean, y_scale)) = (column_scales(x), column_scales(y));
        let (z, t) = (standardised(x, &mean, &scale), standardised(y, &y_mean, &y_scale));
        let mut gram: Vec<f64> = matmul(z.t(), &z).data().iter().map(|v| f64::from(*v) / n).collect();
        (0..d).for_each(|i| gram[i * d + i] += ridge);
        let mut right: Vec<f64> = matmul(z.t(), &t).data().iter().map(|v| f64::from(*v) / n).collect();
        Factor::new(gram, d).solve(&mut right, targets);
        let weights = Mat::from_fn(targets, d, |o, j| (right[j * targets + o] * y_scale[o] / scale[j]) as f32);
        let bias = (0..targets)
            .map(|o| y_mean[o] - (0..d).map(|j| right[j * targets + o] * y_scale[o] / scale[j] * mean[j]).sum::<f64>())
            .collect();
        Ridge { weights, bias }
    }

    /// `[rows, targets]`.
    pub fn predict(&self, x: &Mat) -> Mat {
        let mut out = matmul(x, self.weights.t());
        for i in 0..out.rows() {
            out.row_mut(i).iter_mut().zip(&self.bias).for_each(|(v, b)| *v = (f64::from(*v) + b) as f32);
        }
        out
    }
}

/// Share of the variance of each column of `want` that `got` explains, at most 1; `None` for a column that does not vary.
///
/// On rows that nothing was fitted to it may be negative. Panics where shapes differ.
pub fn r2(got: &Mat, want: &Mat) -> Vec<Option<f64>> {
    assert_eq!(got.shape(), want.shape(), "two matrices to compare");
    let (mean, _) = column_scales(want);
    let (mut left, mut total) = (vec![0.0f64; want.cols()], vec![0.0f64; want.cols()]);
    let mut squares = vec![0.0f64; want.cols()];
    for i in 0..want.rows() {
        for (j, (g, w)) in got.row(i).iter().zip(want.row(i)).enumerate() {
            left[j] += (f64::from(*g) - f64::from(*w)).powi(2);
            total[j] += (f64::from(*w) - mean[j]).powi(2);
            squares[j] += f64::from(*w).powi(2);
        }
    }
    (0..want.cols()).map(|j| (total[j] > 1e-12 * squares[j]).then(|| 1.0 - left[j] / total[j])).collect()
}

/// Cholesky's factor of a symmetric matrix, for as many right sides as there are.
pub(crate) struct Factor {
    /// Lower half, row by row.
    rows: Vec<f64>,
    d: usize,
}

impl Factor {
    /// Of `a` `[d, d]`, of which the lower half is read.
    pub(crate) fn new(mut a: Vec<f64>, d: usize) -> Factor {
        let scale: Vec<f64> = (0..d).map(|i| a[i * d + i]).collect();
        by_vectors(
            #[inline(always)]
            || {
                for i in 0..d {
                    let (done, rest) = a.split_at_mut(i * d);
                    for j in 0..i {
                        let before = &done[j * d..j * d + j];
                        rest[j] = (rest[j] - dot(&rest[..j], before)) / done[j * d + j];
                    }
                    let pivot = rest[i] - dot(&rest[..i], &rest[..i]);
                    // A huge pivot leaves the column out.
                    rest[i] = if pivot > DEPENDENT * scale[i] && pivot > 0.0 { pivot.sqrt() } else { 1e150 };
                }
            },
        );
        Factor { rows: a, d }
    }

    /// `B` `[d, k]` becomes the `X` of `A X = B`.
    pub(crate) fn solve(&self, b: &mut [f64], k: usize) {
        let (a, d) = (&self.rows, self.d);
        by_vectors(
            #[inline(always)]
            || {
                for i in 0..d {
                    let (done, rest) = b.split_at_mut(i * k);
                    for l in 0..i {
                        axpy(-a[i * d + l], &done[l * k..(l + 1) * k], &mut rest[..k]);
                    }
                    for v in rest[..k].iter_mut() {
                        *v /= a[i * d + i];
                    }
                }
                for i in (0..d).rev() {
                    let (rest, done) = b.split_at_mut((i + 1) * k);
                    for l in i + 1..d {
                        axpy(-a[l * d + i], &done[(l - i - 1) * k..(l - i) * k], &mut rest[i * k..]);
                    }
                    for v in rest[i * k..].iter_mut() {
                        *v /= a[i * d + i];
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn a_linear_map_is_found_and_a_column_twice_does_no_harm() {
        let mut rng = Rng::new(1);
        let mut x = Mat::from_fn(300, 5, |_, j| 100.0 * j as f32 + rng.normal());
        (0..300).for_each(|r| x[(r, 3)] = x[(r, 0)]);
        (0..300).for_each(|r| x[(r, 4)] = 7.0);
        let y = Mat::from_fn(300, 2, |r, o| 2.0 * x[(r, 0)] - x[(r, 1 + o)] + 3.0);
        for ridge in [0.0, 1e-4] {
            let fit = Ridge::fit(&x, &y, ridge);
            assert!(r2(&fit.predict(&x), &y).iter().all(|r| r.unwrap() > 0.9999), "{fit:?}");
            assert!(fit.weights.row(0)[4].abs() < 1e-6);
        }
    }

    #[test]
    fn what_noise_leaves_is_told_on_new_rows() {
        let mut rng = Rng::new(2);
        let x = Mat::from_fn(4000, 6, |_, _| rng.normal());
        let y = Mat::from_fn(4000, 3, |r, o| match o {
            0 => x[(r, 0)] + rng.normal(),
            1 => rng.normal(),
            _ => 1.5,
        });
        let (a, b): (Vec<usize>, Vec<usize>) = ((0..3000).collect(), (3000..4000).collect());
        let fit = Ridge::fit(&x.select_rows(&a), &y.select_rows(&a), 1e-4);
        let told = r2(&fit.predict(&x.select_rows(&b)), &y.select_rows(&b));
        assert!((told[0].unwrap() - 0.5).abs() < 0.06 && told[1].unwrap().abs() < 0.02, "{told:?}");
        assert_eq!(told[2], None);
    }
}
