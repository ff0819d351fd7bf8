//! How many almost-orthogonal directions fit: random corners of the hypercube, measured.
//!
//! A corner `{−1, 1}^d / √d` is `d` bits, and the inner product of two is `d` minus twice the bits in which they differ. So a million
//! corners of 4,096 dimensions are half a gigabyte, and a pair costs 64 words.

use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use superlens_tensor::Rng;

/// Corners in a block, when all are held against all.
const BLOCK: usize = 256;
/// Pairs drawn from one stream.
const PART: usize = 1 << 20;

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

impl Corners {
    /// `n` corners of `d` dimensions, block after block from streams of their own.
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

    fn corner(&self, i: usize) -> &[u64] {
        &self.bits[i * self.words..(i + 1) * self.words]
    }

    /// `d` times the cosine of two corners.
    fn product(&self, i: usize, j: usize) -> i64 {
        self.d as i64 - 2 * differing(self.corner(i), self.corner(j)) as i64
    }

    /// Over all pairs of the first `n`. `watch` is told the share done and may break; then there is no answer.
    pub fn all_pairs(&self, n: usize, watch: &(dyn Fn(f64) -> ControlFlow<()> + Sync)) -> Option<Measured> {
        let n = n.min(self.n());
        let blocks = n.div_ceil(BLOCK);
        let pairs: Vec<(usize, usize)> = (0..blocks).flat_map(|b| (0..=b).map(move |a| (a, b))).collect();
        let of = |&(a, b): &(usize, usize)| {
            let mut sum = Sum::default();
            for i in b * BLOCK..((b + 1) * BLOCK).min(n) {
                let to = if a == b { i } else { (a + 1) * BLOCK };
                (a * BLOCK..to).for_each(|j| sum.add(self.product(i, j)));
            }
            sum
        };
        self.gather(&pairs, &of, watch)
    }

    /// Over `count` pairs drawn at random.
    pub fn drawn_pairs(
        &self,
        count: u64,
        rng: &Rng,
        watch: &(dyn Fn(f64) -> ControlFlow<()> + Sync),
    ) -> Option<Measured> {
        let parts: Vec<u64> = (0..count.div_ceil(PART as u64)).collect();
        let of = |&part: &u64| {
            let mut rng = rng.fork_index(part);
            let mut sum = Sum::default();
            for _ in 0..(count - part * PART as u64).min(PART as u64) {
                let i = rng.below(self.n());
                // Another one than `i`, all others alike.
                let j = (i + 1 + rng.below(self.n() - 1)) % self.n();
                sum.add(self.product(i, j));
            }
            sum
        };
        self.gather(&parts, &of, watch)
    }

    fn gather<T: Sync>(
        &self,
        tasks: &[T],
        of: &(dyn Fn(&T) -> Sum + Sync),
        watch: &(dyn Fn(f64) -> ControlFlow<()> + Sync),
    ) -> Option<Measured> {
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

/// Bits in which two corners differ.
#[inline]
fn differing(a: &[u64], b: &[u64]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// What one pair among `pairs` random ones is expected to exceed: the sampled pairs of a large set say less than all of them, and
/// this brings the two onto one scale.
pub fn expected_largest_of(d: usize, pairs: f64) -> f64 {
    // n (n − 1) / 2 = pairs.
    super::bounds::expected_largest(d, 0.5 + (0.25 + 2.0 * pairs).sqrt())
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
            let sign = |i: usize, k: usize| 1 - 2 * (c.corner(i)[k / 64] >> (k % 64) & 1) as i64;
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
        let (expected, bound) =
            (super::super::bounds::expected_largest(d, n as f64), (4.0 * (n as f64).ln() / d as f64).sqrt());
        assert!(
            (m.max_abs_cos / expected - 1.0).abs() < 0.15 && expected < bound,
            "{} {expected} {bound}",
            m.max_abs_cos
        );
        let drawn = c.drawn_pairs(100_000, &Rng::new(3), &go).unwrap();
        assert_eq!(drawn.pairs, 100_000);
        assert!((drawn.max_abs_cos / expected_largest_of(d, 1e5) - 1.0).abs() < 0.2);
        assert!(c.all_pairs(n, &|_| ControlFlow::Break(())).is_none());
    }
}
