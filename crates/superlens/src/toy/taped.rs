//! Models whose gradient the tape finds: from parameters to a loss, and from parameters to what a layer gives.

use superlens_tensor::kernels::pointwise::axpy;
use superlens_tensor::train::Params;
use superlens_tensor::{Mat, Rng, Tape, Var};

/// Records a loss of `params` (one [`Var`] a block, in order), adds its gradient to `grad` and returns it.
pub(super) fn loss(params: &Params, grad: &mut Params, record: impl FnOnce(&mut Tape<f32>, &[Var]) -> Var) -> f64 {
    let mut tape = Tape::new();
    let vars: Vec<Var> = params.blocks.iter().map(|(_, m)| tape.input(m.into())).collect();
    let loss = record(&mut tape, &vars);
    let grads = tape.backward(loss);
    for (&v, (_, g)) in vars.iter().zip(&mut grad.blocks) {
        axpy(1.0, grads[v].data(), g.data_mut());
    }
    f64::from(tape.value(loss).item())
}

/// The matrix that `record` computes from `params`, without a gradient.
pub(super) fn value(params: &Params, record: impl FnOnce(&mut Tape<f32>, &[Var]) -> Var) -> Mat {
    let mut tape = Tape::new();
    let vars: Vec<Var> = params.blocks.iter().map(|(_, m)| tape.constant(m.into())).collect();
    let out = record(&mut tape, &vars);
    let tensor = tape.value(out).clone();
    let cols = tensor.shape().last().copied().unwrap_or(1);
    let rows = tensor.data().len() / cols.max(1);
    Mat::from_vec(rows, cols, tensor.into_data())
}

/// A `[rows, cols]` block of normal numbers with variance `gain / rows`, for layers `x · w`.
pub(super) fn block(name: impl Into<String>, rows: usize, cols: usize, gain: f32, rng: &mut Rng) -> (String, Mat) {
    let scale = (gain / rows as f32).sqrt();
    (name.into(), Mat::from_fn(rows, cols, |_, _| scale * rng.normal()))
}

/// A `[1, cols]` block of one number.
pub(super) fn row(name: impl Into<String>, cols: usize, value: f32) -> (String, Mat) {
    (name.into(), Mat::from_fn(1, cols, |_, _| value))
}

/// Holds the gradient of a loss, recorded in `f64`, against central differences near the parameters that `init` draws.
#[cfg(test)]
pub(super) fn check_gradient(init: Params, mut record: impl FnMut(&mut Tape<f64>, &[Var]) -> Var) {
    let mut rng = Rng::new(12).fork("nudge");
    let inputs: Vec<superlens_tensor::Tensor<f64>> = (init.blocks.iter())
        .map(|(_, m)| {
            let shape = [m.rows(), m.cols()];
            superlens_tensor::Tensor::from_fn(&shape, |k| f64::from(m.data()[k] + 0.1 * rng.normal()))
        })
        .collect();
    let worst = superlens_tensor::gradcheck::check_tape(&inputs, &mut record);
    assert!(worst < 1e-5, "a relative error of {worst:.1e}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_gets_its_own_gradient() {
        let params = Params { blocks: vec![row("a", 2, 3.0), row("b", 2, 5.0)] };
        let mut grad = params.zeros_like();
        let got = loss(&params, &mut grad, |tape, v| {
            let square = tape.square(v[0]);
            let product = tape.mul(square, v[1]);
            tape.sum(product)
        });
        assert_eq!((got, grad.get("a").data(), grad.get("b").data()), (90.0, &[30.0, 30.0][..], &[9.0, 9.0][..]));
        assert_eq!(value(&params, |tape, v| tape.add(v[0], v[1])), Mat::from_vec(1, 2, vec![8.0, 8.0]));
    }
}
