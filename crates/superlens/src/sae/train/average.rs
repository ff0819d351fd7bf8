//! A running mean of the weights, which is steadier than the last of them.

use superlens_tensor::kernels::pointwise::axpy;
use superlens_tensor::train::Params;

/// Moves `average` towards `params`. Of the mean `keep` stays, and less in the first steps, `(1 + step) / (10 + step)`, so that where the
/// weights began is soon forgotten.
pub(super) fn follow(average: &mut Params, params: &Params, keep: f64, step: u64) {
    let keep = keep.min((1.0 + step as f64) / (10.0 + step as f64)) as f32;
    for ((_, mean), (_, w)) in average.blocks.iter_mut().zip(&params.blocks) {
        mean.data_mut().iter_mut().for_each(|m| *m *= keep);
        axpy(1.0 - keep, w.data(), mean.data_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Mat;

    #[test]
    fn the_mean_lags_behind_and_arrives() {
        let params = |v: f32| Params { blocks: vec![("w".into(), Mat::from_vec(1, 1, vec![v]))] };
        let mut mean = params(0.0);
        for step in 0..2000 {
            follow(&mut mean, &params(1.0), 0.99, step);
        }
        assert!((mean.get("w").data()[0] - 1.0).abs() < 1e-6);
        follow(&mut mean, &params(2.0), 0.99, 2000);
        assert!((mean.get("w").data()[0] - 1.01).abs() < 1e-5);
    }
}
