//! Settings of a training that most runs leave alone.

use clap::Args;
use serde::{Deserialize, Serialize};
use superlens::sae::train::{Normalise, Options, Patience, Recipe, Sparsity};

use crate::failure::Failure;

/// Steps whose mean counts as one look of --patience.
const WINDOW: u64 = 100;
/// What a look must gain on the best, as a share of it.
const GAIN: f64 = 1e-3;

/// As flags, and as the table `[tuning]` of a config file.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Tuning")]
#[serde(default, deny_unknown_fields)]
pub struct Tuning {
    /// What is done to activations: none, scale, layer_norm or whiten; folded into the weights in the end [default: scale]
    #[arg(long, value_name = "WAY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalise: Option<String>,
    /// Share of the steps at the end over which the learning rate falls to 0 [default: 0.2]
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// Largest norm of the gradient [default: 1]
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
    /// Weight of the loss that revives dead latents [default: 0.03125]
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<f64>,
    /// Steps over which penalties rise [default: those of --warmup]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity_warmup: Option<u64>,
    /// What jumprelu is penalised for: target (the distance from --target-l0), step (each active latent, times --l1) or tanh (small ones
    /// less, times --l1) [default: target]
    #[arg(long, value_name = "LOSS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity_loss: Option<String>,
    /// How near to its threshold a pre-activation of jumprelu must be to move it, on inputs whose mean square is 1 a column [default: 0.03,
    /// with step 0.05, with tanh 2]
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<f64>,
    /// Let what moves thresholds of jumprelu move pre-activations too, the other way
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ste_to_input: bool,
    /// Active latents a row at the start, from which they fall to --k
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k_start: Option<usize>,
    /// Share of the steps over which they fall [default: 0.25]
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anneal: Option<f64>,
    /// Exponent that the penalty of p_anneal ends at [default: 0.2]
    #[arg(long, value_name = "P")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_end: Option<f64>,
    /// Steps between two resamplings of dead latents, during the first three quarters of the training
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resample_every: Option<u64>,
    /// Make the dictionary of a running mean of the weights, of which so much stays at each step, such as 0.999
    #[arg(long, value_name = "X")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<f64>,
    /// Stop once so many stretches of 100 steps in a row have not lowered the best mean FVU by a thousandth
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
}

impl Tuning {
    /// What `other` says goes over what is said here.
    pub fn over(&mut self, other: &Tuning) {
        fn take<T: Clone>(here: &mut Option<T>, there: &Option<T>) {
            if there.is_some() {
                here.clone_from(there);
            }
        }
        take(&mut self.normalise, &other.normalise);
        take(&mut self.decay, &other.decay);
        take(&mut self.clip, &other.clip);
        take(&mut self.aux, &other.aux);
        take(&mut self.sparsity_warmup, &other.sparsity_warmup);
        take(&mut self.sparsity_loss, &other.sparsity_loss);
        take(&mut self.bandwidth, &other.bandwidth);
        self.ste_to_input |= other.ste_to_input;
        take(&mut self.k_start, &other.k_start);
        take(&mut self.anneal, &other.anneal);
        take(&mut self.p_end, &other.p_end);
        take(&mut self.resample_every, &other.resample_every);
        take(&mut self.average, &other.average);
        take(&mut self.patience, &other.patience);
    }

    /// The recipe with what is said here.
    pub fn recipe(&self, usual: Recipe) -> Recipe {
        Recipe {
            normalise: self.way().unwrap_or(usual.normalise),
            decay: self.decay.unwrap_or(usual.decay),
            clip_norm: self.clip.unwrap_or(usual.clip_norm),
            aux: self.aux.unwrap_or(usual.aux),
            sparsity_warmup: self.sparsity_warmup.or(usual.sparsity_warmup),
            resample_every: self.resample_every.unwrap_or(usual.resample_every),
            average: self.average.unwrap_or(usual.average),
            patience: self.patience.map(|windows| Patience { window: WINDOW, gain: GAIN, windows }).or(usual.patience),
            ..usual
        }
    }

    /// The objective's options with what is said here.
    pub fn options(&self, usual: Options) -> Options {
        Options {
            sparsity: self.sparsity().unwrap_or(usual.sparsity),
            bandwidth: self.bandwidth.or(usual.bandwidth),
            ste_to_input: self.ste_to_input || usual.ste_to_input,
            k_start: self.k_start.or(usual.k_start),
            anneal: self.anneal.unwrap_or(usual.anneal),
            p_end: self.p_end.unwrap_or(usual.p_end),
            ..usual
        }
    }

    fn way(&self) -> Option<Normalise> {
        named(&Normalise::ALL, self.normalise.as_deref()?)
    }

    fn sparsity(&self) -> Option<Sparsity> {
        named(&Sparsity::ALL, self.sparsity_loss.as_deref()?)
    }

    /// Refuses names that mean nothing, and what says nothing by itself.
    pub fn check(&self) -> Result<(), Failure> {
        fn known<T>(flag: &str, given: &Option<String>, all: &[(&str, T)], found: bool) -> Result<(), Failure> {
            match given {
                Some(name) if !found => {
                    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
                    Err(Failure::Input(format!("{flag}: expected one of {}, found `{name}`", names.join(", "))))
                }
                _ => Ok(()),
            }
        }
        known("--normalise", &self.normalise, &Normalise::ALL, self.way().is_some())?;
        known("--sparsity-loss", &self.sparsity_loss, &Sparsity::ALL, self.sparsity().is_some())?;
        match (self.anneal, self.k_start) {
            (Some(share), None) => {
                Err(Failure::Input(format!("--anneal: expected --k-start with it, found {share} alone")))
            }
            _ => Ok(()),
        }
    }
}

fn named<T: Copy>(all: &[(&str, T)], wanted: &str) -> Option<T> {
    all.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
}
