//! How many almost-orthogonal directions fit: random corners of the hypercube, measured.
//!
//! A corner `{−1, 1}^d / √d` is `d` bits, and the inner product of two is `d` minus twice the bits in which they differ. So a million
//! corners of 4,096 dimensions are half a gigabyte, and a pair costs 64 words.

use super::bounds::expected_largest;
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use superlens_tensor::Rng;
use superlens_tensor::kernels::bits::differing;

/// Corners in a block, when all are held against all.
const BLOCK: usize = 256;
/// Corners on either side of a tile of drawn pairs.
const TILE: usize = 128;
/// Up to this many corners, all pairs are looked at.
pub const ALL_PAIRS: usize = 100_000;
/// Beyond that, the corners whose pairs are all looked at beside those drawn.
pub const SUBSET: usize = 20_000;

/// Told the share done; may break, and then there is no answer.
pub type Watch<'a> = &'a (dyn Fn(f64) -> ControlFlow<()> + Sync);

/// Random corners, bit-packed.
pub struct Corners {
    d: usize,
    words: usize,
    bits: Vec<u64>,
}

/// The largest |cosine| and the mean square over some pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub pairs: u64,
    pub max_abs_cos: f64,
    pub mean_square: f64,
}

/// What was measured of `n` corners, beside what is expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub n: usize,
    /// Over all pairs, or over all pairs of the first [`SUBSET`].
    pub exact: Measured,
    /// Over pairs drawn at random, where there are too many for all.
    pub drawn: Option<Measured>,
    /// What the largest |cosine| over all pairs is expected to be about, and an upper bound on that, `√(4 ln n / d)`.
    pub expected: f64,
    pub union: f64,
}

impl Point {
    /// The largest |cosine| over all pairs: measured, or what the drawn pairs say of it. The largest of `M` independent pairs lies
    /// about the level that one in `M` exceeds; from that of the drawn pairs to that of all is one step up.
    pub fn largest(&self, d: usize) -> f64 {
        self.drawn.map_or(self.exact.max_abs_cos, |drawn| {
            (drawn.max_abs_cos + self.expected - expected_largest_of(d, drawn.pairs as f64)).min(1.0)
        })
    }

    /// The root of the mean square over as many pairs as were looked at.
    pub fn rms(&self) -> f64 {
        self.drawn.unwrap_or(self.exact).mean_square.sqrt()
    }
}

/// Measures the first `n` of one set of random corners for each `n` of `ns`; beyond [`ALL_PAIRS`] over `draws` pairs.
///
/// Panics without dimensions, or with fewer than two corners.
pub fn measure(d: usize, ns: &[usize], draws: u64, rng: &Rng, watch: Watch) -> Option<Vec<Point>> {
    let most = ns.iter().copied().max().unwrap_or(0);
    assert!(d > 0 && ns.iter().all(|n| *n > 1), "{ns:?} corners of {d} dimensions");
    let corners = Corners::random(d, most, &rng.fork("corners"));
    // Progress is by pairs, which is where the time goes.
    let cost = |n: usize| if n > ALL_PAIRS { draws as f64 + pairs_of(SUBSET) } else { pairs_of(n) };
    let whole: f64 = ns.iter().map(|n| cost(*n)).sum();
    let mut before = 0.0;
    let mut points = Vec::new();
    for &n in ns {
        let sampled = n > ALL_PAIRS;
        let all = if sampled { SUBSET } else { n };
        let tell = |from: f64, part: f64| move |share: f64| watch((from + share * part) / whole);
        let exact = corners.all_pairs(all, &tell(before, pairs_of(all)))?;
        let from = before + pairs_of(all);
        let stream = rng.fork("pairs").fork_index(n as u64);
        let drawn = sampled.then(|| corners.drawn_pairs(n, draws, &stream, &tell(from, draws as f64)));
        let drawn = if sampled { Some(drawn.flatten()?) } else { None };
        before += cost(n);
        let union = (4.0 * (n as f64).ln() / d as f64).sqrt();
        points.push(Point { n, exact, drawn, expected: expected_largest(d, n as f64), union });
    }
    Some(points)
}

/// Bytes that `n` corners take.
pub fn bytes(d: usize, n: usize) -> u128 {
    8 * d.div_ceil(64) as u128 * n as u128
}

fn pairs_of(n: usize) -> f64 {
    n as f64 * (n as f64 - 1.0) / 2.0
}

impl Corners {
    /// `n` corners of `d` dimensions, block after block from streams of their own: fewer corners are the first of more.
    pub fn random(d: usize, n: usize, rng: &Rng) -> Self {
        let words = d.div_ceil(64);
        let last = if d.is_multiple_of(64) { u64::MAX } else { (1 << (d % 64)) - 1 };
        let mut bits = vec![0u64; n * words];
        bits.par_chunks_mut(BLOCK * words.max(1)).enumerate().for_each(|(b, block)| {
            let mut rng = rng.fork_index(b as u64);
            for corner in block.chunks_exact_mut(words) {
                corner.iter_mut().for_each(|word| *word = rng.next_u64());
                corner[words - 1] &= last;
            }
        });
        Corners { d, words, bits }
    }

    pub fn n(&self) -> usize {
        self.bits.len() / self.words.max(1)
    }

    fn corners(&self, from: usize, to: usize) -> &[u64] {
        &self.bits[from * self.words..to * self.words]
    }

    /// Over all pairs of the first `n`.
    pub fn all_pairs(&self, n: usize, watch: Watch) -> Option<Measured> {
        let n = n.min(self.n());
        let blocks = n.div_ceil(BLOCK);
        let pairs: Vec<(usize, usize)> = (0..blocks).flat_map(|b| (0..=b).map(move |a| (a, b))).collect();
        let of = |&(a, b): &(usize, usize)| {
            let block = |k: usize| self.corners(k * BLOCK, ((k + 1) * BLOCK).min(n));
            let (left, right) = (block(b), block(a));
            let across = right.len() / self.words;
            let mut counts = vec![0; left.len() / self.words * across];
            differing(left, right, self.words, &mut counts);
            let mut sum = Sum::default();
            for (i, row) in counts.chunks_exact(across).enumerate() {
                row[..if a == b { i } else { across }].iter().for_each(|c| sum.add(self.product(*c)));
            }
            sum
        };
        self.gather(&pairs, &of, watch)
    }

    /// Over `count` pairs of the first `n`, drawn in tiles: 128 corners at random against 128 others at random, all with all, so
    /// that a corner is fetched once for 128 pairs. Every pair is equally likely, and pairs that share a corner are independent
    /// of each other two by two, as the signs are. A corner that meets itself does not count, so a few more tiles are drawn.
    pub fn drawn_pairs(&self, n: usize, count: u64, rng: &Rng, watch: Watch) -> Option<Measured> {
        let n = n.min(self.n());
        let tile = (TILE * TILE) as u64;
        // What the tiles lose to corners that meet themselves, on average one pair in n, and some to spare.
        let lost = count / n as u64 + 8 * (count as f64 / n as f64).sqrt() as u64;
        let parts: Vec<u64> = (0..(count + lost).div_ceil(tile)).collect();
        let of = |&part: &u64| {
            let mut rng = rng.fork_index(part);
            let mut draw = || (0..TILE).map(|_| rng.below(n)).collect::<Vec<usize>>();
            let (left, right) = (draw(), draw());
            let fetch = |all: &[usize]| all.iter().flat_map(|&i| self.corners(i, i + 1)).copied().collect::<Vec<u64>>();
            let mut counts = vec![0; TILE * TILE];
            differing(&fetch(&left), &fetch(&right), self.words, &mut counts);
            let mut sum = Sum::default();
            for (i, row) in left.iter().zip(counts.chunks_exact(TILE)) {
                for (_, c) in right.iter().zip(row).filter(|(j, _)| *j != i) {
                    sum.add(self.product(*c));
                }
            }
            sum
        };
        self.gather(&parts, &of, watch)
    }

    /// `d` times the cosine of two corners that differ in so many bits.
    #[inline]
    fn product(&self, differing: u32) -> i64 {
        self.d as i64 - 2 * i64::from(differing)
    }

    fn gather<T: Sync>(&self, tasks: &[T], of: &(dyn Fn(&T) -> Sum + Sync), watch: Watch) -> Option<Measured> {
        let (done, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let one = |task: &T| {
            if stopped.load(Ordering::Relaxed) {
                return None;
            }
            let sum = of(task);
            let share = (done.fetch_add(1, Ordering::Relaxed) + 1) as f64 / tasks.len() as f64;
            if watch(share).is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
            Some(sum)
        };
        // Whole numbers, so that the order of adding does not matter.
        let sums: Vec<Sum> = tasks.par_iter().map(one).collect::<Option<_>>()?;
        let all = sums.iter().fold(Sum::default(), |a, b| Sum {
            pairs: a.pairs + b.pairs,
            squares: a.squares + b.squares,
            largest: a.largest.max(b.largest),
        });
        let d = self.d as f64;
        Some(Measured {
            pairs: all.pairs,
            max_abs_cos: all.largest as f64 / d,
            mean_square: all.squares as f64 / (all.pairs.max(1) as f64 * d * d),
        })
    }
}

#[derive(Clone, Copy, Default)]
struct Sum {
    pairs: u64,
    squares: u128,
    largest: i64,
}

impl Sum {
    #[inline]
    fn add(&mut self, product: i64) {
        self.pairs += 1;
        self.squares += (product * product) as u128;
        self.largest = self.largest.max(product.abs());
    }
}

/// What one pair among `pairs` random ones is expected to exceed: the sampled pairs of a large set say less than all of them, and
/// this brings the two onto one scale.
pub fn expected_largest_of(d: usize, pairs: f64) -> f64 {
    // n (n − 1) / 2 = pairs.
    expected_largest(d, 0.5 + (0.25 + 2.0 * pairs).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(_: f64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn pairs_are_those_of_the_signs() {
        for d in [7, 64, 100] {
            let c = Corners::random(d, 300, &Rng::new(1));
            let sign = |i: usize, k: usize| 1 - 2 * (c.corners(i, i + 1)[k / 64] >> (k % 64) & 1) as i64;
            let (mut largest, mut squares, mut pairs) = (0, 0i64, 0);
            for i in 0..300 {
                for j in 0..i {
                    let product: i64 = (0..d).map(|k| sign(i, k) * sign(j, k)).sum();
                    (largest, squares, pairs) = (largest.max(product.abs()), squares + product * product, pairs + 1);
                }
            }
            let m = c.all_pairs(300, &go).unwrap();
            assert_eq!((m.pairs, m.max_abs_cos), (pairs, largest as f64 / d as f64));
            assert!((m.mean_square - squares as f64 / (pairs as f64 * (d * d) as f64)).abs() < 1e-12);
        }
    }

    /// The root mean square is 1/√d, and the largest of all pairs is near its expected value, below √(4 ln n / d).
    #[test]
    fn random_corners_keep_their_distance() {
        let (d, n) = (256, 1024);
        let c = Corners::random(d, n, &Rng::new(2));
        let m = c.all_pairs(n, &go).unwrap();
        assert!((m.mean_square * d as f64 - 1.0).abs() < 0.02);
        let (expected, bound) = (expected_largest(d, n as f64), (4.0 * (n as f64).ln() / d as f64).sqrt());
        assert!(
            (m.max_abs_cos / expected - 1.0).abs() < 0.15 && expected < bound,
            "{} {expected} {bound}",
            m.max_abs_cos
        );
        let drawn = c.drawn_pairs(n, 100_000, &Rng::new(3), &go).unwrap();
        assert!((100_000..150_000).contains(&drawn.pairs), "{}", drawn.pairs);
        assert!((drawn.max_abs_cos / expected_largest_of(d, 1e5) - 1.0).abs() < 0.2);
        assert!((drawn.mean_square / m.mean_square - 1.0).abs() < 0.03, "{} {}", drawn.mean_square, m.mean_square);
        assert!(c.all_pairs(n, &|_| ControlFlow::Break(())).is_none());
    }

    /// What few drawn pairs say of all agrees with all; threads change nothing.
    #[test]
    fn the_correction_joins_drawn_pairs_to_all() {
        let (d, n) = (512, 4000);
        let c = Corners::random(d, n, &Rng::new(4));
        let exact = c.all_pairs(n, &go).unwrap();
        let drawn = c.drawn_pairs(n, 500_000, &Rng::new(5), &go).unwrap();
        let point = Point { n, exact, drawn: Some(drawn), expected: expected_largest(d, n as f64), union: 0.0 };
        let (told, true_largest) = (point.largest(d), exact.max_abs_cos);
        assert!((told - true_largest).abs() < 0.025, "{told} for {true_largest}, drawn {}", drawn.max_abs_cos);
        let of = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| measure(96, &[100, 700], 0, &Rng::new(6), &go).unwrap())
        };
        assert_eq!(of(1), of(3));
        assert_eq!(of(1)[0].exact.pairs, 4950);
    }
}
