//! A small sparse dictionary, to see whether sparsity helps at all.

use super::probe::{Probe, unexplained};
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Rounds of coding and fitting.
const ROUNDS: usize = 20;

/// The share of the variance of `fresh [rows, d]` that `active` atoms a row leave, of a dictionary of `atoms` fitted to
/// `x [rows, d]`: matching pursuit, then least squares for the atoms, in turns (Engan et al. 1999, the method of optimal
/// directions). Both are taken about the mean of `x`.
pub(super) fn fvu(x: &Mat, fresh: &Mat, atoms: usize, active: usize, rng: &Rng) -> f64 {
    let d = x.cols();
    let mean: Vec<f32> =
        (0..d).map(|j| (0..x.rows()).map(|r| x[(r, j)]).sum::<f32>() / x.rows().max(1) as f32).collect();
    let about = |m: &Mat| Mat::from_fn(m.rows(), d, |r, j| m[(r, j)] - mean[j]);
    let (x, fresh) = (about(x), about(fresh));
    let mut rng = rng.clone();
    let mut dictionary = Mat::from_fn(atoms, d, |_, _| rng.normal());
    for k in 0..atoms {
        let start = x.row(rng.below(x.rows().max(1)));
        dictionary.row_mut(k).iter_mut().zip(start).for_each(|(a, v)| *a = 0.1 * *a + v);
    }
    normalise(&mut dictionary);
    for _ in 0..ROUNDS {
        let fit = Probe::fit(&code(&x, &dictionary, active), &x, 1e-6);
        let offset = fit.read(&Mat::zeros(1, atoms));
        let one = fit.read(&Mat::from_fn(atoms, atoms, |i, j| f32::from(i == j)));
        dictionary = Mat::from_fn(atoms, d, |k, j| one[(k, j)] - offset[(0, j)]);
        normalise(&mut dictionary);
    }
    unexplained(&matmul(&code(&fresh, &dictionary, active), &dictionary), &fresh)
}

/// Matching pursuit: `[rows, atoms]`.
fn code(x: &Mat, dictionary: &Mat, active: usize) -> Mat {
    let gram = matmul(dictionary, dictionary.t());
    let mut along = matmul(x, dictionary.t());
    let mut codes = Mat::zeros(x.rows(), dictionary.rows());
    for r in 0..x.rows() {
        for _ in 0..active {
            let row = along.row(r);
            let best = (0..row.len()).fold(0, |b, k| if row[k].abs() > row[b].abs() { k } else { b });
            let step = row[best];
            codes[(r, best)] += step;
            along.row_mut(r).iter_mut().zip(gram.row(best)).for_each(|(a, g)| *a -= step * g);
        }
    }
    codes
}

fn normalise(m: &mut Mat) {
    for k in 0..m.rows() {
        let norm = m.row(k).iter().map(|v| v * v).sum::<f32>().sqrt();
        if norm > 0.0 {
            m.row_mut(k).iter_mut().for_each(|v| *v /= norm);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::noise::Gaussian;
    use superlens_tensor::decomp::haar_rotation;

    #[test]
    fn sparse_rows_are_coded_and_their_gaussian_twin_is_not() {
        let (d, n) = (12, 24);
        let q: Vec<f64> = (0..2).flat_map(|k| haar_rotation(d, &mut Rng::new(k))).collect();
        let features = Mat::from_fn(n, d, |i, j| q[i * d + j] as f32);
        let draw = |rows: usize, seed: u64| {
            let mut rng = Rng::new(seed);
            matmul(&Mat::from_fn(rows, n, |_, _| if rng.chance(0.08) { 0.5 + rng.uniform() } else { 0.0 }), &features)
        };
        let (x, fresh) = (draw(1500, 3), draw(500, 4));
        let twin = Gaussian::like(&x);
        let of = |x: &Mat, fresh: &Mat| fvu(x, fresh, 2 * d, 3, &Rng::new(6));
        let (rows, noise) = (of(&x, &fresh), of(&twin.sample(1500, &Rng::new(7)), &twin.sample(500, &Rng::new(8))));
        assert!(rows < 0.5 * noise, "{rows} against {noise}");
    }
}
