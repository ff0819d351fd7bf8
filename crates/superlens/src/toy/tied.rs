//! What the ReLU-output and the ReLU-hidden model share: tied weights, a ReLU read-out, gradients summed in blocks.

use super::data::BLOCK_ROWS;
use rayon::prelude::*;
use superlens_tensor::kernels::pointwise::axpy;
use superlens_tensor::optim::{Optimiser, Schedule};
use superlens_tensor::train::{Params, TrainConfig};
use superlens_tensor::{Mat, Rng, View};

/// `w [n, m]` Xavier-normal, standard deviation `√(2 / (n + m))`, and `b [1, n]` zero.
pub(super) fn init(n: usize, m: usize, rng: &mut Rng) -> Params {
    let scale = (2.0 / (n + m) as f32).sqrt();
    let w = Mat::from_fn(n, m, |_, _| scale * rng.normal());
    Params { blocks: vec![("w".into(), w), ("b".into(), Mat::zeros(1, n))] }
}

/// A training with a short warm-up whose rate falls to a hundredth.
pub(super) fn recipe(steps: u64, lr: f64) -> TrainConfig {
    TrainConfig {
        steps,
        optimiser: Optimiser::adam(lr),
        schedule: Schedule::WarmupCosine { warmup: 100, floor: 0.01 },
        clip_norm: None,
    }
}

/// Loss of some rows with its gradients.
pub(super) struct BlockLoss {
    pub loss: f64,
    pub dw: Mat,
    pub db: Vec<f32>,
}

/// Adds the gradients of `block` over all rows of `x` to `grad` and returns the summed loss.
///
/// The blocks have a fixed number of rows and are added in order, so the number of threads changes no byte.
pub(super) fn loss_in_blocks(x: &Mat, grad: &mut Params, block: impl Fn(View) -> BlockLoss + Sync) -> f64 {
    let blocks: Vec<BlockLoss> = (0..x.rows().div_ceil(BLOCK_ROWS))
        .into_par_iter()
        .map(|k| block(x.rows_view(k * BLOCK_ROWS, ((k + 1) * BLOCK_ROWS).min(x.rows()))))
        .collect();
    let mut loss = 0.0;
    for part in blocks {
        loss += part.loss;
        axpy(1.0, part.dw.data(), grad.get_mut("w").data_mut());
        axpy(1.0, &part.db, grad.get_mut("b").data_mut());
    }
    loss
}

/// Turns `pre`, the read-out before bias and ReLU, into the gradient of `scale · Σ (ReLU(pre + b) − x)²` with respect
/// to it. Returns that sum and the gradient of `b`.
pub(super) fn readout_error(pre: &mut Mat, b: &Mat, x: View, scale: f32) -> (f64, Vec<f32>) {
    let mut loss = 0.0;
    let mut db = vec![0.0; b.cols()];
    for r in 0..pre.rows() {
        for (i, (pre, (b, db))) in pre.row_mut(r).iter_mut().zip(b.data().iter().zip(&mut db)).enumerate() {
            let recon = (*pre + b).max(0.0);
            let error = recon - x.at(r, i);
            loss += f64::from(scale * error * error);
            *pre = if recon > 0.0 { 2.0 * scale * error } else { 0.0 };
            *db += *pre;
        }
    }
    (loss, db)
}

/// Checks `objective` at a random point against central differences of `reference`, the same loss in `f64`.
///
/// The error of each derivative is relative to it, or to a thousandth of the largest where it is smaller.
#[cfg(test)]
pub(super) fn check_gradient(
    objective: &mut dyn superlens_tensor::train::Objective,
    reference: &dyn Fn(&[f64], &[f64]) -> f64,
) {
    let mut rng = Rng::new(12);
    let mut params = objective.init(&mut rng);
    for (_, block) in &mut params.blocks {
        block.data_mut().iter_mut().for_each(|p| *p += 0.1 * rng.normal());
    }
    let mut grad = params.zeros_like();
    let loss = objective.loss(&params, 3, &mut grad);
    let point: Vec<Vec<f64>> =
        params.blocks.iter().map(|(_, m)| m.data().iter().map(|&p| f64::from(p)).collect()).collect();
    let want = reference(&point[0], &point[1]);
    assert!((loss - want).abs() < 1e-5 * want, "a loss of {loss}, by the definition {want}");

    let largest = grad.blocks.iter().flat_map(|(_, g)| g.data()).fold(0.0f32, |m, g| m.max(g.abs()));
    for (k, (name, grad)) in grad.blocks.iter().enumerate() {
        for (i, &g) in grad.data().iter().enumerate() {
            let at = |step: f64| {
                let mut moved = point.clone();
                moved[k][i] += step;
                reference(&moved[0], &moved[1])
            };
            let h = 1e-6;
            let numeric = (at(h) - at(-h)) / (2.0 * h);
            let error = (f64::from(g) - numeric).abs() / f64::from(g.abs().max(1e-3 * largest));
            assert!(error < 1e-3, "derivative {i} of {name} is {g}, by differences {numeric}");
        }
    }
}
