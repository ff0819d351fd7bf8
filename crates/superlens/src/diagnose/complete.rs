//! Does a complete linear code explain the rows, so that nothing beyond it is needed?
//!
//! Features that are on often and always at about the same strength pile up along their sums as well: eight such features
//! make 28 pairs, each a sharp direction of its own. Low moments (skewness, kurtosis) are blind to sums of independent
//! sources, so what they find is tried first as a complete code: unmixed by least squares, each coordinate of a true one
//! rests at one value most of the time, and few coordinates of a row are away from theirs. Where features outnumber
//! dimensions, any active feature that the code lacks moves nearly all coordinates at once.

use superlens_tensor::Mat;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;

/// A coordinate within this many standard deviations of its resting value is at rest.
const AT_REST: f32 = 0.25;
/// A row is dense when more than this share of its coordinates is away from rest.
const DENSE_ROW: f64 = 0.5;
/// Share of dense rows, among those with any coordinate away from rest, up to which the code counts as sparse.
const FEW_DENSE: f64 = 0.1;
/// Features that are on often make dense rows by chance: this many times as many as independent coordinates would are no more
/// than that …
const BY_CHANCE: f64 = 1.25;
/// … as long as coordinates are at rest more often than not. Those of an overcomplete code that is on as often are not.
const MOSTLY_AT_REST: f64 = 0.45;

/// Whether unmixing `z` `[rows, rank]` with `lines` `[n ≤ rank, rank]` gives a sparse code.
pub(super) fn is_complete_code(z: &Mat, lines: &Mat) -> bool {
    if lines.rows() < 2 || lines.rows() > lines.cols() {
        return false;
    }
    let Some(mut code) = unmix(z, lines) else { return false };
    for j in 0..code.cols() {
        standardise(&mut code, j);
    }
    let most = (DENSE_ROW * code.cols() as f64) as usize;
    let (mut dense, mut active) = (0usize, 0usize);
    let mut shares = vec![0.0f64; code.cols()];
    for i in 0..code.rows() {
        let away = code.row(i).iter().map(|v| v.abs() > AT_REST);
        let count = away.clone().filter(|away| *away).count();
        shares.iter_mut().zip(away).for_each(|(share, away)| *share += f64::from(u8::from(away)));
        active += usize::from(count > 0);
        dense += usize::from(count > most);
    }
    let rows = code.rows() as f64;
    shares.iter_mut().for_each(|share| *share /= rows);
    let at_rest = shares.iter().sum::<f64>() / shares.len() as f64 <= MOSTLY_AT_REST;
    let by_chance = if at_rest { BY_CHANCE * rows * more_than(most, &shares) } else { 0.0 };
    active > 0 && dense as f64 <= (FEW_DENSE * active as f64).max(by_chance)
}

/// Probability that more than `most` of independent events happen, each with its own probability (Poisson binomial).
fn more_than(most: usize, probabilities: &[f64]) -> f64 {
    let mut law = vec![0.0; probabilities.len() + 1];
    law[0] = 1.0;
    for (seen, p) in probabilities.iter().enumerate() {
        for k in (0..=seen).rev() {
            law[k + 1] += law[k] * p;
            law[k] *= 1.0 - p;
        }
    }
    law[most + 1..].iter().sum()
}

/// Least-squares coefficients of the rows of `z` over the lines: z Lᵀ (L Lᵀ)⁻¹. `None` where lines are dependent.
fn unmix(z: &Mat, lines: &Mat) -> Option<Mat> {
    let n = lines.rows();
    let gram: Vec<f64> = matmul(lines, lines.t()).data().iter().map(|v| f64::from(*v)).collect();
    let eigen = sym_eigen(&gram, n)?;
    if eigen.values[n - 1] < 1e-4 {
        return None;
    }
    let inverse = Mat::from_fn(n, n, |i, j| {
        (0..n).map(|k| eigen.vectors[k][i] * eigen.vectors[k][j] / eigen.values[k]).sum::<f64>() as f32
    });
    Some(matmul(&matmul(z, lines.t()), &inverse))
}

/// Column `j` as distances from its resting value in standard deviations.
fn standardise(code: &mut Mat, j: usize) {
    let mut values: Vec<f32> = (0..code.rows()).map(|i| code[(i, j)]).collect();
    values.sort_by(f32::total_cmp);
    let n = values.len() as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
    let (rest, scale) = (half_sample_mode(&values), variance.sqrt().max(1e-20) as f32);
    for i in 0..code.rows() {
        code[(i, j)] = (code[(i, j)] - rest) / scale;
    }
}

/// The half-sample mode of sorted values (Robertson and Cryer 1974): again and again the shortest interval that holds half.
fn half_sample_mode(sorted: &[f32]) -> f32 {
    let mut part = sorted;
    while part.len() > 3 {
        let half = part.len().div_ceil(2);
        let start = (0..=part.len() - half)
            .min_by(|&a, &b| (part[a + half - 1] - part[a]).total_cmp(&(part[b + half - 1] - part[b])))
            .unwrap_or(0);
        part = &part[start..start + half];
    }
    part[part.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    fn mix(features: usize, rank: usize, p: f64) -> (Mat, Mat) {
        let mut rng = Rng::new(3);
        let lines = crate::diagnose::surrogate::random_directions(features, rank, &mut rng);
        let code = Mat::from_fn(3000, features, |_, _| f32::from(rng.chance(p)) + 0.02 * rng.normal());
        (matmul(&code, &lines), lines)
    }

    #[test]
    fn a_complete_sparse_code_is_seen_and_part_of_an_overcomplete_one_is_not() {
        let (z, lines) = mix(12, 12, 0.2);
        assert!(is_complete_code(&z, &lines));
        for p in [0.01, 0.05, 0.1, 0.2, 0.4] {
            for features in [18, 24, 60] {
                let (z, lines) = mix(features, 12, p);
                let part = lines.select_rows(&(0..12).collect::<Vec<_>>());
                assert!(!is_complete_code(&z, &part), "{features} features, density {p}");
            }
        }
    }

    /// Of twelve features that are each on in 40 % of the rows, more than six are on in one row of six.
    #[test]
    fn features_that_are_on_often_are_no_overcomplete_code() {
        let (z, lines) = mix(12, 12, 0.4);
        assert!(is_complete_code(&z, &lines));
    }

    #[test]
    fn more_than_is_the_tail_of_a_binomial() {
        // P(Bin(4, 1/2) > 2) = (4 + 1) / 16.
        assert!((more_than(2, &[0.5; 4]) - 5.0 / 16.0).abs() < 1e-12);
        assert_eq!((more_than(3, &[0.5; 3]), more_than(0, &[1.0, 0.0])), (0.0, 1.0));
    }

    #[test]
    fn the_mode_is_where_values_crowd() {
        let mut values: Vec<f32> = (0..100).map(|i| i as f32).chain((0..60).map(|i| 40.0 + 0.001 * i as f32)).collect();
        values.sort_by(f32::total_cmp);
        assert!((half_sample_mode(&values) - 40.0).abs() < 0.1);
    }
}
