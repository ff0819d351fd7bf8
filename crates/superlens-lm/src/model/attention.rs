//! Attention: from queries, keys and values to what each head has read.

use rayon::prelude::*;
use superlens_tensor::kernels::gemm::gemm_into;
use superlens_tensor::kernels::smooth::{soft_cap, softmax, softmax_within};
use superlens_tensor::{Mat, View};

use super::batch::{Batch, Memory};
use super::config::{Config, NormKind, Positions};
use super::hook::{Point, Site, Sites};
use super::norm::normalise_row;
use super::transformer::Hooks;
use super::weights::AttentionWeights;

/// Queries whose scores are held at once: those of a long sequence never fill a square.
const QUERIES: usize = 128;
/// Batches of fewer tokens are not worth spreading over threads.
const SPREAD: usize = 128;

/// One layer's attention.
pub(super) struct Attention<'a> {
    pub config: &'a Config,
    pub layer: usize,
    pub weights: &'a AttentionWeights,
    pub sites: &'a Sites,
}

/// One head of one sequence: where its numbers lie in the rows.
#[derive(Clone, Copy)]
struct Head<'a> {
    queries: View<'a>,
    keys: View<'a>,
    values: View<'a>,
    /// Tokens before the first query.
    past: usize,
    slope: f32,
}

impl Attention<'_> {
    fn site(&self, point: Point) -> Site {
        Site::Block(self.layer, point)
    }

    /// `qkv` `[tokens, d_queries + 2 d_keys]` → `z` `[tokens, d_queries]`.
    pub fn read(&self, mut qkv: Mat, batch: &Batch, memory: Option<&mut Memory>, hooks: Hooks) -> Mat {
        let (config, kind) = (self.config, &self.config.layers[self.layer]);
        let (q, k) = (config.d_queries(), config.d_keys());
        let parts = [(0, q), (q, q + k), (q + k, q + 2 * k)];
        for (point, part) in [Point::Q, Point::K, Point::V].into_iter().zip(parts) {
            self.observe(point, &mut qkv, part, hooks);
        }
        for (gain, part) in [(&self.weights.q_norm, parts[0]), (&self.weights.k_norm, parts[1])] {
            if let Some(gain) = gain {
                for row in 0..qkv.rows() {
                    let heads = qkv.row_mut(row)[part.0..part.1].chunks_exact_mut(config.d_head);
                    heads.for_each(|head| normalise_row(NormKind::Rms, config.eps, Some(gain), None, head));
                }
            }
        }
        if let Some(rope) = kind.rope.map(|r| &config.ropes[r]) {
            // Queries and keys stand side by side.
            rope.rotate(&mut qkv, (0, q + k), config.d_head, batch.places());
            self.observe(Point::RotQ, &mut qkv, parts[0], hooks);
            self.observe(Point::RotK, &mut qkv, parts[1], hooks);
        }
        let mut z = Mat::zeros(qkv.rows(), q);
        let memory = memory.map(|m| {
            m.append(self.layer, batch, &qkv, parts[1].0);
            &*m
        });
        let head = |s: usize, h: usize| {
            let (from, to) = batch.rows(s);
            let (past, d) = (batch.past(s), config.d_head);
            let kv = h / (config.heads / config.kv_heads) * d;
            let (keys, values) = match memory {
                Some(m) => {
                    let (keys, values) = m.of(self.layer, s);
                    (columns(keys, (0, past + to - from), kv, d), columns(values, (0, past + to - from), kv, d))
                }
                None => (columns(&qkv, (from, to), q + kv, d), columns(&qkv, (from, to), q + k + kv, d)),
            };
            let slope = if config.positions == Positions::Alibi { alibi_slope(h, config.heads) } else { 0.0 };
            Head { queries: columns(&qkv, (from, to), h * d, d), keys, values, past, slope }
        };
        let observed = [Point::Scores, Point::Pattern].map(|p| self.sites.has(self.site(p)));
        if observed == [false, false] {
            self.unseen(batch, head, &mut z);
        } else {
            (0..batch.sequences()).for_each(|s| self.seen(|h| head(s, h), batch.rows(s), hooks, &mut z));
        }
        if self.sites.has(self.site(Point::Z)) {
            hooks(self.site(Point::Z), &mut z);
        }
        z
    }

    /// Shows columns of `x` as a matrix of their own, and writes back what was made of it.
    fn observe(&self, point: Point, x: &mut Mat, (from, to): (usize, usize), hooks: Hooks) {
        let site = self.site(point);
        if self.sites.has(site) {
            let mut part = Mat::zeros(x.rows(), to - from);
            (0..x.rows()).for_each(|i| part.row_mut(i).copy_from_slice(&x.row(i)[from..to]));
            hooks(site, &mut part);
            (0..x.rows()).for_each(|i| x.row_mut(i)[from..to].copy_from_slice(part.row(i)));
        }
    }

    /// All heads of all sequences, each a block of queries at a time.
    fn unseen<'h>(&self, batch: &Batch, head: impl Fn(usize, usize) -> Head<'h> + Sync, z: &mut Mat) {
        let (heads, d) = (self.config.heads, self.config.d_head);
        let one = |(s, h): (usize, usize)| {
            let head = head(s, h);
            let rows = head.queries.rows;
            let mut read = vec![0.0; rows * d];
            let mut scores = Vec::new();
            for (first, read) in (0..rows).step_by(QUERIES).zip(read.chunks_mut(QUERIES * d)) {
                let last = first + read.len() / d;
                let (begin, end) = self.reach(&head, first, last);
                scores.clear();
                scores.resize((last - first) * (end - begin), 0.0);
                self.score(&head, (first, last), (begin, end), &mut scores);
                softmax_within(&mut scores, end - begin, |i| {
                    let (from, to) = self.sees(&head, first + i);
                    (from - begin, to - begin)
                });
                let pattern = View::contiguous(last - first, end - begin, &scores);
                gemm_into(1.0, pattern, part(head.values, begin, end), 0.0, read);
            }
            read
        };
        let mut keep = |(s, h): (usize, usize), read: Vec<f32>| {
            let (from, _) = batch.rows(s);
            let rows = read.chunks_exact(d).enumerate();
            rows.for_each(|(i, read)| z.row_mut(from + i)[h * d..][..d].copy_from_slice(read));
        };
        let place = |i: usize| (i / heads, i % heads);
        let all = batch.sequences() * heads;
        if batch.tokens() >= SPREAD {
            let read: Vec<Vec<f32>> = (0..all).into_par_iter().map(|i| one(place(i))).collect();
            read.into_iter().enumerate().for_each(|(i, read)| keep(place(i), read));
        } else {
            (0..all).for_each(|i| keep(place(i), one(place(i))));
        }
    }

    /// The same with all scores of the sequence in memory, shown as `[heads · queries, keys]`.
    fn seen<'h>(&self, head: impl Fn(usize) -> Head<'h>, (from, to): (usize, usize), hooks: Hooks, z: &mut Mat) {
        let (heads, rows, d) = (self.config.heads, to - from, self.config.d_head);
        let keys = head(0).keys.rows;
        let mut scores = Mat::from_fn(heads * rows, keys, |_, _| f32::NEG_INFINITY);
        for h in 0..heads {
            let of_head = &mut scores.data_mut()[h * rows * keys..(h + 1) * rows * keys];
            self.score(&head(h), (0, rows), (0, keys), of_head);
            for (i, row) in of_head.chunks_exact_mut(keys).enumerate() {
                let (from, to) = self.sees(&head(h), i);
                row[..from].fill(f32::NEG_INFINITY);
                row[to..].fill(f32::NEG_INFINITY);
            }
        }
        if self.sites.has(self.site(Point::Scores)) {
            hooks(self.site(Point::Scores), &mut scores);
        }
        softmax(scores.data_mut(), keys);
        if self.sites.has(self.site(Point::Pattern)) {
            hooks(self.site(Point::Pattern), &mut scores);
        }
        for h in 0..heads {
            let mut read = vec![0.0; rows * d];
            gemm_into(1.0, scores.rows_view(h * rows, (h + 1) * rows), head(h).values, 0.0, &mut read);
            read.chunks_exact(d)
                .enumerate()
                .for_each(|(i, read)| z.row_mut(from + i)[h * d..][..d].copy_from_slice(read));
        }
    }

    /// The first key and the one after the last that queries `first..last` may see.
    fn reach(&self, head: &Head, first: usize, last: usize) -> (usize, usize) {
        (self.sees(head, first).0, self.sees(head, last - 1).1)
    }

    /// The first key and the one after the last that a query may see.
    fn sees(&self, head: &Head, query: usize) -> (usize, usize) {
        let (keys, at) = (head.keys.rows, head.past + query);
        let end = if self.config.causal { (at + 1).min(keys) } else { keys };
        let begin = self.config.layers[self.layer].window.map_or(0, |w| (at + 1).saturating_sub(w)).min(end);
        (begin, end)
    }

    /// Scores of queries `first..last` with keys `begin..end`, those too that don't see each other.
    fn score(&self, head: &Head, (first, last): (usize, usize), (begin, end): (usize, usize), scores: &mut [f32]) {
        let kind = &self.config.layers[self.layer];
        gemm_into(kind.scale, part(head.queries, first, last), part(head.keys, begin, end).t(), 0.0, scores);
        if let Some(cap) = self.config.score_cap {
            soft_cap(cap, scores);
        }
        if head.slope != 0.0 {
            for row in scores.chunks_exact_mut(end - begin) {
                row.iter_mut().enumerate().for_each(|(j, s)| *s += head.slope * (begin + j) as f32);
            }
        }
    }
}

/// A head's slope: a power of two for powers of two, and every other one of the next power's for the heads beyond (Press et al. 2022).
pub(super) fn alibi_slope(head: usize, heads: usize) -> f32 {
    let whole = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    if head < whole {
        (-8.0 * (head + 1) as f32 / whole as f32).exp2()
    } else {
        (-8.0 * (2 * (head - whole) + 1) as f32 / (2 * whole) as f32).exp2()
    }
}

/// Rows `from..to` of columns `first..first + width`.
fn columns(m: &Mat, (from, to): (usize, usize), first: usize, width: usize) -> View<'_> {
    let all = m.rows_view(from, to);
    View { data: &all.data[first.min(all.data.len())..], cols: width, ..all }
}

fn part(v: View, from: usize, to: usize) -> View {
    View { data: &v.data[(from * v.row_stride).min(v.data.len())..], rows: to - from, ..v }
}
