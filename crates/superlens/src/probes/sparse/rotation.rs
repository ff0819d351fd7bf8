//! The axes of a turned basis along which two classes differ most, without turning everything.

use superlens_tensor::Rng;

/// Shorter than this nothing is left of a vector of length one.
const NOTHING: f64 = 1e-9;

/// The `k` axes of a Haar-rotated basis on which `difference` `[d]` is longest, the longest first: unit vectors `[d]`.
///
/// What selection by mean difference sees of a rotation `Q` is `Qᵀ·difference`, a vector of known length and uniform direction `u`. Given
/// `u`, axis `j` is `u_j` along the difference plus the image of `e_j − u_j u` under a random isometry of what is orthogonal to `u` onto what
/// is orthogonal to the difference. That isometry is drawn where the `k` axes need it and nowhere else. The law is that of the whole
/// rotation; the work is d·k² in place of d³.
pub(super) fn longest_axes(difference: &[f64], k: usize, rng: &mut Rng) -> Vec<Vec<f64>> {
    let d = difference.len();
    let k = k.min(d);
    let length = norm(difference);
    let along = if length > 0.0 {
        difference.iter().map(|v| v / length).collect()
    } else {
        unit(d, rng, &[]).unwrap_or_else(|| vec![0.0; d])
    };
    let Some(seen) = unit(d, rng, &[]) else { return Vec::new() };
    let mut order: Vec<usize> = (0..d).collect();
    order.sort_by(|&a, &b| seen[b].abs().total_cmp(&seen[a].abs()).then(a.cmp(&b)));
    let chosen: Vec<f64> = order[..k].iter().map(|&j| seen[j]).collect();
    // The isometry's images of an orthonormal basis of what the chosen axes span beside `u`.
    let mut basis = vec![along];
    for _ in 0..k {
        let next = unit(d, rng, &basis).unwrap_or_else(|| vec![0.0; d]);
        basis.push(next);
    }
    let coordinates = cholesky(&chosen);
    let axis = |j: usize| {
        let mut axis: Vec<f64> = basis[0].iter().map(|v| chosen[j] * v).collect();
        for (m, by) in coordinates[j].iter().enumerate() {
            axis.iter_mut().zip(&basis[m + 1]).for_each(|(a, b)| *a += by * b);
        }
        axis
    };
    (0..k).map(axis).collect()
}

/// The lower triangle `C` with `C Cᵀ = 1 − u uᵀ`: inner products of the `e_j − u_j u`.
fn cholesky(u: &[f64]) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(u.len());
    for i in 0..u.len() {
        let mut row = Vec::with_capacity(i + 1);
        for j in 0..=i {
            let done: f64 = (0..j).map(|m| row[m] * if i == j { row[m] } else { rows[j][m] }).sum();
            let left = f64::from(i == j) - u[i] * u[j] - done;
            // With all axes chosen the last has nothing of its own.
            let pivot = if i == j { 0.0 } else { rows[j][j] };
            row.push(if i == j {
                left.max(0.0).sqrt()
            } else if pivot > NOTHING {
                left / pivot
            } else {
                0.0
            });
        }
        rows.push(row);
    }
    rows
}

/// A random vector of length one orthogonal to those of `others`; `None` where nothing is.
fn unit(d: usize, rng: &mut Rng, others: &[Vec<f64>]) -> Option<Vec<f64>> {
    let mut v: Vec<f64> = (0..d).map(|_| rng.normal_f64()).collect();
    let before = norm(&v);
    // Twice: once leaves what rounding brought in.
    for _ in 0..2 {
        for other in others {
            let by: f64 = v.iter().zip(other).map(|(a, b)| a * b).sum();
            v.iter_mut().zip(other).for_each(|(a, b)| *a -= by * b);
        }
    }
    let length = norm(&v);
    v.iter_mut().for_each(|a| *a /= length);
    (length > NOTHING * before).then_some(v)
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|a| a * a).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::decomp::haar_rotation;

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn axes_are_orthonormal_and_in_order() {
        let mut rng = Rng::new(1);
        let difference = [3.0, -1.0, 0.5, 0.0, 2.0];
        for k in [1, 2, 4, 5, 9] {
            let axes = longest_axes(&difference, k, &mut rng);
            assert_eq!(axes.len(), k.min(5));
            for i in 0..axes.len() {
                for j in 0..axes.len() {
                    assert!((dot(&axes[i], &axes[j]) - f64::from(i == j)).abs() < 1e-7, "{k}: {i} {j}");
                }
            }
            let along: Vec<f64> = axes.iter().map(|a| dot(a, &difference).abs()).collect();
            assert!(along.windows(2).all(|w| w[0] >= w[1] - 1e-9), "{along:?}");
        }
        assert_eq!(longest_axes(&[0.0, 0.0], 1, &mut rng).len(), 1);
    }

    #[test]
    fn the_law_is_that_of_whole_rotations() {
        let mut rng = Rng::new(2);
        let (d, draws) = (6, 4000);
        let difference: Vec<f64> = (0..d).map(|j| f64::from(j as u32) - 1.0).collect();
        // What a second direction sees of the two longest axes.
        let other: Vec<f64> = (0..d).map(|j| f64::from(u32::from(j == 2))).collect();
        let told = |axes: &[Vec<f64>]| {
            let [a, b] = [0, 1].map(|i| dot(&axes[i], &difference));
            let [c, e] = [0, 1].map(|i| dot(&axes[i], &other));
            [a.abs(), b.abs(), c * c, e * e, a * c * b * e, a * b * b * a]
        };
        let mut sums = [[0.0f64; 6]; 2];
        for _ in 0..draws {
            let q = haar_rotation(d, &mut rng);
            let mut whole: Vec<Vec<f64>> = (0..d).map(|j| (0..d).map(|i| q[i * d + j]).collect()).collect();
            whole.sort_by(|a, b| dot(b, &difference).abs().total_cmp(&dot(a, &difference).abs()));
            let short = longest_axes(&difference, 2, &mut rng);
            for (sums, axes) in sums.iter_mut().zip([&whole, &short]) {
                sums.iter_mut().zip(told(axes)).for_each(|(s, t)| *s += t / draws as f64);
            }
        }
        for (a, b) in sums[0].iter().zip(&sums[1]) {
            assert!((a - b).abs() < 0.04 * (a.abs() + 0.2), "{sums:?}");
        }
    }
}
