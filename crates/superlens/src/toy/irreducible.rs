//! Is a feature of two dimensions really one of two? The indices of Engels et al. 2024.
//!
//! *Not All Language Model Features Are One-Dimensionally Linear* (arXiv 2405.14860) calls a feature reducible if it is two
//! independent ones, or a mixture of ones that don't occur together. The formulas are those of its published code.

use std::f64::consts::PI;

/// Rotations tried, places of the strip, and bins of a histogram along each axis.
const ANGLES: usize = 120;
const PLACES: usize = 400;
const BINS: usize = 10;

/// What the width of the strip is a share of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// The root mean square of `v·f + c`, as published: it grows with the distance of the strip from the middle.
    Published,
    /// That of `v·f` about its mean, the same wherever the strip lies.
    Centred,
}

/// The ε-mixture index `M = max P(|v·f + c| < ε · yardstick)` over directions `v` and offsets `c`: how many points a narrow strip
/// can hold. A mixture of two lines has at least the larger share of them.
///
/// The maximum is found by trying [`ANGLES`] directions and [`PLACES`] offsets.
pub fn mixture_index(points: &[[f64; 2]], epsilon: f64, yardstick: Yardstick) -> f64 {
    let n = points.len().max(1) as f64;
    let mut best = 0usize;
    for a in 0..ANGLES {
        let (sin, cos) = (PI * a as f64 / ANGLES as f64).sin_cos();
        let mut z: Vec<f64> = points.iter().map(|p| cos * p[0] + sin * p[1]).collect();
        z.sort_by(f64::total_cmp);
        let mean = z.iter().sum::<f64>() / n;
        let variance = z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / n;
        let (Some(low), Some(high)) = (z.first(), z.last()) else { return 0.0 };
        for k in 0..=PLACES {
            let c = low + (high - low) * k as f64 / PLACES as f64;
            let away = if yardstick == Yardstick::Published { (c - mean).powi(2) } else { 0.0 };
            let width = epsilon * (variance + away).sqrt();
            let within = z.partition_point(|z| *z < c + width) - z.partition_point(|z| *z <= c - width);
            best = best.max(within);
        }
    }
    best as f64 / n
}

/// The separability index: the least mutual information, in bits, of the two coordinates over all rotations. Zero where the
/// feature is two independent ones.
///
/// From histograms, which see some information where there is none: about `(bins − 1)² / (2 n ln 2)`.
pub fn separability_index(points: &[[f64; 2]]) -> f64 {
    let one = |a: usize| {
        let (sin, cos) = (0.5 * PI * a as f64 / ANGLES as f64).sin_cos();
        let turned: Vec<[f64; 2]> = points.iter().map(|p| [cos * p[0] + sin * p[1], cos * p[1] - sin * p[0]]).collect();
        mutual_information(&turned)
    };
    (0..ANGLES).map(one).fold(f64::INFINITY, f64::min)
}

fn mutual_information(points: &[[f64; 2]]) -> f64 {
    let end = |k: usize, pick: fn(f64, f64) -> f64, start: f64| points.iter().map(|p| p[k]).fold(start, pick);
    let (low, high) =
        ([0, 1].map(|k| end(k, f64::min, f64::INFINITY)), [0, 1].map(|k| end(k, f64::max, -f64::INFINITY)));
    let bin = |p: &[f64; 2], k: usize| {
        let share = (p[k] - low[k]) / (high[k] - low[k]).max(f64::MIN_POSITIVE);
        ((share * BINS as f64) as usize).min(BINS - 1)
    };
    let mut joint = [[0.0; BINS]; BINS];
    points.iter().for_each(|p| joint[bin(p, 0)][bin(p, 1)] += 1.0 / points.len() as f64);
    let across: Vec<f64> = joint.iter().map(|row| row.iter().sum()).collect();
    let down: Vec<f64> = (0..BINS).map(|j| joint.iter().map(|row| row[j]).sum()).collect();
    let term = |i: usize, j: usize| {
        let p: f64 = joint[i][j];
        if p > 0.0 { p * (p / (across[i] * down[j])).log2() } else { 0.0 }
    };
    (0..BINS).flat_map(|i| (0..BINS).map(move |j| (i, j))).map(|(i, j)| term(i, j)).sum()
}

/// The largest mixture index of a circle: the strip touches it from within, `1 − 2t` is the cosine at its inner edge.
///
/// `t = ε √(½ + (1 − t)²)` for the published yardstick and `ε √½` for the centred one; `M = arccos(1 − 2t) / π`.
pub fn circle_mixture_index(epsilon: f64, yardstick: Yardstick) -> f64 {
    let mut t = epsilon;
    for _ in 0..100 {
        let away = if yardstick == Yardstick::Published { (1.0 - t).powi(2) } else { 0.0 };
        t = epsilon * (0.5 + away).sqrt();
    }
    (1.0 - 2.0 * t).clamp(-1.0, 1.0).acos() / PI
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn a_circle_is_neither_a_mixture_nor_two_features() {
        let circle: Vec<[f64; 2]> =
            (0..3000).map(|k| 2.0 * PI * k as f64 / 3000.0).map(|t| [t.cos(), t.sin()]).collect();
        for yardstick in [Yardstick::Published, Yardstick::Centred] {
            let (got, want) = (mixture_index(&circle, 0.1, yardstick), circle_mixture_index(0.1, yardstick));
            assert!((got - want).abs() < 0.005, "{got} for {want}");
        }
        assert!((circle_mixture_index(0.1, Yardstick::Published) - 0.2188).abs() < 1e-3);
        assert!((circle_mixture_index(0.1, Yardstick::Centred) - 0.1713).abs() < 1e-3);
        assert!(separability_index(&circle) > 0.8);
    }

    #[test]
    fn mixtures_and_products_are_reducible() {
        let mut rng = Rng::new(1);
        let mixture: Vec<[f64; 2]> =
            (0..3000).map(|k| if k % 2 == 0 { [rng.uniform_f64(), 0.0] } else { [0.0, rng.uniform_f64()] }).collect();
        assert!(mixture_index(&mixture, 0.1, Yardstick::Published) > 0.5);
        let product: Vec<[f64; 2]> = (0..3000).map(|_| [rng.uniform_f64(), rng.uniform_f64()]).collect();
        assert!(separability_index(&product) < 0.05);
        assert!(mixture_index(&product, 0.1, Yardstick::Published) < 0.3);
    }
}
