//! How a set of directions shares its space: cosines, capacities, frame bounds, dimensions.

use super::bounds::{Bound, Kind, bounds, expected_largest, ln_cap};
use super::polytopes::{Cluster, clusters};
use rayon::prelude::*;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::{gemm_into, matmul};
use superlens_tensor::kernels::pointwise::dot;
use superlens_tensor::{Mat, Rng, View};

/// Up to this many directions all pairs are looked at; beyond, pairs are drawn.
const ALL_PAIRS: usize = 65_536;
/// Up to this many, groups are looked for.
const GROUPED: usize = 4096;
/// Pairs drawn where there are too many.
const DRAWN: usize = 20_000_000;
/// The smaller of directions and dimensions may be this at most: eigenvalues of a matrix that large are wanted.
pub const LARGEST: usize = 16_384;
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
    /// Directions, and the places of the rows that are none because they are zero, or less than a millionth of the longest.
    pub n: usize,
    pub zero_rows: Vec<usize>,
    pub dims: usize,
    /// Whether the cosines are those of drawn pairs, and how many pairs that is.
    pub sampled: bool,
    pub pairs: u64,
    /// Over pairs of unit rows: largest and least signed cosine, largest by size, root of the mean square.
    pub max_cos: f64,
    pub min_cos: f64,
    pub max_abs_cos: f64,
    pub rms_cos: f64,
    /// Shares of the pairs in [`BINS`] bins of the signed cosine from −1 to 1, and of its size from 0 to 1.
    pub signed_histogram: Vec<f64>,
    pub absolute_histogram: Vec<f64>,
    /// The same of random directions, of which there are [`RANDOM`] at most.
    pub random: Random,
    pub lines_bounds: Vec<Bound>,
    pub points_bounds: Vec<Bound>,
    /// `D_i = ‖w_i‖² / Σ_j (ŵ_i · w_j)²` of the rows with their lengths (Elhage et al. 2022, feature dimensionality; the same as the
    /// capacity of Scherlis et al. 2022), `[n]`: zero rows have no entry.
    pub capacity: Vec<f64>,
    pub sum_capacity: f64,
    pub rank: usize,
    /// Largest and least eigenvalue of `Wᵀ W` over the dimensions in use: the frame bounds of the rows with their lengths.
    pub frame_bounds: (f64, f64),
    /// `(Σ λ)² / Σ λ²` and `Σ λ / λ_max` of the same eigenvalues.
    pub participation_ratio: f64,
    pub stable_rank: f64,
    /// Groups of directions that share a subspace with nobody else, and what each resembles; `None` where there are too many
    /// directions to hold all against all at once.
    pub clusters: Option<Vec<Cluster>>,
}

/// What random directions show: uniform on the sphere, as many as there are or [`RANDOM`]. The largest |cosine| is that of one set,
/// the rest is over as many sets as it takes.
#[derive(Clone, Debug)]
pub struct Random {
    pub n: usize,
    pub max_abs_cos: f64,
    pub rms_cos: f64,
    pub signed_histogram: Vec<f64>,
    pub absolute_histogram: Vec<f64>,
    /// About what the largest |cosine| of as many random directions as there are is.
    pub expected_max_abs_cos: f64,
}

/// Random directions that are drawn at most, and pairs of them at least.
const RANDOM: usize = 4096;
const PAIRS: usize = 50_000;

impl Coherence {
    /// Of the rows of `w` `[n, d]`; `None` where fewer than two of them are not zero.
    pub fn of(w: &Mat, rng: &Rng) -> Option<Coherence> {
        let Directions { w, norms, zero_rows, scale } = Directions::of(w)?;
        let mut unit = w.clone();
        for (r, norm) in norms.iter().enumerate() {
            unit.row_mut(r).iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
        }
        let (n, dims) = unit.shape();
        let sampled = n > ALL_PAIRS;
        let tally = if sampled { drawn(&unit, &rng.fork("pairs")) } else { all(&unit) };
        let (eigenvalues, capacity) = spectrum(&w, &norms);
        let used = in_use(&eigenvalues);
        let (sum, squares) = used.iter().fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
        let square = f64::from(scale).powi(2);
        let capacity = at_most(capacity, used.len() as f64);
        Some(Coherence {
            n,
            zero_rows,
            dims,
            sampled,
            pairs: tally.pairs,
            max_cos: tally.max,
            min_cos: tally.min,
            max_abs_cos: tally.max.max(-tally.min),
            rms_cos: tally.rms(),
            signed_histogram: tally.shares(&tally.signed),
            absolute_histogram: tally.shares(&tally.absolute()),
            random: Random::of(n, dims, &rng.fork("random")),
            lines_bounds: bounds(Kind::Lines, dims, n),
            points_bounds: bounds(Kind::Signed, dims, n),
            sum_capacity: capacity.iter().sum(),
            capacity,
            rank: used.len(),
            frame_bounds: (square * used[0], square * used[used.len() - 1]),
            participation_ratio: sum * sum / squares,
            stable_rank: sum / used[0],
            clusters: (n <= GROUPED).then(|| clusters(&unit)),
        })
    }
}

/// The rows that are directions, over a common scale at which squares neither overflow nor vanish.
struct Directions {
    w: Mat,
    norms: Vec<f64>,
    zero_rows: Vec<usize>,
    scale: f32,
}

impl Directions {
    /// `None` for fewer than two.
    fn of(w: &Mat) -> Option<Directions> {
        let scale = w.data().iter().fold(0.0f32, |a, v| a.max(v.abs()));
        if scale == 0.0 {
            return None;
        }
        let mut scaled = w.clone();
        scaled.data_mut().iter_mut().for_each(|v| *v /= scale);
        let length = |i: usize| scaled.row(i).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let norms: Vec<f64> = (0..w.rows()).map(length).collect();
        let longest = norms.iter().copied().fold(0.0, f64::max);
        let (kept, zero_rows): (Vec<usize>, Vec<usize>) = (0..w.rows()).partition(|&i| norms[i] > NOTHING * longest);
        if kept.len() < 2 {
            return None;
        }
        // What is no direction has no share of the space either.
        let norms = kept.iter().map(|&i| norms[i]).collect();
        Some(Directions { w: scaled.select_rows(&kept), norms, zero_rows, scale })
    }
}

/// How much of the space all rows have to themselves: what [`Coherence`] says of it, for any number of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// `Σ D_i`, at most the rank; equal to it where all share it evenly (a tight frame of rows of one length, for instance).
    pub sum: f64,
    pub rank: usize,
}

impl Capacity {
    /// Of the rows of `w` `[n, d]`, in memory of min(n, d)² besides `w`; `None` where fewer than two of them are not zero, or both n and d
    /// are above [`LARGEST`].
    pub fn of(w: &Mat) -> Option<Capacity> {
        if w.rows().min(w.cols()) > LARGEST {
            return None;
        }
        let Directions { w, norms, .. } = Directions::of(w)?;
        let (eigenvalues, capacity) = spectrum(&w, &norms);
        let rank = in_use(&eigenvalues).len();
        Some(Capacity { sum: at_most(capacity, rank as f64).iter().sum(), rank })
    }
}

/// Those eigenvalues that count for the rank.
fn in_use(eigenvalues: &[f64]) -> Vec<f64> {
    eigenvalues.iter().copied().filter(|v| *v > RANK * RANK * eigenvalues[0]).collect()
}

impl Coherence {
    /// How many pairs of random directions, among as many as were compared, would be expected to come closer than the closest here:
    /// near one for random directions, far below for a pair that chance does not bring so close.
    pub fn closer_by_chance(&self) -> f64 {
        self.pairs as f64 * ln_cap(self.dims, self.max_abs_cos).exp()
    }
}

impl Random {
    fn of(n: usize, d: usize, rng: &Rng) -> Random {
        let drawn = n.min(RANDOM);
        // Few directions have few pairs: enough sets are drawn to see their law.
        let sets = (PAIRS / (drawn * (drawn - 1) / 2).max(1)).clamp(1, 1000);
        let set = |k: usize| all(&super::recover::unit_rows(drawn, d, &mut rng.fork_index(k as u64)));
        let first = set(0);
        let tally = (1..sets).fold(first.clone(), |sum, k| sum.merge(&set(k)));
        Random {
            n: drawn,
            max_abs_cos: first.max.max(-first.min),
            rms_cos: tally.rms(),
            signed_histogram: tally.shares(&tally.signed),
            absolute_histogram: tally.shares(&tally.absolute()),
            expected_max_abs_cos: expected_largest(d, n as f64),
        }
    }
}

/// `Σ D_i ≤ rank` holds for exact numbers; a sum that rounding carried above it is brought back.
fn at_most(mut capacity: Vec<f64>, rank: f64) -> Vec<f64> {
    /// Far beyond what sums in another order differ by.
    const ROUNDING: f64 = 1e-12;
    let sum: f64 = capacity.iter().sum();
    if sum > rank * (1.0 - ROUNDING) && sum < rank * (1.0 + 1e-9) {
        capacity.iter_mut().for_each(|v| *v *= rank * (1.0 - ROUNDING) / sum);
    }
    capacity
}

/// Eigenvalues of `Wᵀ W`, descending (those that are zero may be left out), and the capacity of each row.
fn spectrum(w: &Mat, norms: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (eigenvalues, shared) = if w.rows() < w.cols() { by_gram(w) } else { by_frame(w) };
    let capacity = |i: usize| if norms[i] > 0.0 { norms[i].powi(4) / shared[i].max(f64::MIN_POSITIVE) } else { 0.0 };
    (eigenvalues, (0..w.rows()).map(capacity).collect())
}

/// Eigenvalues and `Σ_j (w_i · w_j)²` by `W Wᵀ` `[n, n]`.
fn by_gram(w: &Mat) -> (Vec<f64>, Vec<f64>) {
    let (n, d) = w.shape();
    let rows = widened(w, 0, n);
    let rows = View::contiguous(n, d, &rows);
    let mut gram = vec![0.0; n * n];
    gemm_into(1.0, rows, rows.t(), 0.0, &mut gram);
    let eigen = sym_eigen(&gram, n).expect("rows without NaN or infinity");
    (eigen.values, gram.chunks_exact(n).map(|row| dot(row, row)).collect())
}

/// The same by `Wᵀ W` `[d, d]`: `Σ_j (w_i · w_j)² = w_iᵀ (Wᵀ W) w_i`.
fn by_frame(w: &Mat) -> (Vec<f64>, Vec<f64>) {
    let frame: Vec<f64> = frame_operator(w);
    let d = w.cols();
    let eigen = sym_eigen(&frame, d).expect("rows without NaN or infinity");
    let mut shared = vec![0.0; w.rows()];
    for (block, shared) in shared.chunks_mut(BLOCK).enumerate() {
        let rows = widened(w, block * BLOCK, block * BLOCK + shared.len());
        let mut mapped = vec![0.0; rows.len()];
        gemm_into(1.0, View::contiguous(shared.len(), d, &rows), View::contiguous(d, d, &frame), 0.0, &mut mapped);
        for (i, shared) in shared.iter_mut().enumerate() {
            *shared = dot(&rows[i * d..(i + 1) * d], &mapped[i * d..(i + 1) * d]);
        }
    }
    (eigen.values, shared)
}

/// `Wᵀ W` in `f64`, block after block: in `f32` rounding would pass for rank.
fn frame_operator(w: &Mat) -> Vec<f64> {
    let (n, d) = w.shape();
    let mut frame = vec![0.0; d * d];
    for from in (0..n).step_by(BLOCK) {
        let rows = widened(w, from, (from + BLOCK).min(n));
        let rows = View::contiguous(rows.len() / d, d, &rows);
        gemm_into(1.0, rows.t(), rows, 1.0, &mut frame);
    }
    frame
}

/// Rows `from..to` in `f64`.
fn widened(w: &Mat, from: usize, to: usize) -> Vec<f64> {
    w.data()[from * w.cols()..to * w.cols()].iter().map(|v| f64::from(*v)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::constructions::construction;

    fn of(w: &Mat) -> Coherence {
        Coherence::of(w, &Rng::new(0)).unwrap()
    }

    /// D_i of the exact polytopes: d/k for tight frames of k unit rows in d dimensions.
    /// An axis, and two directions along another: 1 and 1/2 and 1/2 of a plane. Zero rows have none.
    #[test]
    fn capacity_by_hand_and_as_coherence_has_it() {
        let w = Mat::from_vec(4, 3, vec![2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0]);
        let capacity = Capacity::of(&w).unwrap();
        assert!((capacity.sum - 2.0).abs() < 1e-9 && capacity.rank == 2, "{capacity:?}");
        let mut rng = Rng::new(4);
        let w = Mat::from_fn(40, 7, |i, _| rng.normal() * (i + 1) as f32);
        let (capacity, all) = (Capacity::of(&w).unwrap(), of(&w));
        assert_eq!((capacity.sum, capacity.rank), (all.sum_capacity, all.rank));
        assert!(capacity.sum < 7.0 && Capacity::of(&Mat::zeros(3, 3)).is_none());
    }

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
        assert_eq!((c.n, &c.zero_rows[..], c.capacity.len()), (29, &[4][..], 29));
        assert!((c.signed_histogram.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((c.absolute_histogram.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(c.sum_capacity <= c.rank as f64 && c.max_abs_cos >= c.max_cos);
        assert!(c.lines_bounds.iter().all(|b| b.cosine <= c.max_abs_cos + 1e-9));
        assert!((c.random.rms_cos - (1.0f64 / 8.0).sqrt()).abs() < 0.05);
    }

    /// Numbers whose squares leave the range of `f32` are directions like any others; one direction alone has no cosine.
    #[test]
    fn lengths_do_not_matter_however_far_out() {
        for scale in [1e-30f32, 1e30] {
            let c = of(&Mat::from_vec(3, 2, [1.0, 0.0, 0.0, 1.0, 1.0, 1.0].map(|v| v * scale).to_vec()));
            assert!((c.max_abs_cos - 0.5f64.sqrt()).abs() < 1e-6 && c.rank == 2, "{c:?}");
            assert!((c.frame_bounds.0 / f64::from(scale).powi(2) - 3.0).abs() < 1e-5);
        }
        assert!(Coherence::of(&Mat::from_vec(2, 2, vec![1.0, 2.0, 0.0, 0.0]), &Rng::new(0)).is_none());
        assert!(Coherence::of(&Mat::zeros(3, 2), &Rng::new(0)).is_none());
    }

    #[test]
    fn few_directions_are_compared_by_their_gram_matrix() {
        let mut rng = Rng::new(8);
        let w = Mat::from_fn(6, 9, |_, _| rng.normal());
        let ((a, shared), (b, reference)) = (by_gram(&w), by_frame(&w));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-9) && b[6..].iter().all(|v| v.abs() < 1e-9));
        assert!(shared.iter().zip(&reference).all(|(a, b)| (a / b - 1.0).abs() < 1e-9));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        /// Σ D_i ≤ rank, whatever the directions: D_i is at most the leverage of row i.
        #[test]
        fn capacities_never_exceed_the_rank(seed: u64, n in 2usize..24, d in 1usize..12, copies in 0usize..4, rank in 1usize..12) {
            let mut rng = Rng::new(seed);
            let factors = Mat::from_fn(n, rank, |_, _| rng.normal() * 10f32.powf(4.0 * rng.uniform() - 2.0));
            let mix = Mat::from_fn(rank, d, |_, _| rng.normal());
            let mut w = matmul(&factors, &mix);
            for k in 0..copies.min(n - 1) {
                let row = w.row(k).to_vec();
                w.row_mut(k + 1).copy_from_slice(&row);
            }
            if let Some(c) = Coherence::of(&w, &Rng::new(0)) {
                proptest::prop_assert!(c.rank <= rank.min(n).min(d), "rank {} of {rank}", c.rank);
                proptest::prop_assert!(c.sum_capacity <= c.rank as f64, "{} of rank {}", c.sum_capacity, c.rank);
                proptest::prop_assert!(c.capacity.iter().all(|v| (0.0..=1.0 + 1e-9).contains(v)), "{:?}", c.capacity);
            }
        }
    }
}
