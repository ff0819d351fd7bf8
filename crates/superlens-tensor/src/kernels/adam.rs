//! The Adam step over slices, in one pass, and clipping by the global norm.

use super::pointwise::{axpy, dot};
use super::vectors::by_vectors;
use rayon::prelude::*;

/// Numbers per piece of parallel work.
const CHUNK: usize = 1 << 14;

/// Constants of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Decoupled decay: the weights shrink by `lr · weight_decay` beside the gradient's step (AdamW).
    pub weight_decay: f64,
    /// 1 for the first step.
    pub t: u64,
}

/// One step of Adam (Kingma and Ba 2014, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2017,
/// algorithm 2): updates the weights `w` and the moments `m` and `v`, all of one length, by the gradient `g`.
///
/// Panics with the lengths when they differ, and if `t` is 0.
pub fn adam_step(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: AdamStep) {
    assert!(
        g.len() == w.len() && m.len() == w.len() && v.len() == w.len(),
        "Adam over {} weights with {} gradients and {} and {} moments",
        w.len(),
        g.len(),
        m.len(),
        v.len()
    );
    assert!(c.t > 0, "Adam counts its steps from 1");
    (w.par_chunks_mut(CHUNK))
        .zip(g.par_chunks(CHUNK))
        .zip(m.par_chunks_mut(CHUNK))
        .zip(v.par_chunks_mut(CHUNK))
        .for_each(|(((w, g), m), v)| adam_step_here(w, g, m, v, c));
}

/// [`adam_step`] on rows of `width` weights, each of which is then brought to length 1 while it is at hand; rows that are zero stay.
///
/// Panics as [`adam_step`] does, and where rows don't fill `w`.
pub fn adam_step_unit_rows(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], width: usize, c: AdamStep) {
    assert!(
        g.len() == w.len()
            && m.len() == w.len()
            && v.len() == w.len()
            && w.len().is_multiple_of(width.max(1))
            && c.t > 0,
        "Adam over {} weights in rows of {width} with {} gradients and {} and {} moments, step {}",
        w.len(),
        g.len(),
        m.len(),
        v.len(),
        c.t
    );
    let piece = (CHUNK / width.max(1)).max(1) * width.max(1);
    let pieces = w.par_chunks_mut(piece).zip(g.par_chunks(piece));
    pieces.zip(m.par_chunks_mut(piece)).zip(v.par_chunks_mut(piece)).for_each(|(((w, g), m), v)| {
        by_vectors(
            #[inline(always)]
            || {
                adam_step_inline(w, g, m, v, c);
                for row in w.chunks_exact_mut(width.max(1)) {
                    let norm = dot(row, row).sqrt();
                    if norm > 0.0 {
                        row.iter_mut().for_each(|w| *w /= norm);
                    }
                }
            },
        );
    });
}

/// Takes from each row of `g` its part along the same row of `w`, whose rows have length 1 or 0, and returns `Σ g²` of what is left. Rows
/// are `width` long. Panics where rows don't fill both alike.
pub fn project_rows(g: &mut [f32], w: &[f32], width: usize) -> f64 {
    let width = width.max(1);
    assert!(g.len() == w.len() && g.len().is_multiple_of(width), "{} and {} in rows of {width}", g.len(), w.len());
    let piece = (CHUNK / width).max(1) * width;
    let sums: Vec<f64> = g
        .par_chunks_mut(piece)
        .zip(w.par_chunks(piece))
        .map(|(g, w)| {
            by_vectors(
                #[inline(always)]
                || {
                    let mut sum = 0.0;
                    for (g, w) in g.chunks_exact_mut(width).zip(w.chunks_exact(width)) {
                        axpy(-dot(g, w), w, g);
                        sum += f64::from(dot(g, g));
                    }
                    sum
                },
            )
        })
        .collect();
    sums.iter().sum()
}

/// [`adam_step`] on the calling thread alone, for models so small that handing out work would cost more.
pub fn adam_step_here(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: AdamStep) {
    by_vectors(
        #[inline(always)]
        || adam_step_inline(w, g, m, v, c),
    );
}

#[inline(always)]
fn adam_step_inline(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: AdamStep) {
    // The corrections are near 0 or 1 and cancel badly in f32; per weight only products and one root are left.
    let lr = (c.lr / (1.0 - c.beta1.powf(c.t as f64))) as f32;
    let unbias = (1.0 / (1.0 - c.beta2.powf(c.t as f64)).sqrt()) as f32;
    let keep = (1.0 - c.lr * c.weight_decay) as f32;
    let (b1, b2, eps) = (c.beta1 as f32, c.beta2 as f32, c.eps as f32);
    let (n1, n2) = ((1.0 - c.beta1) as f32, (1.0 - c.beta2) as f32);
    for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
        *m = b1 * *m + n1 * g;
        *v = b2 * *v + n2 * g * g;
        *w = keep * *w - lr * *m / (v.sqrt() * unbias + eps);
    }
}

/// `Σ x²`, pieces of fixed length in `f32` lanes, their sums in `f64` and in order.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    const PIECE: usize = 1 << 10;
    let piece = |c: &[f32]| {
        by_vectors(
            #[inline(always)]
            || {
                let mut sum = 0.0;
                for c in c.chunks(PIECE) {
                    sum += f64::from(dot(c, c));
                }
                sum
            },
        )
    };
    let sums: Vec<f64> = x.par_chunks(CHUNK).map(piece).collect();
    sums.iter().sum()
}

/// Scales all of `blocks` together so that their joint Euclidean norm is at most `max`; returns the norm
/// before.
pub fn clip_global_norm<'a>(blocks: impl IntoIterator<Item = &'a mut [f32]>, max: f32) -> f64 {
    let mut blocks: Vec<&mut [f32]> = blocks.into_iter().collect();
    let norm = blocks.iter().map(|b| sum_of_squares(b)).sum::<f64>().sqrt();
    if norm > f64::from(max) {
        let scale = (f64::from(max) / norm) as f32;
        for block in &mut blocks {
            block.par_chunks_mut(CHUNK).for_each(|c| c.iter_mut().for_each(|x| *x *= scale));
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// The papers' algorithm, word for word, in `f64`.
    fn reference(w: &mut [f64], g: &[f64], m: &mut [f64], v: &mut [f64], c: AdamStep) {
        for i in 0..w.len() {
            m[i] = c.beta1 * m[i] + (1.0 - c.beta1) * g[i];
            v[i] = c.beta2 * v[i] + (1.0 - c.beta2) * g[i] * g[i];
            let m_hat = m[i] / (1.0 - c.beta1.powi(c.t as i32));
            let v_hat = v[i] / (1.0 - c.beta2.powi(c.t as i32));
            w[i] -= c.lr * (m_hat / (v_hat.sqrt() + c.eps) + c.weight_decay * w[i]);
        }
    }

    #[test]
    fn fifty_steps_agree_with_the_algorithm_in_f64() {
        for weight_decay in [0.0, 0.1] {
            let mut rng = Rng::new(5).fork("adam");
            let n = 64;
            let mut w: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
            let (mut m, mut v) = (vec![0.0; n], vec![0.0; n]);
            let mut w64: Vec<f64> = w.iter().map(|&x| x.into()).collect();
            let (mut m64, mut v64) = (vec![0.0; n], vec![0.0; n]);
            for t in 1..=50 {
                let c = AdamStep { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, t };
                // Gradients over six decades, some exactly zero.
                let g: Vec<f32> = (0..n)
                    .map(|i| if i % 7 == 0 { 0.0 } else { rng.normal() * 10f32.powi(i as i32 % 6 - 3) })
                    .collect();
                adam_step(&mut w, &g, &mut m, &mut v, c);
                reference(&mut w64, &g.iter().map(|&x| x.into()).collect::<Vec<_>>(), &mut m64, &mut v64, c);
            }
            for (a, b) in w.iter().zip(&w64) {
                assert!((f64::from(*a) - b).abs() < 5e-6, "{a} {b}");
            }
        }
    }

    #[test]
    fn the_first_step_has_the_length_of_the_rate() {
        let (mut w, mut m, mut v) = ([1.0f32, 1.0], [0.0; 2], [0.0; 2]);
        let c = AdamStep { lr: 0.5, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, t: 1 };
        adam_step(&mut w, &[1e-3, -40.0], &mut m, &mut v, c);
        assert!((w[0] - 0.5).abs() < 1e-4 && (w[1] - 1.5).abs() < 1e-6, "{w:?}");
    }

    #[test]
    fn clipping_scales_all_blocks_together() {
        let (mut a, mut b) = ([3.0f32, 0.0], [0.0f32, -4.0]);
        assert_eq!(clip_global_norm([&mut a[..], &mut b[..]], 10.0), 5.0);
        assert_eq!((a, b), ([3.0, 0.0], [0.0, -4.0]));
        assert_eq!(clip_global_norm([&mut a[..], &mut b[..]], 1.0), 5.0);
        assert!((a[0] - 0.6).abs() < 1e-7 && (b[1] + 0.8).abs() < 1e-7);
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let mut rng = Rng::new(6).fork("adam");
        let g: Vec<f32> = (0..3 * CHUNK + 5).map(|_| rng.normal()).collect();
        let run = |threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let (mut w, mut m, mut v) = (g.clone(), vec![0.0; g.len()], vec![0.0; g.len()]);
                let mut clipped = g.clone();
                let norm = clip_global_norm([&mut clipped[..]], 1.0);
                let c = AdamStep { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, t: 1 };
                adam_step(&mut w, &clipped, &mut m, &mut v, c);
                (w, m, v, norm)
            })
        };
        assert_eq!(run(1), run(3));
    }
}
