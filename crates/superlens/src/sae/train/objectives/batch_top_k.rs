//! BatchTopK: the `k · rows` largest latents of a batch (Bussmann, Leask and Nanda 2024, arXiv 2412.06410); and Matryoshka, whose
//! prefixes must each rebuild the input (Bussmann, Nabeshima, Karvonen and Nanda 2025, arXiv 2503.17547).
//!
//! Inference knows no batch: one threshold for all latents takes its place, the mean over the steps of the least value that was kept,
//! and a last look at the activations checks that it gives about `k`.

use super::super::objective::Objective;
use super::super::setting::Setting;
use super::annealed::Annealed;
use super::{ObjectiveEntry, Options};
use crate::sae::Activation;
use crate::sae::arch::{FitError, check_setting};
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "batch_topk",
    about: "keeps the k largest latents a row on average, wherever in the batch they are",
    build: |options| Box::new(BatchTopK { id: ENTRY.id, k: Annealed::new(options), prefixes: Prefixes::None }),
};

pub(super) const MATRYOSHKA: ObjectiveEntry = ObjectiveEntry {
    id: "matryoshka",
    about: "batch_topk in which each of several prefixes of the dictionary must rebuild the input",
    build: |options: &Options| {
        let prefixes =
            if options.widths.is_empty() { Prefixes::Halves } else { Prefixes::Given(options.widths.clone()) };
        Box::new(BatchTopK { id: MATRYOSHKA.id, k: Annealed::new(options), prefixes })
    },
};

/// How much of the mean of the thresholds stays at each step.
const MEMORY: f64 = 0.999;
/// Prefixes where none are given: the whole, half, a quarter, and so on.
const HALVES: usize = 5;

struct BatchTopK {
    id: &'static str,
    k: Annealed,
    prefixes: Prefixes,
}

enum Prefixes {
    None,
    Halves,
    Given(Vec<usize>),
}

impl Objective for BatchTopK {
    fn id(&self) -> &'static str {
        self.id
    }

    fn takes(&self) -> &'static [Setting] {
        use Setting::{Anneal, Aux, K, KStart, Widths};
        match self.prefixes {
            Prefixes::None => &[K, KStart, Anneal, Aux],
            Prefixes::Halves | Prefixes::Given(_) => &[K, KStart, Anneal, Aux, Widths],
        }
    }

    fn check(&self, d_sae: usize) -> Result<(), FitError> {
        self.k.check(d_sae)?;
        if let Prefixes::Given(widths) = &self.prefixes {
            let mut least = 1;
            for &width in widths {
                check_setting("width of a prefix (they ascend)", width, least, d_sae)?;
                least = width + 1;
            }
        }
        Ok(())
    }

    fn at(&mut self, progress: f64) {
        self.k.at(progress);
    }

    fn keep(&self, z: Product, _params: &Params) -> SparseRows {
        z.largest_of_all(self.k.now() * z.x.rows())
    }

    fn widths(&self, d_sae: usize) -> Vec<usize> {
        let mut widths = match &self.prefixes {
            Prefixes::None => Vec::new(),
            Prefixes::Halves => (1..HALVES).rev().map(|h| d_sae >> h).filter(|w| *w > 0).collect(),
            Prefixes::Given(widths) => widths.clone(),
        };
        if widths.last() != Some(&d_sae) {
            widths.push(d_sae);
        }
        widths.dedup();
        widths
    }

    fn revives(&self) -> bool {
        true
    }

    fn observe(&self, latents: &SparseRows, _params: &Params, threshold: &mut f64, settled: bool) {
        if settled {
            follow(threshold, latents.values().iter().copied());
        }
    }

    fn calibrated(&self) -> Option<f64> {
        Some(self.k.end() as f64)
    }

    fn activation(&self, params: &Params, threshold: f64, scale: f32) -> Activation {
        let threshold = (threshold.max(0.0) / f64::from(scale)) as f32;
        Activation::JumpRelu { threshold: vec![threshold; params.get("b_enc").cols()] }
    }
}

/// Moves the mean of the least values that were kept towards the least of these that is above zero.
pub(super) fn follow(threshold: &mut f64, kept: impl Iterator<Item = f32>) {
    let least = kept.filter(|v| *v > 0.0).fold(f32::INFINITY, f32::min);
    if least.is_finite() {
        let least = f64::from(least);
        *threshold = if *threshold < 0.0 { least } else { MEMORY * *threshold + (1.0 - MEMORY) * least };
    }
}
