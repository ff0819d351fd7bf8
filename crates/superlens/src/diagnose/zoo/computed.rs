//! Neurons that mix their inputs because of what they compute: few latent variables, many non-linear readings of them.

use super::layers::{Step, random, through};
use super::{Answer, COMPUTATIONAL, Case, Family, INCONCLUSIVE, MONOSEMANTIC, Split, between, pick};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// How the latent variables are distributed.
#[derive(Clone, Copy, Debug)]
enum Latent {
    Normal,
    Uniform,
    /// On in 40 % of the rows.
    Sparse,
    /// Evenly spaced levels, so many: rows repeat, as where all inputs can be listed.
    Levels(usize),
}

fn latents(kind: Latent, rows: usize, k: usize, rng: &Rng) -> Mat {
    let mut rng = rng.fork("latents");
    Mat::from_fn(rows, k, |_, _| match kind {
        Latent::Normal => rng.normal(),
        Latent::Uniform => 3.4 * rng.uniform() - 1.7,
        Latent::Levels(levels) => 3.4 * rng.below(levels) as f32 / (levels - 1) as f32 - 1.7,
        Latent::Sparse => {
            if rng.chance(0.4) {
                2.0 * rng.normal()
            } else {
                0.0
            }
        }
    })
}

/// A view of each latent, `[rows, k]`, rotated or scaled or as it is: the reading that a user would label rows with.
fn finish(x: Mat, y: Mat, steps: &[Step], labelled: bool, extra: &[Answer], about: String, stream: &Rng) -> Case {
    let x = through(x, steps, &stream.fork("layer"));
    let mut defended = vec![COMPUTATIONAL];
    if !labelled {
        defended.extend_from_slice(extra);
    }
    let labels = labelled.then_some(y);
    Case { x, basis: Basis::Privileged, labels, defended, n_features: None, about: format!("{about}, {steps:?}") }
}

const STEPS: &[&[Step]] = &[&[], &[Step::Noise(0.02)], &[Step::Noise(0.05)], &[Step::Bf16]];

/// `d` neurons that each read a random direction of `k` latents through `bend`.
fn readings(k: (usize, usize), per: (f64, f64), kinds: &[Latent], bend: fn(f32) -> f32, stream: &Rng) -> Case {
    let rng = &mut stream.fork("settings");
    let k = k.0 + rng.below(k.1 - k.0 + 1);
    let d = ((between(per.0, per.1, rng) * k as f64) as usize).max(12);
    let rows = 4000 + rng.below(6000);
    let kind = pick(kinds, rng);
    let y = latents(kind, rows, k, stream);
    let w = random(d, k, rng);
    let bias: Vec<f32> = (0..d).map(|_| 0.7 * rng.normal()).collect();
    let mut x = matmul(&y, w.t());
    x.data_mut().chunks_mut(d).for_each(|row| row.iter_mut().zip(&bias).for_each(|(v, b)| *v = bend(*v + b)));
    let labelled = rng.chance(0.4);
    let about = format!("{rows} rows, {d} neurons that read {k} {kind:?} latents");
    finish(x, y, pick(STEPS, rng), labelled, &[INCONCLUSIVE], about, stream)
}

/// Products of pairs of latents out of four neurons each: ReLU(±x ± y − t).
fn products(flat: bool, stream: &Rng) -> Case {
    let rng = &mut stream.fork("settings");
    let pairs = 1 + rng.below(8);
    let threshold = between(0.4, 1.2, rng) as f32;
    let rows = 4000 + rng.below(6000);
    let kind = if flat { Latent::Uniform } else { Latent::Normal };
    let y = latents(kind, rows, 2 * pairs, stream);
    let d = 4 * pairs;
    let jitter = Mat::from_fn(d, 2, |_, _| 1.0 + 0.1 * rng.normal());
    let x = Mat::from_fn(rows, d, |i, j| {
        let (a, b) = (y[(i, j / 4 * 2)] * jitter[(j, 0)], y[(i, j / 4 * 2 + 1)] * jitter[(j, 1)]);
        let s = match j % 4 {
            0 => a + b,
            1 => -a - b,
            2 => a - b,
            _ => b - a,
        };
        (s - threshold).max(0.0)
    });
    let labelled = rng.chance(0.6);
    let about = format!("{rows} rows, {pairs} products of four neurons each, threshold {threshold:.2}");
    // Four sparse neurons a product look like four features.
    finish(x, y, pick(STEPS, rng), labelled, &[INCONCLUSIVE, MONOSEMANTIC], about, stream)
}

/// Sums of waves of two angles, as networks that add modulo a number come to use.
fn waves(stream: &Rng) -> Case {
    let rng = &mut stream.fork("settings");
    let modulus = 29 + 2 * rng.below(30);
    let d = 24 + rng.below(72);
    let rows = 4000 + rng.below(4000);
    let numbers = Mat::from_fn(rows, 2, |_, _| rng.below(modulus) as f32);
    let frequencies = 1 + rng.below(2);
    let turn: Vec<(f32, f32, f32)> = (0..d)
        .map(|_| {
            let w = std::f32::consts::TAU * (1 + rng.below(frequencies)) as f32 / modulus as f32;
            (w, std::f32::consts::TAU * rng.uniform(), 0.6 + rng.uniform())
        })
        .collect();
    let x = Mat::from_fn(rows, d, |i, j| {
        let (w, phase, size) = turn[j];
        (size * ((w * numbers[(i, 0)] + phase).cos() + (w * numbers[(i, 1)] + phase).cos())).max(0.0)
    });
    let labelled = rng.chance(0.5);
    // The latents of the computation are the waves, of which a user who knows the numbers can write down the first.
    let w = std::f32::consts::TAU / modulus as f32;
    let y = Mat::from_fn(rows, 4, |i, c| {
        let angle = w * numbers[(i, c / 2)];
        if c % 2 == 0 { angle.cos() } else { angle.sin() }
    });
    let about = format!("{rows} rows, {d} neurons, sums of waves modulo {modulus}, {frequencies} frequencies");
    finish(x, y, pick(STEPS, rng), labelled, &[INCONCLUSIVE, super::NONLINEAR], about, stream)
}

/// Larger and smaller of pairs of latents, and gated ones.
fn comparisons(stream: &Rng) -> Case {
    let rng = &mut stream.fork("settings");
    let k = 3 + rng.below(3);
    let d = 6 * k + rng.below(6 * k);
    let rows = 5000 + rng.below(5000);
    let y = latents(Latent::Normal, rows, k, stream);
    let view = random(2 * d, k, rng);
    let read = matmul(&y, view.t());
    let x = Mat::from_fn(rows, d, |i, j| {
        let (a, b) = (read[(i, 2 * j)], read[(i, 2 * j + 1)]);
        match j % 3 {
            0 => a.max(b),
            1 => a * b,
            _ => a.min(b).max(-0.5),
        }
    });
    let labelled = rng.chance(0.5);
    let about = format!("{rows} rows, {d} neurons that compare and multiply readings of {k} latents");
    finish(x, y, pick(STEPS, rng), labelled, &[INCONCLUSIVE], about, stream)
}

pub(super) fn families() -> Vec<Family> {
    let of = |id, split, about, make| Family { id, truth: COMPUTATIONAL, split, about, make };
    use Split::{Calibrate, Test};
    vec![
        of("readings-relu", Calibrate, "ReLU readings of a few latents", |r| {
            readings((2, 5), (6.0, 16.0), &[Latent::Normal, Latent::Uniform], |v| v.max(0.0), r)
        }),
        of("readings-square", Calibrate, "squared readings of a few latents", |r| {
            readings((2, 5), (6.0, 12.0), &[Latent::Normal, Latent::Uniform], |v| v * v, r)
        }),
        of("products", Calibrate, "products of pairs, four ReLUs each", |r| products(false, r)),
        of("readings-softplus", Calibrate, "softplus and cubic readings of a few latents", |r| {
            readings((2, 6), (6.0, 14.0), &[Latent::Normal, Latent::Sparse], |v| (1.0 + (2.0 * v).exp()).ln(), r)
        }),
        of("readings-cosine", Calibrate, "cosines of readings of a few latents", |r| {
            readings((2, 4), (8.0, 16.0), &[Latent::Normal, Latent::Uniform], |v| (1.5 * v).cos(), r)
        }),
        of("readings-of-levels", Calibrate, "squared and ReLU readings of two latents with few levels each", |r| {
            let kinds = [9, 12, 16, 20, 25].map(Latent::Levels);
            let bend = if r.fork("bend").chance(0.5) { |v: f32| v * v } else { |v: f32| v.max(0.0) };
            readings((2, 2), (8.0, 40.0), &kinds, bend, r)
        }),
        of("readings-tanh", Test, "tanh readings of a few latents", |r| {
            readings((2, 6), (5.0, 16.0), &[Latent::Normal, Latent::Uniform], f32::tanh, r)
        }),
        of("readings-gelu", Test, "GELU-like readings of sparse or dense latents", |r| {
            let bend = |v: f32| v / (1.0 + (-1.702 * v).exp());
            readings((2, 6), (6.0, 14.0), &[Latent::Normal, Latent::Sparse], bend, r)
        }),
        of("waves", Test, "ReLUs of sums of waves, as in addition modulo a number", waves),
        of("comparisons", Test, "larger, smaller and product of readings of a few latents", comparisons),
        of("products-flat", Test, "products of pairs of evenly spread latents", |r| products(true, r)),
    ]
}
