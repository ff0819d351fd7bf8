//! How good a decomposition is: reconstruction, sparsity, and agreement with features that are known.
//!
//! One definition each, all in `f64`. The best reconstruction is often not the best dictionary: never rank by
//! [`Metrics::fvu`] alone.

use super::assignment::assign;
use super::{Latents, Sae};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::matmul;

/// Rows per partial sum. A part of the definition: sums are added in this grouping for any number of threads.
const PIECE_ROWS: usize = 256;

/// What [`evaluate`] finds. Ratios whose denominator is zero are NaN, which is `null` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    pub rows: usize,
    /// Fraction of variance unexplained, `Σ‖x − x̂‖² / Σ‖x − x̄‖²` with `x̄` the mean over all evaluated rows. Explained
    /// variance is `1 − fvu`.
    pub fvu: f64,
    /// Mean `‖x − x̂‖²` per row.
    pub mse: f64,
    /// Mean number of latents that are not zero in a row.
    pub l0: f64,
    /// Latents that are zero in every row.
    pub dead: usize,
    /// Share of the rows in which each latent is not zero, `[d_sae]`.
    pub density: Vec<f64>,
    /// `E‖x̂‖² / E[x̂ · x]`: below 1, reconstructions are too short (Rajamanoharan et al. 2024, arXiv 2404.16014, eq. 10).
    pub shrinkage: f64,
    /// Mean cosine between `x` and `x̂`; rows where either is zero count as 0.
    pub cossim: f64,
}

/// Encodes and decodes `x` block by block and measures the result in one pass. Panics on another width.
pub fn evaluate(sae: &Sae, x: &Mat) -> Metrics {
    let mut sums = Sums::new(x.cols());
    let mut fires = vec![0u64; sae.d_sae()];
    let mut nnz = 0;
    sae.encode_blocks(x, |first, latents| {
        let recon = sae.reconstruct(&latents, x.rows_view(first, first + latents.rows()));
        let width = x.cols().max(1);
        let block = x.rows_view(first, first + latents.rows()).data;
        let pieces = block.par_chunks(PIECE_ROWS * width).zip(recon.data().par_chunks(PIECE_ROWS * width));
        let parts: Vec<Sums> = pieces.map(|(x, recon)| Sums::of(x, recon, width)).collect();
        parts.iter().for_each(|part| sums.add(part));
        count_fires(&latents, &mut fires);
        nnz += latents.nnz();
    });
    let rows = x.rows() as f64;
    Metrics {
        rows: x.rows(),
        fvu: sums.error / sums.scatter,
        mse: sums.error / rows,
        l0: nnz as f64 / rows,
        dead: fires.iter().filter(|&&n| n == 0).count(),
        density: fires.iter().map(|&n| n as f64 / rows).collect(),
        shrinkage: sums.recon_recon / sums.recon_x,
        cossim: sums.cosine / rows,
    }
}

fn count_fires(latents: &Latents, fires: &mut [u64]) {
    latents.indices().iter().for_each(|&j| fires[j as usize] += 1);
}

/// Sums over some rows. Scatter is merged by the rule of Chan, Golub and LeVeque (1979), so that one pass suffices and
/// a large mean costs no precision.
struct Sums {
    rows: f64,
    mean: Vec<f64>,
    /// `Σ‖x − mean‖²`.
    scatter: f64,
    /// `Σ‖x − x̂‖²`.
    error: f64,
    recon_recon: f64,
    recon_x: f64,
    cosine: f64,
}

impl Sums {
    fn new(d: usize) -> Self {
        Self { rows: 0.0, mean: vec![0.0; d], scatter: 0.0, error: 0.0, recon_recon: 0.0, recon_x: 0.0, cosine: 0.0 }
    }

    fn of(x: &[f32], recon: &[f32], width: usize) -> Self {
        let mut sums = Sums::new(width);
        sums.rows = (x.len() / width) as f64;
        for row in x.chunks_exact(width) {
            sums.mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x));
        }
        sums.mean.iter_mut().for_each(|m| *m /= sums.rows);
        for (x, recon) in x.chunks_exact(width).zip(recon.chunks_exact(width)) {
            let (mut xx, mut rr, mut rx) = (0.0, 0.0, 0.0);
            for ((&x, &r), m) in x.iter().zip(recon).zip(&sums.mean) {
                let (x, r) = (f64::from(x), f64::from(r));
                sums.scatter += (x - m).powi(2);
                sums.error += (x - r).powi(2);
                xx += x * x;
                rr += r * r;
                rx += r * x;
            }
            sums.recon_recon += rr;
            sums.recon_x += rx;
            sums.cosine += if xx > 0.0 && rr > 0.0 { rx / (xx * rr).sqrt() } else { 0.0 };
        }
        sums
    }

    fn add(&mut self, part: &Sums) {
        let total = self.rows + part.rows;
        let mut between = 0.0;
        for (m, p) in self.mean.iter_mut().zip(&part.mean) {
            let delta = p - *m;
            between += delta * delta;
            *m += delta * part.rows / total;
        }
        self.scatter += part.scatter + between * self.rows * part.rows / total;
        self.rows = total;
        self.error += part.error;
        self.recon_recon += part.recon_recon;
        self.recon_x += part.recon_x;
        self.cosine += part.cosine;
    }
}

/// Mean over the true `features` of the largest |cos| with any row of `dictionary`: mean max cosine similarity.
///
/// Ignores sign, and duplicates count for several features: read it beside [`mcc`]. Both `[n, d]`; zero rows match
/// nothing. NaN without features. Panics on different widths.
pub fn mmcs(features: &Mat, dictionary: &Mat) -> f64 {
    let cosines = abs_cosines(features, dictionary);
    let best = |i: usize| cosines.row(i).iter().map(|&c| f64::from(c)).fold(0.0, f64::max);
    (0..features.rows()).map(best).sum::<f64>() / features.rows() as f64
}

/// Mean |cos| over the best one-to-one match of true `features` with rows of `dictionary` (Hungarian assignment), over
/// the smaller number of the two.
///
/// With fewer latents than features it says nothing about the features left over. NaN where either is empty. Panics on
/// different widths.
pub fn mcc(features: &Mat, dictionary: &Mat) -> f64 {
    let (few, many) =
        if features.rows() <= dictionary.rows() { (features, dictionary) } else { (dictionary, features) };
    let cosines = abs_cosines(few, many);
    let columns = assign(few.rows(), many.rows(), |i, j| f64::from(cosines[(i, j)]));
    columns.iter().enumerate().map(|(i, &j)| f64::from(cosines[(i, j)])).sum::<f64>() / few.rows() as f64
}

/// |cos| between every row of `a` and every row of `b`; 0 where a row is zero or not finite.
fn abs_cosines(a: &Mat, b: &Mat) -> Mat {
    assert_eq!(a.cols(), b.cols(), "directions {:?} and {:?}", a.shape(), b.shape());
    let mut cosines = matmul(&unit(a), unit(b).t());
    cosines.data_mut().iter_mut().for_each(|c| *c = if c.is_finite() { c.abs().min(1.0) } else { 0.0 });
    cosines
}

fn unit(m: &Mat) -> Mat {
    let mut m = m.clone();
    for i in 0..m.rows() {
        let norm = m.row(i).iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            m.row_mut(i).iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
        }
    }
    m
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::{Activation, Encoder};
    use superlens_tensor::Rng;

    /// Two latents in two dimensions: the first copies x₀ where positive, the second never fires.
    fn copier(scale: f32) -> Sae {
        let w_enc = Mat::from_vec(2, 2, vec![1.0, 0.0, 0.0, 0.0]);
        let encoder = Encoder::Linear { w_enc, b_enc: vec![0.0, -1.0], act: Activation::Relu };
        Sae::new(vec![0.0; 2], encoder, Mat::from_vec(2, 2, vec![scale, 0.0, 0.0, 1.0]), vec![0.0; 2])
    }

    #[test]
    fn small_case_by_hand() {
        let x = Mat::from_vec(4, 2, vec![2.0, 0.0, 4.0, 0.0, -1.0, 0.0, 0.0, 3.0]);
        let m = evaluate(&copier(1.0), &x);
        // Mean (1.25, 0.75); scatter 21 − 4·1.25² + 9 − 4·0.75² = 21.5; errors 0, 0, 1, 9.
        assert!((m.fvu - 10.0 / 21.5).abs() < 1e-12 && (m.mse - 2.5).abs() < 1e-12, "{m:?}");
        assert_eq!((m.l0, m.dead, m.density.as_slice()), (0.5, 1, &[0.5, 0.0][..]));
        assert!((m.shrinkage - 1.0).abs() < 1e-12 && (m.cossim - 0.5).abs() < 1e-12, "{m:?}");
        assert!((evaluate(&copier(0.5), &x).shrinkage - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_variance_is_about_the_mean_of_all_rows_wherever_the_blocks_fall() {
        let mut rng = Rng::new(0).fork("metrics");
        // A mean that drifts with the row, far from zero.
        let x = Mat::from_fn(2000, 2, |i, _| 1000.0 + i as f32 * 0.01 + rng.normal());
        let mean = |j: usize| (0..2000).map(|i| f64::from(x[(i, j)])).sum::<f64>() / 2000.0;
        let scatter: f64 =
            (0..2).map(|j| (0..2000).map(|i| (f64::from(x[(i, j)]) - mean(j)).powi(2)).sum::<f64>()).sum();
        let error: f64 = (0..2000).map(|i| f64::from(x[(i, 1)]).powi(2)).sum();
        assert!((evaluate(&copier(1.0), &x).fvu / (error / scatter) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn agreement_with_features() {
        let features = Mat::from_vec(3, 3, vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        let shuffled = Mat::from_vec(4, 3, vec![0.0, -2.0, 0.0, 0.0, 0.0, 3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert!((mmcs(&features, &shuffled) - 1.0).abs() < 1e-6 && (mcc(&features, &shuffled) - 1.0).abs() < 1e-6);
        // One latent between two features serves both for MMCS but only one for MCC.
        let between = Mat::from_vec(3, 3, vec![1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        let half = 0.5f64.sqrt();
        assert!((mmcs(&features, &between) - (2.0 * half + 1.0) / 3.0).abs() < 1e-6);
        assert!((mcc(&features, &between) - (half + 1.0) / 3.0).abs() < 1e-6);
        let one = Mat::from_vec(1, 3, vec![0.0, 0.0, 1.0]);
        assert!((mcc(&features, &one) - 1.0).abs() < 1e-6 && (mmcs(&features, &one) - 1.0 / 3.0).abs() < 1e-6);
    }
}
