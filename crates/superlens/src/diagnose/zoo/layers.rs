//! Directions of features, and what a layer does to their sums.

use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// A random rotation `[d, d]`.
pub(super) fn rotation(d: usize, rng: &mut Rng) -> Mat {
    Mat::from_vec(d, d, haar_rotation(d, rng).iter().map(|v| *v as f32).collect())
}

/// `n ≤ d` features on rows of a random rotation.
pub(super) fn rotated(n: usize, d: usize, rng: &mut Rng) -> Mat {
    rotation(d, rng).select_rows(&(0..n).collect::<Vec<_>>())
}

/// `n ≤ d` features on neurons of their own, in random order, on scales of .5 to 2.
pub(super) fn aligned(n: usize, d: usize, rng: &mut Rng) -> Mat {
    let order = rng.permutation(d);
    let mut out = Mat::zeros(n, d);
    for i in 0..n {
        out[(i, order[i])] = 4f32.powf(rng.uniform() - 0.5);
    }
    out
}

/// Independent unit directions.
pub(super) fn random(n: usize, d: usize, rng: &mut Rng) -> Mat {
    crate::diagnose::surrogate::random_directions(n, d, rng)
}

/// Unit directions whose largest cosines are pushed down by descent on Σ cos⁸: closer to a good packing than random ones.
pub(super) fn packed(n: usize, d: usize, rng: &mut Rng) -> Mat {
    let mut w = random(n, d, rng);
    for _ in 0..40 {
        let mut gram = matmul(&w, w.t());
        for i in 0..n {
            gram[(i, i)] = 0.0;
        }
        let largest = gram.data().iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        gram.data_mut().iter_mut().for_each(|g| *g = 0.3 * (*g / largest).powi(7));
        let push = matmul(&gram, &w);
        w.data_mut().iter_mut().zip(push.data()).for_each(|(w, p)| *w -= p);
        unit(&mut w);
    }
    w
}

/// Each feature on `k` neurons with random signs (`signed`) or none, unit length.
pub(super) fn spread(n: usize, d: usize, k: usize, signed: bool, rng: &mut Rng) -> Mat {
    let mut w = Mat::zeros(n, d);
    for i in 0..n {
        for &j in &rng.permutation(d)[..k.min(d)] {
            let sign = if signed && rng.chance(0.5) { -1.0 } else { 1.0 };
            w[(i, j)] = sign * (0.6 + 0.8 * rng.uniform());
        }
    }
    unit(&mut w);
    w
}

/// Rotations of consecutive groups of `size` neurons; the last group may be smaller. `n ≤ d` features.
pub(super) fn rotated_in_groups(n: usize, d: usize, size: usize, rng: &mut Rng) -> Mat {
    let mut w = Mat::zeros(d, d);
    let mut at = 0;
    while at < d {
        let k = size.min(d - at);
        let q = rotation(k, rng);
        for i in 0..k {
            for j in 0..k {
                w[(at + i, at + j)] = q[(i, j)];
            }
        }
        at += k;
    }
    let order = rng.permutation(d);
    w.select_rows(&order[..n])
}

/// Rows at unit length.
pub(super) fn unit(w: &mut Mat) {
    for i in 0..w.rows() {
        let norm = w.row(i).iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-20);
        w.row_mut(i).iter_mut().for_each(|v| *v /= norm);
    }
}

/// What a layer does to its input, in the order of a list of these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Gaussian noise, in units of the root-mean-square standard deviation of the columns.
    Noise(f32),
    /// A constant row, drawn once, in the same units.
    Mean(f32),
    Relu,
    Gelu,
    /// x · σ(x), at the scale where it bends.
    Silu,
    /// Negative values at 40 %.
    Leaky,
    /// Times a softplus of another random view of the row (a gate that is mostly open), keeping signs.
    Gate,
    /// Rounded to bf16.
    Bf16,
    /// This many columns replaced by copies of others with 2 % of noise.
    Duplicates(usize),
    /// This many columns set to a constant.
    Dead(usize),
    /// This many columns made this many times as large, with noise of their own as of residual streams.
    Outliers(usize, f32),
    /// Every row to zero mean and unit variance.
    LayerNorm,
}

/// `x` after `steps`.
pub(super) fn through(mut x: Mat, steps: &[Step], rng: &Rng) -> Mat {
    for (k, step) in steps.iter().enumerate() {
        x = one(x, *step, &mut rng.fork("step").fork_index(k as u64));
    }
    x
}

fn one(mut x: Mat, step: Step, rng: &mut Rng) -> Mat {
    let (rows, d) = x.shape();
    match step {
        Step::Noise(share) => {
            let scale = share * spread_of(&x);
            x.data_mut().iter_mut().for_each(|v| *v += scale * rng.normal());
        }
        Step::Mean(share) => {
            let scale = share * spread_of(&x);
            let mean: Vec<f32> = (0..d).map(|_| scale * rng.normal()).collect();
            x.data_mut().chunks_mut(d).for_each(|row| row.iter_mut().zip(&mean).for_each(|(v, m)| *v += m));
        }
        Step::Relu => x.data_mut().iter_mut().for_each(|v| *v = v.max(0.0)),
        Step::Gelu => {
            // A layer's GELU works at the scale where it bends.
            let scale = 2.0 / spread_of(&x).max(1e-20);
            x.data_mut().iter_mut().for_each(|v| {
                let s = *v * scale;
                *v = 0.5 * s * (1.0 + (0.797_884_6 * (s + 0.044_715 * s * s * s)).tanh());
            });
        }
        Step::Silu => {
            let scale = 2.0 / spread_of(&x).max(1e-20);
            x.data_mut().iter_mut().for_each(|v| *v = scale * *v / (1.0 + (-scale * *v).exp()));
        }
        Step::Leaky => x.data_mut().iter_mut().for_each(|v| *v = v.max(0.4 * *v)),
        Step::Gate => {
            let view = rotation(d, rng);
            let scale = 1.0 / spread_of(&x).max(1e-20);
            let gate = matmul(&x, &view);
            x.data_mut().iter_mut().zip(gate.data()).for_each(|(v, g)| *v *= (1.0 + (0.5 * scale * g).exp()).ln());
        }
        Step::Bf16 => x.data_mut().iter_mut().for_each(|v| {
            let bits = v.to_bits();
            *v = f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000);
        }),
        Step::Duplicates(count) => {
            let order = rng.permutation(d);
            let scale = 0.02 * spread_of(&x);
            for k in 0..count.min(d / 2) {
                let (from, to) = (order[k], order[d - 1 - k]);
                for i in 0..rows {
                    x[(i, to)] = x[(i, from)] + scale * rng.normal();
                }
            }
        }
        Step::Dead(count) => {
            for &j in &rng.permutation(d)[..count.min(d - 2)] {
                (0..rows).for_each(|i| x[(i, j)] = 0.0);
            }
        }
        Step::Outliers(count, times) => {
            let scale = spread_of(&x);
            for &j in &rng.permutation(d)[..count.min(d / 4)] {
                for i in 0..rows {
                    x[(i, j)] = times * (scale * (2.0 + 0.2 * rng.normal()) + x[(i, j)]);
                }
            }
        }
        Step::LayerNorm => x.data_mut().chunks_mut(d).for_each(|row| {
            let mean = row.iter().sum::<f32>() / d as f32;
            let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / d as f32;
            let scale = 1.0 / (variance + 1e-5).sqrt();
            row.iter_mut().for_each(|v| *v = (*v - mean) * scale);
        }),
    }
    x
}

/// Root mean square of the columns' standard deviations.
pub(super) fn spread_of(x: &Mat) -> f32 {
    let (rows, d) = x.shape();
    let (mut sums, mut squares) = (vec![0.0f64; d], 0.0f64);
    for i in 0..rows {
        for (s, v) in sums.iter_mut().zip(x.row(i)) {
            *s += f64::from(*v);
            squares += f64::from(*v).powi(2);
        }
    }
    let n = rows.max(1) as f64;
    let means: f64 = sums.iter().map(|s| (s / n).powi(2)).sum();
    ((squares / n - means).max(0.0) / d.max(1) as f64).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_do_what_they_say() {
        let mut rng = Rng::new(0);
        let x = Mat::from_fn(500, 8, |_, j| rng.normal() * (1.0 + j as f32));
        let after = |step| through(x.clone(), &[step], &Rng::new(1));
        assert!(after(Step::Relu).data().iter().all(|v| *v >= 0.0));
        assert!(after(Step::Bf16).data().iter().all(|v| v.to_bits() & 0xffff == 0));
        let dead = after(Step::Dead(3));
        assert_eq!((0..8).filter(|&j| (0..500).all(|i| dead[(i, j)] == 0.0)).count(), 3);
        let normed = after(Step::LayerNorm);
        assert!((normed.row(3).iter().sum::<f32>()).abs() < 1e-4);
        assert!(after(Step::Noise(0.1)) != x);
        assert!((spread_of(&after(Step::Mean(1.0))) - spread_of(&x)).abs() < 1e-3);
    }

    #[test]
    fn packed_directions_are_less_coherent_than_random_ones() {
        let coherence = |w: &Mat| {
            let g = matmul(w, w.t());
            (0..40).flat_map(|i| (0..i).map(move |j| (i, j))).map(|ij| g[ij].abs()).fold(0.0f32, f32::max)
        };
        let (a, b) = (packed(40, 16, &mut Rng::new(2)), random(40, 16, &mut Rng::new(2)));
        assert!(coherence(&a) < 0.85 * coherence(&b), "{} {}", coherence(&a), coherence(&b));
    }
}
