//! Matching pursuit in training (Costa et al. 2025, *From flat to hierarchical: extracting sparse representations with matching pursuit*,
//! arXiv 2506.03093): the decoder is its own encoder, and each of k steps explains what the steps before it left.
//!
//! ```text
//! r₀ = x − b_dec        j = argmax r · d_j    v = relu(r · d_j)    r ← r − v d_j        loss = mean‖r_k‖² / variance
//! ```
//!
//! Gradients flow through values and residuals, back to the first step; which latent a step takes has none. That is the definition of
//! SAELens 6. Unlike its defaults every row takes k steps, or as many as find a positive product: users
//! state k. The same latent may be taken again. Backwards, with `s` the slope of the loss by the value of a step and `λ` that by the
//! residual it leaves (0 behind the last step, since the reconstruction is accounted for in `s`):
//!
//! ```text
//! c = s − λ · d        ∂d += c r − v λ        λ ← λ + c d        ∂b_dec = −λ, in the end
//! ```

use super::super::objective::{Objective, Terms};
use super::super::setting::Setting;
use super::{ObjectiveEntry, Options};
use crate::sae::arch::{FitError, check_setting};
use crate::sae::{Activation, PlainPursuit, pursuit};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "matching_pursuit",
    about: "k times the latent that fits best what the others left; the decoder is the encoder",
    build: |options: &Options| Box::new(MatchingPursuit { k: options.k }),
};

/// Rows whose gradients by the decoder are held at once.
const CHUNK: usize = 128;

struct MatchingPursuit {
    k: usize,
}

impl MatchingPursuit {
    fn settings(&self) -> PlainPursuit {
        PlainPursuit { max_steps: self.k, residual_below: 0.0, stop_on_repeat: false }
    }
}

impl Objective for MatchingPursuit {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn takes(&self) -> &'static [Setting] {
        &[Setting::K]
    }

    fn linear(&self) -> bool {
        false
    }

    fn check(&self, d_sae: usize) -> Result<(), FitError> {
        check_setting("k", self.k, 1, d_sae)
    }

    /// One entry a step, in the order of the steps.
    fn keep(&self, z: Product, params: &Params) -> SparseRows {
        let w_dec = params.get("w_dec");
        let rows = pursuit::steps(&self.settings(), w_dec, z.x);
        let mut offsets = vec![0];
        rows.iter().for_each(|row| offsets.push(offsets[offsets.len() - 1] + row.len()));
        let (indices, values) = rows.into_iter().flatten().unzip();
        SparseRows::new(w_dec.rows(), offsets, indices, values)
    }

    fn penalise(&self, terms: &mut Terms) -> f64 {
        let (w_dec, rows) = (terms.params.get("w_dec"), terms.z.rows());
        let mut first = 0;
        for from in (0..rows).step_by(CHUNK) {
            let chunk = from..(from + CHUNK).min(rows);
            let starts: Vec<usize> = chunk
                .clone()
                .map(|i| {
                    first += terms.z.row(i).0.len();
                    first - terms.z.row(i).0.len()
                })
                .collect();
            let back = |(i, start): (usize, usize)| {
                let (js, values) = terms.z.row(i);
                backwards(js, values, &terms.slope[start..start + js.len()], w_dec, terms.target.row(i))
            };
            let gradients: Vec<(Mat, Vec<f32>)> = chunk.clone().into_par_iter().zip(starts).map(back).collect();
            for (i, (by_row, by_input)) in chunk.zip(gradients) {
                axpy(-1.0, &by_input, terms.grad.get_mut("b_dec").data_mut());
                let by_decoder = terms.grad.get_mut("w_dec");
                for (t, &j) in terms.z.row(i).0.iter().enumerate() {
                    axpy(1.0, by_row.row(t), by_decoder.row_mut(j as usize));
                }
            }
        }
        terms.slope.fill(0.0);
        0.0
    }

    fn pursuit(&self) -> Option<PlainPursuit> {
        Some(self.settings())
    }

    fn activation(&self, _params: &Params, _threshold: f64, _scale: f32) -> Activation {
        Activation::Identity
    }
}

/// The gradient by the decoder row of each step `[steps, d_in]`, and by the input, of what flows through the values of one row alone.
fn backwards(js: &[u32], values: &[f32], slope: &[f32], w_dec: &Mat, x: &[f32]) -> (Mat, Vec<f32>) {
    let mut by_row = Mat::zeros(js.len(), x.len());
    let (mut residual, mut lambda) = (x.to_vec(), vec![0.0; x.len()]);
    // The residual before each step waits in its place.
    for (t, (&j, &v)) in js.iter().zip(values).enumerate() {
        by_row.row_mut(t).copy_from_slice(&residual);
        axpy(-v, w_dec.row(j as usize), &mut residual);
    }
    for t in (0..js.len()).rev() {
        let d = w_dec.row(js[t] as usize);
        let through = slope[t] - dot(&lambda, d);
        by_row.row_mut(t).iter_mut().zip(&lambda).for_each(|(r, l)| *r = through * *r - values[t] * l);
        axpy(through, d, &mut lambda);
    }
    (by_row, lambda)
}
