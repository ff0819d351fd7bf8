//! Whether the neurons' weights know the columns of the residual stream, layer by layer.
//!
//! A direction that doesn't has the kurtosis of a random one, `3 d / (d + 2)` over its `d` columns; a few large columns raise it. How many
//! lie beyond the 99th percentile of random directions is held against the 1 % that do so by chance.

use rayon::prelude::*;
use serde::Serialize;
use superlens_tensor::{Mat, Rng};

use super::transformer::Transformer;

/// Random directions from which the percentile is taken.
const DIRECTIONS: usize = 20_000;

/// One layer's MLP.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Alignment {
    /// Median over the neurons of the kurtosis of their input weights (of the gate, where there is one) over the columns that they read.
    pub kurtosis_in: f64,
    /// Share of neurons whose kurtosis is beyond that of 99 % of random directions.
    pub beyond_in: f64,
    /// The same of the output weights.
    pub kurtosis_out: f64,
    pub beyond_out: f64,
}

impl Alignment {
    /// The kurtosis of a random direction in `d` dimensions.
    pub fn of_random(d: usize) -> f64 {
        3.0 * d as f64 / (d as f64 + 2.0)
    }
}

/// Every layer's, from its weights alone.
pub fn of_weights(model: &Transformer, seed: u64) -> Vec<Alignment> {
    let limit = beyond(model.config.d_model, seed);
    let layer = |block: &super::BlockWeights| {
        let (kurtosis_in, beyond_in) = over_rows(&block.mlp.into.w.transposed(), limit);
        let (kurtosis_out, beyond_out) = over_rows(&block.mlp.out.w, limit);
        Alignment { kurtosis_in, beyond_in, kurtosis_out, beyond_out }
    };
    model.weights.blocks.iter().map(layer).collect()
}

/// The 99th percentile of the kurtosis of random directions.
fn beyond(d: usize, seed: u64) -> f64 {
    let rng = Rng::new(seed).fork("alignment");
    let one = |i: usize| {
        let mut rng = rng.fork_index(i as u64);
        kurtosis(&(0..d).map(|_| rng.normal()).collect::<Vec<f32>>())
    };
    let mut all: Vec<f64> = (0..DIRECTIONS).into_par_iter().map(one).collect();
    all.sort_by(f64::total_cmp);
    all[DIRECTIONS * 99 / 100]
}

/// Median, and the share beyond `limit`.
fn over_rows(m: &Mat, limit: f64) -> (f64, f64) {
    let mut all: Vec<f64> = (0..m.rows()).into_par_iter().map(|i| kurtosis(m.row(i))).collect();
    all.sort_by(f64::total_cmp);
    let beyond = all.iter().filter(|&&k| k > limit).count();
    (all[all.len() / 2], beyond as f64 / all.len() as f64)
}

/// `d Σ w⁴ / (Σ w²)²`, about zero: 1 where all columns weigh the same, `d` where one does alone.
fn kurtosis(w: &[f32]) -> f64 {
    let (mut squares, mut fourths) = (0.0, 0.0);
    for &w in w {
        let square = f64::from(w) * f64::from(w);
        squares += square;
        fourths += square * square;
    }
    if squares > 0.0 { w.len() as f64 * fourths / (squares * squares) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_directions_lie_where_they_should() {
        let d = 64;
        let mut rng = Rng::new(3);
        let random = Mat::from_fn(4000, d, |_, _| rng.normal());
        let limit = beyond(d, 0);
        let (median, share) = over_rows(&random, limit);
        assert!((median - Alignment::of_random(d)).abs() < 0.2, "{median}");
        assert!((share - 0.01).abs() < 0.006, "{share}");
        let mean = (0..4000).map(|i| kurtosis(random.row(i))).sum::<f64>() / 4000.0;
        assert!((mean - Alignment::of_random(d)).abs() < 0.05, "{mean}");
    }

    #[test]
    fn single_columns_stand_out() {
        let unit = Mat::from_fn(8, 16, |i, j| f32::from(u8::from(i == j)));
        assert_eq!(over_rows(&unit, beyond(16, 0)), (16.0, 1.0));
        assert_eq!(kurtosis(&[0.0; 4]), 0.0, "dead weights are no number otherwise");
    }
}
