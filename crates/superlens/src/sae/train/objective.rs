//! [`Objective`]: what tells one kind of sparse autoencoder from another in training.

use super::super::arch::FitError;
use super::super::{Activation, PlainPursuit};
use super::setting::Setting;
use super::targets::Target;
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

/// One kind of sparse autoencoder: what it keeps of the encoder's product, what latents are made of that, and its penalties.
///
/// The reconstruction and its loss, the optimiser and the revival of dead latents are the same for all.
pub trait Objective: Send + Sync {
    /// The name on the command line and in files.
    fn id(&self) -> &'static str;

    /// Which of the settings that not every objective has it goes by; it has no use for the others.
    fn takes(&self) -> &'static [Setting];

    /// Called before each step with the share of the training that is done, 0 to 1, for what anneals. Default: nothing.
    fn at(&mut self, _progress: f64) {}

    /// Whether inference reads the input through the encoder's product alone. A pursuit, which goes by angles, does not: its input can't be
    /// whitened.
    fn linear(&self) -> bool {
        true
    }

    /// What is rebuilt. Default: what is read.
    fn target(&self) -> Target {
        Target::Input
    }

    /// Layers that lie side by side in a row, in equal widths; each is scaled by itself. Default: one.
    fn layers(&self) -> usize {
        1
    }

    /// Refuses settings that make no sense for so many latents.
    ///
    /// # Errors
    /// [`FitError::Setting`] or [`FitError::Real`].
    fn check(&self, _d_sae: usize) -> Result<(), FitError> {
        Ok(())
    }

    /// Refuses settings that make no sense for so many columns. Default: nothing.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn check_width(&self, _d_in: usize) -> Result<(), FitError> {
        Ok(())
    }

    /// Parameters with one number a latent beyond the weights and biases, in alphabetical order, and where they start.
    fn extras(&self) -> Vec<(&'static str, f32)> {
        Vec::new()
    }

    /// Sets what starts from data, by the product on the first batch. Default: nothing.
    fn start(&self, _first: Product, _params: &mut Params) {}

    /// The pre-activations that a gradient can come from; those left out are of no account.
    fn keep(&self, z: Product, params: &Params) -> SparseRows;

    /// The latents of what was kept, entry by entry. Default: ReLU.
    fn activate(&self, z: &SparseRows, _params: &Params) -> Vec<f32> {
        z.values().par_iter().map(|z| z.max(0.0)).collect()
    }

    /// Widths of the prefixes of the dictionary that must each rebuild the input, ascending, `d_sae` last.
    fn widths(&self, d_sae: usize) -> Vec<usize> {
        vec![d_sae]
    }

    /// Adds the gradient of the penalties, and turns what flows to the latents into what flows to the pre-activations. Returns the
    /// penalties' value. Default: no penalty, and a ReLU.
    fn penalise(&self, terms: &mut Terms) -> f64 {
        terms.through_relu();
        0.0
    }

    /// Whether dead latents are revived by an auxiliary loss.
    fn revives(&self) -> bool {
        false
    }

    /// What pre-activations are multiplied by where those of all latents are held against one threshold, `[d_sae]`. Default: nothing.
    fn weights(&self, _params: &Params) -> Option<Vec<f32>> {
        None
    }

    /// Follows what must be known at the end; `settled` after the warm-up. Default: nothing.
    fn observe(&self, _latents: &SparseRows, _params: &Params, _threshold: &mut f64, _settled: bool) {}

    /// Mean active latents a row that the one threshold of inference must give, where it is to be checked at the end.
    fn calibrated(&self) -> Option<f64> {
        None
    }

    /// Called after each step, for parameters with bounds. Default: nothing.
    fn constrain(&self, _params: &mut Params) {}

    /// Matching pursuit over the decoder, where inference is that and no product: `w_enc` then has no rows, `b_enc` no part, and
    /// [`keep`](Self::keep) has the centred rows of its product alone. Default: a product.
    fn pursuit(&self) -> Option<PlainPursuit> {
        None
    }

    /// What follows the product in inference, on inputs that are not multiplied by `scale`: thresholds and offsets are divided by it. `threshold` is
    /// what was [observed](Self::observe).
    fn activation(&self, params: &Params, threshold: f64, scale: f32) -> Activation;
}

/// What penalties are computed from, and where their gradients go.
pub struct Terms<'a> {
    pub params: &'a Params,
    /// What latents are to rebuild: `x − b_dec`, `[rows, d_in]`, or what is left for them of other [targets](Target).
    pub target: &'a Mat,
    /// Pre-activations that were kept, and the latents made of them.
    pub z: &'a SparseRows,
    pub f: &'a [f32],
    /// Comes in as the gradient of the main loss by `f`, goes out as that of all terms by the product `z − b_enc`.
    pub slope: Vec<f32>,
    /// `mean‖x − x̄‖²`, by which the main loss is divided.
    pub variance: f64,
    /// 0 at the start to 1 after the warm-up.
    pub rise: f64,
    /// 0 at the start to 1 at the end.
    pub progress: f64,
    /// Gradient by `b_enc` beyond the sums of `slope`, `[d_sae]`.
    pub b_enc_alone: Vec<f32>,
    /// Gradients of all parameters; those of the [extras](Objective::extras) are to be added here.
    pub grad: &'a mut Params,
}

impl Terms<'_> {
    /// Stops the gradient where a latent is not active.
    pub fn through_relu(&mut self) {
        self.slope.par_iter_mut().zip(self.f).for_each(|(g, f)| *g = if *f > 0.0 { *g } else { 0.0 });
    }

    pub fn rows(&self) -> f64 {
        self.z.rows() as f64
    }
}

/// Encoder rows and biases of which each latent's are multiplied by its own factor.
pub(super) fn weighted(params: &Params, by: &[f32]) -> (Mat, Mat) {
    let (mut w, mut b) = (params.get("w_enc").clone(), params.get("b_enc").clone());
    by.iter().enumerate().for_each(|(j, f)| w.row_mut(j).iter_mut().for_each(|w| *w *= f));
    b.data_mut().iter_mut().zip(by).for_each(|(b, f)| *b *= f);
    (w, b)
}
