//! [`compare`]: whether two autoencoders compute the same.

use crate::sae::{Latents, Sae};
use superlens_tensor::{Mat, Rng};

/// How far outputs of the same autoencoder may be apart after it was written and read again, relative to the largest output or 1.
pub const TOLERANCE: f64 = 1e-5;
const ROWS: usize = 64;

/// The largest differences, relative to the largest value on either side, or to 1 if all are smaller.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    pub latents: f64,
    pub recon: f64,
}

impl Difference {
    pub fn within(&self, tolerance: f64) -> bool {
        self.latents <= tolerance && self.recon <= tolerance
    }
}

/// Encodes and decodes the same rows with both: normal ones, and sums of a few latents' directions around the input bias, so that
/// latents fire whatever their thresholds. Everything differs where the widths do.
pub fn compare(a: &Sae, b: &Sae, rng: &Rng) -> Difference {
    if (a.d_in(), a.d_sae(), a.d_out()) != (b.d_in(), b.d_sae(), b.d_out()) {
        return Difference { latents: f64::INFINITY, recon: f64::INFINITY };
    }
    let x = rows(a, rng);
    let (from, to) = (a.encode(&x), b.encode(&x));
    let (recon_a, recon_b) = (a.reconstruct(&from, x.view()), b.reconstruct(&to, x.view()));
    let mut latents = Widest::default();
    for i in 0..ROWS {
        let (left, right) = (dense(&from, i), dense(&to, i));
        latents.add(&left, &right);
    }
    let mut recon = Widest::default();
    recon.add(recon_a.data(), recon_b.data());
    Difference { latents: latents.relative(), recon: recon.relative() }
}

fn rows(sae: &Sae, rng: &Rng) -> Mat {
    const LATENTS: usize = 3;
    const SIZE: f32 = 4.0;
    let mut rng = rng.fork("compare");
    let mut x = Mat::from_fn(ROWS, sae.d_in(), |_, _| rng.normal());
    if sae.d_in() == sae.d_out() && sae.d_sae() > 0 {
        for i in (0..ROWS).step_by(2) {
            x.row_mut(i).copy_from_slice(&sae.b_in);
            for _ in 0..LATENTS {
                let (latent, size) = (rng.below(sae.d_sae()), SIZE * rng.normal().abs());
                x.row_mut(i).iter_mut().zip(sae.w_dec.row(latent)).for_each(|(x, d)| *x += size * d);
            }
        }
    }
    x
}

fn dense(latents: &Latents, i: usize) -> Vec<f32> {
    let mut row = vec![0.0; latents.cols()];
    let (indices, values) = latents.row(i);
    indices.iter().zip(values).for_each(|(&j, &v)| row[j as usize] = v);
    row
}

/// Largest difference and largest value so far.
#[derive(Default)]
struct Widest {
    difference: f64,
    value: f64,
}

impl Widest {
    fn add(&mut self, a: &[f32], b: &[f32]) {
        for (&a, &b) in a.iter().zip(b) {
            let difference = f64::from(a - b).abs();
            // NaN is no small difference.
            self.difference = if difference.is_nan() { f64::INFINITY } else { self.difference.max(difference) };
            self.value = self.value.max(f64::from(a.abs().max(b.abs())));
        }
    }

    fn relative(&self) -> f64 {
        self.difference / self.value.max(1.0)
    }
}
