//! ReLU with a penalty on the sum of the latents, or on the sum of their p-th powers with `p` falling from 1 (p-annealing: Karvonen
//! et al. 2024, arXiv 2408.00113).
//!
//! ```text
//! loss = (mean‖e‖² + λ r mean Σ fᵖ) / variance        f = relu(z), decoder rows of unit length
//! ```
//!
//! `r` rises over the warm-up. A penalty on the sum shrinks every active latent: λ/2 each, for directions at right angles.

use super::super::objective::{Objective, Terms};
use super::super::setting::Setting;
use super::super::targets::Target;
use super::{ObjectiveEntry, Options};
use crate::sae::Activation;
use crate::sae::arch::{FitError, check_real};
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "relu",
    about: "ReLU with an L1 penalty on the latents",
    build: |options| Box::new(Relu::plain(ENTRY.id, options, Target::Input)),
};

pub(super) const TRANSCODER: ObjectiveEntry = ObjectiveEntry {
    id: "relu_transcoder",
    about: "relu latents of the activations that rebuild other ones, the targets",
    build: |options| Box::new(Relu::plain(TRANSCODER.id, options, Target::Other { skip: false })),
};

pub(super) const SKIP_TRANSCODER: ObjectiveEntry = ObjectiveEntry {
    id: "relu_skip_transcoder",
    about: "relu_transcoder with a linear path past the latents",
    build: |options| Box::new(Relu::plain(SKIP_TRANSCODER.id, options, Target::Other { skip: true })),
};

pub(super) const P_ANNEAL: ObjectiveEntry = ObjectiveEntry {
    id: "p_anneal",
    about: "ReLU with a penalty on the p-th powers of the latents, p falling from 1",
    build: |options| {
        let plain = Relu::plain(P_ANNEAL.id, options, Target::Input);
        Box::new(Relu { p_end: Some(options.p_end), ..plain })
    },
};

/// The slope of `fᵖ` is held finite below this.
const SMALL: f32 = 1e-3;

struct Relu {
    id: &'static str,
    target: Target,
    l1: f64,
    /// Where the exponent ends; 1 all the time where there is none.
    p_end: Option<f64>,
}

impl Relu {
    fn plain(id: &'static str, options: &Options, target: Target) -> Relu {
        Relu { id, target, l1: options.l1, p_end: None }
    }
}

impl Objective for Relu {
    fn id(&self) -> &'static str {
        self.id
    }

    fn takes(&self) -> &'static [Setting] {
        use Setting::{L1, PEnd, SparsityWarmup};
        if self.p_end.is_some() { &[L1, PEnd, SparsityWarmup] } else { &[L1, SparsityWarmup] }
    }

    fn target(&self) -> Target {
        self.target
    }

    fn check(&self, _d_sae: usize) -> Result<(), FitError> {
        check_real("l1", self.l1, 0.0, 1e6)?;
        check_real("p_end", self.p_end.unwrap_or(1.0), 0.05, 1.0)
    }

    fn keep(&self, z: Product, _params: &Params) -> SparseRows {
        z.above(&vec![0.0; z.w.rows()])
    }

    fn penalise(&self, terms: &mut Terms) -> f64 {
        terms.through_relu();
        let weight = self.l1 * terms.rise / (terms.rows() * terms.variance);
        let p = (1.0 + (self.p_end.unwrap_or(1.0) - 1.0) * terms.progress) as f32;
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
