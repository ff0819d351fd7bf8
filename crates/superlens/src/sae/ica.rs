//! Independent components by FastICA: as many directions as dimensions in use, chosen where the projections are least
//! Gaussian (Hyvärinen 1999, *Fast and robust fixed-point algorithms for independent component analysis*).
//!
//! Symmetric decorrelation, log-cosh contrast. It finds a complete dictionary: features that are a rotation away from
//! the neurons, but never more features than dimensions.

use super::arch::{Arch, Entry, FitError, Watch, check_input, check_setting, report};
use super::moments::Moments;
use super::train::Setting;
use super::{Activation, Encoder, Sae};
use rayon::prelude::*;
use superlens_tensor::decomp::{SymEigen, haar_rotation, sym_eigen};
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

pub(super) const ENTRY: Entry = Entry {
    id: "ica",
    about: "independent components (FastICA), at most d_in",
    takes: &[Setting::DSae],
    build: |size| Box::new(Ica { components: size.d_sae, ..Ica::default() }),
};

/// Rows per piece of parallel work.
const PIECE_ROWS: usize = 256;

/// FastICA around the mean. Latents are signed and dense; the sign of each makes its skewness positive, so that a
/// sparse non-negative feature comes out non-negative up to the mean.
#[derive(Clone, Debug)]
pub struct Ica {
    /// Kept, largest variance first; never more than the directions that vary.
    pub components: usize,
    /// Rows drawn for the fit per dimension; the rest only adds precision that costs time.
    pub rows_per_dim: usize,
    pub max_iterations: usize,
    /// Converged when no direction turns by more: largest `1 − |cos|` between iterations.
    pub tolerance: f64,
}

impl Default for Ica {
    fn default() -> Self {
        Self { components: usize::MAX, rows_per_dim: 100, max_iterations: 100, tolerance: 1e-5 }
    }
}

impl Arch for Ica {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn fit(&self, x: &Mat, rng: &Rng, watch: &mut Watch) -> Result<Sae, FitError> {
        check_input(x)?;
        check_setting("d_sae", self.components, 1, usize::MAX)?;
        let moments = Moments::of(x);
        let eigen = moments.principal()?;
        let mean = moments.mean_f32();
        let whitener = scaled(&eigen, x.cols(), -0.5);
        let z = matmul(&self.sample(x, &mean, rng), whitener.t());
        let rotation = self.rotate(&z, rng, watch)?;
        Ok(assemble(&rotation, &eigen, mean, &signs(&matmul(&z, rotation.t())), self.components))
    }
}

impl Ica {
    /// The rows of the fit, less `mean`: all of them, or a seeded draw in the order of `x`.
    fn sample(&self, x: &Mat, mean: &[f32], rng: &Rng) -> Mat {
        let wanted = self.rows_per_dim.saturating_mul(x.cols()).max(10_000);
        let mut picked = if wanted < x.rows() {
            let mut rows = rng.fork("ica/rows").permutation(x.rows());
            rows.truncate(wanted);
            rows.sort_unstable();
            x.select_rows(&rows)
        } else {
            x.clone()
        };
        for row in picked.data_mut().chunks_mut(mean.len().max(1)) {
            row.iter_mut().zip(mean).for_each(|(x, m)| *x -= m);
        }
        picked
    }

    /// The rotation `[r, r]` of the white rows `z` `[rows, r]` whose rows are the independent directions.
    fn rotate(&self, z: &Mat, rng: &Rng, watch: &mut Watch) -> Result<Mat, FitError> {
        let r = z.cols();
        let start = haar_rotation(r, &mut rng.fork("ica/start"));
        let mut w = Mat::from_vec(r, r, start.into_iter().map(|v| v as f32).collect());
        for iteration in 0..self.max_iterations {
            report(watch, iteration as f64 / self.max_iterations as f64)?;
            let next = decorrelate(&update(z, &w))?;
            let turned = (0..r)
                .map(|j| 1.0 - next.row(j).iter().zip(w.row(j)).map(|(a, b)| f64::from(a * b)).sum::<f64>().abs())
                .fold(0.0, f64::max);
            w = next;
            if turned < self.tolerance {
                break;
            }
        }
        Ok(w)
    }
}

/// The fixed-point step of every direction at once: `E[g(y) z] − E[g′(y)] w` with `y = w · z` and `g = tanh`.
fn update(z: &Mat, w: &Mat) -> Mat {
    let r = w.rows();
    let mut y = matmul(z, w.t());
    let slopes: Vec<Vec<f32>> = y
        .data_mut()
        .par_chunks_mut(PIECE_ROWS * r.max(1))
        .map(|piece| {
            let mut slopes = vec![0.0; r];
            for row in piece.chunks_mut(r) {
                for (y, slope) in row.iter_mut().zip(&mut slopes) {
                    *y = tanh(*y);
                    *slope += 1.0 - *y * *y;
                }
            }
            slopes
        })
        .collect();
    let mut next = matmul(y.t(), z);
    for j in 0..r {
        // Both terms carry the number of rows; decorrelation takes it out.
        let slope: f64 = slopes.iter().map(|s| f64::from(s[j])).sum();
        next.row_mut(j).iter_mut().zip(w.row(j)).for_each(|(n, w)| *n -= slope as f32 * w);
    }
    next
}

/// The hyperbolic tangent to 1e-4, from its continued fraction: it takes one division, so that the compiler can use
/// vector registers, and a contrast needs no more.
fn tanh(y: f32) -> f32 {
    let y = y.clamp(-4.97, 4.97);
    let s = y * y;
    y * (135135.0 + s * (17325.0 + s * (378.0 + s))) / (135135.0 + s * (62370.0 + s * (3150.0 + s * 28.0)))
}

/// `(w wᵀ)^(−1/2) w`: the nearest matrix with orthonormal rows.
fn decorrelate(w: &Mat) -> Result<Mat, FitError> {
    let r = w.rows();
    let gram: Vec<f64> = matmul(w, w.t()).data().iter().map(|&g| f64::from(g)).collect();
    let eigen = sym_eigen(&gram, r).ok_or(FitError::NotFinite { what: "the ICA fixed point" })?;
    let vectors = Mat::from_fn(r, r, |k, j| eigen.vectors[k][j] as f32);
    // A direction that vanished would be blown up to noise; the floor keeps it small instead, and the next step turns it.
    let floor = 1e-12 * eigen.values.first().copied().unwrap_or(1.0).max(f64::MIN_POSITIVE);
    let mut inner = matmul(&vectors, w);
    for k in 0..r {
        let scale = eigen.values[k].max(floor).sqrt().recip() as f32;
        inner.row_mut(k).iter_mut().for_each(|v| *v *= scale);
    }
    Ok(matmul(vectors.t(), &inner))
}

/// Principal directions as rows `[r, d]`, each times its variance to the `power`.
fn scaled(eigen: &SymEigen, d: usize, power: f64) -> Mat {
    Mat::from_fn(eigen.values.len(), d, |k, j| (eigen.values[k].powf(power) * eigen.vectors[k][j]) as f32)
}

/// +1 or −1 for each column: the sign of its third moment.
fn signs(y: &Mat) -> Vec<f32> {
    let mut cubes = vec![0.0f64; y.cols()];
    for i in 0..y.rows() {
        cubes.iter_mut().zip(y.row(i)).for_each(|(c, &y)| *c += f64::from(y).powi(3));
    }
    cubes.iter().map(|&c| if c < 0.0 { -1.0 } else { 1.0 }).collect()
}

/// Turns the rotation of white space into directions of activations: `x − mean = Σ latentⱼ · directionⱼ`, unit
/// directions, largest variance first.
fn assemble(rotation: &Mat, eigen: &SymEigen, mean: Vec<f32>, signs: &[f32], components: usize) -> Sae {
    let d = mean.len();
    let unmix = matmul(rotation, &scaled(eigen, d, -0.5));
    let mix = matmul(rotation, &scaled(eigen, d, 0.5));
    let norms: Vec<f32> = (0..mix.rows()).map(|j| mix.row(j).iter().map(|v| v * v).sum::<f32>().sqrt()).collect();
    let mut order: Vec<usize> = (0..norms.len()).collect();
    order.sort_by(|&a, &b| norms[b].total_cmp(&norms[a]));
    order.truncate(components);
    let w_enc = Mat::from_fn(d, order.len(), |i, j| signs[order[j]] * norms[order[j]] * unmix[(order[j], i)]);
    let w_dec = Mat::from_fn(order.len(), d, |j, i| signs[order[j]] / norms[order[j]] * mix[(order[j], i)]);
    let encoder = Encoder::Linear { w_enc, b_enc: vec![0.0; order.len()], act: Activation::Identity };
    Sae::new(mean.clone(), encoder, w_dec, mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::metrics::{evaluate, mcc};
    use std::ops::ControlFlow;

    /// `rows` of `n` sparse non-negative sources, density 0.1.
    fn sources(rows: usize, n: usize, rng: &mut Rng) -> Mat {
        Mat::from_fn(rows, n, |_, _| if rng.chance(0.1) { 0.2 + rng.uniform() } else { 0.0 })
    }

    fn haar(n: usize, rng: &mut Rng) -> Mat {
        Mat::from_vec(n, n, haar_rotation(n, rng).into_iter().map(|v| v as f32).collect())
    }

    fn go(_: f64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn rotated_sparse_sources_come_back() {
        let mut rng = Rng::new(0).fork("ica");
        let rotation = haar(16, &mut rng);
        let x = matmul(&sources(8000, 16, &mut rng), &rotation);
        let sae = Ica::default().fit(&x, &rng, &mut go).unwrap();
        let cosines = matmul(&rotation, sae.w_dec.t());
        for j in 0..16 {
            let best = cosines.row(j).iter().copied().fold(0.0, f32::max);
            assert!(best > 0.98, "source {j}: cos {best}, sign included");
        }
        let metrics = evaluate(&sae, &x);
        assert!(metrics.fvu < 1e-6, "a complete dictionary rebuilds everything, not {}", metrics.fvu);
    }

    #[test]
    fn the_contrast_is_a_hyperbolic_tangent() {
        (-800..=800).map(|i| i as f32 * 0.01).for_each(|y| assert!((tanh(y) - y.tanh()).abs() < 1e-4, "at {y}"));
        assert!(tanh(f32::NAN).is_nan());
    }

    #[test]
    fn oblique_sources_in_fewer_dimensions_than_columns_come_back() {
        let mut rng = Rng::new(1).fork("ica");
        let mix = Mat::from_fn(8, 20, |_, _| rng.normal());
        let x = matmul(&sources(6000, 8, &mut rng), &mix);
        let sae = Ica::default().fit(&x, &rng, &mut go).unwrap();
        assert_eq!(sae.w_dec.shape(), (8, 20));
        assert!(mcc(&mix, &sae.w_dec) > 0.98);
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let mut rng = Rng::new(3).fork("ica");
        let x = matmul(&sources(3000, 9, &mut rng), &haar(9, &mut rng));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Ica::default().fit(&x, &rng, &mut go).unwrap())
        };
        assert_eq!(run(1), run(3));
    }
}
