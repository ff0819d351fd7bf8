//! The directions of concepts: which are nearly one, how many dimensions they span, and whether they lie along neurons.

use super::{Concepts, SHARED, SharedPair};
use crate::diagnose::hypotheses::{alignment_null, shares};
use crate::probes::{Ridge, r2};
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Penalty of the least squares, labels at unit variance: small, since it mixes the directions of correlated concepts.
const RIDGE: f64 = 1e-5;
/// Share of a label's variance that other labels must leave, for its direction to be told from theirs.
const OWN_VARIANCE: f64 = 0.05;
/// A concept has a direction if that holds this many times more variance than directions of noise would. Neighbours in a stream that are alike
/// make noise a few times larger.
const ABOVE_NOISE: f64 = 10.0;
/// Deviation of a neuron, as a share of the largest, below which it counts for less than the others.
const HARDLY: f64 = 0.1;
/// A dimension is in use if unit directions have this much squared length along it, were it spread evenly 1, and as many times more than
/// the noise of the directions.
const IN_USE: f64 = 1e-3;
const ABOVE_RANDOM: f64 = 1.5;
/// Rotations whose mean alignment is reported.
const ROTATIONS: u64 = 5;

/// What concepts add to the neurons.
pub(super) struct Directions {
    /// `[concepts, d]`, by least squares on all of them.
    pub rows: Mat,
    /// Concepts whose direction is more than noise.
    pub told: Vec<usize>,
    /// The same directions for neurons at unit variance, and by differences of means.
    scaled: Mat,
    means: Mat,
    /// Correlations of the labels `[concepts · concepts]`.
    correlation: Vec<f64>,
    /// Which labels leave enough to each other to be told apart.
    separable: Vec<bool>,
    /// Share of each direction's squared length that noise accounts for.
    noise: Vec<f64>,
}

impl Directions {
    /// Of the labels `[rows, concepts]` among the neurons `x` `[rows, d]`.
    pub fn new(x: &Mat, labels: &Mat) -> Directions {
        let fit = Ridge::fit(labels, x, RIDGE);
        // Of each neuron at unit variance, what labels leave; 0 of one that does not vary.
        let left: Vec<f64> = r2(&fit.predict(labels), x).into_iter().map(|r| r.map_or(0.0, |r| 1.0 - r)).collect();
        let mut scale = column_deviations(x);
        let varying = scale.iter().filter(|s| **s > 0.0).count() as f64;
        // What is left on neurons that hardly vary is not blown up to count like the others.
        let least = HARDLY * scale.iter().copied().fold(0.0, f64::max);
        scale.iter_mut().filter(|s| **s > 0.0).for_each(|s| *s = s.max(least));
        let rows = fit.weights.transposed();
        let (correlation, covariance) = correlations(x, labels);
        let (mut scaled, means) = (in_units(&rows, &scale), in_units(&covariance, &scale));
        let (n, deviation) = (labels.rows() as f64, column_deviations(labels));
        let own = own_variances(&correlation, labels.cols());
        let separable: Vec<bool> = own.iter().map(|o| *o >= OWN_VARIANCE).collect();
        let length = |m: &Mat, c: usize| m.row(c).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        // Variance of a coefficient where a neuron has nothing left to explain but unit variance.
        let variance = |c: usize| 1.0 / (n * own[c] * deviation[c].powi(2)).max(f64::MIN_POSITIVE);
        let noise: Vec<f64> = (0..labels.cols())
            .map(|c| {
                // What is noise by all signs is left out, so that a direction along few neurons is not lost among many.
                let row = scaled.row_mut(c);
                row.iter_mut().zip(&left).for_each(|(w, left)| {
                    if separable[c] && f64::from(*w).powi(2) < ABOVE_NOISE * left * variance(c) {
                        *w = 0.0;
                    }
                });
                let kept: f64 =
                    row.iter().zip(&left).filter(|(w, _)| **w != 0.0).map(|(_, left)| left * variance(c)).sum();
                let length = length(&scaled, c);
                if length > 0.0 { kept / length } else { f64::INFINITY }
            })
            .collect();
        // Of labels that can't be told apart, whether together they say anything.
        let together = |c: usize| n * length(&means, c) / deviation[c].powi(2) > ABOVE_NOISE * varying;
        let told = (0..labels.cols())
            .filter(|&c| if separable[c] { noise[c] * ABOVE_NOISE < 1.0 } else { together(c) })
            .collect();
        Directions { rows, told, scaled, means, correlation, separable, noise }
    }

    /// Pairs of concepts on nearly one line of neurons at unit variance, the nearest first.
    ///
    /// Directions by least squares, which tell correlated concepts apart. Where the other labels leave too little of a label for that, the
    /// differences of means say whether the concepts look like one, which is all that can be said of concepts that always come together.
    pub fn pairs(&self, concepts: &Concepts) -> Vec<SharedPair> {
        let (least_squares, means) = (cosines(&self.scaled), cosines(&self.means));
        let mut pairs = Vec::new();
        for (i, &a) in self.told.iter().enumerate() {
            for &b in &self.told[i + 1..] {
                let separable = self.separable[a] && self.separable[b];
                let cos = f64::from(if separable { least_squares[(a, b)] } else { means[(a, b)] });
                if cos.abs() > SHARED {
                    let phi = self.correlation[a * concepts.columns.len() + b];
                    pairs.push(SharedPair { a: concepts.columns[a], b: concepts.columns[b], cos, phi, separable });
                }
            }
        }
        pairs.sort_by(|p, q| q.cos.abs().total_cmp(&p.cos.abs()));
        pairs
    }

    /// Dimensions of the neurons at unit variance that directions of these concepts span: those where the squared singular values are above
    /// what noise in the directions makes (Marchenko and Pastur 1967).
    pub fn rank(&self, concepts: &[usize]) -> usize {
        if concepts.is_empty() {
            return 0;
        }
        let (n, d) = (concepts.len() as f64, self.scaled.cols() as f64);
        let gram = cosines(&self.scaled.select_rows(concepts));
        let gram: Vec<f64> = gram.data().iter().map(|v| f64::from(*v)).collect();
        // Directions that can't be told apart are one direction, and that one is known well.
        let known: Vec<f64> =
            concepts.iter().filter(|&&c| self.separable[c]).map(|&c| self.noise[c].min(1.0)).collect();
        let noise = known.iter().sum::<f64>() / known.len().max(1) as f64;
        let bound = IN_USE.max(ABOVE_RANDOM * noise * (n.sqrt() + d.sqrt()).powi(2) / d);
        sym_eigen(&gram, concepts.len()).map_or(0, |e| e.values.iter().filter(|v| **v > bound).count().max(1))
    }

    /// Mean share of a direction that is told in its strongest neuron, and the same after Haar rotations. 0 and 0 without any.
    pub fn alignment(&self, rng: &Rng) -> (f64, f64) {
        if self.told.is_empty() {
            return (0.0, 0.0);
        }
        let directions = self.rows.select_rows(&self.told);
        let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len().max(1) as f64;
        let stream = rng.fork("alignment of labels");
        let null = (0..ROTATIONS).map(|k| mean(alignment_null(&directions, &mut stream.fork_index(k)))).collect();
        (mean(shares(&directions)), mean(null))
    }
}

/// Standard deviation of each column.
fn column_deviations(x: &Mat) -> Vec<f64> {
    let n = x.rows().max(1) as f64;
    let mut sums = vec![(0.0f64, 0.0f64); x.cols()];
    // Differences to the first row: large means cost no digits.
    let first = x.row(0);
    for i in 0..x.rows() {
        for (s, (v, f)) in sums.iter_mut().zip(x.row(i).iter().zip(first)) {
            let v = f64::from(*v) - f64::from(*f);
            *s = (s.0 + v, s.1 + v * v);
        }
    }
    sums.iter().map(|(a, b)| (b / n - (a / n).powi(2)).max(0.0).sqrt()).collect()
}

fn in_units(directions: &Mat, scale: &[f64]) -> Mat {
    Mat::from_fn(directions.rows(), directions.cols(), |i, j| {
        if scale[j] > 0.0 { (f64::from(directions[(i, j)]) / scale[j]) as f32 } else { 0.0 }
    })
}

fn unit(directions: &Mat) -> Mat {
    let mut out = directions.clone();
    for i in 0..out.rows() {
        let length = out.row(i).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        out.row_mut(i).iter_mut().for_each(|v| *v = if length > 0.0 { (f64::from(*v) / length) as f32 } else { 0.0 });
    }
    out
}

fn cosines(directions: &Mat) -> Mat {
    let unit = unit(directions);
    matmul(&unit, unit.t())
}

/// Correlations of the labels `[concepts · concepts]`, and of each label the covariance with the neurons `[concepts, d]`, which for a binary
/// one is along the difference of means.
fn correlations(x: &Mat, labels: &Mat) -> (Vec<f64>, Mat) {
    let (n, q) = (labels.rows() as f64, labels.cols());
    let mut centred = labels.clone();
    for c in 0..q {
        let mean = (0..labels.rows()).map(|i| f64::from(labels[(i, c)])).sum::<f64>() / n;
        (0..labels.rows()).for_each(|i| centred[(i, c)] = (f64::from(labels[(i, c)]) - mean) as f32);
    }
    let products = matmul(centred.t(), &centred);
    let correlation = (0..q * q)
        .map(|ab| {
            let (a, b) = (ab / q, ab % q);
            let scale = (f64::from(products[(a, a)]) * f64::from(products[(b, b)])).sqrt();
            if scale > 0.0 { f64::from(products[(a, b)]) / scale } else { 0.0 }
        })
        .collect();
    (correlation, matmul(centred.t(), x))
}

/// Share of each label's variance that the other labels do not explain: one over its variance inflation.
fn own_variances(correlation: &[f64], q: usize) -> Vec<f64> {
    let Some(eigen) = sym_eigen(correlation, q) else { return vec![1.0; q] };
    let inverse =
        |c: usize| -> f64 { eigen.values.iter().zip(&eigen.vectors).map(|(v, u)| u[c] * u[c] / v.max(1e-6)).sum() };
    (0..q).map(|c| 1.0 / inverse(c)).collect()
}

/// Share of `count` concepts that are in a pair that `counts`.
pub(super) fn fraction(pairs: &[SharedPair], count: usize, counts: impl Fn(&SharedPair) -> bool) -> f64 {
    let mut within: Vec<usize> = pairs.iter().filter(|p| counts(p)).flat_map(|p| [p.a, p.b]).collect();
    within.sort_unstable();
    within.dedup();
    within.len() as f64 / count.max(1) as f64
}

/// Median size of the correlation of the labels.
pub(super) fn median_phi(pairs: &[SharedPair]) -> f64 {
    let mut sizes: Vec<f64> = pairs.iter().map(|p| p.phi.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.get(sizes.len() / 2).copied().unwrap_or(0.0)
}
