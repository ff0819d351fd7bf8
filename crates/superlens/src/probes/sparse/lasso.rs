//! The L1 path.

/// From one penalty of the path to the next, and how many there are.
const FACTOR: f64 = 0.93;
const PENALTIES: usize = 100;
/// Rounds of coordinate descent at a penalty, at most, and the change at which they end.
const ROUNDS: usize = 60;
const SETTLED: f64 = 1e-6;

/// The first `k` units, for each of `ks`, of the path of the lasso on standardised units and label: `½ wᵀGw − cᵀw + α |w|₁` by coordinate
/// descent with falling α (Friedman, Hastie and Tibshirani 2010, *Regularization paths for generalized linear models via coordinate descent*).
/// Of the first solution with at least `k` units the `k` largest weights are taken; where the path ends before, those follow that
/// correlate most with what is left.
///
/// `gram` `[d · d]` holds correlations, zeros at units that do not vary; `cross` `[d]` those with the label.
pub(super) fn supports(gram: &[f64], cross: &[f64], ks: &[usize]) -> Vec<Vec<usize>> {
    let d = cross.len();
    let (mut weights, mut left) = (vec![0.0f64; d], cross.to_vec());
    let mut alpha = cross.iter().fold(0.0f64, |m, c| m.max(c.abs()));
    let mut active: Vec<usize> = Vec::new();
    let mut found: Vec<Option<Vec<usize>>> = vec![None; ks.len()];
    for _ in 0..PENALTIES {
        alpha *= FACTOR;
        descend(gram, alpha, &mut weights, &mut left, &mut active);
        let there = weights.iter().filter(|w| **w != 0.0).count();
        for (found, k) in found.iter_mut().zip(ks) {
            if found.is_none() && there >= *k {
                *found = Some(largest(&weights, &left, *k));
            }
        }
        if alpha == 0.0 || found.iter().all(Option::is_some) {
            break;
        }
    }
    found.into_iter().zip(ks).map(|(found, k)| found.unwrap_or_else(|| largest(&weights, &left, *k))).collect()
}

/// At one penalty, from the weights of the last. `left` is `c − Gw`.
fn descend(gram: &[f64], alpha: f64, weights: &mut [f64], left: &mut [f64], active: &mut Vec<usize>) {
    let d = weights.len();
    for _ in 0..ROUNDS {
        let known = active.len();
        let inside: Vec<bool> = (0..d).map(|j| active.binary_search(&j).is_ok()).collect();
        active.extend((0..d).filter(|&j| !inside[j] && left[j].abs() > alpha && gram[j * d + j] > 0.0));
        active.sort_unstable();
        let mut most = 0.0f64;
        for &j in active.iter() {
            let curvature = gram[j * d + j];
            let wanted = left[j] + curvature * weights[j];
            let new = wanted.signum() * (wanted.abs() - alpha).max(0.0) / curvature;
            let change = new - weights[j];
            if change != 0.0 {
                weights[j] = new;
                left.iter_mut().zip(&gram[j * d..(j + 1) * d]).for_each(|(l, g)| *l -= change * g);
                most = most.max(change.abs());
            }
        }
        if most < SETTLED && active.len() == known {
            break;
        }
    }
}

/// The `k` units of the largest weights, and of those without any those of which most is left.
fn largest(weights: &[f64], left: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    let key = |j: usize| (weights[j].abs(), left[j].abs());
    order.sort_by(|&a, &b| {
        let ((wa, la), (wb, lb)) = (key(a), key(b));
        wb.total_cmp(&wa).then(lb.total_cmp(&la)).then(a.cmp(&b))
    });
    order.truncate(k);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_correlations_the_path_is_soft_thresholding() {
        let d = 5;
        let gram: Vec<f64> = (0..d * d).map(|ij| f64::from(ij / d == ij % d && ij / d != 4)).collect();
        let cross = [0.1, -0.5, 0.3, 0.0, 0.0];
        let found = supports(&gram, &cross, &[1, 2, 3, 5]);
        assert_eq!(found, vec![vec![1], vec![1, 2], vec![1, 2, 0], vec![1, 2, 0, 3, 4]]);
    }

    #[test]
    fn a_copy_is_left_out() {
        // Units 0 and 1 are nearly one; 2 is weaker and by itself.
        let gram = [1.0, 0.98, 0.0, 0.98, 1.0, 0.0, 0.0, 0.0, 1.0];
        assert_eq!(supports(&gram, &[0.6, 0.59, 0.3], &[2]), vec![vec![0, 2]]);
    }
}
