//! K-means whose centroids are directions: each row is one latent times one direction (Coates and Ng 2012, *Learning feature
//! representations with k-means*, §2; "gain-shape" vector quantisation elsewhere).
//!
//! ```text
//! least Σ‖x − x̄ − f_i c_a(i)‖²    with ‖c‖ = 1, f ≥ 0:    a = argmax x · c,  f = relu(x · c_a)
//! ```
//!
//! This, and not the Euclidean kind with its centroid taken as it is, because it *is* a dictionary: it equals a TopK autoencoder with k = 1
//! and tied weights, so files, metrics and other tools know it. A Euclidean centroid has the same part in every row of its cluster,
//! and would come off worse for no reason but its form. Centroids are drawn as in k-means++ (Arthur and Vassilvitskii 2007), rows by
//! what is left of them, in at most [`ROUNDS`] rounds; then Lloyd's steps, none of which makes the error larger.

use super::arch::{Arch, Entry, FitError, MAX_LATENTS, Watch, check_input, check_setting, report};
use super::model::{blocks, centred};
use super::train::Setting;
use super::{Activation, Encoder, Moments, Sae};
use crate::geometry::recover::unit_rows;
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::kernels::sparse::{SparseRows, sparse_t_dense};
use superlens_tensor::kernels::topk::TopK;
use superlens_tensor::{Mat, Rng};

pub(super) const ENTRY: Entry = Entry {
    id: "kmeans",
    about: "spherical k-means around the mean: each row is one latent times one of d_sae directions",
    takes: &[Setting::DSae],
    build: |size| Box::new(KMeans { d_sae: size.d_sae }),
};

/// Rounds of drawing centroids.
const ROUNDS: usize = 256;
/// Rows that centroids are drawn from, or four a centroid where that is more.
const SEEN: usize = 16_384;
/// Lloyd's steps at most; fewer once a step gains less than a thousandth of what is left.
const STEPS: usize = 30;
const GAIN: f64 = 1e-3;

/// `d_sae` directions.
#[derive(Clone, Debug)]
pub struct KMeans {
    pub d_sae: usize,
}

impl Arch for KMeans {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn fit(&self, x: &Mat, rng: &Rng, watch: &mut Watch) -> Result<Sae, FitError> {
        check_input(x)?;
        check_setting("d_sae", self.d_sae, 1, MAX_LATENTS)?;
        let mean = Moments::of(x).mean_f32();
        if mean.iter().any(|m| !m.is_finite()) {
            return Err(FitError::NotFinite { what: "the mean of the activations" });
        }
        report(watch, 0.05)?;
        let mut centroids = self.draw(x, &mean, &mut rng.fork("kmeans"), watch)?;
        let mut last = f64::INFINITY;
        for step in 0..STEPS {
            let left = lloyd(x, &mean, &mut centroids);
            if !left.is_finite() {
                return Err(FitError::NotFinite { what: "the squares of the activations" });
            }
            report(watch, 0.3 + 0.7 * (step + 1) as f64 / STEPS as f64)?;
            if last - left <= GAIN * left {
                break;
            }
            last = left;
        }
        let (w_enc, b_enc) = (centroids.transposed(), vec![0.0; self.d_sae]);
        Ok(Sae::new(mean.clone(), Encoder::Linear { w_enc, b_enc, act: Activation::TopK { k: 1 } }, centroids, mean))
    }
}

impl KMeans {
    /// Rows drawn by what the centroids before leave of them, several a round where many are wanted, at unit length.
    fn draw(&self, x: &Mat, mean: &[f32], rng: &mut Rng, watch: &mut Watch) -> Result<Mat, FitError> {
        let step = x.rows().div_ceil(SEEN.max(self.d_sae.saturating_mul(4))).max(1);
        let rows: Vec<usize> = (0..x.rows()).step_by(step).collect();
        let seen = x.select_rows(&rows);
        let seen = centred(&seen, 0, seen.rows(), mean);
        // Where nothing is left to be drawn, any direction will do.
        let mut centroids = unit_rows(self.d_sae, x.cols(), rng);
        let mut left: Vec<f64> = (0..seen.rows()).map(|i| f64::from(dot(seen.row(i), seen.row(i)))).collect();
        let whole = left.clone();
        let each = self.d_sae.div_ceil(ROUNDS);
        for from in (0..self.d_sae).step_by(each) {
            let to = (from + each).min(self.d_sae);
            for j in from..to {
                let Some(i) = draw(&mut left, rng) else { return Ok(centroids) };
                let length = (whole[i].sqrt()) as f32;
                centroids.row_mut(j).iter_mut().zip(seen.row(i)).for_each(|(c, x)| *c = x / length);
            }
            let products = matmul(&seen, centroids.rows_view(from, to).t());
            for (i, left) in left.iter_mut().enumerate() {
                let best = products.row(i).iter().fold(0.0f32, |m, p| m.max(*p));
                *left = left.min(whole[i] - f64::from(best).powi(2)).max(0.0);
            }
            report(watch, 0.05 + 0.25 * to as f64 / self.d_sae as f64)?;
        }
        Ok(centroids)
    }
}

/// One index with probability in proportion to its weight, which becomes 0; `None` where no weight is left or one is no number.
fn draw(weights: &mut [f64], rng: &mut Rng) -> Option<usize> {
    let total: f64 = weights.iter().sum();
    if !(total > 0.0 && total.is_finite()) {
        return None;
    }
    let mut at = rng.uniform_f64() * total;
    let passed = |(i, w): (usize, &f64)| {
        at -= w;
        (at < 0.0 && *w > 0.0).then_some(i)
    };
    let found = weights.iter().enumerate().find_map(passed).or_else(|| weights.iter().rposition(|w| *w > 0.0))?;
    weights[found] = 0.0;
    Some(found)
}

/// One step over all rows: each centroid becomes the sum of its rows, weighted by their latents, at unit length, which is a step of
/// the power iteration towards its cluster's principal direction; one without rows takes the row of which most is left. Returns
/// what was left before the step, `Σ‖x − f c‖²`.
fn lloyd(x: &Mat, mean: &[f32], centroids: &mut Mat) -> f64 {
    let (n, zeros) = (centroids.rows(), vec![0.0; centroids.rows()]);
    let mut sums = Mat::zeros(n, x.cols());
    let mut used = vec![false; n];
    let (mut left, mut worst) = (0.0, Vec::new());
    for (from, to) in blocks(x.rows(), n.max(x.cols())) {
        let block = centred(x, from, to, mean);
        let TopK { indices, values, .. } = Product { x: &block, w: centroids, b: &zeros }.top_k(1);
        let values: Vec<f32> = values.iter().map(|v| v.max(0.0)).collect();
        for (i, (&j, &f)) in indices.iter().zip(&values).enumerate() {
            used[j as usize] |= f > 0.0;
            let rest = f64::from(dot(block.row(i), block.row(i))) - f64::from(f) * f64::from(f);
            left += rest.max(0.0);
            worst.push((rest, from + i));
        }
        let s = SparseRows::from_top_k(block.rows(), n, TopK { k: 1, indices, values });
        axpy(1.0, sparse_t_dense(&s, &block).data(), sums.data_mut());
    }
    worst.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut worst = worst.into_iter();
    for j in 0..n {
        let row = if used[j] { sums.row(j).to_vec() } else { next_direction(x, mean, &mut worst) };
        let norm = dot(&row, &row).sqrt();
        if norm > 0.0 {
            centroids.row_mut(j).iter_mut().zip(&row).for_each(|(c, v)| *c = v / norm);
        }
    }
    left
}

/// The next row of which something is left; empty where there is none, and the centroid stays.
fn next_direction(x: &Mat, mean: &[f32], worst: &mut impl Iterator<Item = (f64, usize)>) -> Vec<f32> {
    let row = worst.next().filter(|w| w.0 > 0.0);
    row.map(|(_, i)| x.row(i).iter().zip(mean).map(|(x, m)| x - m).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::metrics::{evaluate, mmcs};
    use std::ops::ControlFlow;

    fn fit(d_sae: usize, x: &Mat) -> Sae {
        KMeans { d_sae }.fit(x, &Rng::new(1), &mut |_| ControlFlow::Continue(())).unwrap()
    }

    /// Rows along one of `directions` each, in both signs of noise; the mean is then no direction's own.
    #[test]
    fn planted_directions_are_found() {
        let mut rng = Rng::new(0).fork("kmeans");
        let directions = unit_rows(30, 20, &mut rng);
        let x =
            Mat::from_fn(3000, 20, |i, c| (2.0 + (i % 7) as f32 * 0.3) * directions[(i % 30, c)] + 0.02 * rng.normal());
        let mean = Moments::of(&x).mean_f32();
        let shifted = Mat::from_fn(30, 20, |j, c| 2.9 * directions[(j, c)] - mean[c]);
        let sae = fit(30, &x);
        let (found, m) = (mmcs(&shifted, &sae.w_dec), evaluate(&sae, &x));
        assert!(found > 0.98 && m.fvu < 0.05 && m.l0 <= 1.0, "{found}, {}, {}", m.fvu, m.l0);
    }

    #[test]
    fn no_step_makes_the_error_larger_and_its_value_is_what_inference_leaves() {
        let mut rng = Rng::new(2).fork("kmeans");
        let x = Mat::from_fn(700, 8, |_, j| rng.normal() * (j + 1) as f32 + 3.0);
        let mean = Moments::of(&x).mean_f32();
        let mut centroids = unit_rows(20, 8, &mut rng);
        let errors: Vec<f64> = (0..12).map(|_| lloyd(&x, &mean, &mut centroids)).collect();
        assert!(errors.windows(2).all(|w| w[1] <= w[0] * (1.0 + 1e-6)), "{errors:?}");
        let sae = fit(20, &x);
        let mut last = sae.w_dec.clone();
        let left = lloyd(&x, &mean, &mut last) / 700.0;
        assert!((evaluate(&sae, &x).mse / left - 1.0).abs() < 1e-4);
    }

    #[test]
    fn more_centroids_than_rows_is_no_panic() {
        let x = Mat::from_fn(3, 4, |i, j| (i * j) as f32);
        assert!(evaluate(&fit(9, &x), &x).fvu < 1e-6);
    }
}
