//! Rows that gather around a few middles.

use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Rounds of k-means: after some, hardly a row moves.
const ROUNDS: usize = 12;
/// Rows that are clustered, and as many that are held out; clusters at most.
const ROWS: usize = 3000;
const MOST: usize = 40;

/// How much of the rows' variance a few middles explain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clustered {
    /// Share explained on rows that the middles were not fitted to, with as many middles as dimensions but at most 40.
    pub explained: f64,
    /// The same of Gaussian rows: middles explain a little of anything.
    pub by_chance: f64,
}

/// `white` are the rows before and after `half`, in white coordinates.
pub(super) fn clustered(white: &Mat, half: usize, rng: &Rng) -> Clustered {
    let thin = |from: usize, to: usize| {
        let step = (to - from).div_ceil(ROWS).max(1);
        white.select_rows(&(from..to).step_by(step).collect::<Vec<_>>())
    };
    let (fitted, others) = (thin(0, half), thin(half, white.rows()));
    let k = white.cols().min(MOST).min(fitted.rows() / 20);
    if k < 2 || others.rows() < 2 {
        return Clustered::default();
    }
    let noise = |like: &Mat, name: &str| {
        let mut rng = rng.fork(name);
        Mat::from_fn(like.rows(), like.cols(), |_, _| rng.normal())
    };
    let explained = |fitted: &Mat, others: &Mat| {
        let middles = centres(fitted, k, &mut rng.fork("middles"));
        let near = nearest(others, &middles);
        let (mut left, mut total) = (0.0f64, 0.0f64);
        for (i, &c) in near.iter().enumerate() {
            for (v, m) in others.row(i).iter().zip(middles.row(c)) {
                left += f64::from(v - m).powi(2);
                total += f64::from(*v).powi(2);
            }
        }
        1.0 - left / total.max(1e-30)
    };
    Clustered {
        explained: explained(&fitted, &others),
        by_chance: explained(&noise(&fitted, "fitted"), &noise(&others, "others")),
    }
}

/// `k` middles by k-means (Lloyd 1982) from rows that are far apart (Arthur and Vassilvitskii 2007, *k-means++*).
pub(super) fn centres(x: &Mat, k: usize, rng: &mut Rng) -> Mat {
    let mut centres = spread(x, k, rng);
    let mut cluster = Vec::new();
    for _ in 0..ROUNDS {
        let next = nearest(x, &centres);
        if next == cluster {
            break;
        }
        cluster = next;
        let (mut sums, mut sizes) = (vec![0.0f64; centres.rows() * centres.cols()], vec![0usize; centres.rows()]);
        for (i, &c) in cluster.iter().enumerate() {
            sizes[c] += 1;
            let to = &mut sums[c * x.cols()..(c + 1) * x.cols()];
            to.iter_mut().zip(x.row(i)).for_each(|(s, v)| *s += f64::from(*v));
        }
        for c in (0..sizes.len()).filter(|&c| sizes[c] > 0) {
            let from = &sums[c * x.cols()..(c + 1) * x.cols()];
            centres.row_mut(c).iter_mut().zip(from).for_each(|(v, s)| *v = (s / sizes[c] as f64) as f32);
        }
    }
    centres
}

/// `k` rows, each drawn by its squared distance to those before.
fn spread(x: &Mat, k: usize, rng: &mut Rng) -> Mat {
    let mut chosen = vec![rng.below(x.rows())];
    let mut far = vec![f64::INFINITY; x.rows()];
    while chosen.len() < k {
        let last = x.row(chosen[chosen.len() - 1]).to_vec();
        for (i, f) in far.iter_mut().enumerate() {
            let distance: f32 = x.row(i).iter().zip(&last).map(|(a, b)| (a - b) * (a - b)).sum();
            *f = f.min(f64::from(distance));
        }
        let mut left = rng.uniform_f64() * far.iter().sum::<f64>();
        let drawn = far.iter().position(|f| {
            left -= f;
            left < 0.0
        });
        chosen.push(drawn.unwrap_or(x.rows() - 1));
    }
    x.select_rows(&chosen)
}

/// The nearest of `centres` to each row.
pub(super) fn nearest(x: &Mat, centres: &Mat) -> Vec<usize> {
    let half: Vec<f32> = (0..centres.rows()).map(|c| 0.5 * centres.row(c).iter().map(|v| v * v).sum::<f32>()).collect();
    let near = matmul(x, centres.t());
    let score = |i: usize, c: usize| near[(i, c)] - half[c];
    (0..x.rows()).map(|i| (0..centres.rows()).fold(0, |b, c| if score(i, c) > score(i, b) { c } else { b })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_explained_by_their_middles_and_noise_is_not() {
        let mut rng = Rng::new(0);
        let middles = Mat::from_fn(8, 10, |_, _| 3.0 * rng.normal());
        let x = Mat::from_fn(4000, 10, |i, j| middles[(i * 7 % 8, j)] + rng.normal());
        let white = crate::diagnose::whitening::Whitening::fit(&x).unwrap().apply(&x);
        let of = clustered(&white, 2000, &Rng::new(1));
        assert!(of.explained > of.by_chance + 0.3, "{of:?}");
        let noise = Mat::from_fn(4000, 10, |_, _| rng.normal());
        let of = clustered(&noise, 2000, &Rng::new(1));
        assert!((of.explained - of.by_chance).abs() < 0.03, "{of:?}");
    }
}
