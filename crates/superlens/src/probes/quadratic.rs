//! Probes of second order.

use super::Logistic;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Leading coordinates whose products are all taken.
const LEADING: usize = 24;
/// Products of two random combinations of all coordinates, where there are more.
const RANDOM: usize = 64;

/// White coordinates and their products: each coordinate, all squares and products of the first 24, and where there are more, 64 products
/// of two random combinations of all.
#[derive(Clone, Debug)]
pub struct Lift {
    leading: usize,
    /// `[random, rank]` each; empty if the leading ones are all.
    left: Mat,
    right: Mat,
}

impl Lift {
    /// Of `rank` coordinates. `rng` draws the random combinations.
    pub fn new(rank: usize, rng: &mut Rng) -> Lift {
        let random = if rank > LEADING { RANDOM } else { 0 };
        let scale = 1.0 / (rank.max(1) as f32).sqrt();
        let mut draw = || Mat::from_fn(random, rank, |_, _| scale * rng.normal());
        Lift { leading: rank.min(LEADING), left: draw(), right: draw() }
    }

    /// `[rows, rank]` → `[rows, features]`.
    pub fn apply(&self, white: &Mat) -> Mat {
        let (rows, rank) = white.shape();
        let (left, right) = (matmul(white, self.left.t()), matmul(white, self.right.t()));
        let width = rank + self.leading * (self.leading + 1) / 2 + self.left.rows();
        let mut out = Vec::with_capacity(rows * width);
        for i in 0..rows {
            let z = white.row(i);
            out.extend_from_slice(z);
            for a in 0..self.leading {
                out.extend(z[a..self.leading].iter().map(|b| z[a] * b));
            }
            out.extend(left.row(i).iter().zip(right.row(i)).map(|(a, b)| a * b));
        }
        Mat::from_vec(rows, width, out)
    }
}

/// Logistic regressions on the coordinates and products of [`Lift`].
///
/// With hundreds of features such a probe remembers hundreds of items: only items that it never saw tell whether it generalises.
#[derive(Clone, Debug)]
pub struct Quadratic {
    pub lift: Lift,
    pub probe: Logistic,
}

impl Quadratic {
    /// Fits `labels` `[rows, concepts]`, zeros and ones, from `white` `[rows, rank]`, the strongest coordinates first. `ridge` as in
    /// [`Logistic::fit`].
    pub fn fit(white: &Mat, labels: &Mat, ridge: f64, rng: &mut Rng) -> Quadratic {
        let lift = Lift::new(white.cols(), rng);
        let probe = Logistic::fit(&lift.apply(white), labels, ridge);
        Quadratic { lift, probe }
    }

    /// `[rows, concepts]`: log odds.
    pub fn scores(&self, white: &Mat) -> Mat {
        self.probe.scores(&self.lift.apply(white))
    }
}
