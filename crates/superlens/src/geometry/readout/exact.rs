//! What each notion of a feature allows, shown exactly: pairs behind a ReLU, their maximality, the price of co-activity, and the
//! linear notion's floor.

use crate::geometry::bounds::Kind;
use crate::geometry::pack::{Search, Watch};
use superlens_tensor::Rng;
use superlens_tensor::lbfgs::{Stop, minimise};

/// Densities at which the price of co-activity is measured.
const DENSITIES: [f64; 3] = [0.1, 0.3, 1.0];

/// The demonstrations in `dims` dimensions.
#[derive(Clone, Debug)]
pub struct Exact {
    pub dims: usize,
    pub rows: usize,
    /// `[I, −I]` behind a ReLU: the largest squared error of a row over one-hots and rows without an antipodal pair.
    pub pair_error: f64,
    /// Density, measured squared error of a feature of `[I, −I]`, and its law `p²/6`.
    pub coactivity: Vec<(f64, f64, f64)>,
    /// The least largest cosine that a search finds for 2d, and for 2d + 1 directions; and for d + 2, which can't all be
    /// negative.
    pub at_2d: f64,
    pub beyond_2d: f64,
    pub beyond_simplex: f64,
    /// `‖1 − WᵀW‖²` for 2d features: least over searches, of `[I, −I] / √2`, and the floor `n − d` (Eckart and Young 1936).
    pub linear_error: f64,
    pub pair_linear_error: f64,
    pub linear_floor: f64,
}

impl Exact {
    /// `None` where `watch` broke. Panics without dimensions.
    pub fn of(dims: usize, starts: usize, rows: usize, rng: &Rng, watch: Watch) -> Option<Exact> {
        let n = 2 * dims;
        let part = |k: usize| move |share: f64| watch((k as f64 + share) / 5.0);
        let least = |n: usize, name: &str, k: usize| {
            let search = Search { kind: Kind::Signed, d: dims, n, starts };
            search.searched(&rng.fork(name), &part(k)).map(|found| found.cosine)
        };
        let (pair_error, _) = antipodal_pairs(dims, rows, &mut rng.fork("pairs"));
        let price = |p: f64| (p, coactivity(dims, p, rows, &mut rng.fork("density")), p * p / 6.0);
        let searched = (0..starts as u64).map(|k| linear_error(n, dims, &mut rng.fork("linear").fork_index(k)));
        // `[I, −I]` with columns shortened to 1/√2: WᵀW is a projection of rank d, 1/2 on the diagonal and −1/2 for antipodes.
        let off = |i: usize, j: usize| match (i == j, i.abs_diff(j) == dims) {
            (true, _) => 0.5,
            (_, true) => 0.5,
            _ => 0.0f64,
        };
        Some(Exact {
            dims,
            rows,
            pair_error,
            coactivity: DENSITIES.map(price).to_vec(),
            at_2d: least(n, "pairs", 0)?,
            beyond_2d: least(n + 1, "beyond pairs", 1)?,
            beyond_simplex: least(dims + 2, "beyond the simplex", 2)?,
            linear_error: searched.fold(f64::INFINITY, f64::min),
            pair_linear_error: (0..n * n).map(|k| off(k / n, k % n).powi(2)).sum(),
            linear_floor: (n - dims) as f64,
        })
    }
}

/// What `[I, −I]` without a bias reads behind a ReLU from `x` `[2d]`.
fn read(x: &[f64]) -> Vec<f64> {
    let d = x.len() / 2;
    let h: Vec<f64> = (0..d).map(|k| x[k] - x[k + d]).collect();
    (0..2 * d).map(|i| if i < d { h[i] } else { -h[i - d] }.max(0.0)).collect()
}

fn error(x: &[f64]) -> f64 {
    read(x).iter().zip(x).map(|(r, x)| (r - x).powi(2)).sum()
}

/// `W = [I, −I]`, no bias, a ReLU: the largest error over one-hot rows and rows without an antipodal pair, and the mean squared
/// error of each of two antipodes that are both on.
pub fn antipodal_pairs(d: usize, rows: usize, rng: &mut Rng) -> (f64, f64) {
    let (mut worst, mut cost) = (0.0f64, 0.0);
    for row in 0..rows {
        let mut x = vec![0.0; 2 * d];
        if row < 2 * d {
            x[row] = rng.uniform_f64();
        } else {
            // Of each pair one, the other, or none.
            (0..d).map(|k| (k, rng.below(3))).filter(|(_, which)| *which < 2).collect::<Vec<_>>().iter().for_each(
                |(k, which)| {
                    x[k + which * d] = rng.uniform_f64();
                },
            );
        }
        worst = worst.max(error(&x));
        let mut pair = vec![0.0; 2 * d];
        (pair[0], pair[d]) = (rng.uniform_f64(), rng.uniform_f64());
        cost += error(&pair) / (2 * rows) as f64;
    }
    (worst, cost)
}

/// The squared error of a feature of `[I, −I]` where each is on with probability `p`, then uniform: `min(x₁, x₂)` is lost of each of
/// two antipodes that are both on, `E[min²] = 1/6`.
fn coactivity(d: usize, p: f64, rows: usize, rng: &mut Rng) -> f64 {
    let mut sum = 0.0;
    for _ in 0..rows {
        let x: Vec<f64> = (0..2 * d).map(|_| if rng.chance(p) { rng.uniform_f64() } else { 0.0 }).collect();
        sum += error(&x);
    }
    sum / (rows * 2 * d).max(1) as f64
}

/// The least `‖1 − WᵀW‖²_F` that a search over `W [n, d]` reaches.
pub fn linear_error(n: usize, d: usize, rng: &mut Rng) -> f64 {
    let mut w: Vec<f64> = (0..n * d).map(|_| 0.5 * rng.normal_f64()).collect();
    let mut value = |w: &[f64], grad: &mut [f64]| {
        grad.fill(0.0);
        let mut loss = 0.0;
        for i in 0..n {
            for j in 0..n {
                let g: f64 = (0..d).map(|k| w[i * d + k] * w[j * d + k]).sum();
                let e = g - f64::from(u8::from(i == j));
                loss += e * e;
                (0..d).for_each(|k| {
                    grad[i * d + k] += 2.0 * e * w[j * d + k];
                    grad[j * d + k] += 2.0 * e * w[i * d + k];
                });
            }
        }
        loss
    };
    minimise(&mut value, &mut w, Stop::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;

    #[test]
    fn every_demonstration_holds() {
        for d in [2, 4] {
            let e = Exact::of(d, 6, 20_000, &Rng::new(1), &|_| ControlFlow::Continue(())).unwrap();
            assert!(e.pair_error < 1e-24, "{e:?}");
            for (p, got, law) in &e.coactivity {
                // A few hundred co-active pairs at the lowest density.
                assert!((got / law - 1.0).abs() < 0.2, "at {p}: {got} for {law}");
            }
            assert!(e.at_2d < 1e-3 && e.beyond_2d > 1e-3 && e.beyond_simplex > -1e-9, "{e:?}");
            assert!((e.linear_error / e.linear_floor - 1.0).abs() < 1e-6, "{e:?}");
            assert!((e.pair_linear_error - e.linear_floor).abs() < 1e-12, "{e:?}");
        }
        assert!(Exact::of(2, 2, 10, &Rng::new(1), &|_| ControlFlow::Break(())).is_none());
    }
}
