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
//!
//! `batch_topk_crosscoder` keeps the k · rows largest `f_i Σ_l ‖w_dec,l,i‖` of a batch in place of the penalty (Minder, Dumas, Juang, Chughtai and
//! Nanda 2025, *Overcoming sparsity artifacts in crosscoders to interpret chat-tuning*, arXiv 2504.02922), which shrinks nothing. The one threshold of
//! inference is on that product too, so that each latent has its own.

use super::super::objective::{Objective, Terms, weighted};
use super::super::setting::Setting;
use super::annealed::Annealed;
use super::batch_top_k::follow;
use super::{ObjectiveEntry, Options};
use crate::sae::Activation;
use crate::sae::arch::{FitError, check_real, check_setting};
use superlens_tensor::Mat;
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "crosscoder",
    about: "ReLU latents shared by several layers side by side; each pays for every layer that it writes to",
    build: |options: &Options| Box::new(Crosscoder { layers: options.layers, l1: options.l1 }),
};

pub(super) const BATCH_TOP_K: ObjectiveEntry = ObjectiveEntry {
    id: "batch_topk_crosscoder",
    about: "crosscoder that keeps the k latents a row on average which write most to all layers together",
    build: |options: &Options| Box::new(BatchTopK { layers: options.layers, k: Annealed::new(options) }),
};

/// `Σ_l ‖w_dec,l,i‖` of each latent.
fn lengths(w_dec: &Mat, layers: usize) -> Vec<f32> {
    let width = (w_dec.cols() / layers).max(1);
    (0..w_dec.rows()).map(|j| w_dec.row(j).chunks(width).map(length).sum()).collect()
}

fn length(w: &[f32]) -> f32 {
    dot(w, w).sqrt()
}

/// Refuses widths that are not so many layers side by side.
fn check_layers(layers: usize, d_in: usize) -> Result<(), FitError> {
    check_setting("layers", layers, 1, d_in)?;
    match d_in.is_multiple_of(layers) {
        true => Ok(()),
        false => Err(FitError::Divisor { name: "layers", value: layers, whole: "the columns", of: d_in }),
    }
}

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

    fn layers(&self) -> usize {
        self.layers
    }

    fn check(&self, _d_sae: usize) -> Result<(), FitError> {
        check_real("l1", self.l1, 0.0, 1e6)
    }

    fn check_width(&self, d_in: usize) -> Result<(), FitError> {
        check_layers(self.layers, d_in)
    }

    fn keep(&self, z: Product, _params: &Params) -> SparseRows {
        z.above(&vec![0.0; z.w.rows()])
    }

    fn penalise(&self, terms: &mut Terms) -> f64 {
        terms.through_relu();
        let w_dec = terms.params.get("w_dec");
        let width = w_dec.cols() / self.layers;
        let lengths = lengths(w_dec, self.layers);
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

struct BatchTopK {
    layers: usize,
    k: Annealed,
}

impl Objective for BatchTopK {
    fn id(&self) -> &'static str {
        BATCH_TOP_K.id
    }

    fn takes(&self) -> &'static [Setting] {
        &[Setting::K, Setting::KStart, Setting::Anneal, Setting::Aux, Setting::Layers]
    }

    fn linear(&self) -> bool {
        false
    }

    fn layers(&self) -> usize {
        self.layers
    }

    fn check(&self, d_sae: usize) -> Result<(), FitError> {
        self.k.check(d_sae)
    }

    fn check_width(&self, d_in: usize) -> Result<(), FitError> {
        check_layers(self.layers, d_in)
    }

    fn at(&mut self, progress: f64) {
        self.k.at(progress);
    }

    fn keep(&self, z: Product, params: &Params) -> SparseRows {
        let lengths = lengths(params.get("w_dec"), self.layers);
        let (w, b) = weighted(params, &lengths);
        let kept = Product { w: &w, b: b.data(), ..z }.largest_of_all(self.k.now() * z.x.rows());
        let own = kept.indices().iter().zip(kept.values()).map(|(&j, v)| v / lengths[j as usize]).collect();
        kept.with_values(own)
    }

    fn weights(&self, params: &Params) -> Option<Vec<f32>> {
        Some(lengths(params.get("w_dec"), self.layers))
    }

    fn revives(&self) -> bool {
        true
    }

    fn observe(&self, latents: &SparseRows, params: &Params, threshold: &mut f64, settled: bool) {
        if settled {
            let lengths = lengths(params.get("w_dec"), self.layers);
            follow(threshold, latents.indices().iter().zip(latents.values()).map(|(&j, f)| f * lengths[j as usize]));
        }
    }

    fn calibrated(&self) -> Option<f64> {
        Some(self.k.end() as f64)
    }

    fn activation(&self, params: &Params, threshold: f64, scale: f32) -> Activation {
        let own = |length: f32| (threshold.max(0.0) / f64::from(length) / f64::from(scale)) as f32;
        Activation::JumpRelu { threshold: lengths(params.get("w_dec"), self.layers).into_iter().map(own).collect() }
    }
}
