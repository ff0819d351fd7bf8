//! Gated: whether a latent is active and how much are read by two affine functions of one product (Rajamanoharan et al. 2024, arXiv
//! 2404.16014), so that the penalty on the gate need not shrink the magnitude.
//!
//! ```text
//! u = (x − b_dec) w_enc    π = u + b_enc    f = 1[π > 0] · relu(e^r u + b_mag)
//! loss = (mean‖e‖² + λ r mean Σ relu(π) + mean‖x − relu(π) sg(w_dec) − sg(b_dec)‖²) / variance
//! ```
//!
//! The indicator passes no gradient: `w_enc` and `b_enc` learn from the last two terms too, `r` and `b_mag` from the first alone. The
//! decoder and its bias are constants in the last term; with a gradient there the gate's reconstruction would train the decoder.

use super::super::backward::{products, rebuild, squares};
use super::super::objective::{Objective, Terms};
use super::super::setting::Setting;
use super::ObjectiveEntry;
use crate::sae::Activation;
use crate::sae::arch::{FitError, check_real};
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

pub(super) const ENTRY: ObjectiveEntry = ObjectiveEntry {
    id: "gated",
    about: "one path decides which latents are active, another how much; only the first is penalised",
    build: |options| Box::new(Gated { l1: options.l1 }),
};

struct Gated {
    l1: f64,
}

impl Objective for Gated {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn takes(&self) -> &'static [Setting] {
        &[Setting::L1, Setting::SparsityWarmup]
    }

    fn check(&self, _d_sae: usize) -> Result<(), FitError> {
        check_real("l1", self.l1, 0.0, 1e6)
    }

    fn extras(&self) -> Vec<(&'static str, f32)> {
        vec![("b_mag", 0.0), ("r_mag", 0.0)]
    }

    fn keep(&self, z: Product, _params: &Params) -> SparseRows {
        z.above(&vec![0.0; z.w.rows()])
    }

    fn activate(&self, z: &SparseRows, params: &Params) -> Vec<f32> {
        let (b_enc, b_mag, r_mag) = blocks(params);
        let magnitude = |(&j, &z): (&u32, &f32)| {
            let j = j as usize;
            (r_mag[j].exp() * (z - b_enc[j]) + b_mag[j]).max(0.0)
        };
        z.indices().iter().zip(z.values()).map(magnitude).collect()
    }

    fn penalise(&self, terms: &mut Terms) -> f64 {
        let (b_enc, _, r_mag) = blocks(terms.params);
        let weight = 1.0 / (terms.rows() * terms.variance);
        let penalty = self.l1 * terms.rise * weight;
        // What the gate alone rebuilds.
        let w_dec = terms.params.get("w_dec");
        let mut rest = rebuild(terms.z, w_dec);
        rest.data_mut().iter_mut().zip(terms.target.data()).for_each(|(r, x)| *r = x - *r);
        let by_gate = {
            let mut slope = rest.clone();
            slope.data_mut().iter_mut().for_each(|r| *r *= (-2.0 * weight) as f32);
            products(terms.z, &slope, w_dec)
        };
        let mut by_mag = vec![(0.0f32, 0.0f32); b_enc.len()];
        let mut sum = 0.0;
        for (e, (&j, &z)) in terms.z.indices().iter().zip(terms.z.values()).enumerate() {
            let j = j as usize;
            let gain = r_mag[j].exp();
            let through = if terms.f[e] > 0.0 { terms.slope[e] } else { 0.0 };
            by_mag[j].0 += through;
            by_mag[j].1 += through * gain * (z - b_enc[j]);
            let gate = by_gate[e] + penalty as f32;
            sum += f64::from(z);
            // The bias of the gate has no part in the magnitude.
            terms.b_enc_alone[j] -= through * gain;
            terms.slope[e] = through * gain + gate;
        }
        let add = |grad: &mut Params, name: &str, pick: fn(&(f32, f32)) -> f32| {
            grad.get_mut(name).data_mut().iter_mut().zip(&by_mag).for_each(|(g, m)| *g += pick(m));
        };
        add(terms.grad, "b_mag", |m| m.0);
        add(terms.grad, "r_mag", |m| m.1);
        penalty * sum + weight * squares(rest.data())
    }

    fn activation(&self, params: &Params, _threshold: f64, scale: f32) -> Activation {
        let (b_enc, b_mag, r_mag) = blocks(params);
        let gain: Vec<f32> = r_mag.iter().map(|r| r.exp()).collect();
        let shift = gain.iter().zip(b_mag).zip(b_enc).map(|((g, m), e)| (m - g * e) / scale).collect();
        Activation::Gated { scale: gain, shift }
    }
}

/// `b_enc`, `b_mag`, `r_mag`.
fn blocks(params: &Params) -> (&[f32], &[f32], &[f32]) {
    (params.get("b_enc").data(), params.get("b_mag").data(), params.get("r_mag").data())
}
