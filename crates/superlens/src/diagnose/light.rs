//! Directions with light tails: two-valued coordinates, and circles.
//!
//! In units of variance `E[s⁴]` is 3 for a Gaussian, 1.8 for evenly spread values, 1.5 along any direction in the plane of a
//! circle, 1 for two values. Sparse features have more than a Gaussian.

use super::maxima::{Cloud, SAME, climb};
use super::surrogate::random_directions;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::{Mat, Rng};

/// Fourth moments of two values with noise, of a circle with noise, and of anything light.
const BITS: f64 = 1.3;
const CIRCLE: std::ops::Range<f64> = 1.3..1.75;
const LIGHT: f64 = 2.0;
/// One that is not going to be light after the first steps.
const HEAVY: f64 = 4.0;
/// `E[s² t²]` of two directions at right angles: 1 where they are independent, ½ on a circle.
const ON_A_CIRCLE: f64 = 0.72;
/// Eigenvalue of the directions' moments, as a share of the largest, that counts as a dimension.
const SPANNED: f64 = 0.01;
const STEPS: usize = 30;
/// Two-valued directions whose patterns are counted.
const PATTERN: usize = 12;

/// Shares of the dimensions that light directions span, by what kind they are of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Light {
    pub bits: f64,
    pub circles: f64,
    /// Any with light tails.
    pub all: f64,
    /// Patterns that the rows show on up to twelve two-valued directions, as a share of those that independent bits would: near 0 where the
    /// two values are two sides of a few clusters.
    pub variety: f64,
}

/// `white` is `[rows, rank]`; directions are sought on the rows before `half` and judged by the others. `found` are unit directions of features
/// that are known, `[lines, rank]`: they are left out, and since what is light may be hidden among them, some starts are at right angles to all of them.
pub(super) fn light(white: &Mat, half: usize, found: &Mat, rng: &Rng) -> Light {
    let rank = white.cols();
    let mut u = random_directions(3 * rank + 60, rank, &mut rng.fork("light tails"));
    let cloud = Cloud::unnormalised(white);
    climb(&cloud, (0, half), &mut u, 3, STEPS / 3);
    // Most start towards heavy tails, where there are any, and stay with them.
    let seen = white.select_rows(&(0..half).collect::<Vec<_>>());
    let moments_of = |u: &Mat| moments(&matmul(&seen, u.t()));
    let light =
        |u: &Mat| -> Vec<usize> { moments_of(u).iter().enumerate().filter(|m| m.1.1 < HEAVY).map(|m| m.0).collect() };
    u = u.select_rows(&light(&u));
    if let Some(beside) = beside(found, &mut rng.fork("beside what was found")) {
        let beside = beside.select_rows(&light(&beside));
        u = Mat::from_vec(u.rows() + beside.rows(), rank, [u.data(), beside.data()].concat());
    }
    climb(&cloud, (0, half), &mut u, 3, STEPS - STEPS / 3);
    // Features of a complete code that are on often have light tails themselves, and are known for what they are.
    let near = matmul(&u, found.t());
    let new: Vec<usize> = (0..u.rows()).filter(|&i| !near.row(i).iter().any(|c| c.abs() > SAME)).collect();
    let u = u.select_rows(&new);
    let others = white.select_rows(&(half..white.rows()).collect::<Vec<_>>());
    let s = matmul(&others, u.t());
    let moments = moments(&s);
    let of = |keep: &dyn Fn(f64) -> bool| -> Vec<usize> { (0..u.rows()).filter(|&i| keep(moments[i].1)).collect() };
    let share = |which: &[usize]| spanned(&u.select_rows(which)) as f64 / rank as f64;
    let round = of(&|m| CIRCLE.contains(&m));
    let paired: Vec<usize> = round.iter().copied().filter(|&i| has_partner(i, &round, &u, &s, &moments)).collect();
    let two_valued = of(&|m| m < BITS);
    Light {
        bits: share(&two_valued),
        circles: share(&paired),
        all: share(&of(&|m| m < LIGHT)),
        variety: variety(&u, &s, &two_valued),
    }
}

/// Random directions at right angles to those `found`, some for each dimension that they leave; `None` where they leave none, or there are none.
fn beside(found: &Mat, rng: &mut Rng) -> Option<Mat> {
    let (n, rank) = found.shape();
    if n == 0 || n + 2 > rank {
        return None;
    }
    let mut basis: Vec<Vec<f32>> = Vec::new();
    let off = |v: &mut [f32], basis: &[Vec<f32>]| {
        // Twice, or rounding leaves a share of what is taken off.
        for b in basis.iter().chain(basis) {
            let along = dot(v, b);
            axpy(-along, b, v);
        }
        let length = dot(v, v).sqrt();
        v.iter_mut().for_each(|v| *v /= length.max(1e-20));
        length
    };
    for i in 0..n {
        let mut v = found.row(i).to_vec();
        if off(&mut v, &basis) > 0.1 {
            basis.push(v);
        }
    }
    let mut out = random_directions(3 * (rank - basis.len()) + 20, rank, rng);
    (0..out.rows()).for_each(|i| {
        off(out.row_mut(i), &basis);
    });
    Some(out)
}

/// Distinct sign patterns of the rows of `s` on up to twelve of the `two_valued` directions that are at right angles or nearly so, over those
/// that independent fair bits would be expected to show.
fn variety(u: &Mat, s: &Mat, two_valued: &[usize]) -> f64 {
    let mut chosen: Vec<usize> = Vec::new();
    for &i in two_valued {
        let apart = |j: &usize| u.row(i).iter().zip(u.row(*j)).map(|(a, b)| a * b).sum::<f32>().abs() < 0.5;
        if chosen.len() < PATTERN && chosen.iter().all(apart) {
            chosen.push(i);
        }
    }
    if chosen.len() < 3 {
        return 0.0;
    }
    let pattern = |r: usize| chosen.iter().enumerate().map(|(b, &j)| usize::from(s[(r, j)] > 0.0) << b).sum::<usize>();
    let seen: std::collections::BTreeSet<usize> = (0..s.rows()).map(pattern).collect();
    let cells = (1usize << chosen.len()) as f64;
    let expected = cells * (1.0 - (1.0 - 1.0 / cells).powi(s.rows() as i32));
    seen.len() as f64 / expected
}

/// Mean square and `E[s⁴]` / `E[s²]²` of each column.
fn moments(s: &Mat) -> Vec<(f64, f64)> {
    let (mut squares, mut fourths) = (vec![0.0f64; s.cols()], vec![0.0f64; s.cols()]);
    for i in 0..s.rows() {
        for (j, v) in s.row(i).iter().enumerate() {
            let q = f64::from(*v).powi(2);
            squares[j] += q;
            fourths[j] += q * q;
        }
    }
    let n = s.rows().max(1) as f64;
    squares.iter().zip(&fourths).map(|(q, f)| (q / n, f * n / (q * q).max(1e-300))).collect()
}

/// Whether some other round direction makes a circle with direction `i`: at right angles to it, once its share of `i` is off,
/// their squares make up for one another.
fn has_partner(i: usize, round: &[usize], u: &Mat, s: &Mat, moments: &[(f64, f64)]) -> bool {
    round.iter().any(|&j| {
        let cos: f32 = u.row(i).iter().zip(u.row(j)).map(|(a, b)| a * b).sum();
        let rest = 1.0 - cos * cos;
        if rest < 0.3 {
            return false;
        }
        let (mut joint, mut own) = (0.0f64, 0.0f64);
        for r in 0..s.rows() {
            let t = f64::from((s[(r, j)] - cos * s[(r, i)]).powi(2) / rest);
            joint += t * f64::from(s[(r, i)].powi(2));
            own += t;
        }
        joint / (own * moments[i].0).max(1e-300) < ON_A_CIRCLE
    })
}

/// Dimensions of the span of unit directions `[n, rank]`.
fn spanned(u: &Mat) -> usize {
    if u.rows() == 0 {
        return 0;
    }
    let moments: Vec<f64> = matmul(u.t(), u).data().iter().map(|v| f64::from(*v)).collect();
    let Some(eigen) = sym_eigen(&moments, u.cols()) else { return 0 };
    eigen.values.iter().filter(|v| **v > SPANNED * eigen.values[0]).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::whitening::Whitening;

    fn of(x: &Mat) -> Light {
        let white = Whitening::fit(x).unwrap().apply(x);
        light(&white, x.rows() / 2, &Mat::zeros(0, white.cols()), &Rng::new(0))
    }

    #[test]
    fn bits_circles_and_spread_values_are_told_apart() {
        let mut rng = Rng::new(1);
        let bits = of(&Mat::from_fn(4000, 8, |_, _| f32::from(rng.chance(0.5)) + 0.05 * rng.normal()));
        assert!(bits.bits > 0.9 && bits.circles < 0.1 && bits.variety > 0.9, "{bits:?}");
        let even = of(&Mat::from_fn(4000, 8, |_, _| rng.uniform()));
        assert!(even.bits < 0.1 && even.circles < 0.1 && even.all > 0.9, "{even:?}");
        let mut angle = 0.0;
        let round = of(&Mat::from_fn(4000, 8, |_, j| {
            angle = if j % 2 == 0 { std::f32::consts::TAU * rng.uniform() } else { angle };
            if j % 2 == 0 { angle.cos() } else { angle.sin() }
        }));
        assert!(round.circles > 0.9 && round.bits < 0.1, "{round:?}");
    }

    #[test]
    fn noise_and_sparse_features_have_none() {
        let mut rng = Rng::new(2);
        assert_eq!(of(&Mat::from_fn(4000, 32, |_, _| rng.normal())).all, 0.0);
        for (features, density) in [(12, 0.05), (12, 0.25), (20, 0.2), (40, 0.1)] {
            let on = Mat::from_fn(4000, features, |_, _| f32::from(rng.chance(density)));
            let x = matmul(&on, &random_directions(features, 12, &mut rng));
            assert!(of(&x).all < 0.5, "{features} features of density {density}");
        }
    }
}
