//! How much of the neurons do labels explain: linearly, with products, by a smooth function?

use super::cut::Cut;
use crate::probes::{Ridge, column_scales, r2, standardised};
use rayon::prelude::*;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Penalty beside the mean squared error, labels at unit variance.
const RIDGE: f64 = 1e-3;
/// Products of labels at most: those that are on together most.
const PRODUCTS: usize = 300;
/// Pairs that are on together in fewer rows say nothing.
const LEAST_TOGETHER: f64 = 10.0;
/// Random ReLU features of the smooth function.
const RANDOM: usize = 300;

/// Held-out shares of the variance of the neurons, each neuron weighed alike.
pub(super) struct Explained {
    pub linear: f64,
    /// With products of labels.
    pub products: f64,
    /// With random ReLU features as well; `None` unless some label is real.
    pub smooth: Option<f64>,
}

/// Explains `x` `[rows, d]` by `labels` `[rows, concepts]`.
pub(super) fn explained(x: &Mat, labels: &Mat, any_real: bool, cut: &Cut, rng: &Rng) -> Explained {
    let products = products(labels, any_real);
    let with_products = beside(labels, &products);
    let linear = share(x, labels, cut);
    Explained {
        linear,
        products: if products.cols() == 0 { linear } else { share(x, &with_products, cut) },
        smooth: any_real.then(|| share(x, &beside(&with_products, &random_relus(labels, rng)), cut)),
    }
}

/// How much products of labels explain beyond the labels.
pub(super) fn interactions(x: &Mat, labels: &Mat, any_real: bool, cut: &Cut) -> f64 {
    let products = products(labels, any_real);
    if products.cols() == 0 || cut.train.is_empty() || cut.test.is_empty() {
        return 0.0;
    }
    share(x, &beside(labels, &products), cut) - share(x, labels, cut)
}

/// Of each neuron: the share of its held-out variance that least squares on the labels explain, and how much variance each label brings.
pub(super) fn carried(x: &Mat, labels: &Mat, cut: &Cut) -> Vec<(f64, Vec<f64>)> {
    if labels.cols() == 0 || cut.train.is_empty() || cut.test.is_empty() {
        return vec![(0.0, Vec::new()); x.cols()];
    }
    let standard = standard(labels);
    let fit = Ridge::fit(&standard.select_rows(&cut.train), &x.select_rows(&cut.train), RIDGE);
    let told = r2(&fit.predict(&standard.select_rows(&cut.test)), &x.select_rows(&cut.test));
    // What one label alone changes: the prediction of a unit of it, less that of none.
    let units = Mat::from_fn(labels.cols() + 1, labels.cols(), |i, c| f32::from(i == c));
    let changes = fit.predict(&units);
    let none = labels.cols();
    told.into_iter()
        .enumerate()
        .map(|(j, r)| {
            let brings = (0..none).map(|c| f64::from(changes[(c, j)] - changes[(none, j)]).powi(2));
            (r.unwrap_or(0.0), brings.collect())
        })
        .collect()
}

/// Mean over neurons of the share of held-out variance that least squares on `features` explain.
fn share(x: &Mat, features: &Mat, cut: &Cut) -> f64 {
    let fit = Ridge::fit(&features.select_rows(&cut.train), &x.select_rows(&cut.train), RIDGE);
    let got = fit.predict(&features.select_rows(&cut.test));
    let told: Vec<f64> = r2(&got, &x.select_rows(&cut.test)).into_iter().flatten().collect();
    // A neuron that one wild row spoils counts as not explained, not as a debt.
    told.iter().map(|r| r.max(0.0)).sum::<f64>() / told.len().max(1) as f64
}

/// Products of pairs of labels, at most [`PRODUCTS`]: of real ones about their means, with squares.
fn products(labels: &Mat, any_real: bool) -> Mat {
    let centred = if any_real { standard(labels) } else { labels.clone() };
    let size = Mat::from_vec(labels.rows(), labels.cols(), centred.data().iter().map(|v| v.abs()).collect());
    let together = matmul(size.t(), &size);
    let mut pairs: Vec<(usize, usize)> = (0..labels.cols())
        .flat_map(|a| (a + usize::from(!any_real)..labels.cols()).map(move |b| (a, b)))
        .filter(|&p| f64::from(together[p]) >= LEAST_TOGETHER)
        .collect();
    pairs.sort_by(|a, b| together[*b].total_cmp(&together[*a]).then(a.cmp(b)));
    pairs.truncate(PRODUCTS);
    Mat::from_fn(labels.rows(), pairs.len(), |i, p| centred[(i, pairs[p].0)] * centred[(i, pairs[p].1)])
}

/// ReLUs of random combinations of the labels, with kinks all over their range (Rahimi and Recht 2007, *Random features for large-scale
/// kernel machines*).
fn random_relus(labels: &Mat, rng: &Rng) -> Mat {
    let mut rng = rng.fork("random ReLUs");
    let q = labels.cols();
    let weights = Mat::from_fn(RANDOM, q, |_, _| rng.normal() / (q as f32).sqrt());
    let offsets: Vec<f32> = (0..RANDOM).map(|_| 4.0 * rng.uniform() - 2.0).collect();
    let mut out = matmul(&standard(labels), weights.t());
    out.data_mut().par_chunks_mut(RANDOM).for_each(|row| {
        row.iter_mut().zip(&offsets).for_each(|(v, b)| *v = (*v + b).max(0.0));
    });
    out
}

/// Columns at mean 0 and variance 1; 0 where they do not vary.
fn standard(x: &Mat) -> Mat {
    let (mean, scale) = column_scales(x);
    standardised(x, &mean, &scale)
}

/// Columns of both, side by side.
fn beside(a: &Mat, b: &Mat) -> Mat {
    let mut data = Vec::with_capacity(a.rows() * (a.cols() + b.cols()));
    for i in 0..a.rows() {
        data.extend_from_slice(a.row(i));
        data.extend_from_slice(b.row(i));
    }
    Mat::from_vec(a.rows(), a.cols() + b.cols(), data)
}
