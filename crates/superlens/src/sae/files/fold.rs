//! What moves from one weight into another without changing what an autoencoder computes.

use crate::sae::{Activation, Encoder, Sae};
use superlens_tensor::Mat;

/// The encoder's bias when `target` is subtracted from the input instead of `b_in`: `b_enc + (target − b_in) · w_enc`, in f64.
/// The same numbers where the two are equal.
pub(super) fn rebias(b_in: &[f32], target: &[f32], w_enc: &Mat, b_enc: &[f32]) -> Vec<f32> {
    let mut folded: Vec<f64> = b_enc.iter().map(|&b| f64::from(b)).collect();
    for (i, (&from, &to)) in b_in.iter().zip(target).enumerate() {
        let shift = f64::from(to) - f64::from(from);
        if shift != 0.0 {
            folded.iter_mut().zip(w_enc.row(i)).for_each(|(f, &w)| *f += shift * f64::from(w));
        }
    }
    folded.into_iter().map(|f| f as f32).collect()
}

/// Unit decoder rows, their lengths moved to the encoder. `Err(row)` where a row has no length.
pub(super) fn decoder_norms(sae: &mut Sae) -> Result<(), usize> {
    for j in 0..sae.w_dec.rows() {
        let norm = sae.w_dec.row(j).iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
        if norm == 0.0 {
            return Err(j);
        }
        let times = |x: &mut f32| *x = (f64::from(*x) * norm) as f32;
        sae.w_dec.row_mut(j).iter_mut().for_each(|w| *w = (f64::from(*w) / norm) as f32);
        if let Encoder::Linear { w_enc, b_enc, .. } = &mut sae.encoder {
            times(&mut b_enc[j]);
            (0..w_enc.rows()).for_each(|i| times(&mut w_enc[(i, j)]));
        }
    }
    Ok(())
}

/// From an autoencoder of `scale · x` to one of x: what SAELens and others fold at the end of a training whose input was scaled
/// to a mean norm. The latents stay as they are.
pub(super) fn input_scale(sae: &mut Sae, scale: f64) {
    let by = |numbers: &mut [f32], factor: f64| numbers.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
    by(&mut sae.b_in, 1.0 / scale);
    by(&mut sae.b_dec, 1.0 / scale);
    by(sae.w_dec.data_mut(), 1.0 / scale);
    match &mut sae.encoder {
        Encoder::Linear { w_enc, .. } => by(w_enc.data_mut(), scale),
        Encoder::PlainPursuit(pursuit) => pursuit.residual_below = (f64::from(pursuit.residual_below) / scale) as f32,
        Encoder::MatchingPursuit { .. } => {}
    }
}

/// `relu(z) · 1[z > θ]`, as all peers compute it: a threshold below 0 lets through what one at 0 does.
pub(super) fn jump_relu(mut threshold: Vec<f32>) -> Activation {
    threshold.iter_mut().for_each(|t| *t = t.max(0.0));
    Activation::JumpRelu { threshold }
}

/// With the names of the files: `1[π > 0] · relu(exp(r_mag) · y + b_mag)` for `π = y + b_gate`, whose y is the product alone.
pub(super) fn gated(r_mag: &[f32], b_mag: &[f32], b_gate: &[f32]) -> Activation {
    let scale: Vec<f32> = r_mag.iter().map(|&r| f64::from(r).exp() as f32).collect();
    let shift = (0..scale.len()).map(|j| (f64::from(b_mag[j]) - f64::from(scale[j]) * f64::from(b_gate[j])) as f32);
    Activation::Gated { shift: shift.collect(), scale }
}

/// The other way: `(r_mag, b_mag)`, or `None` where a scale is not positive. `b_gate` is the bias that `shift` was made for.
pub(super) fn ungated(scale: &[f32], shift: &[f32], b_gate: &[f32]) -> Option<(Vec<f32>, Vec<f32>)> {
    if scale.iter().any(|s| s.is_nan() || *s <= 0.0 || s.is_infinite()) {
        return None;
    }
    let r_mag = scale.iter().map(|&s| f64::from(s).ln() as f32).collect();
    let b_mag = (0..scale.len()).map(|j| (f64::from(shift[j]) + f64::from(scale[j]) * f64::from(b_gate[j])) as f32);
    Some((r_mag, b_mag.collect()))
}
