//! Do a few numbers a row determine all neurons, though not linearly?
//!
//! A layer that computes with a few latent variables has many neurons that each read them through a bend: its rows lie on a
//! curved sheet of few dimensions. Neurons are predicted from their first k principal components, linearly and by a smooth
//! regression (products and random ReLU features of the components; Rahimi and Recht 2007); what the second adds on held-out
//! rows is the bend. Nearest neighbours would do the same for repeated rows, so they are not used.

use crate::probes::{Factor, column_scales, standardised};
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Components that are tried.
const COMPONENTS: [usize; 8] = [2, 3, 4, 6, 8, 12, 16, 24];
/// Random ReLU features beside the products.
const BENDS: usize = 200;
/// Rows that the regression reads, and holds out.
const ROWS: usize = 3000;
/// Ridge, as a share of the mean variance of the regressors.
const RIDGE: f64 = 1e-4;
/// Share of the variance that counts as determined.
pub(super) const DETERMINED: f64 = 0.95;
/// Draws of the null: what is left after the linear part, dealt out to other rows.
const DRAWS: u64 = 19;

/// What the first components say of all neurons on held-out rows.
#[derive(Clone, Debug)]
pub(super) struct Completion {
    /// Components.
    pub k: usize,
    /// Share of the (standardised) neurons' variance that they give smoothly, and linearly.
    pub smooth: f64,
    pub linear: f64,
    /// Largest `smooth − linear` over the numbers of components tried, where what the linear part leaves belongs to other rows.
    pub null: Vec<f64>,
}

impl Completion {
    /// Share of what linear prediction leaves that bends explain.
    pub fn gain(&self) -> f64 {
        ((self.smooth - self.linear) / (1.0 - self.linear).max(1e-3)).clamp(0.0, 1.0)
    }
}

/// The fewest components, at most a quarter of `rank`, that determine the neurons; or those from which bends add most.
/// `fitted` and `held_out` are rows of the same live neurons. `None` for fewer than four dimensions, 400 fitted or 50 held-out rows.
pub(super) fn completion(fitted: &Mat, held_out: &Mat, rank: usize, rng: &Rng) -> Option<Completion> {
    let thin = |x: &Mat| {
        let step = x.rows().div_ceil(ROWS).max(1);
        x.select_rows(&(0..x.rows()).step_by(step).collect::<Vec<_>>())
    };
    let (fitted, held_out) = (thin(fitted), thin(held_out));
    if rank < 4 || fitted.rows() < 400 || held_out.rows() < 50 {
        return None;
    }
    let (mean, scale) = column_scales(&fitted);
    let (fitted, held_out) = (standardised(&fitted, &mean, &scale), standardised(&held_out, &mean, &scale));
    let d = fitted.cols();
    let covariance: Vec<f64> = matmul(fitted.t(), &fitted).data().iter().map(|v| f64::from(*v)).collect();
    let eigen = sym_eigen(&covariance, d)?;
    let most = (rank / 4).clamp(3, 24).min(d);
    let axes = Mat::from_fn(most, d, |k, j| eigen.vectors[k][j] as f32);
    let (scores, held_scores) = (matmul(&fitted, axes.t()), matmul(&held_out, axes.t()));
    let mut best: Option<Completion> = None;
    // The statistic is the best of several, and so is each draw of the null.
    let mut null = vec![f64::NEG_INFINITY; DRAWS as usize];
    for k in COMPONENTS.into_iter().filter(|k| *k <= most) {
        let first: Vec<usize> = (0..k).collect();
        let axes = axes.select_rows(&first);
        let (scores, held_scores) = (scores.select_cols(&first), held_scores.select_cols(&first));
        let rest = minus(&fitted, &matmul(&scores, &axes));
        let held_rest = minus(&held_out, &matmul(&held_scores, &axes));
        let bends = Bends::new(&scores, &rng.fork_index(k as u64));
        let (seen, held) = (bends.of(&scores), bends.of(&held_scores));
        let regression = Regression::new(&seen);
        let total = energy(&held_out);
        let linear = 1.0 - energy(&held_rest) / total;
        let share = |rest: &Mat, held_rest: &Mat| {
            let left = minus(held_rest, &matmul(&held, &regression.weights(&seen, rest)));
            1.0 - energy(&left) / total
        };
        let smooth = share(&rest, &held_rest);
        for (draw, largest) in null.iter_mut().enumerate() {
            let mut rng = rng.fork("dealt").fork_index(k as u64).fork_index(draw as u64);
            let dealt = rest.select_rows(&rng.permutation(rest.rows()));
            let held_dealt = held_rest.select_rows(&rng.permutation(held_rest.rows()));
            *largest = largest.max(share(&dealt, &held_dealt) - linear);
        }
        let better = best.as_ref().is_none_or(|b| smooth - linear > b.smooth - b.linear);
        let enough = smooth >= DETERMINED;
        if better || enough {
            best = Some(Completion { k, smooth, linear, null: Vec::new() });
        }
        if enough {
            break;
        }
    }
    best.map(|best| Completion { null, ..best })
}

fn minus(a: &Mat, b: &Mat) -> Mat {
    let mut out = a.clone();
    out.data_mut().iter_mut().zip(b.data()).for_each(|(a, b)| *a -= b);
    out
}

fn energy(x: &Mat) -> f64 {
    x.data().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().max(1e-30)
}

/// Regressors: products of two components and random ReLUs, centred.
struct Bends {
    scale: Vec<f32>,
    weights: Mat,
    bias: Vec<f32>,
    mean: Vec<f32>,
}

impl Bends {
    fn new(scores: &Mat, rng: &Rng) -> Bends {
        let k = scores.cols();
        let n = scores.rows().max(1) as f32;
        let scale: Vec<f32> = (0..k)
            .map(|c| 1.0 / ((0..scores.rows()).map(|i| scores[(i, c)].powi(2)).sum::<f32>() / n).sqrt().max(1e-12))
            .collect();
        let mut rng = rng.fork("bends");
        let weights = super::surrogate::random_directions(BENDS, k, &mut rng);
        let bias = (0..BENDS).map(|_| rng.normal()).collect();
        let mut out = Bends { scale, weights, bias, mean: Vec::new() };
        let raw = out.of(scores);
        out.mean = (0..raw.cols()).map(|c| (0..raw.rows()).map(|i| raw[(i, c)]).sum::<f32>() / n).collect();
        out
    }

    fn of(&self, scores: &Mat) -> Mat {
        let k = scores.cols();
        let mut scaled = scores.clone();
        scaled.data_mut().chunks_mut(k).for_each(|row| row.iter_mut().zip(&self.scale).for_each(|(v, s)| *v *= s));
        let read = matmul(&scaled, self.weights.t());
        let products = k * (k + 1) / 2;
        let mut out = Mat::zeros(scores.rows(), products + BENDS);
        for i in 0..scores.rows() {
            let (z, read) = (scaled.row(i), read.row(i));
            let row = out.row_mut(i);
            let mut at = 0;
            for a in 0..k {
                for b in a..k {
                    row[at] = z[a] * z[b];
                    at += 1;
                }
            }
            for c in 0..BENDS {
                row[at + c] = (read[c] + self.bias[c]).max(0.0);
            }
            row.iter_mut().zip(&self.mean).for_each(|(v, m)| *v -= m);
        }
        out
    }
}

/// A factorised ridge regression on fixed regressors: the null asks for many targets.
struct Regression {
    factor: Factor,
}

impl Regression {
    fn new(regressors: &Mat) -> Regression {
        let n = regressors.cols();
        let mut gram: Vec<f64> = matmul(regressors.t(), regressors).data().iter().map(|v| f64::from(*v)).collect();
        let ridge = RIDGE * (0..n).map(|i| gram[i * n + i]).sum::<f64>() / n as f64;
        (0..n).for_each(|i| gram[i * n + i] += ridge);
        Regression { factor: Factor::new(gram, n) }
    }

    /// Weights `[regressors, targets]` for the targets.
    fn weights(&self, regressors: &Mat, targets: &Mat) -> Mat {
        let mut w: Vec<f64> = matmul(regressors.t(), targets).data().iter().map(|v| f64::from(*v)).collect();
        self.factor.solve(&mut w, targets.cols());
        Mat::from_vec(regressors.cols(), targets.cols(), w.iter().map(|v| *v as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(x: &Mat, rank: usize) -> Completion {
        let half = x.rows() * 3 / 4;
        let part = |from, to| x.select_rows(&(from..to).collect::<Vec<_>>());
        completion(&part(0, half), &part(half, x.rows()), rank, &Rng::new(0)).unwrap()
    }

    #[test]
    fn few_latents_read_through_relus_are_completed_and_sparse_features_are_not() {
        let mut rng = Rng::new(1);
        let y = Mat::from_fn(4000, 3, |_, _| rng.normal());
        let w = super::super::surrogate::random_directions(40, 3, &mut rng);
        let mut x = matmul(&y, w.t());
        x.data_mut().iter_mut().for_each(|v| *v = v.max(0.0));
        let bent = of(&x, 30);
        assert!(bent.smooth > 0.95 && bent.gain() > 0.5 && bent.k <= 8, "{bent:?}");
        assert!(bent.null.iter().all(|n| *n < 0.1 * (bent.smooth - bent.linear)), "{bent:?}");
        let sparse = Mat::from_fn(4000, 40, |_, _| if rng.chance(0.1) { rng.uniform() } else { 0.0 });
        let plain = of(&sparse, 40);
        assert!(plain.smooth < 0.6 && plain.gain() < 0.35, "{plain:?}");
    }

    #[test]
    fn noise_gains_nothing() {
        let mut rng = Rng::new(2);
        let noise = of(&Mat::from_fn(3000, 24, |_, _| rng.normal()), 24);
        assert!(noise.gain() < 0.05, "{noise:?}");
    }
}
