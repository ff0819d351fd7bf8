//! Which rows are fitted to and which are held out, and how labels are permuted.

use crate::diagnose::clusters::{centres, nearest};
use superlens_tensor::{Mat, Rng};

/// Of so many parts, one is held out.
const PARTS: usize = 5;
/// Blocks that are moved as one when labels are permuted.
const BLOCKS: usize = 50;
/// Clusters of rows for the test on unseen ones.
const CLUSTERS: usize = 60;
/// Rows that are clustered, and how often other clusters are held out.
const CLUSTERED: usize = 4000;
const FOLDS: usize = 2;
/// Rows repeat if there are this many times fewer distinct ones, and enough of these to split.
const REPEATS: usize = 4;
const LEAST_DISTINCT: usize = 10;

/// Rows that are fitted to and rows that are held out, each in ascending order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cut {
    pub train: Vec<usize>,
    pub test: Vec<usize>,
}

/// Evenly spaced entries, at most `most`.
pub(super) fn evenly(of: &[usize], most: usize) -> Vec<usize> {
    let kept = of.len().min(most);
    (0..kept).map(|i| of[i * of.len() / kept]).collect()
}

/// Runs of consecutive entries of `rows`: the middle one of each five is held out, twice over.
pub(super) fn by_run(rows: &[usize], runs: usize) -> Cut {
    let mut cut = Cut { train: Vec::new(), test: Vec::new() };
    for (i, &row) in rows.iter().enumerate() {
        let held_out = i * runs / rows.len().max(1) % PARTS == PARTS / 2;
        if held_out { &mut cut.test } else { &mut cut.train }.push(row);
    }
    cut
}

/// Cuts by clusters of rows, of at most 4,000 evenly spaced ones.
pub(super) struct Clusters {
    /// Cuts between clusters, each with others held out.
    pub unseen: Vec<Cut>,
    /// The cut within clusters.
    pub seen: Cut,
}

impl Clusters {
    /// Of the rows of `white` `[rows, rank]`.
    pub fn new(white: &Mat, rng: &Rng) -> Clusters {
        let rows = evenly(&(0..white.rows()).collect::<Vec<_>>(), CLUSTERED);
        let cluster = clusters(&white.select_rows(&rows), rng);
        let of_input = |cut: Cut| {
            let named = |at: Vec<usize>| at.into_iter().map(|i| rows[i]).collect();
            Cut { train: named(cut.train), test: named(cut.test) }
        };
        Clusters {
            unseen: (0..FOLDS).map(|fold| of_input(by_cluster(&cluster, fold, rng))).collect(),
            seen: of_input(within_clusters(&cluster)),
        }
    }
}

/// Holds out a fifth of the clusters, the `fold`-th in a random order.
fn by_cluster(cluster: &[usize], fold: usize, rng: &Rng) -> Cut {
    let count = cluster.iter().max().map_or(0, |c| c + 1);
    let mut place = vec![0; count];
    rng.fork("clusters held out").permutation(count).iter().enumerate().for_each(|(i, &c)| place[c] = i);
    let (test, train) = (0..cluster.len()).partition(|&i| place[cluster[i]] % PARTS == fold % PARTS);
    Cut { train, test }
}

/// Splits every cluster by runs of its own rows.
fn within_clusters(cluster: &[usize]) -> Cut {
    let count = cluster.iter().max().map_or(0, |c| c + 1);
    let mut members = vec![Vec::new(); count];
    cluster.iter().enumerate().for_each(|(i, &c)| members[c].push(i));
    let mut cut = Cut { train: Vec::new(), test: Vec::new() };
    for rows in &members {
        let part = by_run(rows, PARTS);
        cut.train.extend(part.train);
        cut.test.extend(part.test);
    }
    cut.train.sort_unstable();
    cut.test.sort_unstable();
    cut
}

/// The cluster of each row of `white` `[rows, rank]`: equal rows where they repeat, else by k-means.
fn clusters(white: &Mat, rng: &Rng) -> Vec<usize> {
    let distinct = distinct(white);
    let count = distinct.iter().max().map_or(0, |c| c + 1);
    if count >= LEAST_DISTINCT && count * REPEATS <= white.rows() {
        return distinct;
    }
    let centres = centres(white, CLUSTERS.min(white.rows() / 4).max(1), &mut rng.fork("k-means"));
    nearest(white, &centres)
}

/// Numbers equal rows alike, in the order of their bits.
fn distinct(x: &Mat) -> Vec<usize> {
    let bits = |i: usize| x.row(i).iter().map(|v| v.to_bits());
    let mut order: Vec<usize> = (0..x.rows()).collect();
    order.sort_by(|&a, &b| bits(a).cmp(bits(b)));
    let mut number = vec![0; x.rows()];
    for pair in order.windows(2) {
        number[pair[1]] = number[pair[0]] + usize::from(!bits(pair[0]).eq(bits(pair[1])));
    }
    number
}

/// Rows whose labels each row gets when labels are permuted: blocks of neighbours in a random order, begun at a random row. What labels
/// have in common, with one another and over time, stays.
pub(super) fn permuted(rows: usize, rng: &mut Rng) -> Vec<usize> {
    let blocks = BLOCKS.min(rows).max(1);
    let mut order: Vec<usize> = Vec::with_capacity(rows);
    for b in rng.permutation(blocks) {
        order.extend(b * rows / blocks..(b + 1) * rows / blocks);
    }
    if rows > 0 {
        order.rotate_left(rng.below(rows));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(cut: &Cut) -> Vec<usize> {
        let mut all: Vec<usize> = cut.train.iter().chain(&cut.test).copied().collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn cuts_cover_the_rows_and_clusters_stay_whole() {
        let mut rng = Rng::new(1);
        // Forty places, each with noise much smaller than the distances between them.
        let places = Mat::from_fn(40, 8, |_, _| rng.normal());
        let item: Vec<usize> = (0..2000).map(|_| rng.below(40)).collect();
        let x = Mat::from_fn(2000, 8, |i, j| places[(item[i], j)] + 0.01 * rng.normal());
        let cluster = clusters(&x, &rng);
        let unseen = by_cluster(&cluster, 0, &rng);
        let seen = within_clusters(&cluster);
        let run = by_run(&(0..2000).collect::<Vec<_>>(), 20);
        for cut in [&unseen, &seen, &run] {
            assert_eq!(sorted(cut), (0..2000).collect::<Vec<_>>());
            assert!((200..700).contains(&cut.test.len()), "{}", cut.test.len());
        }
        assert!(unseen.test.iter().all(|&i| unseen.train.iter().all(|&t| cluster[i] != cluster[t])));
        let mut order = permuted(2000, &mut rng);
        order.sort_unstable();
        assert_eq!(order, (0..2000).collect::<Vec<_>>());
    }

    #[test]
    fn equal_rows_are_one_cluster() {
        let x = Mat::from_fn(1000, 3, |i, j| ((i * 7 % 25) * (j + 1)) as f32);
        let cluster = clusters(&x, &Rng::new(2));
        assert_eq!(cluster.iter().max(), Some(&24));
        assert!((25..1000).all(|i| cluster[i] == cluster[i - 25]));
    }
}
