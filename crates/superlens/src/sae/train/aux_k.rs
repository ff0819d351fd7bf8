//! AuxK: dead latents that learn to rebuild what the others leave (Gao et al. 2024, *Scaling and evaluating sparse autoencoders*,
//! arXiv 2406.04093).
//!
//! ```text
//! α · s · Σ‖e − ê‖² / Σ‖e − mean e‖²        ê = z_aux w_dec
//! ```
//!
//! `e` is a constant here, `ê` has no bias, and `z_aux` holds the `min(d_in/2, dead)` largest `z` among the dead latents, *not*
//! rectified: with ReLU a latent whose `z` is negative everywhere would get no gradient at all. `s = min(dead / (d_in/2), 1)`.

use super::backward::{Backward, Forward, add_outer, products, rebuild, scatter, squares};
use superlens_tensor::Mat;
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

/// The auxiliary term of one batch.
pub struct AuxK {
    pub latents: SparseRows,
    /// `α s / Σ‖e − mean e‖²`.
    pub weight: f64,
}

impl AuxK {
    /// `None` where nothing is dead or the error does not vary.
    pub fn choose(pass: &Forward, params: &Params, dead: &[u32], alpha: f64) -> Option<AuxK> {
        let (half, w_enc) = (pass.error.cols() / 2, params.get("w_enc"));
        let scatter = scatter(&pass.error);
        if dead.is_empty() || half == 0 || scatter <= 0.0 || alpha == 0.0 {
            return None;
        }
        let which: Vec<usize> = dead.iter().map(|&j| j as usize).collect();
        let (w, b) = (w_enc.select_rows(&which), params.get("b_enc").select_cols(&which));
        let mut top = Product { x: &pass.centred, w: &w, b: b.data() }.top_k(half.min(dead.len()));
        top.indices.iter_mut().for_each(|j| *j = dead[*j as usize]);
        let scale = (dead.len() as f64 / half as f64).min(1.0);
        let latents = SparseRows::from_top_k(pass.error.rows(), w_enc.rows(), top);
        Some(AuxK { latents, weight: alpha * scale / scatter })
    }

    /// Its value; its gradient goes to `backward`.
    pub fn loss(&self, pass: &Forward, backward: &mut Backward) -> f64 {
        let w_dec = backward.params.get("w_dec");
        let mut rest = rebuild(&self.latents, w_dec);
        rest.data_mut().iter_mut().zip(pass.error.data()).for_each(|(r, e)| *r = e - *r);
        let factor = (-2.0 * self.weight) as f32;
        let slope = Mat::from_vec(rest.rows(), rest.cols(), rest.data().iter().map(|v| v * factor).collect());
        add_outer(&self.latents, &slope, backward.grad.get_mut("w_dec"));
        backward.encoder(&self.latents.with_values(products(&self.latents, &slope, w_dec)));
        self.weight * squares(rest.data())
    }
}
