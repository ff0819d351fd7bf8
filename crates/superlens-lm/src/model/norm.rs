//! Norms of rows.

use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::vectors::by_vectors;

use super::PIECE;
use super::config::NormKind;
use super::weights::NormWeights;

/// `x ← (x − mean) / √(variance + eps) · gain + bias`, or the same without the mean, for every row (Ba et al. 2016; Zhang and Sennrich 2019).
pub(super) fn normalise(kind: NormKind, eps: f64, w: &NormWeights, x: &mut Mat) {
    let width = x.cols().max(1);
    let all = |rows: &mut [f32]| {
        by_vectors(
            #[inline(always)]
            || {
                for row in rows.chunks_exact_mut(width) {
                    normalise_row(kind, eps, w.gain.as_deref(), w.bias.as_deref(), row);
                }
            },
        );
    };
    if x.data().len() <= PIECE {
        all(x.data_mut());
    } else {
        x.data_mut().par_chunks_mut(PIECE / 4 / width * width + width).for_each(all);
    }
}

/// One row, or one head of it.
#[inline(always)]
pub(super) fn normalise_row(kind: NormKind, eps: f64, gain: Option<&[f32]>, bias: Option<&[f32]>, row: &mut [f32]) {
    let n = row.len() as f32;
    if kind == NormKind::Layer {
        let mean = sum(row, |x| x) / n;
        row.iter_mut().for_each(|x| *x -= mean);
    }
    let scale = 1.0 / (sum(row, |x| x * x) / n + eps as f32).sqrt();
    match gain {
        Some(gain) => row.iter_mut().zip(gain).for_each(|(x, g)| *x = *x * scale * g),
        None => row.iter_mut().for_each(|x| *x *= scale),
    }
    if let Some(bias) = bias {
        row.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
}

/// In 16 interleaved partial sums.
#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane += f(x));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &x)| *lane += f(x));
    lanes.iter().sum()
}
