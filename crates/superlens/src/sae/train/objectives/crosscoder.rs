//! Crosscoder: one set of latents for several layers (or models) at once (Lindsey, Templeton, Marcus, Conerly, Batson and Olah 2024, *Sparse
//! crosscoders for cross-layer features and model diffing*, transformer-circuits.pub).
//!
//! ```text
//! f = relu(Σ_l (x_l − b_l) w_enc,l + b_enc)        x̂_l = f w_dec,l + b_l
//! loss = (Σ_l mean‖x_l − x̂_l‖² + λ r mean Σ_i f_i Σ_l ‖w_dec,l,i‖) / variance
//! ```
//!
//! The layers lie side by side in a row, in equal widths, so that both sums over the layers are plain products. A latent pays for each layer
//! that it writes to: the sum of lengths, not the length of all, makes it leave a layer where it has nothing to say. The row of a latent over
//! all layers has unit length; the penalty does not change when f shrinks and the row grows, so this loses nothing.

use super::super::objective::{Objective, Terms};
use super::super::setting::Setting;
use super::{ObjectiveEntry, Options};
use crate::sae::Activation;
use crate::sae::arch::{FitError, check_real, check_setting};
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "crosscoder",
    about: "ReLU latents shared by several layers side by side; each pays for every layer that it writes to",
    build: |options: &Options| Box::new(Crosscoder { layers: options.layers, l1: options.l1 }),
};

struct Crosscoder {
    layers: usize,
    l1: f64,
}

impl Objective for Crosscoder {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn takes(&self) -> &'static [Setting] {
        &[Setting::L1, Setting::Layers, Setting::SparsityWarmup]
    }

    /// Whitening would mix the layers, each of which has its own part of the penalty.
    fn linear(&self) -> bool {
        false
    }

    fn check(&self, _d_sae: usize) -> Result<(), FitError> {
        check_real("l1", self.l1, 0.0, 1e6)
    }

    fn check_width(&self, d_in: usize) -> Result<(), FitError> {
        check_setting("layers", self.layers, 1, d_in)?;
        match d_in.is_multiple_of(self.layers) {
            true => Ok(()),
            false => Err(FitError::Divisor { name: "layers", value: self.layers, whole: "the columns", of: d_in }),
        }
    }

    fn keep(&self, z: Product, _params: &Params) -> SparseRows {
        z.above(&vec![0.0; z.w.rows()])
    }

    fn penalise(&self, terms: &mut Terms) -> f64 {
        terms.through_relu();
        let w_dec = terms.params.get("w_dec");
        let width = w_dec.cols() / self.layers;
        let length = |w: &[f32]| dot(w, w).sqrt();
        let lengths: Vec<f32> = (0..w_dec.rows()).map(|j| w_dec.row(j).chunks(width).map(length).sum()).collect();
        let weight = self.l1 * terms.rise / (terms.rows() * terms.variance);
        let (mut sum, mut used) = (0.0, vec![0.0f32; lengths.len()]);
        for ((g, &f), &j) in terms.slope.iter_mut().zip(terms.f).zip(terms.z.indices()).filter(|((_, f), _)| **f > 0.0)
        {
            let j = j as usize;
            sum += f64::from(f) * f64::from(lengths[j]);
            used[j] += f;
            *g += weight as f32 * lengths[j];
        }
        let by_decoder = terms.grad.get_mut("w_dec");
        for (j, used) in used.into_iter().enumerate().filter(|u| u.1 > 0.0) {
            for (g, w) in by_decoder.row_mut(j).chunks_mut(width).zip(w_dec.row(j).chunks(width)) {
                let length = length(w);
                if length > 0.0 {
                    axpy(weight as f32 * used / length, w, g);
                }
            }
        }
        weight * sum
    }

    fn activation(&self, _params: &Params, _threshold: f64, _scale: f32) -> Activation {
        Activation::Relu
    }
}
