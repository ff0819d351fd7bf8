//! TopK sparse autoencoder with an auxiliary loss that revives dead latents (Gao et al. 2024, *Scaling and evaluating
//! sparse autoencoders*, arXiv 2406.04093).
//!
//! ```text
//! z = (x − b_dec) w_enc + b_enc      f = the k largest of z, where positive      e = x − (f w_dec + b_dec)
//! loss = mean‖e‖² / variance  +  α · s · Σ‖e − ê‖² / Σ‖e − mean e‖²
//! ```
//!
//! In the auxiliary term `e` is a constant, `ê = z_aux w_dec` has no bias, and `z_aux` holds the `min(d_in/2, dead)`
//! largest `z` among the dead latents, *not* rectified: with ReLU a latent whose `z` is negative everywhere would get
//! no gradient at all. `s = min(dead / (d_in/2), 1)`. Dead is counted in samples, so it does not depend on the batch.
//!
//! Gradients are written by hand and sparse: the backward pass touches `z` only where a latent is active.

use super::arch::{Arch, Entry, FitError, MAX_LATENTS, Watch, check_input, check_setting};
use super::batches::Batches;
use super::moments::Moments;
use super::{Activation, Encoder, Sae};
use crate::geometry::recover::unit_rows;
use rayon::prelude::*;
use std::ops::ControlFlow;
use superlens_tensor::kernels::gemm::gemm;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::kernels::sparse::{SparseRows, dots, sparse_dense, sparse_t_dense};
use superlens_tensor::kernels::topk::top_k;
use superlens_tensor::optim::{Optimiser, Schedule};
use superlens_tensor::train::{Objective, Params, TrainConfig, train};
use superlens_tensor::{Mat, Rng};

pub(super) const ENTRY: Entry = Entry {
    id: "topk",
    about: "sparse autoencoder that keeps the k largest latents of a row",
    build: |size| Box::new(TopK::new(size.d_sae, size.k)),
};

/// The loss is no number: with good activations the learning rate is too large.
const DIVERGED: FitError =
    FitError::NotFinite { what: "the training loss, perhaps because the learning rate is too large" };

/// Settings of a TopK sparse autoencoder.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    pub d_sae: usize,
    /// Active latents a row.
    pub k: usize,
    pub steps: u64,
    /// Rows per step.
    pub batch: usize,
    /// Peak learning rate; rises over the first steps, falls to 0 over the last fifth.
    pub lr: f64,
    /// Weight of the auxiliary loss, α.
    pub aux: f64,
    /// A latent that has not fired for this many samples is dead.
    pub dead_after: u64,
}

impl TopK {
    /// The usual settings for a dictionary of `d_sae` with `k` active: 4000 steps of 512 rows, dead after 131,072.
    /// Long runs on large models want more of all three (10 million samples until dead).
    ///
    /// The learning rate is 2e-4 / √(d_sae / 2¹⁴), the rule of dictionary_learning and sparsify.
    pub fn new(d_sae: usize, k: usize) -> Self {
        let (steps, batch) = (4000, 512);
        let lr = 2e-4 / (d_sae.max(1) as f64 / f64::from(1 << 14)).sqrt();
        Self { d_sae, k, steps, batch, lr, aux: 1.0 / 32.0, dead_after: 1 << 17 }
    }

    fn check(&self) -> Result<(), FitError> {
        check_setting("d_sae", self.d_sae, 1, MAX_LATENTS)?;
        check_setting("k", self.k, 1, self.d_sae)?;
        check_setting("batch", self.batch, 1, usize::MAX)
    }

    fn training(&self) -> TrainConfig {
        TrainConfig {
            steps: self.steps,
            optimiser: Optimiser::adam(self.lr),
            schedule: Schedule::WarmupDecay { warmup: (self.steps / 10).min(1000), fraction: 0.2 },
            clip_norm: Some(1.0),
        }
    }
}

impl Arch for TopK {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn fit(&self, x: &Mat, rng: &Rng, watch: &mut Watch) -> Result<Sae, FitError> {
        check_input(x)?;
        self.check()?;
        let rng = rng.fork("topk");
        let mut objective = TopKObjective::new(self, x, &rng)?;
        let mut outcome = Ok(());
        let params = train(&mut objective, &self.training(), &mut rng.fork("init"), &mut |step| {
            if !step.loss.is_finite() {
                outcome = Err(DIVERGED);
            } else if watch((step.step + 1) as f64 / self.steps as f64).is_break() {
                outcome = Err(FitError::Stopped);
            }
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        outcome.map(|()| objective.finish(&params))
    }
}

/// The training problem on one matrix of activations.
///
/// Parameters: `w_enc` and `w_dec`, both `[d_sae, d_in]` (a latent's weights lie together, which is what sparse
/// gradients want), `b_enc [1, d_sae]`, `b_dec [1, d_in]`.
pub(super) struct TopKObjective<'a> {
    settings: &'a TopK,
    x: &'a Mat,
    /// Multiplies the input so that mean‖x‖² = d_in; hyper-parameters then carry over between layers.
    scale: f32,
    /// Variance of the scaled input, `mean‖x − x̄‖²`.
    variance: f64,
    /// Where `b_dec` starts.
    centre: Vec<f32>,
    batches: Batches,
    /// Samples since each latent fired last.
    silent: Vec<u64>,
}

impl<'a> TopKObjective<'a> {
    pub(super) fn new(settings: &'a TopK, x: &'a Mat, rng: &Rng) -> Result<Self, FitError> {
        let (scale, variance) = input_scale(x)?;
        let mut batches = Batches::new(x.rows(), settings.batch, rng);
        let centre = geometric_median(&scaled_rows(x, &batches.rows_of(0), scale));
        Ok(Self { settings, x, scale, variance, centre, batches, silent: vec![0; settings.d_sae] })
    }

    /// Latents that have been silent for long enough, ascending.
    fn dead(&self) -> Vec<u32> {
        let dead = self.silent.iter().enumerate().filter(|(_, silent)| **silent >= self.settings.dead_after);
        dead.map(|(j, _)| j as u32).collect()
    }

    fn count_silence(&mut self, latents: &SparseRows) {
        self.silent.iter_mut().for_each(|s| *s += latents.rows() as u64);
        latents.indices().iter().for_each(|&j| self.silent[j as usize] = 0);
    }

    /// The inference form for raw activations. The scale `s` is folded so that decoder rows keep unit length, which is
    /// exact because TopK is positively homogeneous: latents come out divided by `s`.
    pub(super) fn finish(&self, params: &Params) -> Sae {
        let unscaled = |name| params.get(name).data().iter().map(|v| v / self.scale).collect::<Vec<f32>>();
        let b_dec = unscaled("b_dec");
        let act = Activation::TopK { k: self.settings.k };
        let encoder = Encoder::Linear { w_enc: params.get("w_enc").transposed(), b_enc: unscaled("b_enc"), act };
        Sae::new(b_dec.clone(), encoder, params.get("w_dec").clone(), b_dec)
    }
}

impl Objective for TopKObjective<'_> {
    fn init(&self, rng: &mut Rng) -> Params {
        let directions = unit_rows(self.settings.d_sae, self.x.cols(), rng);
        Params {
            blocks: vec![
                ("w_enc".into(), directions.clone()),
                ("b_enc".into(), Mat::zeros(1, self.settings.d_sae)),
                ("w_dec".into(), directions),
                ("b_dec".into(), Mat::from_vec(1, self.x.cols(), self.centre.clone())),
            ],
        }
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let x = scaled_rows(self.x, &self.batches.rows_of(step), self.scale);
        let pass = Forward::new(params, x, self.settings.k);
        let mut backward = Backward { params, centred: &pass.centred, grad, b_enc: vec![0.0; self.settings.d_sae] };
        let mut loss = pass.main(self.variance, &mut backward);
        let dead = self.dead();
        if let Some(aux) = Aux::choose(&pass, &dead, self.settings.aux) {
            loss += aux.loss(&pass, &mut backward);
        }
        backward.finish();
        self.count_silence(&pass.latents);
        loss
    }

    /// Takes out of every decoder row's gradient the part along the row: it would only change the length.
    fn project(&self, params: &Params, grad: &mut Params) {
        let (w_dec, d) = (params.get("w_dec"), self.x.cols());
        let g_dec = grad.get_mut("w_dec").data_mut();
        g_dec.par_chunks_mut(d).zip(w_dec.data().par_chunks(d)).for_each(|(g, w)| axpy(-dot(g, w), w, g));
    }

    /// Unit decoder rows.
    fn constrain(&self, params: &mut Params) {
        params.get_mut("w_dec").data_mut().par_chunks_mut(self.x.cols()).for_each(|row| {
            let norm = dot(row, row).sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|w| *w /= norm);
            }
        });
    }
}

/// One batch through the autoencoder.
struct Forward {
    /// `x − b_dec`, `[batch, d_in]`.
    centred: Mat,
    /// Pre-activations `[batch, d_sae]`.
    z: Mat,
    latents: SparseRows,
    /// `x − x̂`, `[batch, d_in]`.
    error: Mat,
}

impl Forward {
    fn new(params: &Params, x: Mat, k: usize) -> Self {
        let (b_enc, b_dec) = (params.get("b_enc").data(), params.get("b_dec").data());
        let mut centred = x;
        centred.data_mut().par_chunks_mut(b_dec.len()).for_each(|row| axpy(-1.0, b_dec, row));
        let rows = centred.rows();
        let mut z = Mat::from_vec(rows, b_enc.len(), b_enc.repeat(rows));
        gemm(1.0, centred.view(), params.get("w_enc").t(), 1.0, &mut z);
        let latents = positive(&SparseRows::from_top_k(rows, b_enc.len(), top_k(&z, k)));
        // x − (f w_dec + b_dec), where x − b_dec is at hand.
        let mut error = sparse_dense(&latents, params.get("w_dec"));
        error.data_mut().iter_mut().zip(centred.data()).for_each(|(e, c)| *e = c - *e);
        Self { centred, z, latents, error }
    }

    /// `mean‖e‖² / variance`, its gradient added to `backward`.
    fn main(&self, variance: f64, backward: &mut Backward) -> f64 {
        let weight = 1.0 / (self.error.rows() as f64 * variance);
        let slope = times(&self.error, -2.0 * weight);
        backward.latents(&self.latents, &slope);
        let b_dec = backward.grad.get_mut("b_dec").data_mut();
        slope.data().chunks(b_dec.len()).for_each(|row| axpy(1.0, row, b_dec));
        weight * squares(self.error.data())
    }
}

/// The auxiliary term of one batch: dead latents that rebuild the error.
struct Aux {
    latents: SparseRows,
    /// `α s / Σ‖e − mean e‖²`.
    weight: f64,
}

impl Aux {
    /// `None` where nothing is dead or the error does not vary.
    fn choose(pass: &Forward, dead: &[u32], alpha: f64) -> Option<Aux> {
        let (half, d_sae) = (pass.error.cols() / 2, pass.z.cols());
        let scatter = scatter(&pass.error);
        if dead.is_empty() || half == 0 || scatter <= 0.0 {
            return None;
        }
        let columns: Vec<usize> = dead.iter().map(|&j| j as usize).collect();
        let mut top = top_k(&pass.z.select_cols(&columns), half.min(dead.len()));
        top.indices.iter_mut().for_each(|j| *j = dead[*j as usize]);
        let scale = (dead.len() as f64 / half as f64).min(1.0);
        Some(Aux { latents: SparseRows::from_top_k(pass.z.rows(), d_sae, top), weight: alpha * scale / scatter })
    }

    fn loss(&self, pass: &Forward, backward: &mut Backward) -> f64 {
        let mut rest = sparse_dense(&self.latents, backward.params.get("w_dec"));
        rest.data_mut().iter_mut().zip(pass.error.data()).for_each(|(r, e)| *r = e - *r);
        backward.latents(&self.latents, &times(&rest, -2.0 * self.weight));
        self.weight * squares(rest.data())
    }
}

/// Gradients gathered over the terms of a loss.
struct Backward<'a> {
    params: &'a Params,
    centred: &'a Mat,
    grad: &'a mut Params,
    b_enc: Vec<f32>,
}

impl Backward<'_> {
    /// Adds what flows through `latents · w_dec` when the gradient of that product is `slope` `[batch, d_in]`: to
    /// `w_dec`, and through the latents' own values to the encoder. Nothing flows to latents that are not stored.
    fn latents(&mut self, latents: &SparseRows, slope: &Mat) {
        add(self.grad.get_mut("w_dec"), &sparse_t_dense(latents, slope));
        let z = latents.with_values(dots(latents, slope, self.params.get("w_dec")));
        add(self.grad.get_mut("w_enc"), &sparse_t_dense(&z, self.centred));
        z.indices().iter().zip(z.values()).for_each(|(&j, g)| self.b_enc[j as usize] += g);
    }

    /// The encoder's bias, and `b_dec` by way of `x − b_dec`: minus the sum over the batch of `∂z · w_encᵀ`, which is
    /// `∂b_enc · w_encᵀ`.
    fn finish(self) {
        let w_enc = self.params.get("w_enc");
        let b_dec = self.grad.get_mut("b_dec").data_mut();
        for (j, &g) in self.b_enc.iter().enumerate().filter(|(_, g)| **g != 0.0) {
            axpy(-g, w_enc.row(j), b_dec);
        }
        axpy(1.0, &self.b_enc, self.grad.get_mut("b_enc").data_mut());
    }
}

/// The entries above zero.
fn positive(s: &SparseRows) -> SparseRows {
    let (mut offsets, mut indices, mut values) = (vec![0], Vec::with_capacity(s.nnz()), Vec::with_capacity(s.nnz()));
    for i in 0..s.rows() {
        let (js, vs) = s.row(i);
        for (&j, &v) in js.iter().zip(vs).filter(|(_, v)| **v > 0.0) {
            indices.push(j);
            values.push(v);
        }
        offsets.push(indices.len());
    }
    SparseRows::new(s.cols(), offsets, indices, values)
}

fn add(total: &mut Mat, part: &Mat) {
    axpy(1.0, part.data(), total.data_mut());
}

fn times(m: &Mat, factor: f64) -> Mat {
    Mat::from_vec(m.rows(), m.cols(), m.data().iter().map(|&v| (f64::from(v) * factor) as f32).collect())
}

fn squares(v: &[f32]) -> f64 {
    v.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
}

/// `Σ‖row − mean row‖²`.
fn scatter(m: &Mat) -> f64 {
    let mut mean = vec![0.0f64; m.cols()];
    let rows = m.data().chunks(m.cols().max(1));
    rows.clone().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v)));
    mean.iter_mut().for_each(|v| *v /= m.rows() as f64);
    rows.map(|row| row.iter().zip(&mean).map(|(&v, m)| (f64::from(v) - m).powi(2)).sum::<f64>()).sum()
}

/// The factor that makes mean‖x‖² = d_in, and the variance `mean‖x − x̄‖²` after it; 1 each where they would be 0.
fn input_scale(x: &Mat) -> Result<(f32, f64), FitError> {
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
    Ok((scale as f32, if variance > 0.0 { variance } else { 1.0 }))
}

/// Rows of `x` times `scale`.
fn scaled_rows(x: &Mat, rows: &[usize], scale: f32) -> Mat {
    let mut batch = x.select_rows(rows);
    batch.data_mut().iter_mut().for_each(|v| *v *= scale);
    batch
}

/// The point with the least sum of distances to the rows (Weiszfeld's iteration, at most 100 steps, until it moves by
/// less than 1e-5 of its distance to the rows): a centre that a few large rows do not pull away.
fn geometric_median(x: &Mat) -> Vec<f32> {
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
mod tests;
