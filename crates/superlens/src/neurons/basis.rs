//! Are neurons easier to interpret than random directions? (Szegedy et al. 2013, *Intriguing properties of neural networks*.)
//!
//! Any score of single units is put to the neurons and to as many random directions of the same layer. Where features lie along neurons, neurons
//! score higher; where the layer is rotated, neurons are themselves as good as random. In superposition they can do either: this tells of the basis,
//! not of superposition.

use rayon::prelude::*;
use superlens_tensor::{Mat, Rng};

use super::Units;
use crate::probes::column_aucs;

/// Draws of the interval.
const DRAWS: usize = 1000;
/// Rows that a token has at least.
const LEAST: f64 = 10.0;

/// What is known of the rows beside the activations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// `[rows, concepts]`, zeros and ones.
    pub labels: Option<&'a Mat>,
    /// A number for the token of each row, and how many tokens there are.
    pub tokens: Option<(&'a [u32], usize)>,
}

/// A way to say how interpretable a unit is, from what it gives on each row.
#[derive(Clone, Copy)]
pub struct Score {
    pub id: &'static str,
    pub about: &'static str,
    /// Scores of the columns of `[rows, units]`; `None` where what it needs is not known.
    of: fn(&Mat, Known<'_>) -> Option<Vec<f64>>,
}

/// All scores.
pub const SCORES: [Score; 3] = [
    Score { id: "kurtosis", about: "how heavy the tails of its values are: 3 for a sum of many things", of: kurtosis },
    Score {
        id: "concept",
        about: "how well its value alone tells rows with the best of the labels from others: |2 AUC − 1|",
        of: concept,
    },
    Score { id: "token", about: "share of its variance that one token explains, whichever explains most", of: token },
];

/// One score over neurons and over random directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    pub id: &'static str,
    pub about: &'static str,
    pub neurons: Vec<f64>,
    pub random: Vec<f64>,
    /// Probability that a neuron scores above a random direction, less that of the opposite (Cliff's delta): 0 where they are alike, 1 where all
    /// neurons are above.
    pub effect: f64,
    /// 90 % interval, by drawing neurons and directions again.
    pub low: f64,
    pub high: f64,
}

/// All scores that can be made for rows `x` `[rows, d]`, beside `n` random directions. Constant columns are no neurons here. Panics on labels or
/// tokens of other rows.
pub fn compare(x: &Mat, known: Known<'_>, n: usize, seed: u64) -> Vec<Compared> {
    let rng = Rng::new(seed).fork("basis against random");
    let live: Vec<usize> = (0..x.cols()).filter(|&j| (1..x.rows()).any(|i| x[(i, j)] != x[(0, j)])).collect();
    let neurons = x.select_cols(&live);
    let random = Units::random(n, x.cols(), &rng).values(x);
    let made = SCORES.iter().filter_map(|score| {
        let (neurons, random) = ((score.of)(&neurons, known)?, (score.of)(&random, known)?);
        let (low, high) = interval(&neurons, &random, &rng.fork(score.id));
        Some(Compared {
            id: score.id,
            about: score.about,
            effect: effect(&neurons, &random),
            low,
            high,
            neurons,
            random,
        })
    });
    made.collect()
}

/// Cliff's delta.
fn effect(a: &[f64], b: &[f64]) -> f64 {
    let mut sorted = b.to_vec();
    sorted.sort_by(f64::total_cmp);
    let one = |v: &f64| {
        let below = sorted.partition_point(|w| w < v);
        let above = sorted.len() - sorted.partition_point(|w| w <= v);
        below as f64 - above as f64
    };
    a.iter().map(one).sum::<f64>() / (a.len() * b.len()).max(1) as f64
}

fn interval(a: &[f64], b: &[f64], rng: &Rng) -> (f64, f64) {
    let one = |draw: usize| {
        let mut rng = rng.fork_index(draw as u64);
        let mut again = |x: &[f64]| (0..x.len()).map(|_| x[rng.below(x.len())]).collect::<Vec<_>>();
        let (a, b) = (again(a), again(b));
        effect(&a, &b)
    };
    if a.is_empty() || b.is_empty() {
        return (0.0, 0.0);
    }
    let mut all: Vec<f64> = (0..DRAWS).into_par_iter().map(one).collect();
    all.sort_by(f64::total_cmp);
    (all[DRAWS / 20], all[DRAWS - 1 - DRAWS / 20])
}

fn columns<T: Send>(values: &Mat, of: impl Fn(&[f32]) -> T + Sync) -> Vec<T> {
    let turned = values.transposed();
    (0..turned.rows()).into_par_iter().map(|j| of(turned.row(j))).collect()
}

fn kurtosis(values: &Mat, _: Known<'_>) -> Option<Vec<f64>> {
    let one = |column: &[f32]| {
        let n = column.len().max(1) as f64;
        let mean = column.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let moment = |k: i32| column.iter().map(|v| (f64::from(*v) - mean).powi(k)).sum::<f64>() / n;
        let square = moment(2);
        if square > 0.0 { moment(4) / (square * square) } else { 0.0 }
    };
    Some(columns(values, one))
}

fn concept(values: &Mat, known: Known<'_>) -> Option<Vec<f64>> {
    let labels = known.labels?;
    let mut best = vec![0.0f64; values.cols()];
    for c in 0..labels.cols() {
        let same = Mat::from_fn(labels.rows(), values.cols(), |i, _| labels[(i, c)]);
        for (best, auc) in best.iter_mut().zip(column_aucs(values, &same)) {
            *best = auc.map_or(*best, |auc| best.max((2.0 * auc - 1.0).abs()));
        }
    }
    Some(best)
}

/// The most of a unit's variance that whether the row's token is a certain one explains.
fn token(values: &Mat, known: Known<'_>) -> Option<Vec<f64>> {
    let (tokens, distinct) = known.tokens?;
    let one = |column: &[f32]| {
        let n = column.len() as f64;
        let mean = column.iter().map(|v| f64::from(*v)).sum::<f64>() / n.max(1.0);
        let mut sums = vec![(0u32, 0.0f64); distinct];
        let mut total = 0.0;
        for (v, &token) in column.iter().zip(tokens) {
            let off = f64::from(*v) - mean;
            let sum = &mut sums[token as usize];
            *sum = (sum.0 + 1, sum.1 + off);
            total += off * off;
        }
        let explained = |(count, sum): &(u32, f64)| {
            let count = f64::from(*count);
            if count < LEAST || count > n - LEAST { 0.0 } else { sum * sum * n / (count * (n - count)) }
        };
        if total > 0.0 { sums.iter().map(explained).fold(0.0, f64::max) / total } else { 0.0 }
    };
    Some(columns(values, one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::decomp::haar_rotation;

    /// Sparse features, one a neuron, and which are there.
    fn aligned(d: usize, n: usize) -> (Mat, Mat) {
        let mut rng = Rng::new(4).fork("basis test");
        let there = Mat::from_fn(n, d, |_, _| f32::from(u8::from(rng.chance(0.05))));
        let x = Mat::from_fn(n, d, |i, j| there[(i, j)] * (0.5 + rng.uniform()) + 0.05 * rng.normal());
        (x, there)
    }

    #[test]
    fn aligned_neurons_stand_out_and_rotated_ones_do_not() {
        let (x, labels) = aligned(32, 4000);
        let tokens: Vec<u32> =
            (0..4000).map(|i| (0..32).find(|&j| labels[(i, j)] > 0.0).map_or(32, |j| j as u32)).collect();
        let known = Known { labels: Some(&labels), tokens: Some((&tokens, 33)) };
        for score in compare(&x, known, 64, 1) {
            assert!(score.effect > 0.9 && score.low > 0.8, "{}: {} from {}", score.id, score.effect, score.low);
        }
        let mut rng = Rng::new(6);
        let rotation = haar_rotation(32, &mut rng);
        let rotation = Mat::from_fn(32, 32, |i, j| rotation[i * 32 + j] as f32);
        let turned = superlens_tensor::kernels::gemm::matmul(&x, &rotation);
        for score in compare(&turned, known, 256, 1) {
            assert!(score.effect.abs() < 0.25 && score.low < 0.0 && score.high > 0.0, "{}: {}", score.id, score.effect);
        }
    }

    #[test]
    fn effects_are_those_of_the_definition() {
        assert_eq!(effect(&[1.0, 2.0], &[0.0, 0.5]), 1.0);
        assert_eq!(effect(&[1.0], &[1.0, 1.0]), 0.0);
        assert_eq!(effect(&[0.0, 3.0], &[1.0, 2.0]), 0.0);
    }
}
