//! JumpReLU: a threshold a latent, learned through a straight-through rule (Rajamanoharan et al. 2024, arXiv 2407.14435), with a penalty
//! on the distance of the mean number of active latents from the one that is wanted.
//!
//! ```text
//! f = z · H(z − θ)        loss = mean‖e‖² / variance + λ r (L0/L0* − 1)²
//! ∂f/∂z = H(z − θ)    ∂f/∂θ := −θ/ε · rect((z − θ)/ε)    ∂H/∂θ := −1/ε · rect((z − θ)/ε)
//! ```
//!
//! The rectangle looks at `z`, not at `f`, which would make it one-sided; `θ` itself is trained, since a step of Adam on its
//! logarithm is as small as `θ`. Thresholds start where the first batch has as many active latents as are wanted.

use super::super::objective::{Objective, Terms};
use super::{Knob, ObjectiveEntry};
use crate::sae::Activation;
use crate::sae::arch::{FitError, check_real};
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "jumprelu",
    about: "a learned threshold for each latent, trained towards a number of active latents",
    knob: Knob::TargetL0,
    build: |options| Box::new(JumpRelu { target_l0: options.target_l0, weight: 1.0, bandwidth: 0.03 }),
};

struct JumpRelu {
    target_l0: f64,
    /// λ.
    weight: f64,
    /// ε, in units of the scaled input, whose mean square is 1 an entry.
    bandwidth: f32,
}

impl Objective for JumpRelu {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn check(&self, d_sae: usize) -> Result<(), FitError> {
        check_real("target_l0", self.target_l0, 0.01, d_sae as f64)
    }

    fn extras(&self) -> Vec<(&'static str, f32)> {
        vec![("threshold", 0.0)]
    }

    fn start(&self, first: Product, params: &mut Params) {
        let wanted = (self.target_l0 * first.x.rows() as f64).round() as usize;
        let kept = first.largest_of_all(wanted.max(1));
        let least = kept.values().iter().copied().fold(f32::INFINITY, f32::min);
        if least.is_finite() {
            params.get_mut("threshold").data_mut().fill(least);
        }
    }

    fn keep(&self, z: Product, params: &Params) -> SparseRows {
        let half = 0.5 * self.bandwidth;
        z.above(&params.get("threshold").data().iter().map(|t| t - half).collect::<Vec<_>>())
    }

    fn activate(&self, z: &SparseRows, params: &Params) -> Vec<f32> {
        let threshold = params.get("threshold").data();
        z.indices().iter().zip(z.values()).map(|(&j, &z)| if z > threshold[j as usize] { z } else { 0.0 }).collect()
    }

    fn penalise(&self, terms: &mut Terms) -> f64 {
        let threshold = terms.params.get("threshold").data();
        let active = terms.z.indices().iter().zip(terms.z.values()).filter(|(j, z)| **z > threshold[**j as usize]);
        let off = active.count() as f64 / terms.rows() / self.target_l0 - 1.0;
        let weight = self.weight * terms.rise;
        // By each activity H, of which L0 is the sum over the rows.
        let by_activity = weight * 2.0 * off / (self.target_l0 * terms.rows());
        let by_threshold = terms.grad.get_mut("threshold").data_mut();
        for ((g, &j), &z) in terms.slope.iter_mut().zip(terms.z.indices()).zip(terms.z.values()) {
            let theta = threshold[j as usize];
            if (z - theta).abs() < 0.5 * self.bandwidth {
                by_threshold[j as usize] -= (*g * theta + by_activity as f32) / self.bandwidth;
            }
            if z <= theta {
                *g = 0.0;
            }
        }
        weight * off * off
    }

    fn constrain(&self, params: &mut Params) {
        params.get_mut("threshold").data_mut().iter_mut().for_each(|t| *t = t.max(0.0));
    }

    fn activation(&self, params: &Params, _threshold: f64, scale: f32) -> Activation {
        Activation::JumpRelu { threshold: params.get("threshold").data().iter().map(|t| t / scale).collect() }
    }
}
