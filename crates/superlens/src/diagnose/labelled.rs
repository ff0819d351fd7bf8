//! What labels tell: are concepts read linearly, by products, or only from rows that were seen? Which of them share a direction?
//!
//! Every number is measured on rows that nothing was fitted to, split by blocks of consecutive rows, unless it says otherwise.

mod cut;
mod explained;
mod reading;
mod sharing;
#[cfg(test)]
mod tests;

use crate::probes::{Ridge, r2};
use cut::{Clusters, Cut};
use sharing::Directions;
use superlens_tensor::{Mat, Rng};

/// What is given.
pub(super) struct Labelled<'a> {
    /// Live columns, raw `[rows, d]`, in the order of the input.
    pub x: &'a Mat,
    /// The same rows, white `[rows, rank]`.
    pub white: &'a Mat,
    /// `[rows, concepts]`: zeros and ones, or real numbers; told apart by column.
    pub labels: &'a Mat,
    pub rng: &'a Rng,
}

/// Two concepts that lie along nearly the same line of neurons.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SharedPair {
    /// Columns of the labels, `a < b`.
    pub a: usize,
    pub b: usize,
    /// Cosine of their directions; negative where one adds what the other takes away.
    pub cos: f64,
    /// Correlation of their labels: φ where both are binary.
    pub phi: f64,
    /// Whether the labels are different enough to give each its own direction. Where not, `cos` is that of the differences of means, which
    /// says little: such concepts always come together.
    pub separable: bool,
}

/// What labels tell.
#[derive(Clone, Debug)]
pub(super) struct LabelEvidence {
    /// Whether every label is zero or one.
    pub binary: bool,
    /// Usable concepts: both classes with [`LEAST`] rows among those fitted and those held out. A real label makes classes at its median.
    pub concepts: usize,
    /// Their columns.
    pub columns: Vec<usize>,
    /// Mean AUC over concepts of a linear probe. 0.5, like the other AUCs, where there is no usable concept.
    pub linear_auc: f64,
    /// The same of a probe with products, over at most [`TESTED`] concepts.
    pub quadratic_auc: f64,
    /// The same by the nearest rows.
    pub nearest_auc: f64,
    /// Mean over those concepts of how far the better of the two is above the linear probe.
    pub gap: f64,
    /// Share of them where that is above [`GAP`].
    pub gap_share: f64,
    /// The same gap with labels permuted by block, over fewer concepts and so somewhat wider.
    pub gap_null: Vec<f64>,
    /// AUC of the better non-linear probe on clusters of rows that it never saw.
    pub unseen_auc: f64,
    /// The same where each cluster is split within.
    pub seen_auc: f64,
    /// How much of the variance of the neurons (each weighed alike) products of labels explain beyond the labels.
    pub interactions: f64,
    /// The same on unseen clusters of rows. Products of labels remember items that come again and again; those of a law hold here too.
    pub interactions_unseen: f64,
    /// Share of the variance of the neurons that labels explain linearly.
    pub linear_r2: f64,
    /// Of each neuron: the share of its variance that labels explain linearly, and how much variance each usable concept brings.
    pub carried: Vec<(f64, Vec<f64>)>,
    /// Share that a smooth function of the labels explains; 0 unless some label is real.
    pub latents_r2: f64,
    /// Concepts that are read linearly: AUC, or R² of a real one, from [`DECODABLE_AUC`] and [`DECODABLE_R2`].
    pub decodable: usize,
    /// Dimensions that the directions of those span.
    pub decodable_rank: usize,
    /// Usable concepts whose direction is more than noise. Alignment and pairs are of these.
    pub directed: usize,
    /// Mean share of such a direction in its strongest neuron; 0, like its null, without any.
    pub alignment: f64,
    /// The same after Haar rotations.
    pub alignment_null: f64,
    /// Pairs of those concepts with |cos| above [`SHARED`], the nearest first.
    pub pairs: Vec<SharedPair>,
    /// Share of the usable concepts that are in such a pair.
    pub shared_fraction: f64,
    /// Share that are in such a pair with a positive cosine: antipodal pairs, which superposition makes, are left out.
    pub same_sided_fraction: f64,
    /// Median size of the correlation of the labels over those pairs; 0 without pairs.
    pub shared_phi: f64,
    /// Usable concepts that are present in a row, on average.
    pub coactive: f64,
}

/// Rows of each class that a concept needs among those fitted and those held out.
pub(super) const LEAST: usize = 20;
/// Concepts that are given to non-linear probes, evenly chosen: each costs hundreds of features.
pub(super) const TESTED: usize = 40;
pub(super) const GAP: f64 = 0.12;
pub(super) const SHARED: f64 = 0.85;
pub(super) const DECODABLE_AUC: f64 = 0.9;
pub(super) const DECODABLE_R2: f64 = 0.8;

/// Usable concepts.
struct Concepts {
    /// Their columns among all labels.
    columns: Vec<usize>,
    /// Those columns `[rows, concepts]`.
    labels: Mat,
    /// Zeros and ones: binary labels as they are, real ones above their median.
    classes: Mat,
    /// Which are real.
    real: Vec<bool>,
}

/// Runs of consecutive rows that are fitted to or held out.
const RUNS: usize = 20;
/// Penalty where real labels are read from white coordinates.
const READING_RIDGE: f64 = 1e-3;

/// What the labels tell. Rows in the order of the input, 8,000 or so. Panics where numbers of rows differ.
///
/// The same input gives the same bytes on any number of threads.
pub(super) fn evidence(given: &Labelled) -> LabelEvidence {
    let Labelled { x, white, labels, rng } = *given;
    assert!(x.rows() == white.rows() && x.rows() == labels.rows(), "rows of activations and labels");
    let cut = cut::by_run(&(0..x.rows()).collect::<Vec<_>>(), RUNS);
    let concepts = usable(labels, &cut);
    let count = concepts.columns.len();

    let linear = reading::linear(white, &concepts.classes, &cut);
    let read = reading::read(white, &concepts, &linear, &cut, rng);
    let (gap, gap_share) = read.gap();
    let clusters = Clusters::new(white, rng);
    let (unseen_auc, seen_auc) = reading::lookup(white, &concepts, &clusters, rng);

    let any_real = concepts.real.contains(&true);
    let explained = explained::explained(x, &concepts.labels, any_real, &cut, rng);
    let interactions_unseen = explained::interactions(x, &concepts.labels, any_real, &clusters.unseen[0]);

    let directions = Directions::new(x, &concepts.labels);
    let decodable = decodable(white, &concepts, &linear, &cut);
    let (alignment, alignment_null) = directions.alignment(rng);
    let pairs = directions.pairs(&concepts);
    let present = concepts.classes.data().iter().fold(0.0, |sum, v| sum + f64::from(*v));
    LabelEvidence {
        binary: labels.data().iter().all(|v| *v == 0.0 || *v == 1.0),
        concepts: count,
        linear_auc: reading::mean(&linear, 0.5),
        quadratic_auc: reading::mean(&read.quadratic, 0.5),
        nearest_auc: reading::mean(&read.nearest, 0.5),
        gap,
        gap_share,
        gap_null: reading::gap_null(white, &concepts, &cut, rng),
        unseen_auc,
        seen_auc,
        interactions: explained.products - explained.linear,
        interactions_unseen,
        linear_r2: explained.linear,
        carried: explained::carried(x, &concepts.labels, &cut),
        latents_r2: explained.smooth.unwrap_or(0.0),
        decodable: decodable.len(),
        decodable_rank: directions.rank(&decodable).min(white.cols()),
        directed: directions.told.len(),
        alignment,
        alignment_null,
        shared_fraction: sharing::fraction(&pairs, count, |_| true),
        same_sided_fraction: sharing::fraction(&pairs, count, |p| p.cos > 0.0),
        shared_phi: sharing::median_phi(&pairs),
        coactive: present / x.rows().max(1) as f64,
        columns: concepts.columns,
        pairs,
    }
}

/// Concepts with enough rows of both classes, and real ones that vary, on both sides of the cut.
fn usable(labels: &Mat, cut: &Cut) -> Concepts {
    let mut concepts =
        Concepts { columns: Vec::new(), labels: Mat::default(), classes: Mat::default(), real: Vec::new() };
    let mut bounds = Vec::new();
    for c in 0..labels.cols() {
        let column: Vec<f32> = (0..labels.rows()).map(|i| labels[(i, c)]).collect();
        let real = column.iter().any(|v| *v != 0.0 && *v != 1.0);
        let enough = |rows: &[usize]| {
            let positive = rows.iter().filter(|&&i| column[i] == 1.0).count();
            let varies = rows.iter().any(|&i| column[i] != column[rows[0]]);
            if real { varies } else { positive.min(rows.len() - positive) >= LEAST }
        };
        if enough(&cut.train) && enough(&cut.test) {
            let mut sorted = column;
            sorted.sort_unstable_by(f32::total_cmp);
            concepts.columns.push(c);
            concepts.real.push(real);
            bounds.push(if real { sorted[sorted.len() / 2] } else { 0.5 });
        }
    }
    concepts.labels = labels.select_cols(&concepts.columns);
    concepts.classes = Mat::from_fn(labels.rows(), bounds.len(), |i, c| f32::from(concepts.labels[(i, c)] > bounds[c]));
    concepts
}

/// Which of the usable concepts are read linearly.
fn decodable(white: &Mat, concepts: &Concepts, linear: &[Option<f64>], cut: &Cut) -> Vec<usize> {
    let real: Vec<usize> = (0..linear.len()).filter(|&c| concepts.real[c]).collect();
    let labels = concepts.labels.select_cols(&real);
    let fit = Ridge::fit(&white.select_rows(&cut.train), &labels.select_rows(&cut.train), READING_RIDGE);
    let told = r2(&fit.predict(&white.select_rows(&cut.test)), &labels.select_rows(&cut.test));
    let mut real_told = told.into_iter();
    (0..linear.len())
        .filter(|&c| {
            if concepts.real[c] {
                real_told.next().flatten().is_some_and(|r| r >= DECODABLE_R2)
            } else {
                linear[c].is_some_and(|a| a >= DECODABLE_AUC)
            }
        })
        .collect()
}
