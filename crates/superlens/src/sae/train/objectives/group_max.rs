//! GroupMax: the dictionary is cut into k runs of equal length, and the largest pre-activation of each run is kept where it is positive,
//! as in EleutherAI's sparsify. No ranking is needed, and no more than one latent of a run is ever active.

use super::super::objective::Objective;
use super::super::setting::Setting;
use super::{ObjectiveEntry, Options};
use crate::sae::Activation;
use crate::sae::arch::{FitError, check_setting};
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "groupmax",
    about: "keeps the largest latent of each of k runs of d_sae / k",
    build: |options: &Options| Box::new(GroupMax { groups: options.k }),
};

struct GroupMax {
    groups: usize,
}

impl Objective for GroupMax {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn takes(&self) -> &'static [Setting] {
        &[Setting::K, Setting::Aux]
    }

    fn check(&self, d_sae: usize) -> Result<(), FitError> {
        check_setting("k", self.groups, 1, d_sae)?;
        match d_sae.is_multiple_of(self.groups) {
            true => Ok(()),
            false => Err(FitError::Divisor { name: "k", value: self.groups, whole: "d_sae", of: d_sae }),
        }
    }

    fn keep(&self, z: Product, _params: &Params) -> SparseRows {
        z.largest_of_groups(self.groups)
    }

    fn revives(&self) -> bool {
        true
    }

    fn activation(&self, _params: &Params, _threshold: f64, _scale: f32) -> Activation {
        Activation::GroupMax { groups: self.groups }
    }
}
