//! TopK: the k largest pre-activations of a row (Gao et al. 2024, *Scaling and evaluating sparse autoencoders*, arXiv
//! 2406.04093), the same by size, with signs, and the same for other activations than those that are read.

use super::super::objective::{Objective, Terms};
use super::super::setting::Setting;
use super::super::targets::Target;
use super::ObjectiveEntry;
use super::annealed::Annealed;
use crate::sae::Activation;
use crate::sae::arch::FitError;
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "topk",
    about: "keeps the k largest latents of a row",
    build: |options| Box::new(TopK { id: ENTRY.id, k: Annealed::new(options), target: Target::Input }),
};

pub(super) const TRANSCODER: ObjectiveEntry = ObjectiveEntry {
    id: "transcoder",
    about: "topk latents of the activations that rebuild other ones, the targets",
    build: |options| {
        Box::new(TopK { id: TRANSCODER.id, k: Annealed::new(options), target: Target::Other { skip: false } })
    },
};

pub(super) const SKIP_TRANSCODER: ObjectiveEntry = ObjectiveEntry {
    id: "skip_transcoder",
    about: "transcoder with a linear path past the latents",
    build: |options| {
        Box::new(TopK { id: SKIP_TRANSCODER.id, k: Annealed::new(options), target: Target::Other { skip: true } })
    },
};

pub(super) const BY_SIZE: ObjectiveEntry = ObjectiveEntry {
    id: "abs_topk",
    about: "keeps the k latents of a row that are largest by size, with their signs",
    build: |options| Box::new(AbsTopK { k: Annealed::new(options) }),
};

struct TopK {
    id: &'static str,
    k: Annealed,
    target: Target,
}

impl Objective for TopK {
    fn id(&self) -> &'static str {
        self.id
    }

    fn takes(&self) -> &'static [Setting] {
        &[Setting::K, Setting::KStart, Setting::Anneal, Setting::Aux]
    }

    fn target(&self) -> Target {
        self.target
    }

    fn check(&self, d_sae: usize) -> Result<(), FitError> {
        self.k.check(d_sae)
    }

    fn at(&mut self, progress: f64) {
        self.k.at(progress);
    }

    fn keep(&self, z: Product, _params: &Params) -> SparseRows {
        positive(SparseRows::from_top_k(z.x.rows(), z.w.rows(), z.top_k(self.k.now())))
    }

    fn revives(&self) -> bool {
        true
    }

    fn activation(&self, _params: &Params, _threshold: f64, _scale: f32) -> Activation {
        Activation::TopK { k: self.k.end() }
    }
}

struct AbsTopK {
    k: Annealed,
}

impl Objective for AbsTopK {
    fn id(&self) -> &'static str {
        BY_SIZE.id
    }

    fn takes(&self) -> &'static [Setting] {
        &[Setting::K, Setting::KStart, Setting::Anneal, Setting::Aux]
    }

    fn check(&self, d_sae: usize) -> Result<(), FitError> {
        self.k.check(d_sae)
    }

    fn at(&mut self, progress: f64) {
        self.k.at(progress);
    }

    fn keep(&self, z: Product, _params: &Params) -> SparseRows {
        z.top_k_by_size(self.k.now())
    }

    fn activate(&self, z: &SparseRows, _params: &Params) -> Vec<f32> {
        z.values().to_vec()
    }

    fn penalise(&self, _terms: &mut Terms) -> f64 {
        0.0
    }

    fn revives(&self) -> bool {
        true
    }

    fn activation(&self, _params: &Params, _threshold: f64, _scale: f32) -> Activation {
        Activation::AbsTopK { k: self.k.end() }
    }
}

/// The entries above zero.
pub(super) fn positive(s: SparseRows) -> SparseRows {
    if s.values().iter().all(|v| *v > 0.0) {
        return s;
    }
    let (mut offsets, mut indices, mut values) = (vec![0], Vec::with_capacity(s.nnz()), Vec::with_capacity(s.nnz()));
    for i in 0..s.rows() {
        let (js, vs) = s.row(i);
        for (&j, &v) in js.iter().zip(vs).filter(|(_, v)| **v > 0.0) {
            indices.push(j);
            values.push(v);
        }
        offsets.push(indices.len());
    }
    SparseRows::new(s.cols(), offsets, indices, values)
}
