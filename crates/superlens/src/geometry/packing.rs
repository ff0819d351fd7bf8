//! A set of directions, and the largest cosine among them.

use super::bounds::Kind;
use rayon::prelude::*;
use superlens_tensor::kernels::gemm::gemm_into;
use superlens_tensor::{Mat, Real, View};

/// Directions in a block, when all are held against all.
const BLOCK: usize = 512;

/// Directions, a row each.
#[derive(Clone, Debug)]
pub enum Packing {
    /// `[n, d]` whole numbers of the same squared length each, small enough that inner products are exact in `f32`.
    Whole { rows: Mat, square: f32 },
    /// `n · d` coordinates of unit rows.
    Real { d: usize, rows: Vec<f64> },
}

impl Packing {
    /// Panics unless all rows have the same squared length, and that is not zero.
    pub fn whole(rows: Mat) -> Self {
        let square = |i: usize| rows.row(i).iter().map(|v| v * v).sum::<f32>();
        let first = if rows.rows() > 0 { square(0) } else { 1.0 };
        assert!(first > 0.0 && (0..rows.rows()).all(|i| square(i) == first), "rows of different lengths");
        Packing::Whole { rows, square: first }
    }

    /// From unit rows. Panics where the numbers are no whole rows.
    pub fn real(d: usize, rows: Vec<f64>) -> Self {
        assert!(d > 0 && rows.len().is_multiple_of(d), "{} numbers in rows of {d}", rows.len());
        Packing::Real { d, rows }
    }

    /// The first `n` directions. Panics if there are fewer.
    pub fn first(&self, n: usize) -> Packing {
        match self {
            Packing::Whole { rows, square } => {
                Packing::Whole { rows: rows.select_rows(&(0..n).collect::<Vec<_>>()), square: *square }
            }
            Packing::Real { d, rows } => Packing::Real { d: *d, rows: rows[..n * d].to_vec() },
        }
    }

    pub fn n(&self) -> usize {
        match self {
            Packing::Whole { rows, .. } => rows.rows(),
            Packing::Real { d, rows } => rows.len() / d,
        }
    }

    pub fn d(&self) -> usize {
        match self {
            Packing::Whole { rows, .. } => rows.cols(),
            Packing::Real { d, .. } => *d,
        }
    }

    /// Unit row `i`.
    pub fn row(&self, i: usize) -> Vec<f64> {
        match self {
            Packing::Whole { rows, square } => {
                let norm = f64::from(*square).sqrt();
                rows.row(i).iter().map(|v| f64::from(*v) / norm).collect()
            }
            Packing::Real { d, rows } => rows[i * d..(i + 1) * d].to_vec(),
        }
    }

    /// Unit rows, `[n, d]`.
    pub fn to_mat(&self) -> Mat {
        let rows: Vec<f32> = (0..self.n()).flat_map(|i| self.row(i)).map(|v| v as f32).collect();
        Mat::from_vec(self.n(), self.d(), rows)
    }

    /// Each row and its opposite.
    pub fn with_antipodes(&self) -> Self {
        match self {
            Packing::Whole { rows, square } => {
                let (n, d) = rows.shape();
                let sign = |i: usize| if i < n { 1.0 } else { -1.0 };
                Packing::Whole { rows: Mat::from_fn(2 * n, d, |i, j| sign(i) * rows[(i % n, j)]), square: *square }
            }
            Packing::Real { d, rows } => {
                Packing::Real { d: *d, rows: rows.iter().copied().chain(rows.iter().map(|v| -v)).collect() }
            }
        }
    }

    /// The rows that `keep` says.
    pub fn filtered(&self, keep: impl Fn(&[f64]) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.n()).filter(|&i| keep(&self.row(i))).collect();
        match self {
            Packing::Whole { rows, square } => Packing::Whole { rows: rows.select_rows(&kept), square: *square },
            Packing::Real { d, .. } => Packing::Real { d: *d, rows: kept.iter().flat_map(|&i| self.row(i)).collect() },
        }
    }

    /// The largest cosine (signed, or by size for lines) over all pairs; −1 with fewer than two rows.
    pub fn largest_cosine(&self, kind: Kind) -> f64 {
        if self.n() < 2 {
            return -1.0;
        }
        match self {
            Packing::Whole { rows, square } => f64::from(largest(rows.data(), rows.cols(), kind)) / f64::from(*square),
            Packing::Real { d, rows } => largest(rows, *d, kind),
        }
    }
}

/// The largest inner product of two different rows of `d` numbers, or the largest size of one.
fn largest<R: Real>(rows: &[R], d: usize, kind: Kind) -> R {
    let n = rows.len() / d;
    let block = |a: usize| {
        let rows = &rows[a * BLOCK * d..((a + 1) * BLOCK).min(n) * d];
        View::contiguous(rows.len() / d, d, rows)
    };
    let of = |(a, b): (usize, usize)| {
        let (left, right) = (block(a), block(b));
        let (m, k) = (left.rows, right.rows);
        let mut products = vec![R::ZERO; m * k];
        gemm_into(R::ONE, left, right.t(), R::ZERO, &mut products);
        if a == b {
            // A row is not held against itself.
            (0..m).for_each(|i| products[i * k + i] = if kind == Kind::Lines { R::ZERO } else { -R::INFINITY });
        }
        let size = |p: R| if kind == Kind::Lines { p.abs() } else { p };
        products.into_iter().map(size).fold(-R::INFINITY, R::max)
    };
    let blocks = n.div_ceil(BLOCK);
    let pairs: Vec<(usize, usize)> = (0..blocks).flat_map(|b| (0..=b).map(move |a| (a, b))).collect();
    pairs.into_par_iter().map(of).reduce(|| -R::INFINITY, R::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn the_largest_cosine_is_that_of_all_pairs() {
        let mut rng = Rng::new(4);
        let (n, d) = (BLOCK + 9, 5);
        let rows: Vec<f64> = (0..n * d).map(|_| rng.normal_f64()).collect();
        let packing = Packing::real(d, rows.clone());
        for kind in [Kind::Signed, Kind::Lines] {
            let mut want = f64::NEG_INFINITY;
            for i in 0..n {
                for j in 0..i {
                    let dot: f64 = (0..d).map(|k| rows[i * d + k] * rows[j * d + k]).sum();
                    want = want.max(if kind == Kind::Lines { dot.abs() } else { dot });
                }
            }
            assert!((packing.largest_cosine(kind) - want).abs() < 1e-12);
        }
        assert_eq!(Packing::real(2, vec![1.0, 0.0]).largest_cosine(Kind::Lines), -1.0);
    }
}
