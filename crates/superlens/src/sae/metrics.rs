//! How good a decomposition is: reconstruction, sparsity, and agreement with features that are known.
//!
//! One definition each, all in `f64`. The best reconstruction is often not the best dictionary: never rank by
//! [`Metrics::fvu`] alone.

pub use super::agreement::{
    Nearest, mcc, mean_max_cosine, mmcs, nearest, nearest_within, uniqueness, uniqueness_of_all,
};
pub use super::detection::{Detection, Detector};
pub use super::stability::{Agreement, Stability, stability};
pub use super::stitching::{Stitched, Stitching};
use super::{Latents, Sae};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use superlens_tensor::Mat;

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
    /// Mean `‖x‖` and mean `‖x̂‖`.
    pub l2_norm_in: f64,
    pub l2_norm_out: f64,
    /// `exp(H) / d_in`, with `H` the entropy of each latent's share of all activation (arXiv 2512.13568): above 1, more features are in
    /// use than there are dimensions. Skewed frequencies lower it.
    pub psi: f64,
}

impl Metrics {
    /// Share of the latents that are on in more than `least` of the rows.
    pub fn denser(&self, least: f64) -> f64 {
        self.density.iter().filter(|d| **d > least).count() as f64 / self.density.len() as f64
    }

    /// Share of all firing that is that of latents on in more than `least` of the rows.
    pub fn of_denser(&self, least: f64) -> f64 {
        self.density.iter().filter(|d| **d > least).sum::<f64>() / self.density.iter().sum::<f64>()
    }
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
    /// Row from which on firing is counted once more, and these counts.
    window_from: usize,
    fires_late: Vec<u64>,
}

/// Latents that peers would call dead or dense by what they do in the last rows alone ([`Evaluation::with_window`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Silent in all of them.
    pub dead: usize,
    /// On in more than a tenth of them.
    pub dense: usize,
}

/// A latent that is on in a larger share of the rows is dense.
pub const DENSE: f64 = 0.1;

impl<'a> Evaluation<'a> {
    /// Panics on a centre of another width than what the dictionary rebuilds.
    pub fn new(sae: &'a Sae, centre: Vec<f64>) -> Self {
        assert_eq!(sae.d_out(), centre.len(), "a centre of another width");
        let (fires, mass) = (vec![0; sae.d_sae()], vec![0.0; sae.d_sae()]);
        let (window_from, fires_late) = (usize::MAX, vec![0; sae.d_sae()]);
        Evaluation { sae, sums: Sums::new(centre.len()), centre, rows: 0, nnz: 0, fires, mass, window_from, fires_late }
    }

    /// Also counts which latents fire from the row `from` on, for [`Evaluation::window`].
    pub fn with_window(self, from: usize) -> Self {
        Self { window_from: from, ..self }
    }

    /// Dead and dense by the rows from that of [`Evaluation::with_window`] on; `None` where there is no such row. Training by others calls a
    /// latent dead that was silent for the last so many steps or tokens: the same latents are dead here if the rows are in that order.
    pub fn window(&self) -> Option<Window> {
        let rows = self.rows.checked_sub(self.window_from).filter(|rows| *rows > 0)? as f64;
        let dead = self.fires_late.iter().filter(|&&n| n == 0).count();
        let dense = self.fires_late.iter().filter(|&&n| n as f64 > DENSE * rows).count();
        Some(Window { dead, dense })
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
            let late = self.window_from.saturating_sub(self.rows + first);
            for r in late..latents.rows().max(late) {
                latents.row(r).0.iter().for_each(|&j| self.fires_late[j as usize] += 1);
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
            l2_norm_in: sums.norm_in / rows,
            l2_norm_out: sums.norm_out / rows,
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

/// [`Metrics::fvu`] of each of several stretches of the columns, of equal width: the layers of a crosscoder.
pub struct FvuOfParts<'a> {
    sae: &'a Sae,
    mean: Vec<f64>,
    /// Error and scatter of each.
    sums: Vec<(f64, f64)>,
}

impl<'a> FvuOfParts<'a> {
    /// About `mean`, that of all rows. Panics on another width, and unless the parts are of one width.
    pub fn new(sae: &'a Sae, mean: Vec<f64>, parts: usize) -> Self {
        assert_eq!(
            (mean.len(), mean.len() % parts.max(1)),
            (sae.d_out(), 0),
            "{parts} parts of {} columns",
            mean.len()
        );
        FvuOfParts { sae, mean, sums: vec![(0.0, 0.0); parts] }
    }

    /// Takes rows in.
    pub fn add(&mut self, x: &Mat) {
        let width = (self.mean.len() / self.sums.len()).max(1);
        self.sae.encode_blocks(x, |first, latents| {
            let recon = self.sae.reconstruct(&latents, x.rows_view(first, first + latents.rows()));
            for i in 0..latents.rows() {
                for (c, ((&x, &r), m)) in x.row(first + i).iter().zip(recon.row(i)).zip(&self.mean).enumerate() {
                    let (error, scatter) = &mut self.sums[c / width];
                    *error += f64::from(x - r).powi(2);
                    *scatter += (f64::from(x) - m).powi(2);
                }
            }
        });
    }

    pub fn finish(&self) -> Vec<f64> {
        self.sums.iter().map(|(error, scatter)| error / scatter).collect()
    }
}

pub(super) fn column_means(x: &Mat) -> Vec<f64> {
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
    norm_in: f64,
    norm_out: f64,
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
            norm_in: 0.0,
            norm_out: 0.0,
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
            sums.norm_in += xx.sqrt();
            sums.norm_out += rr.sqrt();
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
        self.norm_in += part.norm_in;
        self.norm_out += part.norm_out;
    }
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
        assert_eq!((m.denser(0.1), m.denser(0.5), m.of_denser(0.1), m.of_denser(0.5)), (0.5, 0.0, 1.0, 0.0));
        assert!((m.shrinkage - 1.0).abs() < 1e-12 && (m.cossim - 0.5).abs() < 1e-12, "{m:?}");
        assert!((evaluate(&copier(0.5), &x).shrinkage - 0.5).abs() < 1e-12);
        // Lengths 2, 4, 1, 3 of the rows; 2, 4, 0, 0 rebuilt.
        assert!((m.l2_norm_in - 2.5).abs() < 1e-12 && (m.l2_norm_out - 1.5).abs() < 1e-12, "{m:?}");
    }

    /// The first latent fires in rows 0 and 1 only, however the rows come; the second never.
    #[test]
    fn a_latent_may_be_dead_in_the_last_rows_alone() {
        let sae = copier(1.0);
        let rows = [[2.0, 0.0], [4.0, 0.0], [-1.0, 0.0], [0.0, 3.0]];
        let window = |from: usize, cuts: &[usize]| {
            let mut evaluation = Evaluation::new(&sae, vec![0.0; 2]).with_window(from);
            for cut in cuts.windows(2) {
                let x = Mat::from_vec(cut[1] - cut[0], 2, rows[cut[0]..cut[1]].concat());
                evaluation.add(&x, &x, &mut |_, _| {});
            }
            evaluation.window()
        };
        for cuts in [&[0, 4][..], &[0, 1, 4], &[0, 3, 4]] {
            assert_eq!(window(0, cuts), Some(Window { dead: 1, dense: 1 }));
            assert_eq!(window(1, cuts), Some(Window { dead: 1, dense: 1 }));
            assert_eq!(window(2, cuts), Some(Window { dead: 2, dense: 0 }));
            assert_eq!(window(4, cuts), None);
        }
        assert_eq!(evaluate(&sae, &Mat::from_vec(4, 2, rows.concat())).dead, 1);
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
        let means = column_means(&x);
        let mut parts = FvuOfParts::new(&half, means.clone(), 2);
        parts.add(&x.select_rows(&(0..100).collect::<Vec<_>>()));
        parts.add(&x.select_rows(&(100..300).collect::<Vec<_>>()));
        let parts = parts.finish();
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
