//! Coordinates in which every direction has the same variance, cut to the dimensions in use.

use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, View};

/// Directions with less than this share of the largest variance are numerically empty.
const EMPTY: f64 = 1e-6;
/// The spectrum is cut where the variance falls by this factor …
const GAP: f64 = 3.0;
/// … (by this one onto fewer than three directions, of which flatness says little) …
const GAP_TO_SHORT_TAIL: f64 = 30.0;
const SHORT_TAIL: usize = 3;
/// … onto a tail that is flat within this factor …
const FLAT: f64 = 1.8;
/// … and Gaussian: median kurtosis below this (3 for a Gaussian).
const GAUSSIAN_KURTOSIS: f64 = 3.6;

/// An affine map to white coordinates and back. `d` columns in, `rank` white coordinates out.
#[derive(Clone, Debug)]
pub(super) struct Whitening {
    pub rank: usize,
    mean: Vec<f32>,
    /// `[d, rank]`.
    to_white: Mat,
    /// `[rank, d]`: row `k` is what one unit of white coordinate `k` adds to the neurons.
    from_white: Mat,
}

impl Whitening {
    /// Fits to the rows of `x`. `None` when fewer than two directions vary.
    pub fn fit(x: &Mat) -> Option<Whitening> {
        let (n, d) = x.shape();
        let mean = column_means(x);
        let centred = subtract(x, &mean);
        let covariance = matmul(centred.t(), &centred);
        let covariance: Vec<f64> = covariance.data().iter().map(|&c| f64::from(c) / n as f64).collect();
        let eigen = sym_eigen(&covariance, d)?;
        let full = eigen.values.iter().take_while(|&&v| v > EMPTY * eigen.values[0] && v > 0.0).count();
        if full < 2 {
            return None;
        }
        let rank = cut(&eigen.values[..full], |k| kurtosis_along(&centred, &eigen.vectors[k]));
        let scale: Vec<f64> = eigen.values[..rank].iter().map(|v| v.sqrt()).collect();
        Some(Whitening {
            rank,
            mean,
            to_white: Mat::from_fn(d, rank, |j, k| (eigen.vectors[k][j] / scale[k]) as f32),
            from_white: Mat::from_fn(rank, d, |k, j| (eigen.vectors[k][j] * scale[k]) as f32),
        })
    }

    /// Mean of the rows that the map was fitted to.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// `[rows, d]` → white `[rows, rank]`.
    pub fn apply(&self, x: &Mat) -> Mat {
        matmul(&self.centred(x), &self.to_white)
    }

    /// `[rows, d]` without the mean of the rows that the map was fitted to.
    pub fn centred(&self, x: &Mat) -> Mat {
        subtract(x, &self.mean)
    }

    /// White directions `[n, rank]` as directions of the neurons `[n, d]`.
    pub fn directions<'a>(&self, white: impl Into<View<'a>>) -> Mat {
        matmul(white, &self.from_white)
    }
}

fn column_means(x: &Mat) -> Vec<f32> {
    let mut sums = vec![0.0f64; x.cols()];
    for i in 0..x.rows() {
        for (s, v) in sums.iter_mut().zip(x.row(i)) {
            *s += f64::from(*v);
        }
    }
    sums.iter().map(|s| (s / x.rows() as f64) as f32).collect()
}

fn subtract(x: &Mat, mean: &[f32]) -> Mat {
    let mut out = x.clone();
    for i in 0..out.rows() {
        for (v, m) in out.row_mut(i).iter_mut().zip(mean) {
            *v -= m;
        }
    }
    out
}

/// Dimensions in use. A gap alone mis-cuts hierarchical features, so what lies below must look like noise: flat and Gaussian.
fn cut(values: &[f64], kurtosis: impl Fn(usize) -> f64) -> usize {
    let full = values.len();
    for g in 1..full {
        let gap = if full - g < SHORT_TAIL { GAP_TO_SHORT_TAIL } else { GAP };
        let falls = values[g - 1] > gap * values[g];
        if falls && values[g] < FLAT * values[full - 1] {
            let mut tail: Vec<f64> = (g..full).map(&kurtosis).collect();
            tail.sort_by(f64::total_cmp);
            if tail[tail.len() / 2] < GAUSSIAN_KURTOSIS {
                return g.max(2);
            }
        }
    }
    full
}

fn kurtosis_along(centred: &Mat, direction: &[f64]) -> f64 {
    let (mut m2, mut m4) = (0.0, 0.0);
    for i in 0..centred.rows() {
        let s: f64 = centred.row(i).iter().zip(direction).map(|(a, b)| f64::from(*a) * b).sum();
        m2 += s * s;
        m4 += s.powi(4);
    }
    if m2 > 0.0 { m4 * centred.rows() as f64 / (m2 * m2) } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn white_coordinates_have_unit_covariance_and_map_back() {
        let mut rng = Rng::new(0);
        // No direction is so weak that it would be taken for noise.
        let mix = Mat::from_fn(6, 6, |i, j| rng.normal() + if i == j { 4.0 } else { 0.0 });
        let x = matmul(&Mat::from_fn(5000, 6, |_, _| rng.normal()), &mix);
        let w = Whitening::fit(&x).unwrap();
        let z = w.apply(&x);
        let c = matmul(z.t(), &z);
        for i in 0..6 {
            for j in 0..6 {
                assert!((c[(i, j)] / 5000.0 - f32::from(i == j)).abs() < 1e-3);
            }
        }
        let back = w.directions(&z);
        let mean = column_means(&x);
        for i in 0..50 {
            for j in 0..6 {
                assert!((back[(i, j)] + mean[j] - x[(i, j)]).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn a_flat_gaussian_tail_is_cut_and_a_sparse_one_kept() {
        let mut rng = Rng::new(1);
        let noisy = Mat::from_fn(4000, 12, |_, j| {
            let on = rng.chance(0.1);
            let value = rng.uniform();
            let noise = 0.01 * rng.normal();
            if j < 6 && on { value + noise } else { noise }
        });
        assert_eq!(Whitening::fit(&noisy).unwrap().rank, 6);
        let sparse = Mat::from_fn(4000, 12, |_, j| {
            let on = rng.chance(0.1);
            let value = rng.uniform();
            if on { if j < 6 { value } else { 0.05 * value } } else { 0.0 }
        });
        assert_eq!(Whitening::fit(&sparse).unwrap().rank, 12);
    }
}
