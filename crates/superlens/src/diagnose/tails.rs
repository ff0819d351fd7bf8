//! Do the rows vary along directions with light tails, which no sparse feature has?
//!
//! Coordinates that are on as often as off, evenly spread, or on a circle fill a box or a torus. Its corners stand out as
//! sharply as features do and are far more than the dimensions, but each is a sum of all coordinates at once. A sparse feature
//! has heavier tails than a Gaussian, and so has every mixture of such: `E[s⁴]` ≥ 3 in units of variance. Two-valued coordinates
//! have 1, a circle 1.5, evenly spread ones 1.8.

use super::maxima::{Cloud, climb, heights};
use super::surrogate::random_directions;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// `E[s⁴]` below which a direction has light tails. Features that are on in a fourth of the rows at one strength still have 2.3.
const LIGHT: f64 = 2.0;
/// Share of the dimensions that light directions must span to shape the cloud.
const MOST: f64 = 0.5;
/// Eigenvalue of the directions' moments, as a share of the largest, that counts as a dimension.
const SPANNED: f64 = 0.01;
const STEPS: usize = 30;

/// Whether directions with light tails span most dimensions of `white` `[rows, rank]`. They are sought on the rows before
/// `half` and judged by the others.
pub(super) fn are_light(white: &Mat, half: usize, rng: &Rng) -> bool {
    let rank = white.cols();
    let mut u = random_directions(2 * rank + 40, rank, &mut rng.fork("light tails"));
    climb(&Cloud::unnormalised(white), (0, half), &mut u, 3, STEPS);
    let others = Cloud::unnormalised(&white.select_rows(&(half..white.rows()).collect::<Vec<_>>()));
    // The cloud is scaled by √rank.
    let scale = (rank * rank) as f64;
    let tails = heights(&others, &u, 3);
    let light: Vec<usize> = (0..u.rows()).filter(|&i| scale * tails[i] < LIGHT).collect();
    spanned(&u.select_rows(&light)) as f64 >= MOST * rank as f64
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

    fn light(x: &Mat) -> bool {
        let white = Whitening::fit(x).unwrap().apply(x);
        are_light(&white, x.rows() / 2, &Rng::new(0))
    }

    #[test]
    fn bits_evenly_spread_coordinates_and_circles_have_light_tails() {
        let mut rng = Rng::new(1);
        let mut angle = 0.0;
        assert!(light(&Mat::from_fn(4000, 8, |_, _| f32::from(rng.chance(0.5)))));
        assert!(light(&Mat::from_fn(4000, 8, |_, _| rng.uniform())));
        assert!(light(&Mat::from_fn(4000, 8, |_, j| {
            angle = if j % 2 == 0 { std::f32::consts::TAU * rng.uniform() } else { angle };
            if j % 2 == 0 { angle.cos() } else { angle.sin() }
        })));
    }

    #[test]
    fn noise_and_sparse_features_have_none() {
        let mut rng = Rng::new(2);
        assert!(!light(&Mat::from_fn(4000, 32, |_, _| rng.normal())));
        for (features, density) in [(12, 0.05), (12, 0.25), (20, 0.2), (40, 0.1)] {
            let on = Mat::from_fn(4000, features, |_, _| f32::from(rng.chance(density)));
            let x = matmul(&on, &random_directions(features, 12, &mut rng));
            assert!(!light(&x), "{features} features of density {density}");
        }
    }
}
