//! Resampling: dead latents are set on rows that are rebuilt badly (Bricken et al. 2023, *Towards Monosemanticity*, "neuron
//! resampling").

use super::backward::Forward;
use super::state::State;
use superlens_tensor::Rng;
use superlens_tensor::kernels::pointwise::dot;

/// A new latent's encoder row, beside the mean length of those of the living.
const LENGTH: f32 = 0.2;

/// Each of the `dead` latents gets a row of the batch of `pass`, drawn with a chance proportional to its squared loss: the decoder row is
/// its direction, the encoder row the same and short, the bias 0, and the moments are forgotten. It counts as having fired.
pub(super) fn resample(state: &mut State, dead: &[u32], pass: &Forward, rng: &mut Rng) {
    let rows = pass.error.rows();
    let square = |v: &[f32]| v.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
    let mut rising = Vec::with_capacity(rows);
    let mut total = 0.0;
    for i in 0..rows {
        let usable = square(pass.centred.row(i)) > 0.0;
        total += if usable { square(pass.error.row(i)).powi(2) } else { 0.0 };
        rising.push(total);
    }
    if dead.is_empty() || !(total > 0.0 && total.is_finite()) {
        return;
    }
    let w_enc = state.params.get("w_enc");
    let is_dead = |j: usize| dead.binary_search(&(j as u32)).is_ok();
    let lengths: Vec<f32> =
        (0..w_enc.rows()).filter(|&j| !is_dead(j)).map(|j| dot(w_enc.row(j), w_enc.row(j)).sqrt()).collect();
    let length = if lengths.is_empty() { 1.0 } else { LENGTH * lengths.iter().sum::<f32>() / lengths.len() as f32 };
    for &j in dead {
        let j = j as usize;
        let drawn = f64::from(rng.uniform()) * total;
        let row = pass.centred.row(rising.partition_point(|&r| r <= drawn).min(rows - 1));
        let norm = square(row).sqrt() as f32;
        if norm == 0.0 {
            continue;
        }
        let State { params, m, v, silent, .. } = &mut *state;
        for (block, factor) in [("w_dec", 1.0), ("w_enc", length)] {
            params.get_mut(block).row_mut(j).iter_mut().zip(row).for_each(|(w, x)| *w = factor * x / norm);
        }
        params.get_mut("b_enc").data_mut()[j] = 0.0;
        for moments in [m, v] {
            moments.get_mut("w_dec").row_mut(j).fill(0.0);
            moments.get_mut("w_enc").row_mut(j).fill(0.0);
            moments.get_mut("b_enc").data_mut()[j] = 0.0;
        }
        silent[j] = 0;
    }
}
