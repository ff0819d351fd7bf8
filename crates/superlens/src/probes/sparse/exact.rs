//! The best support of a given size, found by branch and bound and proven.
//!
//! The objective is that of best subset selection on standardised units and label, the label's two values brought to mean 0 and variance 1:
//!
//! ```text
//! f(S) = min over w of  (1/n) Σ (t_i − w·z_i)² + λ |w|²  =  1 − c_Sᵀ (G_SS + λ)⁻¹ c_S
//! ```
//!
//! with `G` the correlations among the units and `c` those with the label. Its `w` is the direction of Fisher's discriminant of the units in
//! `S` (with ridge). What is subtracted, the gain, only grows with `S`, so that the gain of a superset bounds that of each of its subsets
//! (Furnival and Wilson 1974, *Regressions by leaps and bounds*). Where many units are left that bound says little; there the gain of `r`
//! more units is bounded by the sum of the `r` largest `b_j² / m_j`: `b` is what is left of `c`, and the diagonal `m` lies below
//! every matrix `G_SS + λ` of the size in question, by its least eigenvalue or row by row (Gershgorin). Schur complements keep that order.

use rayon::prelude::*;
use serde::Serialize;
use superlens_tensor::decomp::sym_eigen;

use crate::probes::Factor;

/// `λ`.
pub const RIDGE: f64 = 1e-3;
/// The largest support that is searched for.
pub const MOST: usize = 12;
/// Units up to which the least eigenvalue is computed.
const EIGEN: usize = 512;
/// Units up to which the gain of all that are left is computed as a bound, at every step and at the head of a node.
const JOINT: usize = 24;
const JOINT_AT_HEAD: usize = 96;
/// What two gains may differ by and be the same.
const EQUAL: f64 = 1e-12;

/// Correlations among units.
#[derive(Clone, Debug)]
pub struct Gram {
    values: Vec<f64>,
    d: usize,
    /// Units that vary.
    units: Vec<usize>,
    /// Below the least eigenvalue of `G` of the units that vary; 0 where not computed.
    least: f64,
    /// `[d · (MOST − 1)]`: of every row the largest sizes off the diagonal, descending.
    largest: Vec<f64>,
}

impl Gram {
    /// Of `values` `[d · d]`, row after row; zeros at units that do not vary. Panics on another number of them.
    pub fn new(values: Vec<f64>, d: usize) -> Gram {
        assert_eq!(values.len(), d * d, "correlations of {d} units from {} numbers", values.len());
        let units: Vec<usize> = (0..d).filter(|&j| values[j * d + j] > 0.0).collect();
        let n = units.len();
        let least = if n > 0 && n <= EIGEN {
            let inner: Vec<f64> = (0..n * n).map(|ij| values[units[ij / n] * d + units[ij % n]]).collect();
            sym_eigen(&inner, n).and_then(|e| e.values.last().copied()).map_or(0.0, |v| (v - 1e-9).max(0.0))
        } else {
            0.0
        };
        let mut largest = vec![0.0; d * (MOST - 1)];
        largest.par_chunks_mut(MOST - 1).enumerate().for_each(|(i, top)| {
            for j in (0..d).filter(|&j| j != i) {
                let size = values[i * d + j].abs();
                if size > top[MOST - 2] {
                    let at = top.partition_point(|t| *t >= size);
                    top[at..].rotate_right(1);
                    top[at] = size;
                }
            }
        });
        Gram { values, d, units, least, largest }
    }

    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.d + j]
    }

    /// `c_Sᵀ (G_SS + λ)⁻¹ c_S`.
    pub fn gain(&self, cross: &[f64], support: &[usize]) -> f64 {
        let k = support.len();
        let a = (0..k * k).map(|ij| self.at(support[ij / k], support[ij % k]) + ridge(ij / k == ij % k));
        joint(a.collect(), &support.iter().map(|&j| cross[j]).collect::<Vec<_>>())
    }

    /// `1 / m` of every unit, for supports of size `k`: whichever bound is the better one for these correlations with the label.
    fn inverse_floor(&self, cross: &[f64], k: usize) -> Vec<f64> {
        let even = vec![1.0 / (self.least + RIDGE); self.d];
        let row = |j: usize| {
            let off: f64 = self.largest[j * (MOST - 1)..][..k - 1].iter().sum();
            let floor = self.at(j, j) + RIDGE - off;
            if floor > RIDGE { 1.0 / floor } else { f64::INFINITY }
        };
        let rows: Vec<f64> = (0..self.d).map(row).collect();
        let bound = |inverse: &[f64]| {
            let mut values: Vec<f64> = self.units.iter().map(|&j| weighed(cross[j], inverse[j])).collect();
            values.sort_unstable_by(|a, b| b.total_cmp(a));
            values[..k].iter().sum::<f64>()
        };
        if bound(&rows) < bound(&even) { rows } else { even }
    }
}

fn ridge(on_diagonal: bool) -> f64 {
    if on_diagonal { RIDGE } else { 0.0 }
}

fn weighed(b: f64, inverse: f64) -> f64 {
    if b == 0.0 { 0.0 } else { b * b * inverse }
}

/// `bᵀ A⁻¹ b`.
fn joint(a: Vec<f64>, b: &[f64]) -> f64 {
    let mut solved = b.to_vec();
    Factor::new(a, b.len()).solve(&mut solved, 1);
    b.iter().zip(&solved).map(|(b, s)| b * s).sum()
}

/// What the search found, and how far it is from proven.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certificate {
    pub k: usize,
    /// Ascending.
    pub support: Vec<usize>,
    /// `f` of it: the share of the label's variance that is left, with the penalty.
    pub objective: f64,
    /// No support of this size has less.
    pub lower_bound: f64,
    /// `objective − lower_bound`.
    pub gap: f64,
    /// `f` of the best support that the search started from.
    pub start: f64,
    pub nodes: u64,
    /// Whether every other support is excluded; otherwise the search stopped at its limit of nodes.
    pub proven: bool,
}

/// The support of size `k` with the least objective. `cross` `[units]` are correlations with the label; the search begins with the best of
/// `starts` and of forward selection, and stops at `limit` nodes.
///
/// `None` where fewer than `k` units vary, or `k` is 0 or more than [`MOST`].
pub fn search(gram: &Gram, cross: &[f64], k: usize, starts: &[Vec<usize>], limit: u64) -> Option<Certificate> {
    if k == 0 || k > MOST || gram.units.len() < k {
        return None;
    }
    let mut walk = Walk {
        gram,
        inverse: gram.inverse_floor(cross, k),
        k,
        limit,
        nodes: 0,
        best: f64::NEG_INFINITY,
        support: Vec::new(),
        open: f64::NEG_INFINITY,
        chosen: Vec::new(),
        stopped: false,
    };
    let greedy = walk.forward(cross);
    for start in starts.iter().chain([&greedy]).filter(|s| s.len() == k) {
        walk.hear(gram.gain(cross, start), start);
    }
    let start = walk.best;
    let at = |&j: &usize| Left { unit: j, b: cross[j], a: gram.at(j, j) + RIDGE, along: Vec::new() };
    let left: Vec<Left> = gram.units.iter().map(at).collect();
    walk.visit(0.0, left);
    let mut support = walk.support.clone();
    support.sort_unstable();
    // Of a search that was stopped early the sum of single bounds may be more than all units gain, or than there is.
    let most = if gram.units.len() <= EIGEN { gram.gain(cross, &gram.units).min(1.0) } else { 1.0 };
    let bound = walk.best.max(walk.open.min(most));
    Some(Certificate {
        k,
        support,
        objective: 1.0 - walk.best,
        lower_bound: 1.0 - bound,
        gap: bound - walk.best,
        start: 1.0 - start,
        nodes: walk.nodes,
        proven: !walk.stopped,
    })
}

/// A unit that may still be chosen, less what the chosen ones say.
struct Left {
    unit: usize,
    /// What is left of its correlation with the label, and of its variance.
    b: f64,
    a: f64,
    /// Its row of Cholesky's factor.
    along: Vec<f64>,
}

impl Left {
    /// Its entry of Cholesky's factor in the column of `pivot`, which has been chosen, and what is then left of `b` and `a`.
    fn less(&self, pivot: &Left, gram: &Gram) -> (f64, f64, f64) {
        let shared: f64 = self.along.iter().zip(&pivot.along).map(|(x, y)| x * y).sum();
        let root = pivot.a.max(RIDGE).sqrt();
        let by = (gram.at(self.unit, pivot.unit) - shared) / root;
        (by, self.b - by * pivot.b / root, (self.a - by * by).max(RIDGE))
    }

    fn beside(&self, pivot: &Left, gram: &Gram) -> Left {
        let (by, b, a) = self.less(pivot, gram);
        let mut along = Vec::with_capacity(self.along.len() + 1);
        along.extend_from_slice(&self.along);
        along.push(by);
        Left { unit: self.unit, b, a, along }
    }

    fn gain(&self) -> f64 {
        self.b * self.b / self.a
    }
}

struct Walk<'a> {
    gram: &'a Gram,
    inverse: Vec<f64>,
    k: usize,
    limit: u64,
    nodes: u64,
    /// The most gain, and of what.
    best: f64,
    support: Vec<usize>,
    /// What the parts that were not searched could gain.
    open: f64,
    chosen: Vec<usize>,
    stopped: bool,
}

impl Walk<'_> {
    fn hear(&mut self, gain: f64, support: &[usize]) {
        if gain > self.best + EQUAL {
            self.best = gain;
            self.support = support.to_vec();
        }
    }

    /// One unit after the other, each time that which gains most.
    fn forward(&self, cross: &[f64]) -> Vec<usize> {
        let at = |&j: &usize| Left { unit: j, b: cross[j], a: self.gram.at(j, j) + RIDGE, along: Vec::new() };
        let mut left: Vec<Left> = self.gram.units.iter().map(at).collect();
        let mut support = Vec::with_capacity(self.k);
        while support.len() < self.k {
            let Some(most) = strongest(&left) else { break };
            let pivot = left.swap_remove(most);
            support.push(pivot.unit);
            left.iter_mut().for_each(|l| *l = l.beside(&pivot, self.gram));
        }
        support
    }

    /// All supports that hold the chosen units, which gain `gain`, and others of `left`.
    fn visit(&mut self, gain: f64, mut left: Vec<Left>) {
        self.nodes += 1;
        let more = self.k - self.chosen.len();
        if more == 1 {
            if let Some(most) = strongest(&left) {
                let support: Vec<usize> = self.chosen.iter().copied().chain([left[most].unit]).collect();
                self.hear(gain + left[most].gain(), &support);
            }
            return;
        }
        let value = |l: &Left| weighed(l.b, self.inverse[l.unit]);
        left.sort_by(|x, y| value(y).total_cmp(&value(x)).then(x.unit.cmp(&y.unit)));
        for i in 0..=left.len().saturating_sub(more) {
            let bound = gain + self.bound(&left[i..], more, i == 0);
            // What follows has fewer units to choose from.
            if left.len() - i < more || bound <= self.best + EQUAL {
                return;
            }
            if self.stopped || self.nodes >= self.limit {
                self.stopped = true;
                self.open = self.open.max(bound);
                return;
            }
            let pivot = &left[i];
            if more == 2 {
                self.pair(gain, pivot, &left[i + 1..]);
                continue;
            }
            self.chosen.push(pivot.unit);
            let next = left[i + 1..].iter().map(|l| l.beside(pivot, self.gram)).collect();
            self.visit(gain + pivot.gain(), next);
            self.chosen.pop();
        }
    }

    /// The best of `left` beside `pivot` and the chosen units, which is all that is missing.
    fn pair(&mut self, gain: f64, pivot: &Left, left: &[Left]) {
        self.nodes += 1;
        let mut most: Option<(usize, f64)> = None;
        for l in left {
            let (_, b, a) = l.less(pivot, self.gram);
            if most.is_none_or(|(_, g)| b * b / a > g) {
                most = Some((l.unit, b * b / a));
            }
        }
        if let Some((unit, more)) = most {
            let support: Vec<usize> = self.chosen.iter().copied().chain([pivot.unit, unit]).collect();
            self.hear(gain + pivot.gain() + more, &support);
        }
    }

    /// What `more` of `left`, which are in order, gain at most.
    fn bound(&self, left: &[Left], more: usize, at_head: bool) -> f64 {
        let apart: f64 = left.iter().take(more).map(|l| weighed(l.b, self.inverse[l.unit])).sum();
        let n = left.len();
        if n > if at_head { JOINT_AT_HEAD } else { JOINT } {
            return apart;
        }
        let entry = |ij: usize| {
            let (x, y) = (&left[ij / n], &left[ij % n]);
            if ij / n == ij % n {
                return x.a;
            }
            self.gram.at(x.unit, y.unit) - x.along.iter().zip(&y.along).map(|(p, q)| p * q).sum::<f64>()
        };
        let b: Vec<f64> = left.iter().map(|l| l.b).collect();
        apart.min(joint((0..n * n).map(entry).collect(), &b))
    }
}

fn strongest(left: &[Left]) -> Option<usize> {
    (0..left.len()).max_by(|&x, &y| left[x].gain().total_cmp(&left[y].gain()).then(y.cmp(&x)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    /// Correlations of `d` units that share a few causes, the last of them without variance, and those with a label.
    fn made(d: usize, seed: u64) -> (Gram, Vec<f64>) {
        let mut rng = Rng::new(seed);
        let (rows, causes) = (200, 4);
        let mix: Vec<f64> = (0..d * causes).map(|_| rng.normal_f64()).collect();
        let mut columns = vec![vec![0.0; rows]; d + 1];
        for i in 0..rows {
            let cause: Vec<f64> = (0..causes).map(|_| rng.normal_f64()).collect();
            for j in 0..d - 1 {
                let shared: f64 = (0..causes).map(|c| mix[j * causes + c] * cause[c]).sum();
                columns[j][i] = shared + rng.normal_f64();
            }
            columns[d][i] = f64::from(columns[0][i] - columns[1][i] + cause[0] + rng.normal_f64() > 0.5);
        }
        for column in &mut columns {
            let mean = column.iter().sum::<f64>() / rows as f64;
            let size = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>().sqrt().max(1e-300);
            column.iter_mut().for_each(|v| *v = (*v - mean) / size);
        }
        let dot = |a: usize, b: usize| columns[a].iter().zip(&columns[b]).map(|(x, y)| x * y).sum::<f64>();
        let gram = (0..d * d).map(|ij| dot(ij / d, ij % d)).collect();
        (Gram::new(gram, d), (0..d).map(|j| dot(j, d)).collect())
    }

    /// The most gain of all supports of `k` of `d` units.
    fn brute(gram: &Gram, cross: &[f64], k: usize) -> f64 {
        let d = cross.len();
        (0u32..1 << d)
            .filter(|set| set.count_ones() as usize == k)
            .map(|set| gram.gain(cross, &(0..d).filter(|j| set >> j & 1 == 1).collect::<Vec<_>>()))
            .fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn the_search_finds_what_brute_force_finds() {
        for (d, seed) in [(4, 1), (8, 2), (11, 3), (13, 4), (15, 5)] {
            let (gram, cross) = made(d, seed);
            for k in 1..=(d - 1).min(6) {
                let found = search(&gram, &cross, k, &[], u64::MAX).unwrap();
                let best = 1.0 - brute(&gram, &cross, k);
                assert!(found.proven && found.gap == 0.0, "{found:?}");
                assert!((found.objective - best).abs() < 1e-10, "{d} {k}: {} is not {best}", found.objective);
                assert!((1.0 - gram.gain(&cross, &found.support) - found.objective).abs() < 1e-10);
                assert!(found.objective <= found.start + 1e-12);
            }
            assert!(search(&gram, &cross, d, &[], 100).is_none(), "one of them does not vary");
        }
    }

    #[test]
    fn a_search_that_is_stopped_says_how_far_it_may_be_off() {
        for seed in 0..6 {
            let (gram, cross) = made(14, seed);
            let best = 1.0 - brute(&gram, &cross, 5);
            for limit in [1, 3, 10, 40] {
                let found = search(&gram, &cross, 5, &[], limit).unwrap();
                assert!(found.lower_bound <= best + 1e-10 && best <= found.objective + 1e-10, "{found:?}, {best}");
                assert!((found.objective - found.lower_bound - found.gap).abs() < 1e-12 && found.nodes <= limit);
            }
        }
    }

    #[test]
    fn a_start_that_is_better_is_kept() {
        let (gram, cross) = made(12, 9);
        let best = search(&gram, &cross, 4, &[], u64::MAX).unwrap();
        let kept = search(&gram, &cross, 4, std::slice::from_ref(&best.support), 1).unwrap();
        assert_eq!((kept.support, kept.objective), (best.support, best.objective));
        let bad = vec![vec![7, 8, 9, 10], vec![1]];
        assert!(search(&gram, &cross, 4, &bad, u64::MAX).unwrap().proven);
    }

    #[test]
    fn bounds_prune_where_units_hardly_correlate() {
        let d = 300;
        let mut rng = Rng::new(4);
        let mut values = vec![0.0; d * d];
        for i in 0..d {
            values[i * d + i] = 1.0;
            for j in 0..i {
                values[i * d + j] = 0.02 * rng.normal_f64();
                values[j * d + i] = values[i * d + j];
            }
        }
        let cross: Vec<f64> = (0..d).map(|j| if j < 4 { 0.4 } else { 0.03 * rng.normal_f64() }).collect();
        let found = search(&Gram::new(values, d), &cross, 4, &[], 10_000).unwrap();
        assert!(found.proven && found.support == [0, 1, 2, 3] && found.nodes < 100, "{found:?}");
    }
}
