//! The directions of concepts: which are nearly one, how many dimensions they span, and whether they lie along neurons.

use super::{Concepts, SHARED, SharedPair};
use crate::diagnose::hypotheses::{alignment_null, shares};
use crate::probes::Ridge;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Penalty of the least squares, labels at unit variance: small, since it mixes the directions of correlated concepts.
const RIDGE: f64 = 1e-5;
/// Share of a label's variance that other labels must leave, for its direction to be told from theirs.
const OWN_VARIANCE: f64 = 0.05;
/// A dimension is in use if it has this share of the largest squared singular value of unit directions.
const IN_USE: f64 = 0.02;
/// Rotations whose mean alignment is reported.
const ROTATIONS: u64 = 5;

/// `[concepts, d]`: what each concept adds to the neurons `x` `[rows, d]`, by least squares on all of them.
pub(super) fn directions(x: &Mat, labels: &Mat) -> Mat {
    let fit = Ridge::fit(labels, x, RIDGE);
    fit.weights.transposed()
}

/// Pairs of concepts on nearly one line of neurons at unit variance, the nearest first.
///
/// Directions by least squares, which tell correlated concepts apart. Where the other labels leave too little of a label for that, the
/// differences of means say whether the concepts look like one, which is all that can be said of concepts that always come together.
pub(super) fn pairs(x: &Mat, concepts: &Concepts, directions: &Mat) -> Vec<SharedPair> {
    let count = concepts.columns.len();
    if count < 2 {
        return Vec::new();
    }
    let scale = neuron_scales(x);
    let least_squares = cosines(&scaled(directions, &scale));
    let (correlation, means) = correlations(x, &concepts.labels);
    let means = cosines(&scaled(&means, &scale));
    let own = own_variances(&correlation, count);
    let mut pairs = Vec::new();
    for a in 0..count {
        for b in a + 1..count {
            let separable = own[a] >= OWN_VARIANCE && own[b] >= OWN_VARIANCE;
            let cos = f64::from(if separable { least_squares[(a, b)] } else { means[(a, b)] });
            if cos.abs() > SHARED {
                let phi = correlation[a * count + b];
                pairs.push(SharedPair { a: concepts.columns[a], b: concepts.columns[b], cos, phi, separable });
            }
        }
    }
    pairs.sort_by(|p, q| q.cos.abs().total_cmp(&p.cos.abs()));
    pairs
}

/// Standard deviation of each column.
fn neuron_scales(x: &Mat) -> Vec<f64> {
    let n = x.rows().max(1) as f64;
    let mut sums = vec![(0.0f64, 0.0f64); x.cols()];
    let first = x.row(0);
    for i in 0..x.rows() {
        for (s, (v, f)) in sums.iter_mut().zip(x.row(i).iter().zip(first)) {
            let v = f64::from(*v) - f64::from(*f);
            *s = (s.0 + v, s.1 + v * v);
        }
    }
    sums.iter().map(|(a, b)| (b / n - (a / n).powi(2)).max(0.0).sqrt()).collect()
}

fn scaled(directions: &Mat, scale: &[f64]) -> Mat {
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

/// Dimensions that directions (rows, as neurons at unit variance) span.
pub(super) fn rank(x: &Mat, directions: &Mat) -> usize {
    let n = directions.rows();
    if n == 0 {
        return 0;
    }
    let gram = cosines(&scaled(directions, &neuron_scales(x)));
    let gram: Vec<f64> = gram.data().iter().map(|v| f64::from(*v)).collect();
    sym_eigen(&gram, n).map_or(0, |e| e.values.iter().filter(|v| **v > IN_USE * e.values[0]).count())
}

/// Mean share of a direction in its strongest neuron, and the same after Haar rotations.
pub(super) fn alignment(directions: &Mat, rng: &Rng) -> (f64, f64) {
    if directions.rows() == 0 {
        return (0.0, 0.0);
    }
    let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let stream = rng.fork("alignment of labels");
    let null = (0..ROTATIONS).map(|k| mean(alignment_null(directions, &mut stream.fork_index(k)))).collect();
    (mean(shares(directions)), mean(null))
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
