//! Training sparse autoencoders: one loop for every objective.
//!
//! A step is: a batch of rows, scaled so that mean‖x‖² = d_in; what the objective keeps of the encoder's product; the main loss
//! `mean‖e‖² / variance` and the objective's own terms; gradients that touch only what was kept; Adam. Everything a step
//! needs is in [`State`], so that a run continued from its file goes on with the same bytes.
//!
//! Parameters are kept one latent a row: `w_enc` and `w_dec` are both `[d_sae, d_in]`, which is what sparse gradients want.

mod aux_k;
mod average;
mod backward;
mod batches;
mod beside;
mod finish;
mod input;
mod objective;
mod objectives;
mod patience;
mod recipe;
mod resample;
mod setting;
mod source;
mod state;
mod stored;
mod targets;

pub use beside::Beside;
pub use input::{InputMap, Normalise};
pub use objective::{Objective, Terms};
pub use objectives::{OBJECTIVES, ObjectiveEntry, Options, Sparsity, find};
pub use patience::Patience;
pub use recipe::Recipe;
pub use setting::Setting;
pub use source::{Batch, InMemory, Source, SourceError};
pub use state::{State, StateError};
pub use stored::Stored;
pub use targets::Target;

use super::arch::FitError;
use crate::geometry::recover::unit_rows;
use aux_k::AuxK;
use backward::{Backward, Forward};
use rayon::prelude::*;
use superlens_tensor::kernels::adam::{AdamStep, adam_step, adam_step_unit_rows, project_rows, sum_of_squares};
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::train::Params;
use superlens_tensor::{Mat, Rng};

/// The loss is no number: with good activations the learning rate is too large.
pub(super) const DIVERGED: FitError =
    FitError::NotFinite { what: "the training loss, perhaps because the learning rate is too large" };

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
    /// Share of the latents that are active in more than a tenth of the rows of this batch.
    pub dense: f64,
}

/// A dictionary in training.
pub struct Trainer {
    recipe: Recipe,
    objective: Box<dyn Objective>,
    input: InputMap,
    /// Of what is rebuilt, where that is not the input.
    targets: Option<InputMap>,
    state: State,
    grad: Params,
    rng: Rng,
}

impl Trainer {
    /// From fresh weights: unit decoder rows at random, the encoder their transpose times one factor, with which the first batch is rebuilt
    /// best (many latents that are alike would overshoot by far), `b_dec` the geometric median of that batch.
    ///
    /// # Errors
    /// Activations that are not finite or can't be read, and settings that make no sense.
    pub fn new(
        recipe: Recipe,
        mut objective: Box<dyn Objective>,
        source: &mut dyn Source,
        rng: &Rng,
    ) -> Result<Self, FitError> {
        recipe.check(objective.as_ref())?;
        objective.check_width(source.d_in())?;
        objective.at(0.0);
        let input = InputMap::measure(recipe.normalise, objective.layers(), source)?;
        let first = source.batch(0)?;
        let targets = targets::measure(objective.as_ref(), recipe.normalise, &first, source)?;
        let first = seen(&input, targets.as_ref(), &first);
        let centre = input::geometric_median(first.y.as_ref().unwrap_or(&first.x));
        let directions = unit_rows(recipe.d_sae, first.x.cols(), &mut rng.fork("init"));
        let w_enc = if objective.pursuit().is_some() { Mat::zeros(0, first.x.cols()) } else { directions.clone() };
        let w_dec = match &first.y {
            Some(y) => unit_rows(recipe.d_sae, y.cols(), &mut rng.fork("init of the decoder")),
            None => directions,
        };
        let mut blocks = vec![
            ("w_enc".to_string(), w_enc),
            ("b_enc".to_string(), Mat::zeros(1, recipe.d_sae)),
            ("w_dec".to_string(), w_dec),
            ("b_dec".to_string(), Mat::from_vec(1, centre.len(), centre)),
        ];
        for (name, start) in objective.extras() {
            blocks.push((name.to_string(), Mat::from_vec(1, recipe.d_sae, vec![start; recipe.d_sae])));
        }
        if objective.target() == (Target::Other { skip: true }) {
            blocks.push(("skip".to_string(), Mat::zeros(source.d_in(), source.d_out())));
        }
        let mut params = Params { blocks };
        let pass = Forward::new(&params, first);
        let start = |params: &mut Params| {
            let (w, b) = (params.get("w_enc").clone(), params.get("b_enc").clone());
            objective.start(Product { x: &pass.centred, w: &w, b: b.data() }, params);
        };
        start(&mut params);
        if targets.is_some() {
            targets::start_decoder(objective.as_ref(), &mut params, &pass);
        }
        let scale = starting_scale(objective.as_ref(), &params, &pass);
        params.get_mut("w_enc").data_mut().iter_mut().for_each(|w| *w *= scale);
        start(&mut params);
        let state = State::new(params, recipe.average > 0.0);
        Ok(Self::with_state(recipe, objective, (input, targets), state, rng))
    }

    /// Goes on from `state`, which an earlier trainer with the same recipe, objective, activations and `rng` left.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`FitError::OtherRun`] where the state has other shapes.
    pub fn resume(
        recipe: Recipe,
        objective: Box<dyn Objective>,
        source: &mut dyn Source,
        rng: &Rng,
        state: State,
    ) -> Result<Self, FitError> {
        recipe.check(objective.as_ref())?;
        let (d, out, n) = (source.d_in(), source.d_out(), recipe.d_sae);
        let encoders = if objective.pursuit().is_some() { 0 } else { n };
        let mut shapes = vec![("w_enc", (encoders, d)), ("b_enc", (1, n)), ("w_dec", (n, out)), ("b_dec", (1, out))];
        shapes.extend(objective.extras().iter().map(|(name, _)| (*name, (1, n))));
        if objective.target() == (Target::Other { skip: true }) {
            shapes.push(("skip", (d, out)));
        }
        let found: Vec<_> = state.params.blocks.iter().map(|(n, m)| (n.as_str(), m.shape())).collect();
        if found != shapes || state.step > recipe.steps || state.average.is_some() != (recipe.average > 0.0) {
            return Err(FitError::OtherRun);
        }
        let input = InputMap::measure(recipe.normalise, objective.layers(), source)?;
        let first = source.batch(state.step)?;
        let targets = targets::measure(objective.as_ref(), recipe.normalise, &first, source)?;
        Ok(Self::with_state(recipe, objective, (input, targets), state, rng))
    }

    fn with_state(
        recipe: Recipe,
        objective: Box<dyn Objective>,
        (input, targets): (InputMap, Option<InputMap>),
        state: State,
        rng: &Rng,
    ) -> Self {
        let grad = state.params.zeros_like();
        Trainer { recipe, objective, input, targets, state, grad, rng: rng.clone() }
    }

    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether all steps are done, or more would not help.
    pub fn done(&self) -> bool {
        self.state.step >= self.recipe.steps || self.state.patience.is_some_and(|p| p.lost)
    }

    /// One step on `batch`, which is that of step [`State::step`].
    ///
    /// # Errors
    /// [`FitError::NotFinite`] where the loss is no number; the weights are then those before the step.
    pub fn step(&mut self, batch: &Batch) -> Result<Step, FitError> {
        let step = self.state.step;
        self.objective.at(self.recipe.progress(step));
        let (told, pass) = self.gradient(seen(&self.input, self.targets.as_ref(), batch), step);
        if !told.loss.is_finite() {
            return Err(DIVERGED);
        }
        self.descend(step);
        self.state.step += 1;
        if self.recipe.resamples(self.state.step) {
            let dead = self.state.dead(self.recipe.dead_after);
            resample::resample(&mut self.state, &dead, &pass, &mut self.rng.fork("resample").fork_index(step));
        }
        if let Some(average) = &mut self.state.average {
            average::follow(average, &self.state.params, self.recipe.average, step);
        }
        if let Some(rule) = self.recipe.patience {
            self.state.patience = Some(rule.after(self.state.patience, told.fvu, step >= self.recipe.warmup));
        }
        Ok(told)
    }

    /// Loss and gradient on the rows of `batch`, [applied](InputMap::apply); also counts silence.
    fn gradient(&mut self, batch: impl Into<Batch>, step: u64) -> (Step, Forward) {
        let Trainer { recipe, objective, input, targets, state, grad, .. } = self;
        let variance = targets.as_ref().unwrap_or(input).variance;
        grad.blocks
            .iter_mut()
            .for_each(|(_, block)| block.data_mut().par_chunks_mut(1 << 16).for_each(|g| g.fill(0.0)));
        let mut pass = Forward::new(&state.params, batch);
        let rows = pass.centred.rows();
        let (w_enc, b_enc) = (state.params.get("w_enc"), state.params.get("b_enc").data());
        let z = objective.keep(Product { x: &pass.centred, w: w_enc, b: b_enc }, &state.params);
        let f = z.with_values(objective.activate(&z, &state.params));
        let main = pass.main(&f, &objective.widths(recipe.d_sae), variance, &state.params, grad);
        let fvu = pass.fvu();
        let mut terms = Terms {
            params: &state.params,
            target: pass.target(),
            z: &z,
            f: f.values(),
            slope: main.slope,
            variance,
            rise: recipe.rise(step),
            progress: recipe.progress(step),
            b_enc_alone: vec![0.0; recipe.d_sae],
            grad: &mut *grad,
        };
        let penalty = objective.penalise(&mut terms);
        let Terms { slope, b_enc_alone, .. } = terms;
        let mut backward = Backward::new(&state.params, &pass, grad);
        backward.encoder(&z.with_values(slope));
        let mut loss = main.loss + penalty;
        if objective.revives() {
            let dead = state.dead(recipe.dead_after);
            if let Some(aux) = AuxK::choose(&pass, &state.params, &dead, recipe.aux) {
                loss += aux.loss(&pass, &mut backward);
            }
        }
        backward.finish(&b_enc_alone);
        let fires = state.count_silence(&f);
        objective.observe(&f, &state.params, &mut state.threshold, step >= recipe.warmup);
        let dead = state.dead(recipe.dead_after).len() as f64 / recipe.d_sae as f64;
        let l0 = fires.iter().map(|n| f64::from(*n)).sum::<f64>() / rows as f64;
        let dense = fires.iter().filter(|n| f64::from(**n) > 0.1 * rows as f64).count() as f64 / recipe.d_sae as f64;
        (Step { step, loss, fvu, l0, dead, dense }, pass)
    }

    /// Projection, clipping, Adam, and decoder rows of unit length.
    fn descend(&mut self, step: u64) {
        let d = self.state.params.get("b_dec").cols();
        let Trainer { recipe, objective, state, grad, .. } = self;
        // The part along a row would only change its length.
        let mut squares = project_rows(grad.get_mut("w_dec").data_mut(), state.params.get("w_dec").data(), d);
        let others = grad.blocks.iter().filter(|(name, _)| name != "w_dec");
        squares += others.map(|(_, g)| sum_of_squares(g.data())).sum::<f64>();
        let clip = f64::from(recipe.clip_norm) / squares.sqrt();
        if clip < 1.0 {
            grad.blocks.par_iter_mut().for_each(|(_, g)| g.data_mut().iter_mut().for_each(|g| *g *= clip as f32));
        }
        let lr = recipe.lr * recipe.rate(step);
        let adam = AdamStep { lr, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, t: step + 1 };
        let State { params, m, v, .. } = state;
        let moments = m.blocks.iter_mut().zip(&mut v.blocks);
        for (((name, w), (_, g)), ((_, m), (_, v))) in params.blocks.iter_mut().zip(&grad.blocks).zip(moments) {
            let (w, g, m, v) = (w.data_mut(), g.data(), m.data_mut(), v.data_mut());
            match name.as_str() {
                "w_dec" => adam_step_unit_rows(w, g, m, v, d, adam),
                _ => adam_step(w, g, m, v, adam),
            }
        }
        objective.constrain(params);
    }
}

/// A batch as training sees it.
fn seen(input: &InputMap, targets: Option<&InputMap>, batch: &Batch) -> Batch {
    let mut seen = batch.clone();
    input.apply(&mut seen.x);
    if let (Some(map), Some(y)) = (targets, &mut seen.y) {
        map.apply(y);
    }
    seen
}

/// The factor of all latents at which they rebuild their target best; 1 where they don't at all.
fn starting_scale(objective: &dyn Objective, params: &Params, pass: &Forward) -> f32 {
    let (w, b) = (params.get("w_enc"), params.get("b_enc"));
    let z = objective.keep(Product { x: &pass.centred, w, b: b.data() }, params);
    let recon = backward::rebuild(&z.with_values(objective.activate(&z, params)), params.get("w_dec"));
    let sum = |a: &Mat, b: &Mat| a.data().iter().zip(b.data()).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let scale = sum(&recon, pass.target()) / sum(&recon, &recon);
    if scale > 0.0 && scale.is_finite() { scale.clamp(1e-3, 1e3) as f32 } else { 1.0 }
}

#[cfg(test)]
mod tests;
