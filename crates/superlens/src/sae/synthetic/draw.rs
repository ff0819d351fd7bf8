//! Drawing true activations row by row, at a cost that follows the features that are on and not all features.

use super::law::Law;
use super::tail::Tail;
use super::{Latents, Strengths};
use rayon::prelude::*;
use std::ops::Range;
use superlens_tensor::Rng;
use superlens_tensor::kernels::pointwise::dot;
use superlens_tensor::kernels::tiles::{TILE, Tiles};

/// Rows whose bounds are found together.
const BLOCK: usize = 64;
/// What rounding may add to a bound on inner products.
const ROUNDING: f32 = 1e-4;

/// Draws from a [`Law`]. The law of what is drawn is that of the copula exactly, but for the interpolation in [`Tail`]:
///
/// - Features below a parent that is off are not drawn at all.
/// - Features in no tree are thinned. Within a tile of them the largest inner product with the row's factors bounds how likely each is;
///   candidates come at that bound by skipping over the others at once, and are accepted at their own probability.
pub struct Sampler {
    tail: Tail,
    /// Factors of the features in no tree, and the limits of each tile: its least threshold, least and largest `σ`.
    tiles: Tiles,
    limits: Vec<(f32, f32, f32)>,
}

impl Sampler {
    pub fn new(law: &Law) -> Sampler {
        let (free, n) = (law.in_trees, law.base.len());
        let vectors: Vec<f32> = (free..n).flat_map(|i| law.factors.row(i)[..law.rank].iter().copied()).collect();
        let limits = (free..n).step_by(TILE).map(|first| {
            let tile = first..n.min(first + TILE);
            let least = |v: &[f32]| v[tile.clone()].iter().copied().fold(f32::INFINITY, f32::min);
            let most = law.sigma[tile.clone()].iter().copied().fold(0.0, f32::max);
            (least(&law.threshold), least(&law.sigma), most)
        });
        Sampler { tail: Tail::new(), tiles: Tiles::new(&vectors, law.rank), limits: limits.collect() }
    }

    /// The activations of `rows`; row `r` depends on `rng` and `r` alone.
    pub fn draw(&self, law: &Law, rng: &Rng, rows: Range<u64>) -> Latents {
        let blocks = (rows.end.saturating_sub(rows.start)).div_ceil(BLOCK as u64);
        let drawn: Vec<Vec<Vec<(u32, f32)>>> = (0..blocks)
            .into_par_iter()
            .map(|b| {
                let first = rows.start + b * BLOCK as u64;
                self.block(law, rng, first..rows.end.min(first + BLOCK as u64))
            })
            .collect();
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in drawn.iter().flatten() {
            indices.extend(row.iter().map(|a| a.0));
            values.extend(row.iter().map(|a| a.1));
            offsets.push(indices.len());
        }
        Latents::new(law.base.len(), offsets, indices, values)
    }

    fn block(&self, law: &Law, rng: &Rng, rows: Range<u64>) -> Vec<Vec<(u32, f32)>> {
        let (rank, width, tiles) = (law.rank, law.factors.cols(), self.limits.len());
        let mut streams: Vec<Rng> = rows.map(|r| rng.fork_index(r)).collect();
        let shared: Vec<f32> = streams.iter_mut().flat_map(|rng| (0..rank).map(|_| rng.normal())).collect();
        let mut bounds = vec![0.0; streams.len() * tiles];
        if rank > 0 {
            self.tiles.maxima(&shared, &mut bounds);
        }
        let mut padded = vec![0.0; width];
        let row = |(r, rng): (usize, Rng)| {
            padded[..rank].copy_from_slice(&shared[r * rank..(r + 1) * rank]);
            let mut row = Row { law, tail: &self.tail, shared: &padded, rng, on: Vec::with_capacity(64) };
            row.forest();
            row.free(&self.limits, &bounds[r * tiles..(r + 1) * tiles]);
            row.on.sort_unstable_by_key(|a| a.0);
            row.on
        };
        streams.into_iter().enumerate().map(row).collect()
    }
}

struct Row<'a> {
    law: &'a Law,
    tail: &'a Tail,
    /// `ε`, filled up as the factors are.
    shared: &'a [f32],
    rng: Rng,
    on: Vec<(u32, f32)>,
}

impl Row<'_> {
    /// How likely feature `i` is proposed, given what the row's features share.
    fn chance(&self, i: usize) -> f32 {
        let common = dot(self.law.factors.row(i), self.shared);
        self.tail.of((self.law.threshold[i] - common) / self.law.sigma[i])
    }

    /// How strong a feature is that was proposed; not above zero where it is off all the same.
    fn strength(&mut self, i: usize) -> f32 {
        match self.law.strengths {
            Strengths::Uniform => self.rng.uniform(),
            Strengths::Normal { .. } => self.law.mean[i] + self.law.std[i] * self.rng.normal(),
        }
    }

    fn forest(&mut self) {
        for i in 0..self.law.roots {
            if self.rng.uniform() < self.chance(i) {
                let strength = self.strength(i);
                if strength > 0.0 {
                    self.on.push((i as u32, strength));
                    self.below(i, strength);
                }
            }
        }
    }

    /// What is on below feature `i`: at most one child, as much stronger than usual as its parent is, and what is below that.
    fn below(&mut self, mut i: usize, mut strength: f32) {
        loop {
            let (first, many) = self.law.children[i];
            let (mut met, mut chosen) = (0, None);
            for child in first as usize..(first + many) as usize {
                if self.rng.uniform() < self.chance(child) {
                    let own = self.strength(child);
                    if own > 0.0 {
                        // Each of those met so far is chosen with the same probability.
                        met += 1;
                        if met == 1 || self.rng.below(met) == 0 {
                            chosen = Some((child, own));
                        }
                    }
                }
            }
            let Some((child, own)) = chosen else { return };
            strength = own * (strength / self.law.mean[i]);
            if strength <= 0.0 {
                return;
            }
            self.on.push((child as u32, strength));
            i = child;
        }
    }

    fn free(&mut self, limits: &[(f32, f32, f32)], bounds: &[f32]) {
        let n = self.law.base.len();
        let mut left = self.wait();
        for (t, (&(threshold, least, most), &bound)) in limits.iter().zip(bounds).enumerate() {
            let (mut at, end) = (self.law.in_trees + t * TILE, n.min(self.law.in_trees + (t + 1) * TILE));
            let gap = threshold - bound - ROUNDING;
            let ceiling = self.tail.of(gap / if gap > 0.0 { most } else { least });
            // A geometric wait is an exponential one in units of this, rounded down; what is left of it after a tile is one again.
            let rate = -(-ceiling).ln_1p();
            loop {
                let whole = rate * (end - at) as f32;
                if left >= whole {
                    left -= whole;
                    break;
                }
                at += (left / rate) as usize;
                if at >= end {
                    // Only by rounding.
                    break;
                }
                if self.rng.uniform() * ceiling < self.chance(at) {
                    let strength = self.strength(at);
                    if strength > 0.0 {
                        self.on.push((at as u32, strength));
                    }
                }
                left = self.wait();
                at += 1;
            }
        }
    }

    /// An exponential variate.
    fn wait(&mut self) -> f32 {
        -(1.0 - self.rng.uniform_f64()).ln() as f32
    }
}
