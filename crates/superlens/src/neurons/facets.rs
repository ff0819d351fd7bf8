//! Facets: how many different things make a unit respond, by what else the layer does there (after Nguyen, Yosinski and Clune 2016,
//! *Multifaceted feature visualization*).
//!
//! Examples of one facet resemble one another in the rest of the layer. They are split in two, and the parts again, as long as there is a valley
//! between: along the line through both middles, each example measured without its own share in them, the middle third holds fewer than it
//! would of one round cloud.

use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Examples that a facet has at least.
const LEAST: usize = 3;
/// Share of a normal law, cut at its middle, in the middle third between the means of its halves.
const UNSPLIT: f64 = 0.21;
/// Probability of so few in the middle at which the halves of one cloud would be taken for two.
const ALPHA: f64 = 0.02;
/// Squared distance of the middles, in variances of the parts about them, that a split must have: chance makes small ones in many dimensions.
const APART: f64 = 0.2;
/// Share of a middle's squared length that two others must explain to make it their sum, and the lesser's share of the greater.
const SUM: f64 = 0.75;
const LESSER: f64 = 0.3;
/// Ways in which a split is begun; the best is kept.
const STARTS: usize = 6;
const ROUNDS: usize = 20;

/// Which examples belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facets {
    pub count: usize,
    /// The facet of each example, numbered by size from 0, the largest first.
    pub of: Vec<usize>,
}

/// Facets among examples `[examples, d]`: what the layer does at each, the unit's own part taken out, each column in units in which its
/// size tells something. Only the direction of a row counts. One facet where there are too few to tell.
pub fn facets(rows: &Mat) -> Facets {
    let n = rows.rows();
    let alike = cosines(rows);
    let mut parts = vec![(0..n).collect::<Vec<usize>>()];
    let mut done: Vec<Vec<usize>> = Vec::new();
    while let Some(part) = parts.pop() {
        match split(&alike, &part) {
            Some((a, b)) => parts.extend([a, b]),
            None => done.push(part),
        }
    }
    let by_size = |parts: &mut Vec<Vec<usize>>| {
        parts.sort_by_key(|part| (std::cmp::Reverse(part.len()), part.first().copied()));
    };
    by_size(&mut done);
    while let Some((mixed, one, other)) = mixture(&alike, &done) {
        for i in std::mem::take(&mut done[mixed]) {
            let to = if mean(&alike, i, &done[one]) >= mean(&alike, i, &done[other]) { one } else { other };
            done[to].push(i);
        }
        done.remove(mixed);
        done.iter_mut().for_each(|part| part.sort_unstable());
        by_size(&mut done);
    }
    let mut of = vec![0; n];
    for (f, part) in done.iter().enumerate() {
        part.iter().for_each(|&i| of[i] = f);
    }
    Facets { count: done.len().max(1), of }
}

/// How alike an example and a part are, the example itself left out.
fn mean(alike: &Mat, i: usize, part: &[usize]) -> f64 {
    let others = part.iter().filter(|j| **j != i);
    let n = others.clone().count().max(1) as f64;
    others.map(|&j| f64::from(alike[(i, j)])).sum::<f64>() / n
}

/// The smallest part whose middle is a sum of those of two others, and these: where both happen at once is no third thing.
fn mixture(alike: &Mat, parts: &[Vec<usize>]) -> Option<(usize, usize, usize)> {
    let product =
        |a: usize, b: usize| parts[a].iter().map(|&i| mean(alike, i, &parts[b])).sum::<f64>() / parts[a].len() as f64;
    let n = parts.len();
    let gram: Vec<Vec<f64>> = (0..n).map(|a| (0..n).map(|b| product(a, b)).collect()).collect();
    let sum_of = |c: usize, a: usize, b: usize| {
        let det = gram[a][a] * gram[b][b] - gram[a][b] * gram[a][b];
        if det <= 0.0 || gram[c][c] <= 0.0 {
            return false;
        }
        let along_a = (gram[c][a] * gram[b][b] - gram[c][b] * gram[a][b]) / det;
        let along_b = (gram[c][b] * gram[a][a] - gram[c][a] * gram[a][b]) / det;
        let explained = (along_a * gram[c][a] + along_b * gram[c][b]) / gram[c][c];
        along_a.min(along_b) >= LESSER * along_a.max(along_b) && explained >= SUM
    };
    let pairs =
        |c: usize| (0..n).flat_map(move |a| (a + 1..n).map(move |b| (a, b))).filter(move |(a, b)| *a != c && *b != c);
    (0..n).rev().find_map(|c| pairs(c).find(|&(a, b)| sum_of(c, a, b)).map(|(a, b)| (c, a, b)))
}

/// Cosines of all pairs of rows; a row of zeros has none with any.
fn cosines(rows: &Mat) -> Mat {
    let mut unit = rows.clone();
    for row in unit.data_mut().chunks_mut(rows.cols().max(1)) {
        let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        }
    }
    matmul(&unit, unit.t())
}

/// The two halves of a part, if there is a valley between them.
fn split(alike: &Mat, part: &[usize]) -> Option<(Vec<usize>, Vec<usize>)> {
    if part.len() < 2 * LEAST {
        return None;
    }
    let mut rng = Rng::new(0).fork("facets").fork_index(part.len() as u64);
    let mut begins = vec![farthest(alike, part)];
    begins.extend((1..STARTS).map(|_| (part[rng.below(part.len())], part[rng.below(part.len())])));
    let tried = begins.into_iter().filter(|(a, b)| a != b).map(|(a, b)| halves(alike, part, a, b));
    let best = tried
        .filter(|side| LEAST <= side.iter().filter(|s| **s).count() && LEAST <= side.iter().filter(|s| !**s).count());
    let side = best.max_by(|a, b| within(alike, part, a).total_cmp(&within(alike, part, b)))?;
    let there = |s: bool| part.iter().zip(&side).filter(|(_, of)| **of == s).map(|(i, _)| *i).collect::<Vec<_>>();
    let (a, b) = (there(true), there(false));
    valley(alike, &a, &b).then_some((a, b))
}

/// The two examples that are least alike.
fn farthest(alike: &Mat, part: &[usize]) -> (usize, usize) {
    let pairs = part.iter().enumerate().flat_map(|(k, &i)| part[k + 1..].iter().map(move |&j| (i, j)));
    pairs.min_by(|p, q| alike[*p].total_cmp(&alike[*q])).unwrap_or((0, 0))
}

/// Two means of directions (Dhillon and Modha 2001), begun at two examples.
fn halves(alike: &Mat, part: &[usize], a: usize, b: usize) -> Vec<bool> {
    let mut side: Vec<bool> = part.iter().map(|&i| alike[(i, a)] > alike[(i, b)]).collect();
    for _ in 0..ROUNDS {
        let sums = |i: usize| {
            let mut to = [0.0f64; 2];
            part.iter().zip(&side).for_each(|(&j, s)| to[usize::from(*s)] += f64::from(alike[(i, j)]));
            to
        };
        // The length of a sum of unit vectors, squared.
        let own = part.iter().zip(&side).fold([0.0f64; 2], |mut length, (&i, s)| {
            length[usize::from(*s)] += sums(i)[usize::from(*s)];
            length
        });
        let nearer = |&i: &usize| {
            let [no, yes] = sums(i);
            yes / own[1].max(1e-12).sqrt() > no / own[0].max(1e-12).sqrt()
        };
        let next: Vec<bool> = part.iter().map(nearer).collect();
        if next == side {
            break;
        }
        side = next;
    }
    side
}

/// How alike the members of each half are, summed over examples.
fn within(alike: &Mat, part: &[usize], side: &[bool]) -> f64 {
    let half = |s: bool| {
        let members: Vec<usize> = part.iter().zip(side).filter(|(_, of)| **of == s).map(|(i, _)| *i).collect();
        let sum: f64 = members.iter().flat_map(|&i| members.iter().map(move |&j| f64::from(alike[(i, j)]))).sum();
        sum / members.len().max(1) as f64
    };
    half(true) + half(false)
}

/// Whether fewer examples lie between two halves than of one round cloud.
fn valley(alike: &Mat, a: &[usize], b: &[usize]) -> bool {
    let sum = |i: usize, of: &[usize]| of.iter().filter(|j| **j != i).map(|&j| f64::from(alike[(i, j)])).sum::<f64>();
    // Squared lengths of the middles without what each example has in common with itself, so that noise doesn't lengthen them.
    let length = |of: &[usize]| {
        let pairs: f64 = of.iter().map(|&i| sum(i, of)).sum();
        pairs / (of.len() * (of.len() - 1)) as f64
    };
    let (na, nb) = (a.len() as f64, b.len() as f64);
    let between = a.iter().map(|&i| sum(i, b)).sum::<f64>() / (na * nb);
    let (la, lb) = (length(a), length(b));
    let apart = la + lb - 2.0 * between;
    let scatter = (na * (1.0 - la) + nb * (1.0 - lb)) / (na + nb);
    // A half whose members resemble the other half more than one another is only what strays from it.
    if la.min(lb) <= between || apart <= APART * scatter.max(0.0) || apart <= 1e-9 {
        return false;
    }
    // Without example i the middle of its half is another, and so is its length.
    let place = |i: usize, own: &[usize], other: &[usize], l_own: f64, l_other: f64| {
        let n = own.len() as f64;
        let to_own = sum(i, own) / (n - 1.0);
        let rest =
            if own.len() > 2 { (l_own * n * (n - 1.0) - 2.0 * sum(i, own)) / ((n - 1.0) * (n - 2.0)) } else { l_own };
        (2.0 * (to_own - sum(i, other) / other.len() as f64) - rest + l_other) / apart
    };
    let off = a.iter().filter(|&&i| place(i, a, b, la, lb) < 1.0 / 3.0).count()
        + b.iter().filter(|&&i| place(i, b, a, lb, la) < 1.0 / 3.0).count();
    at_most(off, a.len() + b.len(), UNSPLIT) < ALPHA
}

/// Probability of `k` or fewer of `n`, each with probability `p`.
pub(super) fn at_most(k: usize, n: usize, p: f64) -> f64 {
    let mut term = (1.0 - p).powi(n as i32);
    let mut sum = term;
    for i in 0..k.min(n) {
        term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
        sum += term;
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `q` directions in `d` dimensions, `n` examples each along one with noise of `noise` a coordinate, and sizes that vary.
    fn planted(q: usize, d: usize, n: usize, noise: f32, seed: u64) -> (Mat, Vec<usize>) {
        let mut rng = Rng::new(seed).fork("facets test");
        let directions = Mat::from_fn(q, d, |_, _| rng.normal() / (d as f32).sqrt());
        let which: Vec<usize> = (0..n).map(|_| rng.below(q)).collect();
        let sizes: Vec<f32> = (0..n).map(|_| 0.5 + rng.uniform()).collect();
        let noise = noise / (d as f32).sqrt();
        let rows = Mat::from_fn(n, d, |i, j| sizes[i] * directions[(which[i], j)] + noise * rng.normal());
        (rows, which)
    }

    #[test]
    fn planted_facets_are_counted() {
        let (mut exact, mut near, mut all) = (0, 0, 0);
        for (q, d) in [(1, 64), (2, 64), (3, 128), (4, 32), (5, 64), (1, 16), (2, 256), (6, 128)] {
            for seed in 0..10 {
                let (rows, which) = planted(q, d, 72, 0.6, seed);
                let found = facets(&rows);
                all += 1;
                exact += usize::from(found.count == q);
                near += usize::from(found.count.abs_diff(q) <= 1);
                if found.count == q {
                    let apart = (0..72).any(|i| (0..i).any(|j| (which[i] == which[j]) != (found.of[i] == found.of[j])));
                    assert!(q > 4 || !apart || seed > 0, "facets of the right number but other members");
                }
            }
        }
        assert!(exact * 100 >= 80 * all, "{exact} of {all} exact");
        assert!(near * 100 >= 95 * all, "{near} of {all} within one");
    }

    #[test]
    fn one_cloud_is_one_facet() {
        // In three dimensions more are: docs/neurons.md says how many.
        for (d, noise) in [(8, 1.0), (16, 1.0), (64, 2.0), (1000, 30.0)] {
            let many = (0..40).filter(|&seed| facets(&planted(1, d, 60, noise, seed).0).count > 1).count();
            assert!(many <= 4, "{many} of 40 clouds in {d} dimensions were split");
        }
        assert_eq!(facets(&Mat::zeros(10, 4)).count, 1);
        assert_eq!(facets(&Mat::zeros(0, 4)).count, 1);
        assert_eq!(facets(&Mat::from_fn(2, 2, |i, j| f32::from(u8::from(i == j)))).count, 1);
    }
}
