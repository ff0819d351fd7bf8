//! Probes: what can be read from a layer when something is known of its inputs.
//!
//! Linear ([`Logistic`], [`Ridge`]), of second order ([`Quadratic`]) and by the nearest rows ([`Nearest`]); [`auc()`] says how well a
//! score tells two classes apart. [`sparse`] asks how few units a concept can be read from. All give the same bytes on any number of threads.

mod auc;
mod logistic;
mod nearest;
mod quadratic;
mod ridge;
pub mod sparse;

pub use auc::{auc, column_aucs};
pub use logistic::Logistic;
pub use nearest::{Nearest, neighbours, shares};
pub use quadratic::{Lift, Quadratic};
pub(crate) use ridge::Factor;
pub use ridge::{Ridge, r2};

use superlens_tensor::Mat;

/// The entry from which on a label counts as positive, where labels are zeros and ones.
pub const POSITIVE: f32 = 0.5;

/// Mean and standard deviation of every column; 1 in place of the deviation of a column that does not vary.
pub(crate) fn column_scales(x: &Mat) -> (Vec<f64>, Vec<f64>) {
    let (rows, d) = x.shape();
    let n = rows.max(1) as f64;
    let mut mean = vec![0.0f64; d];
    for i in 0..rows {
        mean.iter_mut().zip(x.row(i)).for_each(|(m, v)| *m += f64::from(*v));
    }
    mean.iter_mut().for_each(|m| *m /= n);
    let mut scale = vec![0.0f64; d];
    for i in 0..rows {
        scale.iter_mut().zip(x.row(i).iter().zip(&mean)).for_each(|(s, (v, m))| *s += (f64::from(*v) - m).powi(2));
    }
    for (s, m) in scale.iter_mut().zip(&mean) {
        let deviation = (*s / n).sqrt();
        // What rounding leaves of a constant column is no deviation.
        *s = if deviation > 1e-6 * m.abs().max(1e-30) { deviation } else { 1.0 };
    }
    (mean, scale)
}

/// Columns of `x` less `mean`, over `scale`.
pub(crate) fn standardised(x: &Mat, mean: &[f64], scale: &[f64]) -> Mat {
    let mut out = x.clone();
    for i in 0..out.rows() {
        for (v, (m, s)) in out.row_mut(i).iter_mut().zip(mean.iter().zip(scale)) {
            *v = ((f64::from(*v) - m) / s) as f32;
        }
    }
    out
}

#[cfg(test)]
mod tests;
