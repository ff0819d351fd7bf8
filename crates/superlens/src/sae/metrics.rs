//! How good a decomposition is: reconstruction, sparsity, and agreement with features that are known.
//!
//! One definition each, all in `f64`. The best reconstruction is often not the best dictionary: never rank by
//! [`Metrics::fvu`] alone.

use super::assignment::assign;
pub use super::detection::{Detection, Detector};
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
    /// Explained variance in another sense, "legacy" in SAEBench: the mean over rows of `1 − ‖x − x̂‖² / ‖x − x̄‖²`. Rows at the mean are
    /// left out.
    pub explained_variance_legacy: f64,
    /// Mean number of latents that are not zero in a row.
    pub l0: f64,
    /// Mean sum of their sizes in a row.
    pub l1: f64,
    /// Latents that are zero in every row.
    pub dead: usize,
    /// Share of the rows in which each latent is not zero, `[d_sae]`.
    pub density: Vec<f64>,
    /// `E‖x̂‖² / E[x̂ · x]`: below 1, reconstructions are too short (Rajamanoharan et al. 2024, arXiv 2404.16014, eq. 10).
    pub shrinkage: f64,
    /// Mean cosine between `x` and `x̂`; rows where either is zero count as 0.
    pub cossim: f64,
    /// Mean `‖x̂‖ / ‖x‖`; rows that are zero count as 0.
    pub l2_ratio: f64,
    /// `exp(H) / d_in`, with `H` the entropy of each latent's share of all activation (arXiv 2512.13568): above 1, more features are in
    /// use than there are dimensions. Skewed frequencies lower it.
    pub psi: f64,
}

/// Encodes and decodes `x` block by block and measures the result. Panics on another width, and for a dictionary that rebuilds another
/// width than it reads.
pub fn evaluate(sae: &Sae, x: &Mat) -> Metrics {
    evaluate_against(sae, x, x)
}

/// [`evaluate`] for a dictionary that reads `x` `[rows, d_in]` and rebuilds `y` `[rows, d_out]`: a transcoder. In the metrics `y` then stands
/// in the place of x. Panics on other widths, or another number of rows.
pub fn evaluate_against(sae: &Sae, x: &Mat, y: &Mat) -> Metrics {
    let mut evaluation = Evaluation::new(sae, column_means(y));
    evaluation.add(x, y, &mut |_, _| {});
    evaluation.finish()
}

/// [`evaluate`] of rows that come piece by piece, more than fit in memory.
pub struct Evaluation<'a> {
    sae: &'a Sae,
    /// The mean of all rows that will have to be rebuilt, for [`Metrics::explained_variance_legacy`] alone.
    centre: Vec<f64>,
    sums: Sums,
    rows: usize,
    nnz: usize,
    fires: Vec<u64>,
    /// Sum of the sizes of each latent.
    mass: Vec<f64>,
}

impl<'a> Evaluation<'a> {
    /// Panics on a centre of another width than what the dictionary rebuilds.
    pub fn new(sae: &'a Sae, centre: Vec<f64>) -> Self {
        assert_eq!(sae.d_out(), centre.len(), "a centre of another width");
        let (fires, mass) = (vec![0; sae.d_sae()], vec![0.0; sae.d_sae()]);
        Evaluation { sae, sums: Sums::new(centre.len()), centre, rows: 0, nnz: 0, fires, mass }
    }

    /// Takes more rows in, `x` that are read and `y` that are to be rebuilt (`x` again but for transcoders), and shows `visit` their
    /// latents with the number of the first row in `x`. Panics on other widths, or another number of rows.
    pub fn add(&mut self, x: &Mat, y: &Mat, visit: &mut dyn FnMut(usize, &Latents)) {
        let wanted = (x.rows(), self.sae.d_out());
        assert_eq!(wanted, y.shape(), "what a dictionary {:?} is to rebuild", self.sae.w_dec.shape());
        self.sae.encode_blocks(x, |first, latents| {
            let recon = self.sae.reconstruct(&latents, x.rows_view(first, first + latents.rows()));
            let width = y.cols().max(1);
            let block = y.rows_view(first, first + latents.rows()).data;
            let pieces = block.par_chunks(PIECE_ROWS * width).zip(recon.data().par_chunks(PIECE_ROWS * width));
            let parts: Vec<Sums> = pieces.map(|(y, recon)| Sums::of(y, recon, &self.centre)).collect();
            parts.iter().for_each(|part| self.sums.add(part));
            for (&j, v) in latents.indices().iter().zip(latents.values()) {
                self.fires[j as usize] += 1;
                self.mass[j as usize] += f64::from(v.abs());
            }
            self.nnz += latents.nnz();
            visit(first, &latents);
        });
        self.rows += x.rows();
    }

    pub fn finish(self) -> Metrics {
        let Evaluation { sums, mass, fires, .. } = &self;
        let rows = self.rows as f64;
        Metrics {
            rows: self.rows,
            fvu: sums.error / sums.scatter,
            mse: sums.error / rows,
            explained_variance_legacy: sums.explained / sums.off_centre,
            l0: self.nnz as f64 / rows,
            l1: mass.iter().sum::<f64>() / rows,
            dead: fires.iter().filter(|&&n| n == 0).count(),
            density: fires.iter().map(|&n| n as f64 / rows).collect(),
            shrinkage: sums.recon_recon / sums.recon_x,
            cossim: sums.cosine / rows,
            l2_ratio: sums.lengths / rows,
            psi: effective(mass) / self.sae.d_in().max(1) as f64,
        }
    }
}

/// `exp(H)`, with `H` the entropy of the shares of `mass`.
fn effective(mass: &[f64]) -> f64 {
    let total: f64 = mass.iter().sum();
    let entropy: f64 = mass.iter().filter(|m| **m > 0.0).map(|m| -(m / total) * (m / total).ln()).sum();
    entropy.exp()
}

/// [`Metrics::fvu`] of each of `parts` stretches of the columns of `x`, of equal width: the layers of a crosscoder. Panics on another width,
/// and unless the parts are of one width.
pub fn fvu_of_parts(sae: &Sae, x: &Mat, parts: usize) -> Vec<f64> {
    assert_eq!((x.cols(), x.cols() % parts.max(1)), (sae.d_out(), 0), "{parts} parts of {} columns", x.cols());
    let (mean, width) = (column_means(x), (x.cols() / parts.max(1)).max(1));
    let mut sums = vec![(0.0, 0.0); parts];
    sae.encode_blocks(x, |first, latents| {
        let recon = sae.reconstruct(&latents, x.rows_view(first, first + latents.rows()));
        for i in 0..latents.rows() {
            for (c, ((&x, &r), m)) in x.row(first + i).iter().zip(recon.row(i)).zip(&mean).enumerate() {
                let (error, scatter) = &mut sums[c / width];
                *error += f64::from(x - r).powi(2);
                *scatter += (f64::from(x) - m).powi(2);
            }
        }
    });
    sums.into_iter().map(|(error, scatter)| error / scatter).collect()
}

fn column_means(x: &Mat) -> Vec<f64> {
    let mut sums = vec![0.0; x.cols()];
    (0..x.rows()).for_each(|i| sums.iter_mut().zip(x.row(i)).for_each(|(s, &v)| *s += f64::from(v)));
    sums.iter_mut().for_each(|s| *s /= x.rows().max(1) as f64);
    sums
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
    /// `Σ ‖x̂‖ / ‖x‖`, `Σ (1 − ‖x − x̂‖² / ‖x − x̄‖²)`, and over how many rows the latter.
    lengths: f64,
    explained: f64,
    off_centre: f64,
}

impl Sums {
    fn new(d: usize) -> Self {
        Self {
            rows: 0.0,
            mean: vec![0.0; d],
            scatter: 0.0,
            error: 0.0,
            recon_recon: 0.0,
            recon_x: 0.0,
            cosine: 0.0,
            lengths: 0.0,
            explained: 0.0,
            off_centre: 0.0,
        }
    }

    /// `centre` is the mean over all evaluated rows.
    fn of(x: &[f32], recon: &[f32], centre: &[f64]) -> Self {
        let width = centre.len().max(1);
        let mut sums = Sums::new(width);
        sums.rows = (x.len() / width) as f64;
        for row in x.chunks_exact(width) {
            sums.mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x));
        }
        sums.mean.iter_mut().for_each(|m| *m /= sums.rows);
        for (x, recon) in x.chunks_exact(width).zip(recon.chunks_exact(width)) {
            let (mut xx, mut rr, mut rx, mut error, mut off) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for (((&x, &r), m), c) in x.iter().zip(recon).zip(&sums.mean).zip(centre) {
                let (x, r) = (f64::from(x), f64::from(r));
                sums.scatter += (x - m).powi(2);
                error += (x - r).powi(2);
                off += (x - c).powi(2);
                xx += x * x;
                rr += r * r;
                rx += r * x;
            }
            sums.error += error;
            sums.recon_recon += rr;
            sums.recon_x += rx;
            sums.lengths += if xx > 0.0 { (rr / xx).sqrt() } else { 0.0 };
            if off > 0.0 {
                sums.explained += 1.0 - error / off;
                sums.off_centre += 1.0;
            }
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
        self.lengths += part.lengths;
        self.explained += part.explained;
        self.off_centre += part.off_centre;
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

/// Mean over the rows of `dictionary` of the largest |cos| with any other row; NaN with fewer than two. Quadratic in the rows, block by
/// block.
pub fn mean_max_cosine(dictionary: &Mat) -> f64 {
    const BLOCK: usize = 512;
    let (unit, n) = (unit(dictionary), dictionary.rows());
    if n < 2 {
        return f64::NAN;
    }
    let best: Vec<f64> = (0..n.div_ceil(BLOCK))
        .into_par_iter()
        .flat_map_iter(|b| {
            let (from, to) = (b * BLOCK, ((b + 1) * BLOCK).min(n));
            let cosines = matmul(unit.rows_view(from, to), unit.t());
            let largest = |r: usize| {
                let others = cosines.row(r).iter().enumerate().filter(|(j, _)| *j != from + r);
                others.map(|(_, c)| f64::from(c.abs())).fold(0.0, f64::max)
            };
            (0..to - from).map(largest).collect::<Vec<_>>()
        })
        .collect();
    best.iter().sum::<f64>() / n as f64
}

/// Which true feature each latent is most like: the index of the largest |cos|, or `None` for a latent without direction.
pub(super) fn best_features(features: &Mat, dictionary: &Mat) -> Vec<Option<usize>> {
    let cosines = abs_cosines(dictionary, features);
    let best = |j: usize| {
        let row = cosines.row(j).iter().enumerate();
        row.fold((None, 0.0f32), |best, (i, &c)| if c > best.1 { (Some(i), c) } else { best }).0
    };
    (0..dictionary.rows()).map(best).collect()
}

/// Distinct true features among those that all latents are most like, over all latents, in use or not: the number that SynthSAEBench
/// publishes as uniqueness. NaN without latents.
pub fn uniqueness_of_all(features: &Mat, dictionary: &Mat) -> f64 {
    let distinct: std::collections::BTreeSet<usize> =
        best_features(features, dictionary).into_iter().flatten().collect();
    distinct.len() as f64 / dictionary.rows() as f64
}

/// Distinct true features among those that the latents in use are most like, over the latents in use: 1 where each follows another
/// feature (Chanin et al. 2026, SynthSAEBench). `density` is that of [`Metrics`]. NaN where no latent is in use.
pub fn uniqueness(features: &Mat, dictionary: &Mat, density: &[f64]) -> f64 {
    let best = best_features(features, dictionary);
    let used: Vec<usize> = best.iter().zip(density).filter(|(_, d)| **d > 0.0).filter_map(|(b, _)| *b).collect();
    let distinct: std::collections::BTreeSet<usize> = used.iter().copied().collect();
    distinct.len() as f64 / used.len() as f64
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

    /// A transcoder from x to 2x + 1 and back to the numbers of its own target; parts add up to the whole.
    #[test]
    fn targets_and_parts() {
        let mut rng = superlens_tensor::Rng::new(7);
        let x = Mat::from_fn(300, 4, |_, j| rng.normal() * (j + 1) as f32);
        let y = Mat::from_fn(300, 4, |i, j| 2.0 * x[(i, j)] + 1.0);
        let eye = |s: f32| Mat::from_fn(4, 4, |i, j| if i == j { s } else { 0.0 });
        let linear = |b: f32, s: f32| {
            let encoder = Encoder::Linear { w_enc: eye(1.0), b_enc: vec![0.0; 4], act: Activation::Identity };
            Sae::new(vec![0.0; 4], encoder, eye(s), vec![b; 4])
        };
        assert!(evaluate_against(&linear(1.0, 2.0), &x, &y).fvu < 1e-12 && evaluate(&linear(1.0, 2.0), &x).fvu > 0.5);
        let half = linear(0.0, 0.5);
        let parts = fvu_of_parts(&half, &x, 2);
        let means = column_means(&x);
        let scatter = |from: usize| -> f64 {
            (0..300)
                .flat_map(|i| (from..from + 2).map(move |j| (i, j)))
                .map(|at| (f64::from(x[at]) - means[at.1]).powi(2))
                .sum()
        };
        let whole = (parts[0] * scatter(0) + parts[1] * scatter(2)) / (scatter(0) + scatter(2));
        assert!((whole / evaluate(&half, &x).fvu - 1.0).abs() < 1e-6);
    }
}
