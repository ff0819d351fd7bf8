//! JumpReLU: a threshold a latent, learned through a straight-through rule (Rajamanoharan et al. 2024, arXiv 2407.14435), under one of
//! three penalties.
//!
//! ```text
//! f = z · H(z − θ)        loss = mean‖e‖² / variance + penalty
//!     target   r (L0/L0* − 1)²
//!     step     λ r mean Σ H(z − θ) / variance        the same paper
//!     tanh     λ r mean Σ tanh(4 f) / variance       Anthropic's Circuits Updates of January 2025, transformer-circuits.pub
//! ∂f/∂z = H(z − θ)    ∂f/∂θ := −θ/ε · rect((z − θ)/ε)    ∂H/∂θ := −1/ε · rect((z − θ)/ε)    ∂H/∂z := 0
//! ```
//!
//! The rectangle looks at `z`, not at `f`, which would make it one-sided; `θ` itself is trained, since a step of Adam on its
//! logarithm is as small as `θ`. Where it is asked for, what goes to `θ` goes to `z` too, with the other sign, as an option of SAELens has
//! it. Decoder rows have unit length, so that the tanh needs no factor for it.

use super::super::objective::{Objective, Terms};
use super::super::setting::Setting;
use super::{ObjectiveEntry, Options};
use crate::sae::Activation;
use crate::sae::arch::{FitError, check_real};
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "jumprelu",
    about: "a learned threshold for each latent, trained towards a number of active latents, or with a penalty on each",
    build: |options: &Options| {
        Box::new(JumpRelu {
            sparsity: options.sparsity,
            target_l0: options.target_l0,
            l1: options.l1,
            bandwidth: options.bandwidth.unwrap_or(options.sparsity.bandwidth()),
            ste_to_input: options.ste_to_input,
        })
    },
};

/// What JumpReLU is penalised for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sparsity {
    /// The distance of the mean number of active latents from the one that is wanted.
    #[default]
    Target,
    /// Each active latent.
    Step,
    /// Each active latent, small ones less.
    Tanh,
}

/// `c` of `tanh(c f)`.
const STEEPNESS: f32 = 4.0;

impl Sparsity {
    /// Every one, by the name that the command line has for it.
    pub const ALL: [(&str, Sparsity); 3] =
        [("target", Sparsity::Target), ("step", Sparsity::Step), ("tanh", Sparsity::Tanh)];

    /// The usual ε, in units of the scaled input, whose mean square is 1 an entry: ours, that of SAELens, that of Anthropic.
    fn bandwidth(self) -> f64 {
        match self {
            Sparsity::Target => 0.03,
            Sparsity::Step => 0.05,
            Sparsity::Tanh => 2.0,
        }
    }

    /// Where thresholds start, in the same units, where no number of active latents says it: those of SAELens and Anthropic.
    fn start(self) -> Option<f32> {
        match self {
            Sparsity::Target => None,
            Sparsity::Step => Some(0.01),
            Sparsity::Tanh => Some(0.1),
        }
    }
}

struct JumpRelu {
    sparsity: Sparsity,
    target_l0: f64,
    /// λ, but for the distance from a target, whose factor is 1.
    l1: f64,
    /// ε.
    bandwidth: f64,
    ste_to_input: bool,
}

/// The penalty on one batch: its value, its slope by each activity `H`, and the factor of its slope by each latent.
struct Penalty {
    value: f64,
    by_activity: f64,
    by_tanh: f64,
}

impl JumpRelu {
    fn penalty(&self, terms: &Terms) -> Penalty {
        let threshold = terms.params.get("threshold").data();
        let active = || terms.z.indices().iter().zip(terms.z.values()).filter(|(j, z)| **z > threshold[**j as usize]);
        let weight = self.l1 * terms.rise / (terms.rows() * terms.variance);
        match self.sparsity {
            Sparsity::Target => {
                let off = active().count() as f64 / terms.rows() / self.target_l0 - 1.0;
                // L0 is the sum of the activities over the rows.
                let by_activity = terms.rise * 2.0 * off / (self.target_l0 * terms.rows());
                Penalty { value: terms.rise * off * off, by_activity, by_tanh: 0.0 }
            }
            Sparsity::Step => Penalty { value: weight * active().count() as f64, by_activity: weight, by_tanh: 0.0 },
            Sparsity::Tanh => {
                let sum: f64 = active().map(|(_, z)| f64::from((STEEPNESS * z).tanh())).sum();
                Penalty { value: weight * sum, by_activity: 0.0, by_tanh: weight }
            }
        }
    }
}

impl Objective for JumpRelu {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn takes(&self) -> &'static [Setting] {
        use Setting::{Bandwidth, L1, Sparsity as Loss, SparsityWarmup, SteToInput, TargetL0};
        match self.sparsity {
            Sparsity::Target => &[TargetL0, Loss, Bandwidth, SteToInput, SparsityWarmup],
            Sparsity::Step | Sparsity::Tanh => &[L1, Loss, Bandwidth, SteToInput, SparsityWarmup],
        }
    }

    fn check(&self, d_sae: usize) -> Result<(), FitError> {
        if self.sparsity == Sparsity::Target {
            check_real("target_l0", self.target_l0, 0.01, d_sae as f64)?;
        }
        check_real("l1", self.l1, 0.0, 1e6)?;
        check_real("bandwidth", self.bandwidth, 1e-6, 1e6)
    }

    fn extras(&self) -> Vec<(&'static str, f32)> {
        vec![("threshold", self.sparsity.start().unwrap_or(0.0))]
    }

    fn start(&self, first: Product, params: &mut Params) {
        if self.sparsity.start().is_some() {
            return;
        }
        let wanted = (self.target_l0 * first.x.rows() as f64).round() as usize;
        let kept = first.largest_of_all(wanted.max(1));
        let least = kept.values().iter().copied().fold(f32::INFINITY, f32::min);
        if least.is_finite() {
            params.get_mut("threshold").data_mut().fill(least);
        }
    }

    fn keep(&self, z: Product, params: &Params) -> SparseRows {
        let half = 0.5 * self.bandwidth as f32;
        z.above(&params.get("threshold").data().iter().map(|t| t - half).collect::<Vec<_>>())
    }

    fn activate(&self, z: &SparseRows, params: &Params) -> Vec<f32> {
        let threshold = params.get("threshold").data();
        z.indices().iter().zip(z.values()).map(|(&j, &z)| if z > threshold[j as usize] { z } else { 0.0 }).collect()
    }

    fn penalise(&self, terms: &mut Terms) -> f64 {
        let Penalty { value, by_activity, by_tanh } = self.penalty(terms);
        let (by_activity, by_tanh, width) = (by_activity as f32, by_tanh as f32, self.bandwidth as f32);
        let threshold = terms.params.get("threshold").data();
        let by_threshold = terms.grad.get_mut("threshold").data_mut();
        let entries = terms.z.indices().iter().zip(terms.z.values()).zip(terms.f);
        for (g, ((&j, &z), &f)) in terms.slope.iter_mut().zip(entries) {
            let theta = threshold[j as usize];
            // By the latent, whether it is on or not; tanh'(0) = 1 where it is not.
            let by_latent = *g + by_tanh * STEEPNESS * (1.0 - (STEEPNESS * f).tanh().powi(2));
            let mut by_z = if z > theta { by_latent } else { 0.0 };
            if (z - theta).abs() < 0.5 * width {
                let jump = (by_latent * theta + by_activity) / width;
                by_threshold[j as usize] -= jump;
                by_z += if self.ste_to_input { jump } else { 0.0 };
            }
            *g = by_z;
        }
        value
    }

    fn constrain(&self, params: &mut Params) {
        params.get_mut("threshold").data_mut().iter_mut().for_each(|t| *t = t.max(0.0));
    }

    fn activation(&self, params: &Params, _threshold: f64, scale: f32) -> Activation {
        Activation::JumpRelu { threshold: params.get("threshold").data().iter().map(|t| t / scale).collect() }
    }
}
