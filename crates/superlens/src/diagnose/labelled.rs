//! What labels tell: are concepts read linearly, by products, or only from rows that were seen? Which of them share a direction?
//!
//! Every number is measured on rows that nothing was fitted to, split by blocks of consecutive rows, unless it says otherwise.

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
    /// Share of the variance of the neurons that labels explain linearly.
    pub linear_r2: f64,
    /// Share that a smooth function of the labels explains; 0 unless some label is real.
    pub latents_r2: f64,
    /// Concepts that are read linearly: AUC, or R² of a real one, from [`DECODABLE_AUC`] and [`DECODABLE_R2`].
    pub decodable: usize,
    /// Dimensions that the directions of those span.
    pub decodable_rank: usize,
    /// `[concepts, d]`: what each usable concept adds to the neurons, by least squares on all of them.
    pub directions: Mat,
    /// Mean share of a usable direction in its strongest neuron.
    pub alignment: f64,
    /// The same after Haar rotations.
    pub alignment_null: f64,
    /// Pairs of usable concepts with |cos| above [`SHARED`], the nearest first.
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

/// What the labels tell. Rows in the order of the input, 8,000 or so. Panics where numbers of rows differ.
pub(super) fn evidence(given: &Labelled) -> LabelEvidence {
    let _ = (given.x, given.white, given.labels, given.rng);
    unimplemented!()
}
