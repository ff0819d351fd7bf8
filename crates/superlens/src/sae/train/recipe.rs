//! [`Recipe`]: how a dictionary is trained, whatever the objective.

use super::super::arch::{FitError, MAX_LATENTS, check_real, check_setting};
use super::input::Normalise;
use super::objective::Objective;
use super::patience::Patience;

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
    pub normalise: Normalise,
    /// Steps over which penalties rise from 0; those of [`warmup`](Self::warmup) where it is `None`.
    pub sparsity_warmup: Option<u64>,
    /// Steps between two resamplings of dead latents during the first three quarters of the training; 0 for never (Bricken et al. 2023,
    /// *Towards Monosemanticity*). AuxK, where an objective has it, serves the same end.
    pub resample_every: u64,
    /// How much of the running mean of the weights stays at each step; 0 for no mean. The dictionary is made of the mean.
    pub average: f64,
    /// When to stop early.
    pub patience: Option<Patience>,
}

impl Recipe {
    /// The usual settings: the rate is 2e-4 / √(d_sae / 2¹⁴), the rule of dictionary_learning and sparsify; warm-up over a
    /// twentieth of the steps, a thousand at most; ten million samples without firing are dead.
    pub fn new(d_sae: usize, steps: u64, batch: usize) -> Self {
        let lr = 2e-4 / (d_sae.max(1) as f64 / f64::from(1 << 14)).sqrt();
        let warmup = (steps / 20).min(1000);
        Recipe {
            d_sae,
            steps,
            batch,
            lr,
            warmup,
            decay: 0.2,
            aux: 1.0 / 32.0,
            dead_after: 10_000_000,
            clip_norm: 1.0,
            normalise: Normalise::Scale,
            sparsity_warmup: None,
            resample_every: 0,
            average: 0.0,
            patience: None,
        }
    }

    /// Whether these settings and those of `objective` make sense.
    ///
    /// # Errors
    /// [`FitError::Setting`] or [`FitError::Real`].
    pub fn check(&self, objective: &dyn Objective) -> Result<(), FitError> {
        check_setting("d_sae", self.d_sae, 1, MAX_LATENTS)?;
        check_setting("batch", self.batch, 1, 1 << 24)?;
        check_real("lr", self.lr, f64::MIN_POSITIVE, f64::MAX)?;
        check_real("decay", self.decay, 0.0, 1.0)?;
        check_real("aux", self.aux, 0.0, 1e6)?;
        check_real("clip", f64::from(self.clip_norm), 0.0, f64::INFINITY)?;
        check_real("average", self.average, 0.0, 1.0 - 1e-9)?;
        if let Some(patience) = self.patience {
            patience.check()?;
        }
        if self.normalise == Normalise::Whiten && !objective.linear() {
            return Err(FitError::Whitened { arch: objective.id() });
        }
        if self.normalise == Normalise::LayerNorm && objective.layers() > 1 {
            return Err(FitError::OnlyScaled { arch: objective.id() });
        }
        objective.check(self.d_sae)
    }

    /// The share of the training that is done at `step`.
    pub(super) fn progress(&self, step: u64) -> f64 {
        step as f64 / self.steps.max(1) as f64
    }

    /// Whether dead latents are resampled once `done` steps are.
    pub(super) fn resamples(&self, done: u64) -> bool {
        self.resample_every > 0 && done.is_multiple_of(self.resample_every) && self.progress(done) <= 0.75
    }

    /// What the peak rate is multiplied by at `step`.
    pub(super) fn rate(&self, step: u64) -> f64 {
        let rise = ((step + 1) as f64 / self.warmup.max(1) as f64).min(1.0);
        let last = (self.steps as f64 * self.decay).max(1.0);
        let fall = if self.decay > 0.0 { ((self.steps - step.min(self.steps)) as f64 / last).min(1.0) } else { 1.0 };
        rise * fall
    }

    /// What penalties are multiplied by at `step`.
    pub(super) fn rise(&self, step: u64) -> f64 {
        let over = self.sparsity_warmup.unwrap_or(self.warmup);
        (step as f64 / over.max(1) as f64).min(1.0)
    }
}
