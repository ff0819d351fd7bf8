//! A mixture of Gaussians with a covariance each: the null that clusters, subspaces and mixtures of covariances pass.
//!
//! Such rows have directions of their own, many of them held by both halves, without any sparse feature. What a mixture fitted
//! to the rows reproduces is therefore no evidence of features.

use rayon::prelude::*;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::pointwise::dot;
use superlens_tensor::{Mat, Rng};

/// Components at most, and rows a dimension that each must have.
const MOST: usize = 16;
const ROWS_A_DIMENSION: usize = 4;
/// Rows that the fit reads at most.
const FITTED_ROWS: usize = 8000;
/// Rounds of grouping by direction, then of expectation–maximisation.
const GROUPINGS: usize = 6;
const STEPS: usize = 20;
/// Share of the rows that changes component in a step below which the fit has settled.
const SETTLED: f64 = 1e-3;
/// Added to every covariance, in units of the overall (unit) variance.
const RIDGE: f64 = 1e-3;

/// The fitted law of white rows.
pub(super) struct Mixture {
    parts: Vec<Part>,
}

struct Part {
    weight: f64,
    mean: Vec<f32>,
    /// `[rank, rank]`: a standard normal row times this has the covariance.
    root: Mat,
    /// `[rank, rank]`: a centred row times this is white.
    inverse_root: Mat,
    log_det: f64,
}

impl Mixture {
    /// Fits to the rows of `z`. `None` where they are too few for two components.
    pub fn fit(z: &Mat, rng: &Rng) -> Option<Mixture> {
        let rank = z.cols();
        let step = z.rows().div_ceil(FITTED_ROWS).max(1);
        let z = z.select_rows(&(0..z.rows()).step_by(step).collect::<Vec<_>>());
        let k = (z.rows() / (ROWS_A_DIMENSION * rank)).min(MOST).min(rank / 2);
        if k < 2 {
            return None;
        }
        let mut share = group(&z, k, &mut rng.fork("groups"));
        let mut parts = Vec::new();
        for _ in 0..STEPS {
            parts = (0..k).into_par_iter().filter_map(|c| part(&z, &share, c)).collect();
            if parts.len() < 2 {
                return None;
            }
            let now = responsibilities(&z, &parts);
            // Where a component died, the rest go on without it.
            if now.cols() < k || moved(&now, &share) < SETTLED {
                return Mixture::finish(parts);
            }
            share = now;
        }
        Mixture::finish(parts)
    }

    fn finish(mut parts: Vec<Part>) -> Option<Mixture> {
        let total: f64 = parts.iter().map(|p| p.weight).sum();
        parts.iter_mut().for_each(|p| p.weight /= total);
        Some(Mixture { parts })
    }

    /// `rows` independent draws.
    pub fn sample(&self, rows: usize, rng: &Rng) -> Mat {
        let rank = self.parts[0].mean.len();
        let drawn: Vec<Vec<f32>> = (0..rows)
            .into_par_iter()
            .map(|i| {
                let mut rng = rng.fork_index(i as u64);
                let mut u = rng.uniform_f64();
                let part = self.parts.iter().find(|p| {
                    u -= p.weight;
                    u < 0.0
                });
                let part = part.unwrap_or(&self.parts[0]);
                let g = Mat::from_fn(1, rank, |_, _| rng.normal());
                let mut out = part.mean.clone();
                for (j, &g) in g.data().iter().enumerate() {
                    out.iter_mut().zip(part.root.row(j)).for_each(|(o, r)| *o += g * r);
                }
                out
            })
            .collect();
        Mat::from_vec(rows, rank, drawn.concat())
    }
}

/// Hard shares `[rows, k]` by the closest of `k` axes, which are moved to the middle of their rows again and again.
fn group(z: &Mat, k: usize, rng: &mut Rng) -> Mat {
    let mut axes = z.select_rows(&rng.permutation(z.rows())[..k]);
    let mut share = Mat::zeros(z.rows(), k);
    for _ in 0..GROUPINGS {
        for c in 0..k {
            let norm = dot(axes.row(c), axes.row(c)).sqrt().max(1e-20);
            axes.row_mut(c).iter_mut().for_each(|v| *v /= norm);
        }
        let s = matmul(z, axes.t());
        share = Mat::zeros(z.rows(), k);
        axes = Mat::zeros(k, z.cols());
        for i in 0..z.rows() {
            let (best, _) =
                s.row(i).iter().enumerate().fold((0, 0.0f32), |b, (c, v)| if v.abs() > b.1 { (c, v.abs()) } else { b });
            share[(i, best)] = 1.0;
            let sign = s[(i, best)].signum();
            axes.row_mut(best).iter_mut().zip(z.row(i)).for_each(|(a, v)| *a += sign * v);
        }
    }
    share
}

/// Component `c` from the rows' shares in it; `None` where it has fewer rows than dimensions.
fn part(z: &Mat, share: &Mat, c: usize) -> Option<Part> {
    let (n, rank) = z.shape();
    let weight: f64 = (0..n).map(|i| f64::from(share[(i, c)])).sum();
    if weight < rank as f64 {
        return None;
    }
    let mut mean = vec![0.0f64; rank];
    for i in 0..n {
        mean.iter_mut().zip(z.row(i)).for_each(|(m, v)| *m += f64::from(share[(i, c)]) * f64::from(*v) / weight);
    }
    let mean: Vec<f32> = mean.iter().map(|m| *m as f32).collect();
    let mut scaled = z.clone();
    for i in 0..n {
        let s = share[(i, c)].sqrt();
        scaled.row_mut(i).iter_mut().zip(&mean).for_each(|(v, m)| *v = s * (*v - m));
    }
    let covariance: Vec<f64> = matmul(scaled.t(), &scaled).data().iter().map(|v| f64::from(*v) / weight).collect();
    let eigen = sym_eigen(&covariance, rank)?;
    let values: Vec<f64> = eigen.values.iter().map(|v| v.max(0.0) + RIDGE).collect();
    Some(Part {
        weight,
        mean,
        root: Mat::from_fn(rank, rank, |k, j| (values[k].sqrt() * eigen.vectors[k][j]) as f32),
        inverse_root: Mat::from_fn(rank, rank, |j, k| (eigen.vectors[k][j] / values[k].sqrt()) as f32),
        log_det: values.iter().map(|v| v.ln()).sum(),
    })
}

/// Share of the rows' weight that went from one component to another.
fn moved(now: &Mat, before: &Mat) -> f64 {
    let turned: f64 = now.data().iter().zip(before.data()).map(|(a, b)| f64::from((a - b).abs())).sum();
    0.5 * turned / now.rows().max(1) as f64
}

/// Posterior share of each row in each component, `[rows, parts]`.
fn responsibilities(z: &Mat, parts: &[Part]) -> Mat {
    let logs: Vec<Vec<f64>> = parts
        .iter()
        .map(|p| {
            let mut centred = z.clone();
            for i in 0..z.rows() {
                centred.row_mut(i).iter_mut().zip(&p.mean).for_each(|(v, m)| *v -= m);
            }
            let white = matmul(&centred, &p.inverse_root);
            (0..z.rows())
                .map(|i| p.weight.ln() - 0.5 * (f64::from(dot(white.row(i), white.row(i))) + p.log_det))
                .collect()
        })
        .collect();
    let mut share = Mat::zeros(z.rows(), parts.len());
    for i in 0..z.rows() {
        let top = logs.iter().map(|l| l[i]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs.iter().map(|l| (l[i] - top).exp()).sum();
        for (c, l) in logs.iter().enumerate() {
            share[(i, c)] = ((l[i] - top).exp() / sum) as f32;
        }
    }
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_parts_that_were_put_in() {
        // Two flat clouds in perpendicular planes.
        let mut rng = Rng::new(0);
        let z = Mat::from_fn(4000, 4, |_, _| rng.normal());
        let z = Mat::from_fn(4000, 4, |i, j| if (i % 2 == 0) == (j < 2) { z[(i, j)] } else { 0.02 * z[(i, j)] });
        let made = Mixture::fit(&z, &Rng::new(1)).unwrap().sample(4000, &Rng::new(2));
        let mixed = |m: &Mat| {
            let both = |i: &usize| {
                m.row(*i)[..2].iter().any(|v| v.abs() > 0.3) && m.row(*i)[2..].iter().any(|v| v.abs() > 0.3)
            };
            (0..m.rows()).filter(both).count()
        };
        assert_eq!(mixed(&z), 0);
        assert!(mixed(&made) < 200, "{} rows lie in both planes", mixed(&made));
    }
}
