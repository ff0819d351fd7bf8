//! What the families are made of: streams of features, sizes, rotations, noise, activations.

use super::super::Case;
use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::{Mat, Rng};

/// Uniform in `low..high`.
pub(super) fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.uniform_f64()
}

/// Uniform among `low..=high`.
pub(super) fn pick(rng: &mut Rng, low: usize, high: usize) -> usize {
    low + rng.below(high - low + 1)
}

/// One of `choices`.
pub(super) fn one_of<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.below(choices.len())]
}

/// How large a feature is where it is on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    /// 1 within a tenth.
    Even,
    /// Uniform in 0.5..1.5.
    Uniform,
    /// 0.2 and an exponential of mean 0.8.
    Exponential,
    /// Log-normal with σ = 0.5 and median 1.
    LogNormal,
}

impl Size {
    pub(super) const ALL: [Size; 4] = [Size::Even, Size::Uniform, Size::Exponential, Size::LogNormal];

    pub(super) fn draw(self, rng: &mut Rng) -> f32 {
        match self {
            Size::Even => 0.9 + 0.2 * rng.uniform(),
            Size::Uniform => 0.5 + rng.uniform(),
            Size::Exponential => 0.2 - 0.8 * (1.0 - rng.uniform()).ln(),
            Size::LogNormal => (0.5 * rng.normal()).exp(),
        }
    }
}

/// On or off in each row: on with probability `density`, in runs of mean length `run`; 1 or less means row by row.
pub(super) fn spells(rows: usize, density: f64, run: f64, rng: &mut Rng) -> Vec<bool> {
    if run <= 1.0 {
        return (0..rows).map(|_| rng.chance(density)).collect();
    }
    let (leave, enter) = (1.0 / run, density / (run * (1.0 - density)));
    let mut on = rng.chance(density);
    (0..rows)
        .map(|_| {
            on = if on { !rng.chance(leave) } else { rng.chance(enter) };
            on
        })
        .collect()
}

/// Independent non-negative features `[rows, n]`, zero where they are off.
pub(super) fn features(rows: usize, densities: &[f64], run: f64, size: Size, rng: &Rng) -> Mat {
    let mut out = Mat::zeros(rows, densities.len());
    for (j, &p) in densities.iter().enumerate() {
        let mut own = rng.fork_index(j as u64);
        for (i, on) in spells(rows, p, run, &mut own).into_iter().enumerate() {
            if on {
                out[(i, j)] = size.draw(&mut own);
            }
        }
    }
    out
}

/// `n` densities in `low..high`.
pub(super) fn densities(n: usize, low: f64, high: f64, rng: &mut Rng) -> Vec<f64> {
    (0..n).map(|_| between(rng, low, high)).collect()
}

/// `rows`, or as many as give the rarest feature 160 rows, at most 12,000.
pub(super) fn enough(rows: usize, densities: &[f64]) -> usize {
    let rarest = densities.iter().copied().fold(1.0, f64::min);
    rows.max((160.0 / rarest).ceil() as usize).min(12_000)
}

/// 1 where a feature is on, else 0.
pub(super) fn on_off(f: &Mat) -> Mat {
    Mat::from_fn(f.rows(), f.cols(), |i, j| if f[(i, j)] != 0.0 { 1.0 } else { 0.0 })
}

/// A random rotation `[n, n]`.
pub(super) fn rotation(n: usize, rng: &mut Rng) -> Mat {
    Mat::from_vec(n, n, haar_rotation(n, rng).into_iter().map(|v| v as f32).collect())
}

/// Standard normal entries.
pub(super) fn normals(rows: usize, cols: usize, rng: &mut Rng) -> Mat {
    Mat::from_fn(rows, cols, |_, _| rng.normal())
}

/// Adds white noise, its standard deviation the `share` of the root mean square of `x`.
pub(super) fn noisy(x: &mut Mat, share: f64, rng: &mut Rng) {
    let power: f64 = x.data().iter().map(|&v| (v as f64).powi(2)).sum::<f64>() / x.data().len() as f64;
    let sd = (share * power.sqrt()) as f32;
    for v in x.data_mut() {
        *v += sd * rng.normal();
    }
}

/// Adds a vector to every row.
pub(super) fn shift(x: &mut Mat, by: &[f32]) {
    for i in 0..x.rows() {
        for (v, b) in x.row_mut(i).iter_mut().zip(by) {
            *v += b;
        }
    }
}

/// `f` of every entry.
pub(super) fn apply(x: &mut Mat, f: impl Fn(f32) -> f32) {
    for v in x.data_mut() {
        *v = f(*v);
    }
}

pub(super) fn relu(v: f32) -> f32 {
    v.max(0.0)
}

/// The tanh form of GELU.
pub(super) fn gelu(v: f32) -> f32 {
    0.5 * v * (1.0 + (0.797_884_6 * (v + 0.044_715 * v * v * v)).tanh())
}

/// The nearest bf16 number, ties to even.
pub(super) fn bf16(v: f32) -> f32 {
    let bits = v.to_bits();
    f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000)
}

/// Poisson (Knuth), for small means.
pub(super) fn poisson(mean: f64, rng: &mut Rng) -> f32 {
    let floor = (-mean).exp();
    let (mut k, mut product) = (0, rng.uniform_f64());
    while product > floor {
        k += 1;
        product *= rng.uniform_f64();
    }
    k as f32
}

/// Features each on one neuron: feature `j` on `home[j]` with `gain[j]`. The result is `[rows, d]`.
pub(super) fn at_home(f: &Mat, home: &[usize], gain: &[f32], d: usize) -> Mat {
    let mut x = Mat::zeros(f.rows(), d);
    for i in 0..f.rows() {
        for (j, (&h, &g)) in home.iter().zip(gain).enumerate() {
            x[(i, h)] += g * f[(i, j)];
        }
    }
    x
}

/// Adds the sizes to what a case says.
pub(super) fn told(mut case: Case) -> Case {
    case.about = format!("{}; {} rows of {} neurons", case.about, case.x.rows(), case.x.cols());
    case
}
