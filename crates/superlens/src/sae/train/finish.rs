//! From a training state to the dictionary that takes raw activations.

use super::backward::Forward;
use super::objective::weighted;
use super::source::{Batch, Source};
use super::{FitError, Trainer};
use crate::sae::{Encoder, Sae};
use superlens_tensor::Mat;
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::pointwise::dot;
use superlens_tensor::train::Params;

/// Rows on which a threshold is checked, and by how much the number of active latents may be off.
const CALIBRATION_ROWS: usize = 16_384;
const CALIBRATION: f64 = 0.05;

impl Trainer {
    /// The inference form for raw activations, of the mean weights where a mean was followed. What was done to the input is
    /// [folded](super::InputMap::fold) into the weights; latents come out in the units of the activations.
    ///
    /// # Errors
    /// What the source says, where a threshold is to be checked on its rows.
    pub fn finish(&self, source: &mut dyn Source) -> Result<Sae, FitError> {
        let mut params = self.state.average.as_ref().unwrap_or(&self.state.params).clone();
        if self.state.average.is_some() {
            unit_length(params.get_mut("w_dec"));
        }
        // Latents come out in the units of what is rebuilt.
        let scale = self.targets.as_ref().unwrap_or(&self.input).scale();
        let unscaled = |v: &[f32]| v.iter().map(|v| v / scale).collect::<Vec<f32>>();
        let (b_dec, w_dec) = (unscaled(params.get("b_dec").data()), params.get("w_dec").clone());
        if let Some(pursuit) = self.objective.pursuit() {
            return Ok(self.input.fold(b_dec, Encoder::PlainPursuit(pursuit), w_dec));
        }
        let act = self.objective.activation(&params, self.threshold(&params, source)?, scale);
        let b_enc = unscaled(params.get("b_enc").data());
        let mut w_enc = params.get("w_enc").transposed();
        if self.targets.is_none() {
            return Ok(self.input.fold(b_dec, Encoder::Linear { w_enc, b_enc, act }, w_dec));
        }
        let gain = self.input.scale() / scale;
        w_enc.data_mut().iter_mut().for_each(|w| *w *= gain);
        let sae = Sae::new(vec![0.0; w_enc.rows()], Encoder::Linear { w_enc, b_enc, act }, w_dec, b_dec);
        let skip = params.blocks.iter().find(|block| block.0 == "skip");
        Ok(match skip {
            Some((_, skip)) => sae.with_skip(Mat::from_fn(skip.rows(), skip.cols(), |i, j| gain * skip[(i, j)])),
            None => sae,
        })
    }

    /// The threshold that was followed, if it gives the wanted number of active latents within a twentieth on rows spread over all; else
    /// the one that gives just that number there.
    fn threshold(&self, params: &Params, source: &mut dyn Source) -> Result<f64, FitError> {
        let followed = self.state.threshold;
        let Some(wanted) = self.objective.calibrated() else { return Ok(followed) };
        let mut rows = Vec::new();
        source.scan(CALIBRATION_ROWS, &mut |Batch { x, .. }| {
            let left = (CALIBRATION_ROWS * x.cols()).saturating_sub(rows.len()).min(x.data().len());
            rows.extend_from_slice(&x.data()[..left]);
        })?;
        let d = source.d_in();
        let mut x = Mat::from_vec(rows.len() / d.max(1), d, rows);
        self.input.apply(&mut x);
        let pass = Forward::new(params, x);
        let weighted = self.objective.weights(params).map(|by| weighted(params, &by));
        let (w, b) = weighted.as_ref().map_or((params.get("w_enc"), params.get("b_enc")), |(w, b)| (w, b));
        let product = Product { x: &pass.centred, w, b: b.data() };
        let total = (wanted * pass.centred.rows() as f64).round();
        if followed >= 0.0 {
            let found = product.above(&vec![followed as f32; self.recipe.d_sae]).nnz() as f64;
            if (found / total - 1.0).abs() <= CALIBRATION {
                return Ok(followed);
            }
        }
        let least = product.largest_of_all(total as usize).values().iter().copied().fold(f32::INFINITY, f32::min);
        Ok(if least.is_finite() { f64::from(least.next_down()) } else { 0.0 })
    }
}

/// Brings every row to length 1, but those that are zero.
pub(super) fn unit_length(w: &mut Mat) {
    use rayon::prelude::*;
    let width = w.cols().max(1);
    w.data_mut().par_chunks_mut(width).for_each(|row| {
        let norm = dot(row, row).sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|w| *w /= norm);
        }
    });
}
