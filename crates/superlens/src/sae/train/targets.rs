//! Transcoders: what is rebuilt is something else than what is read (Dunefsky, Chlenski and Nanda 2024, *Transcoders find interpretable LLM
//! feature circuits*, arXiv 2406.11944; with a linear path past the latents: Paulo, Shabalin and Belrose 2025, *Transcoders beat sparse
//! autoencoders for interpretability*, arXiv 2501.18823).
//!
//! ```text
//! z = x w_enc + b_enc        ŷ = f w_dec + b_dec (+ x skip)        loss = mean‖y − ŷ‖² / variance of y
//! ```
//!
//! Nothing is subtracted from the input, since `b_dec` lives where the targets do. Inputs and targets have a factor each.

use super::super::arch::FitError;
use super::backward::{Forward, add_outer};
use super::finish::unit_length;
use super::input::{InputMap, Normalise};
use super::objective::Objective;
use super::source::{Batch, Source, SourceError};
use superlens_tensor::Mat;
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::train::Params;

/// What an objective rebuilds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// What it reads.
    Input,
    /// The targets of the [`Source`], of which a linear function of the input may be left to a path past the latents.
    Other { skip: bool },
}

/// The factor of the targets, where `objective` has any.
///
/// # Errors
/// Targets that are missing or too many, and inputs that are not merely scaled.
pub(super) fn measure(
    objective: &dyn Objective,
    normalise: Normalise,
    first: &Batch,
    source: &mut dyn Source,
) -> Result<Option<InputMap>, FitError> {
    let arch = objective.id();
    match (objective.target(), &first.y) {
        (Target::Input, None) => Ok(None),
        (Target::Input, Some(_)) => Err(FitError::Targets { arch }),
        (Target::Other { .. }, None) => Err(FitError::NoTargets { arch }),
        (Target::Other { .. }, Some(_)) => match normalise {
            Normalise::None | Normalise::Scale => InputMap::measure(normalise, 1, &mut AsInput(source)).map(Some),
            Normalise::LayerNorm | Normalise::Whiten => Err(FitError::OnlyScaled { arch }),
        },
    }
}

/// Decoder rows to begin with: the mean target, weighted by the latent, over the rows in which it is active. Latents that are never active
/// keep what they have.
pub(super) fn start_decoder(objective: &dyn Objective, params: &mut Params, pass: &Forward) {
    let product = Product { x: &pass.centred, w: params.get("w_enc"), b: params.get("b_enc").data() };
    let z = objective.keep(product, params);
    let f = z.with_values(objective.activate(&z, params));
    let mut means = Mat::zeros(f.cols(), pass.target().cols());
    add_outer(&f, pass.target(), &mut means);
    let w_dec = params.get_mut("w_dec");
    for j in (0..means.rows()).filter(|&j| means.row(j).iter().any(|m| *m != 0.0)) {
        w_dec.row_mut(j).copy_from_slice(means.row(j));
    }
    unit_length(w_dec);
}

/// The targets of a source in the place of its inputs.
struct AsInput<'a>(&'a mut dyn Source);

fn swapped(batch: Batch) -> Batch {
    batch.y.unwrap_or(batch.x).into()
}

impl Source for AsInput<'_> {
    fn d_in(&self) -> usize {
        self.0.d_out()
    }

    fn rows(&self) -> Option<usize> {
        self.0.rows()
    }

    fn batch_rows(&self) -> usize {
        self.0.batch_rows()
    }

    fn batch(&mut self, step: u64) -> Result<Batch, SourceError> {
        self.0.batch(step).map(swapped)
    }

    fn scan(&mut self, rows: usize, visit: &mut dyn FnMut(Batch)) -> Result<(), SourceError> {
        self.0.scan(rows, &mut |batch| visit(swapped(batch)))
    }
}
