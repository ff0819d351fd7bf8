//! How a set of directions shares its space: cosines, capacities, frame bounds, dimensions.

use super::bounds::{Bound, Kind, bounds};
use super::polytopes::{Cluster, clusters};
use rayon::prelude::*;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::pointwise::dot;
use superlens_tensor::{Mat, Rng};

/// Up to this many directions all pairs are looked at; beyond, pairs are drawn.
const ALL_PAIRS: usize = 20_000;
/// Pairs drawn where there are too many.
const DRAWN: usize = 20_000_000;
/// Directions in a block.
const BLOCK: usize = 512;
/// Bins of the histograms, over −1 to 1 and over 0 to 1.
pub const BINS: usize = 100;
/// Shorter than this share of the longest, a row is no direction.
const NOTHING: f64 = 1e-6;
/// Singular values below this share of the largest don't count for the rank.
const RANK: f64 = 1e-6;

/// What is said of a set of directions.
#[derive(Clone, Debug)]
pub struct Coherence {
    /// Directions, and the rows that are none because they are zero.
    pub n: usize,
    pub zero_rows: usize,
    pub dims: usize,
    /// Whether the cosines are those of drawn pairs.
    pub sampled: bool,
    /// Over pairs of unit rows: largest and least signed cosine, largest by size, root of the mean square.
    pub max_cos: f64,
    pub min_cos: f64,
    pub max_abs_cos: f64,
    pub rms_cos: f64,
    /// Shares of the pairs in [`BINS`] bins of the signed cosine from −1 to 1, and of its size from 0 to 1.
    pub signed_histogram: Vec<f64>,
    pub absolute_histogram: Vec<f64>,
    /// What as many random directions show: largest |cosine| and its root mean square.
    pub random_max_abs_cos: f64,
    pub random_rms_cos: f64,
    pub lines_bounds: Vec<Bound>,
    pub points_bounds: Vec<Bound>,
    /// `D_i = ‖w_i‖² / Σ_j (ŵ_i · w_j)²` of the rows with their lengths (Elhage et al. 2022, feature dimensionality; the same as the
    /// capacity of Scherlis et al. 2022); 0 for zero rows.
    pub capacity: Vec<f64>,
    pub sum_capacity: f64,
    pub rank: usize,
    /// Largest and least eigenvalue of `Wᵀ W` over the dimensions in use: the frame bounds of the rows with their lengths.
    pub frame_bounds: (f64, f64),
    /// `(Σ λ)² / Σ λ²` and `Σ λ / λ_max` of the same eigenvalues.
    pub participation_ratio: f64,
    pub stable_rank: f64,
    /// Groups of directions that share a subspace with nobody else, and what each resembles; none where pairs are drawn.
    pub clusters: Vec<Cluster>,
}

impl Coherence {
    /// Of the rows of `w` `[n, d]`. Panics without a row that is not zero.
    pub fn of(w: &Mat, rng: &Rng) -> Coherence {
        let norms: Vec<f64> = (0..w.rows()).map(|i| f64::from(dot(w.row(i), w.row(i))).sqrt()).collect();
        let longest = norms.iter().copied().fold(0.0, f64::max);
        let kept: Vec<usize> = (0..w.rows()).filter(|&i| norms[i] > NOTHING * longest).collect();
        assert!(!kept.is_empty(), "no direction among {} rows", w.rows());
        let mut unit = w.select_rows(&kept);
        for (r, &i) in kept.iter().enumerate() {
            unit.row_mut(r).iter_mut().for_each(|v| *v = (f64::from(*v) / norms[i]) as f32);
        }
        let (n, dims) = unit.shape();
        let sampled = n > ALL_PAIRS;
        let tally = if sampled { drawn(&unit, &rng.fork("pairs")) } else { all(&unit) };
        let (eigenvalues, capacity) = spectrum(w, &norms);
        let used: Vec<f64> = eigenvalues.iter().copied().filter(|v| *v > RANK * RANK * eigenvalues[0]).collect();
        let (sum, squares) = used.iter().fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
        let random = tally_of_random(n, dims, &rng.fork("random"));
        Coherence {
            n,
            zero_rows: w.rows() - n,
            dims,
            sampled,
            max_cos: tally.max,
            min_cos: tally.min,
            max_abs_cos: tally.max.max(-tally.min),
            rms_cos: tally.rms(),
            signed_histogram: tally.shares(&tally.signed),
            absolute_histogram: tally.shares(&tally.absolute()),
            random_max_abs_cos: random.max.max(-random.min),
            random_rms_cos: random.rms(),
            lines_bounds: bounds(Kind::Lines, dims, n),
            points_bounds: bounds(Kind::Signed, dims, n),
            sum_capacity: capacity.iter().sum(),
            capacity,
            rank: used.len(),
            frame_bounds: (used[0], used[used.len() - 1]),
            participation_ratio: sum * sum / squares,
            stable_rank: sum / used[0],
            clusters: if sampled { Vec::new() } else { clusters(&unit) },
        }
    }
}

/// Eigenvalues of `Wᵀ W`, descending, and the capacity of each row. `Σ_j (ŵ_i · w_j)² = ŵ_iᵀ (Wᵀ W) ŵ_i`, so that no `n × n` matrix is
/// needed.
fn spectrum(w: &Mat, norms: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let frame: Vec<f64> = frame_operator(w);
    let d = w.cols();
    let eigen = sym_eigen(&frame, d).expect("rows without NaN or infinity");
    let shared = |i: usize| {
        let row = w.row(i);
        let mut sum = 0.0;
        for (j, a) in row.iter().enumerate() {
            let line: f64 = frame[j * d..(j + 1) * d].iter().zip(row).map(|(f, b)| f * f64::from(*b)).sum();
            sum += f64::from(*a) * line;
        }
        sum
    };
    let capacity = |i: usize| if norms[i] > 0.0 { norms[i].powi(4) / shared(i).max(f64::MIN_POSITIVE) } else { 0.0 };
    (eigen.values, (0..w.rows()).into_par_iter().map(capacity).collect())
}

/// `Wᵀ W` with sums in `f64`, block after block.
fn frame_operator(w: &Mat) -> Vec<f64> {
    let (n, d) = w.shape();
    let mut frame = vec![0.0; d * d];
    for from in (0..n).step_by(BLOCK) {
        let rows = w.rows_view(from, (from + BLOCK).min(n));
        let part = matmul(rows.t(), rows);
        frame.iter_mut().zip(part.data()).for_each(|(f, p)| *f += f64::from(*p));
    }
    frame
}

/// Counts over pairs of cosines.
#[derive(Clone, Debug)]
struct Tally {
    pairs: u64,
    squares: f64,
    max: f64,
    min: f64,
    signed: Vec<u64>,
}

impl Tally {
    fn new() -> Self {
        Tally { pairs: 0, squares: 0.0, max: -1.0, min: 1.0, signed: vec![0; 2 * BINS] }
    }

    #[inline]
    fn add(&mut self, c: f32) {
        let c = f64::from(c.clamp(-1.0, 1.0));
        self.pairs += 1;
        self.squares += c * c;
        self.max = self.max.max(c);
        self.min = self.min.min(c);
        // Twice the bins, so that sizes can be read off too.
        let bin = ((c + 1.0) * BINS as f64) as usize;
        self.signed[bin.min(2 * BINS - 1)] += 1;
    }

    fn merge(mut self, other: &Tally) -> Tally {
        self.pairs += other.pairs;
        self.squares += other.squares;
        self.max = self.max.max(other.max);
        self.min = self.min.min(other.min);
        self.signed.iter_mut().zip(&other.signed).for_each(|(a, b)| *a += b);
        self
    }

    fn rms(&self) -> f64 {
        (self.squares / self.pairs.max(1) as f64).sqrt()
    }

    /// Counts of sizes in as many bins from 0 to 1, doubled to line up with the signed ones.
    fn absolute(&self) -> Vec<u64> {
        let folded = |k: usize| self.signed[BINS + k] + self.signed[BINS - 1 - k];
        (0..BINS).flat_map(|k| [folded(k), 0]).collect()
    }

    fn shares(&self, counts: &[u64]) -> Vec<f64> {
        counts.chunks(2).map(|c| c.iter().sum::<u64>() as f64 / self.pairs.max(1) as f64).collect()
    }
}

/// All pairs of unit rows. Blocks are merged in order, so that threads change no digit.
fn all(unit: &Mat) -> Tally {
    let n = unit.rows();
    let blocks = n.div_ceil(BLOCK);
    let pairs: Vec<(usize, usize)> = (0..blocks).flat_map(|b| (0..=b).map(move |a| (a, b))).collect();
    let view = |a: usize| unit.rows_view(a * BLOCK, ((a + 1) * BLOCK).min(n));
    let of = |&(a, b): &(usize, usize)| {
        let products = matmul(view(a), view(b).t());
        let mut tally = Tally::new();
        for i in 0..products.rows() {
            let to = if a == b { i } else { products.cols() };
            products.row(i)[..to].iter().for_each(|c| tally.add(*c));
        }
        tally
    };
    let tallies: Vec<Tally> = pairs.par_iter().map(of).collect();
    tallies.iter().fold(Tally::new(), Tally::merge)
}

/// Pairs drawn at random, each part from a stream of its own.
fn drawn(unit: &Mat, rng: &Rng) -> Tally {
    const PARTS: usize = 64;
    let of = |part: usize| {
        let mut rng = rng.fork_index(part as u64);
        let mut tally = Tally::new();
        for _ in 0..DRAWN / PARTS {
            let (i, j) = (rng.below(unit.rows()), rng.below(unit.rows()));
            if i != j {
                tally.add(dot(unit.row(i), unit.row(j)));
            }
        }
        tally
    };
    let tallies: Vec<Tally> = (0..PARTS).into_par_iter().map(of).collect();
    tallies.iter().fold(Tally::new(), Tally::merge)
}

/// The same of as many random directions, or of 2,000 where there are more.
fn tally_of_random(n: usize, d: usize, rng: &Rng) -> Tally {
    all(&super::recover::unit_rows(n.min(2000), d, &mut rng.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::constructions::construction;

    fn of(w: &Mat) -> Coherence {
        Coherence::of(w, &Rng::new(0))
    }

    /// D_i of the exact polytopes: d/k for tight frames of k unit rows in d dimensions.
    #[test]
    fn capacities_of_polytopes_are_exact() {
        for (kind, d, n, want) in [
            (Kind::Signed, 1, 2, 0.5),
            (Kind::Signed, 2, 3, 2.0 / 3.0),
            (Kind::Signed, 2, 5, 0.4),
            (Kind::Signed, 3, 4, 0.75),
            (Kind::Signed, 3, 6, 0.5),
        ] {
            let c = of(&construction(kind, d, n).unwrap().packing.to_mat());
            assert!(c.capacity.iter().all(|v| (v - want).abs() < 1e-6), "{n} in {d}: {:?}", c.capacity);
            assert!((c.sum_capacity - d as f64).abs() < 1e-5 && c.rank == d);
        }
        // The square antiprism with z = 1/√3 is a tight frame: 3/8.
        let z = (1.0f64 / 3.0).sqrt();
        let turn =
            |i: usize| std::f64::consts::FRAC_PI_2 * i as f64 + if i < 4 { 0.0 } else { std::f64::consts::FRAC_PI_4 };
        let r = (2.0f64 / 3.0).sqrt();
        let corner = |i: usize, j: usize| [r * turn(i).cos(), r * turn(i).sin(), if i < 4 { z } else { -z }][j] as f32;
        let c = of(&Mat::from_fn(8, 3, corner));
        assert!(c.capacity.iter().all(|v| (v - 0.375).abs() < 1e-6), "{:?}", c.capacity);
        assert!((c.frame_bounds.0 - c.frame_bounds.1).abs() < 1e-5 && (c.participation_ratio - 3.0).abs() < 1e-5);
    }

    #[test]
    fn cosines_are_those_of_all_pairs_and_zero_rows_are_none() {
        let mut rng = Rng::new(7);
        let mut w = Mat::from_fn(30, 8, |_, _| rng.normal());
        w.row_mut(4).fill(0.0);
        let c = of(&w);
        assert_eq!((c.n, c.zero_rows, c.capacity[4]), (29, 1, 0.0));
        assert!((c.signed_histogram.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((c.absolute_histogram.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(c.sum_capacity <= c.rank as f64 + 1e-6 && c.max_abs_cos >= c.max_cos);
        assert!(c.lines_bounds.iter().all(|b| b.cosine <= c.max_abs_cos + 1e-9));
        assert!((c.random_rms_cos - (1.0f64 / 8.0).sqrt()).abs() < 0.05);
    }
}
