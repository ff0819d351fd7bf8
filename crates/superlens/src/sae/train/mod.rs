//! Training sparse autoencoders: one loop for every objective.
//!
//! A step is: a batch of rows, scaled so that mean‖x‖² = d_in; what the objective keeps of the encoder's product; the main loss
//! `mean‖e‖² / variance` and the objective's own terms; gradients that touch only what was kept; Adam. Everything a step
//! needs is in [`State`], so that a run continued from its file goes on with the same bytes.
//!
//! Parameters are kept one latent a row: `w_enc` and `w_dec` are both `[d_sae, d_in]`, which is what sparse gradients want.

mod aux_k;
mod backward;
mod input;
mod objective;
mod objectives;
mod state;

pub use input::InputScale;
pub use objective::{Objective, Terms};
pub use objectives::{OBJECTIVES, ObjectiveEntry, Options, find};
pub use state::{State, StateError};

use super::arch::{FitError, MAX_LATENTS, check_input, check_setting};
use super::batches::Batches;
use super::{Encoder, Sae};
use crate::geometry::recover::unit_rows;
use aux_k::AuxK;
use backward::{Backward, Forward};
use rayon::prelude::*;
use superlens_tensor::kernels::adam::{AdamStep, adam_step, clip_global_norm};
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::train::Params;
use superlens_tensor::{Mat, Rng};

/// The loss is no number: with good activations the learning rate is too large.
pub(super) const DIVERGED: FitError =
    FitError::NotFinite { what: "the training loss, perhaps because the learning rate is too large" };

/// How a dictionary is trained, whatever the objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    pub d_sae: usize,
    pub steps: u64,
    /// Rows a step.
    pub batch: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Steps over which the rate, and penalties, rise from 0.
    pub warmup: u64,
    /// Share of the steps at the end over which the rate falls to 0.
    pub decay: f64,
    /// Weight of the auxiliary loss that revives dead latents, where the objective has one.
    pub aux: f64,
    /// A latent that has not fired for this many samples is dead.
    pub dead_after: u64,
    /// The gradient is scaled down to this norm, all parameters together.
    pub clip_norm: f32,
}

impl Recipe {
    /// The usual settings: the rate is 2e-4 / √(d_sae / 2¹⁴), the rule of dictionary_learning and sparsify; warm-up over a
    /// twentieth of the steps, a thousand at most; ten million samples without firing are dead.
    pub fn new(d_sae: usize, steps: u64, batch: usize) -> Self {
        let lr = 2e-4 / (d_sae.max(1) as f64 / f64::from(1 << 14)).sqrt();
        let warmup = (steps / 20).min(1000);
        Recipe { d_sae, steps, batch, lr, warmup, decay: 0.2, aux: 1.0 / 32.0, dead_after: 10_000_000, clip_norm: 1.0 }
    }

    /// Whether these settings and those of `objective` make sense.
    ///
    /// # Errors
    /// [`FitError::Setting`] or [`FitError::Real`].
    pub fn check(&self, objective: &dyn Objective) -> Result<(), FitError> {
        check_setting("d_sae", self.d_sae, 1, MAX_LATENTS)?;
        check_setting("batch", self.batch, 1, 1 << 24)?;
        objective.check(self.d_sae)
    }

    /// What the peak rate is multiplied by at `step`.
    fn rate(&self, step: u64) -> f64 {
        let rise = ((step + 1) as f64 / self.warmup.max(1) as f64).min(1.0);
        let last = (self.steps as f64 * self.decay).max(1.0);
        let fall = if self.decay > 0.0 { ((self.steps - step.min(self.steps)) as f64 / last).min(1.0) } else { 1.0 };
        rise * fall
    }

    /// What penalties are multiplied by at `step`.
    fn rise(&self, step: u64) -> f64 {
        (step as f64 / self.warmup.max(1) as f64).min(1.0)
    }
}

/// What a step tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// From 0.
    pub step: u64,
    /// The loss before the step, all terms.
    pub loss: f64,
    /// Fraction of the variance of this batch that the reconstruction leaves.
    pub fvu: f64,
    /// Mean number of active latents a row.
    pub l0: f64,
    /// Share of the latents that are dead.
    pub dead: f64,
}

/// A dictionary in training on one matrix of activations.
pub struct Trainer<'a> {
    recipe: Recipe,
    objective: Box<dyn Objective>,
    x: &'a Mat,
    input: InputScale,
    batches: Batches,
    state: State,
    grad: Params,
}

impl<'a> Trainer<'a> {
    /// From fresh weights: unit decoder rows at random, the encoder their transpose times one factor, with which the first batch is rebuilt
    /// best (many latents that are alike would overshoot by far), `b_dec` the geometric median of that batch.
    ///
    /// # Errors
    /// Activations that are empty or not finite, and settings that make no sense.
    pub fn new(recipe: Recipe, objective: Box<dyn Objective>, x: &'a Mat, rng: &Rng) -> Result<Self, FitError> {
        check_input(x)?;
        recipe.check(objective.as_ref())?;
        objective.check_width(x.cols())?;
        let input = InputScale::of(x)?;
        let mut batches = Batches::new(x.rows(), recipe.batch, rng);
        let first = input.rows(x, &batches.rows_of(0));
        let centre = input::geometric_median(&first);
        let directions = unit_rows(recipe.d_sae, x.cols(), &mut rng.fork("init"));
        let w_enc = if objective.pursuit().is_some() { Mat::zeros(0, x.cols()) } else { directions.clone() };
        let mut blocks = vec![
            ("w_enc".to_string(), w_enc),
            ("b_enc".to_string(), Mat::zeros(1, recipe.d_sae)),
            ("w_dec".to_string(), directions),
            ("b_dec".to_string(), Mat::from_vec(1, x.cols(), centre)),
        ];
        for (name, start) in objective.extras() {
            blocks.push((name.to_string(), Mat::from_vec(1, recipe.d_sae, vec![start; recipe.d_sae])));
        }
        let mut params = Params { blocks };
        let pass = Forward::new(&params, first);
        let start = |params: &mut Params| {
            let (w, b) = (params.get("w_enc").clone(), params.get("b_enc").clone());
            objective.start(Product { x: &pass.centred, w: &w, b: b.data() }, params);
        };
        start(&mut params);
        let scale = starting_scale(objective.as_ref(), &params, &pass.centred);
        params.get_mut("w_enc").data_mut().iter_mut().for_each(|w| *w *= scale);
        start(&mut params);
        let state = State::new(params);
        Ok(Self::with_state(recipe, objective, x, input, batches, state))
    }

    /// Goes on from `state`, which an earlier trainer with the same recipe, objective, activations and `rng` left.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`FitError::OtherRun`] where the state has other shapes.
    pub fn resume(
        recipe: Recipe,
        objective: Box<dyn Objective>,
        x: &'a Mat,
        rng: &Rng,
        state: State,
    ) -> Result<Self, FitError> {
        let fresh = Self::new(recipe, objective, x, rng)?;
        let shapes = |p: &Params| p.blocks.iter().map(|(n, m)| (n.clone(), m.shape())).collect::<Vec<_>>();
        if shapes(&fresh.state.params) != shapes(&state.params) || state.step > fresh.recipe.steps {
            return Err(FitError::OtherRun);
        }
        let Trainer { recipe, objective, x, input, batches, .. } = fresh;
        Ok(Self::with_state(recipe, objective, x, input, batches, state))
    }

    fn with_state(
        recipe: Recipe,
        objective: Box<dyn Objective>,
        x: &'a Mat,
        input: InputScale,
        batches: Batches,
        state: State,
    ) -> Self {
        let grad = state.params.zeros_like();
        Trainer { recipe, objective, x, input, batches, state, grad }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn done(&self) -> bool {
        self.state.step >= self.recipe.steps
    }

    /// One step.
    ///
    /// # Errors
    /// [`FitError::NotFinite`] where the loss is no number; the weights are then those before the step.
    pub fn step(&mut self) -> Result<Step, FitError> {
        let step = self.state.step;
        let x = self.input.rows(self.x, &self.batches.rows_of(step));
        let told = self.gradient(x, step);
        if !told.loss.is_finite() {
            return Err(DIVERGED);
        }
        self.descend(step);
        self.state.step += 1;
        Ok(told)
    }

    /// Loss and gradient on the scaled rows `x`; also counts silence.
    fn gradient(&mut self, x: Mat, step: u64) -> Step {
        let Trainer { recipe, objective, input, state, grad, .. } = self;
        grad.blocks.iter_mut().for_each(|(_, block)| block.data_mut().fill(0.0));
        let rows = x.rows();
        let mut pass = Forward::new(&state.params, x);
        let (w_enc, b_enc) = (state.params.get("w_enc"), state.params.get("b_enc").data());
        let z = objective.keep(Product { x: &pass.centred, w: w_enc, b: b_enc }, &state.params);
        let f = z.with_values(objective.activate(&z, &state.params));
        let main = pass.main(&f, &objective.widths(recipe.d_sae), input.variance, &state.params, grad);
        let fvu = pass.fvu();
        let mut terms = Terms {
            params: &state.params,
            target: &pass.centred,
            z: &z,
            f: f.values(),
            slope: main.slope,
            variance: input.variance,
            rise: recipe.rise(step),
            progress: step as f64 / recipe.steps.max(1) as f64,
            b_enc_alone: vec![0.0; recipe.d_sae],
            grad: &mut *grad,
        };
        let penalty = objective.penalise(&mut terms);
        let Terms { slope, b_enc_alone, .. } = terms;
        let mut backward = Backward::new(&state.params, &pass.centred, grad);
        backward.encoder(&z.with_values(slope));
        let mut loss = main.loss + penalty;
        if objective.revives() {
            let dead = state.dead(recipe.dead_after);
            if let Some(aux) = AuxK::choose(&pass, &state.params, &dead, recipe.aux) {
                loss += aux.loss(&pass, &mut backward);
            }
        }
        backward.finish(&b_enc_alone);
        let active = f.values().iter().filter(|v| **v != 0.0).count();
        state.count_silence(&f);
        objective.observe(&f, &mut state.threshold, step >= recipe.warmup);
        let dead = state.dead(recipe.dead_after).len() as f64 / recipe.d_sae as f64;
        Step { step, loss, fvu, l0: active as f64 / rows as f64, dead }
    }

    /// Projection, clipping, Adam, and decoder rows of unit length.
    fn descend(&mut self, step: u64) {
        let d = self.x.cols();
        let Trainer { recipe, objective, state, grad, .. } = self;
        let g_dec = grad.get_mut("w_dec").data_mut();
        // The part along a row would only change its length.
        g_dec
            .par_chunks_mut(d)
            .zip(state.params.get("w_dec").data().par_chunks(d))
            .for_each(|(g, w)| axpy(-dot(g, w), w, g));
        clip_global_norm(grad.blocks.iter_mut().map(|(_, block)| block.data_mut()), recipe.clip_norm);
        let lr = recipe.lr * recipe.rate(step);
        let adam = AdamStep { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, t: step + 1 };
        let State { params, m, v, .. } = state;
        let moments = m.blocks.iter_mut().zip(&mut v.blocks);
        for (((_, w), (_, g)), ((_, m), (_, v))) in params.blocks.iter_mut().zip(&grad.blocks).zip(moments) {
            adam_step(w.data_mut(), g.data(), m.data_mut(), v.data_mut(), adam);
        }
        params.get_mut("w_dec").data_mut().par_chunks_mut(d).for_each(|row| {
            let norm = dot(row, row).sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|w| *w /= norm);
            }
        });
        objective.constrain(params);
    }

    /// The inference form for raw activations. The input scale `s` is folded so that decoder rows keep unit length, which is exact because
    /// every activation here is positively homogeneous in the product, biases and thresholds together: latents come out divided by `s`.
    pub fn finish(&self) -> Sae {
        let params = &self.state.params;
        let scale = self.input.scale;
        let unscaled = |v: &[f32]| v.iter().map(|v| v / scale).collect::<Vec<f32>>();
        let b_dec = unscaled(params.get("b_dec").data());
        let product = || {
            let act = self.objective.activation(params, self.threshold(), scale);
            let b_enc = unscaled(params.get("b_enc").data());
            Encoder::Linear { w_enc: params.get("w_enc").transposed(), b_enc, act }
        };
        let encoder = self.objective.pursuit().map_or_else(product, Encoder::PlainPursuit);
        Sae::new(b_dec.clone(), encoder, params.get("w_dec").clone(), b_dec)
    }

    /// The threshold that was followed, if it gives the wanted number of active latents within a twentieth on rows spread over all; else
    /// the one that gives just that number there.
    fn threshold(&self) -> f64 {
        let Some(wanted) = self.objective.calibrated() else { return self.state.threshold };
        let params = &self.state.params;
        let step = self.x.rows().div_ceil(CALIBRATION_ROWS).max(1);
        let rows: Vec<usize> = (0..self.x.rows()).step_by(step).collect();
        let pass = Forward::new(params, self.input.rows(self.x, &rows));
        let product = Product { x: &pass.centred, w: params.get("w_enc"), b: params.get("b_enc").data() };
        let total = (wanted * rows.len() as f64).round();
        if self.state.threshold >= 0.0 {
            let found = product.above(&vec![self.state.threshold as f32; self.recipe.d_sae]).nnz() as f64;
            if (found / total - 1.0).abs() <= CALIBRATION {
                return self.state.threshold;
            }
        }
        let least = product.largest_of_all(total as usize).values().iter().copied().fold(f32::INFINITY, f32::min);
        if least.is_finite() { f64::from(least.next_down()) } else { 0.0 }
    }
}

/// The factor of all latents at which they rebuild `centred` best; 1 where they don't at all.
fn starting_scale(objective: &dyn Objective, params: &Params, centred: &Mat) -> f32 {
    let (w, b) = (params.get("w_enc"), params.get("b_enc"));
    let z = objective.keep(Product { x: centred, w, b: b.data() }, params);
    let recon = backward::rebuild(&z.with_values(objective.activate(&z, params)), params.get("w_dec"));
    let sum = |a: &Mat, b: &Mat| a.data().iter().zip(b.data()).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let scale = sum(&recon, centred) / sum(&recon, &recon);
    if scale > 0.0 && scale.is_finite() { scale.clamp(1e-3, 1e3) as f32 } else { 1.0 }
}

/// Rows on which a threshold is checked, and by how much the number of active latents may be off.
const CALIBRATION_ROWS: usize = 16_384;
const CALIBRATION: f64 = 0.05;

#[cfg(test)]
mod tests;
