//! ReLU with a penalty on the sum of the latents, or on the sum of their p-th powers with `p` falling from 1 (p-annealing: Karvonen
//! et al. 2024, arXiv 2408.00113).
//!
//! ```text
//! loss = (mean‖e‖² + λ r mean Σ fᵖ) / variance        f = relu(z), decoder rows of unit length
//! ```
//!
//! `r` rises over the warm-up. A penalty on the sum shrinks every active latent: λ/2 each, for directions at right angles.

use super::super::objective::{Objective, Terms};
use super::{Knob, ObjectiveEntry};
use crate::sae::Activation;
use crate::sae::arch::{FitError, check_real};
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "relu",
    about: "ReLU with an L1 penalty on the latents",
    knob: Knob::L1,
    build: |options| Box::new(Relu { id: ENTRY.id, l1: options.l1, p_end: 1.0 }),
};

pub(super) const P_ANNEAL: ObjectiveEntry = ObjectiveEntry {
    id: "p_anneal",
    about: "ReLU with a penalty on the p-th powers of the latents, p falling from 1",
    knob: Knob::L1,
    build: |options| Box::new(Relu { id: P_ANNEAL.id, l1: options.l1, p_end: options.p_end }),
};

/// The slope of `fᵖ` is held finite below this.
const SMALL: f32 = 1e-3;

struct Relu {
    id: &'static str,
    l1: f64,
    p_end: f64,
}

impl Objective for Relu {
    fn id(&self) -> &'static str {
        self.id
    }

    fn check(&self, _d_sae: usize) -> Result<(), FitError> {
        check_real("l1", self.l1, 0.0, 1e6)?;
        check_real("p_end", self.p_end, 0.05, 1.0)
    }

    fn keep(&self, z: Product, _params: &Params) -> SparseRows {
        z.above(&vec![0.0; z.w.rows()])
    }

    fn penalise(&self, terms: &mut Terms) -> f64 {
        terms.through_relu();
        let weight = self.l1 * terms.rise / (terms.rows() * terms.variance);
        let p = (1.0 + (self.p_end - 1.0) * terms.progress) as f32;
        let mut sum = 0.0;
        for (g, &f) in terms.slope.iter_mut().zip(terms.f).filter(|(_, f)| **f > 0.0) {
            let (value, slope) = if p == 1.0 { (f, 1.0) } else { (f.powf(p), p * f.max(SMALL).powf(p - 1.0)) };
            sum += f64::from(value);
            *g += (weight * f64::from(slope)) as f32;
        }
        weight * sum
    }

    fn activation(&self, _params: &Params, _threshold: f64, _scale: f32) -> Activation {
        Activation::Relu
    }
}
