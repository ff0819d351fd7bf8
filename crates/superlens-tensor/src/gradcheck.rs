//! Gradients held against finite differences.

use crate::train::{Objective, Params};
use crate::{Mat, Rng, Tape, Tensor, Var};

/// The largest `|got − want| / max(|want|, 1e-3 · max |want|)`, infinite where a number is NaN.
///
/// The floor keeps entries that are negligible beside the largest from being judged on rounding alone. If all
/// of `want` is zero it is the largest `|got|`. Panics with both lengths when they differ.
pub fn relative_error(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "{} gradients against {}", got.len(), want.len());
    let largest = want.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
    let floor = if largest > 0.0 { 1e-3 * largest } else { 1.0 };
    let errors = got.iter().zip(want).map(|(g, w)| (g - w).abs() / w.abs().max(floor));
    errors.fold(0.0, |worst, e| if e.is_nan() { f64::INFINITY } else { worst.max(e) })
}

/// The worst [`relative_error`] over `inputs` of the tape's gradients of `f` against central differences.
///
/// `f` records a scalar function of the inputs. With steps of 1e-5 and functions of order one the differences
/// are good to about 1e-9, so a right gradient stays below 1e-6.
pub fn check_tape(inputs: &[Tensor<f64>], f: &mut dyn FnMut(&mut Tape<f64>, &[Var]) -> Var) -> f64 {
    let mut record = |inputs: &[Tensor<f64>]| {
        let mut tape = Tape::new();
        let vars: Vec<Var> = inputs.iter().map(|x| tape.input(x.clone())).collect();
        let loss = f(&mut tape, &vars);
        (tape, vars, loss)
    };
    let (tape, vars, loss) = record(inputs);
    let grads = tape.backward(loss);
    let mut moved = inputs.to_vec();
    let mut worst = 0.0f64;
    for k in 0..inputs.len() {
        let differences: Vec<f64> = (0..inputs[k].data().len())
            .map(|i| {
                let (x, h) = (inputs[k].data()[i], 1e-5);
                let mut at = |x: f64| {
                    moved[k].data_mut()[i] = x;
                    let (tape, _, loss) = record(&moved);
                    tape.value(loss).item()
                };
                let slope = (at(x + h) - at(x - h)) / (2.0 * h);
                moved[k].data_mut()[i] = x;
                slope
            })
            .collect();
        worst = worst.max(relative_error(grads[vars[k]].data(), &differences));
    }
    worst
}

/// Where the gradient of an [`Objective`] fits its loss worst.
#[derive(Clone, Debug, PartialEq)]
pub struct Worst {
    /// The error, as defined by [`check_objective`].
    pub error: f64,
    /// The block of parameters that was moved.
    pub block: String,
    /// The derivative along the direction, by the objective's gradient.
    pub gradient: f64,
    /// The same by differences of the loss.
    pub difference: f64,
}

/// Directions tried for each block.
const DIRECTIONS: u64 = 4;
/// Halvings of the step in [`ridders`].
const HALVINGS: u32 = 7;

/// Holds the gradient of `objective` near `params` against differences of its loss on the batch of step `step`.
///
/// Objectives run in `f32`, whose losses resolve no single entry of a gradient. So every block is moved as a
/// whole, along random signs `u ∈ {−1, 1}ⁿ`: the derivative `g·u` then has the size of the gradient's norm,
/// and a wrong sign in one of `n` entries changes it by about `2/√n` of that. The error is `|Δ| / max(|g·u|,
/// ‖g‖)`, with 1e-3 of the norm of the largest block's gradient as a floor for `‖g‖`. A right gradient of a
/// smooth loss stays below **1e-3**; the loss should be summed in `f64`, and kinks (a ReLU, a switching
/// top-k) within the steps, 1/16 to 1/2048 of the block's largest entry, cost accuracy.
///
/// The parameters are first rounded to 16 bits of their block's scale, so that every step is exact in `f32`.
pub fn check_objective(objective: &mut dyn Objective, params: &Params, step: u64, rng: &mut Rng) -> Worst {
    let scales: Vec<f32> = params.blocks.iter().map(|(_, m)| scale(m)).collect();
    let mut at = params.clone();
    for ((_, block), s) in at.blocks.iter_mut().zip(&scales) {
        let unit = s / 65536.0;
        block.data_mut().iter_mut().for_each(|x| *x = (*x / unit).round() * unit);
    }
    let mut grad = at.zeros_like();
    objective.loss(&at, step, &mut grad);
    let norms: Vec<f64> = grad.blocks.iter().map(|(_, g)| inner(g, g).sqrt()).collect();
    let floor = 1e-3 * norms.iter().fold(0.0, |m: f64, n| m.max(*n));
    let mut worst = Worst { error: 0.0, block: String::new(), gradient: 0.0, difference: 0.0 };
    for b in 0..at.blocks.len() {
        let (name, start) = at.blocks[b].clone();
        let mut rng = rng.fork(&name);
        for _ in 0..DIRECTIONS {
            let signs = Mat::from_fn(start.rows(), start.cols(), |_, _| if rng.chance(0.5) { 1.0 } else { -1.0 });
            let mut loss_at = |h: f64| {
                let moved = start.data().iter().zip(signs.data()).map(|(x, u)| x + h as f32 * u);
                at.blocks[b].1 = Mat::from_vec(start.rows(), start.cols(), moved.collect());
                objective.loss(&at, step, &mut at.zeros_like())
            };
            let difference = ridders(&mut |h| (loss_at(h) - loss_at(-h)) / (2.0 * h), f64::from(scales[b]) / 16.0);
            let gradient = inner(&grad.blocks[b].1, &signs);
            let delta = (gradient - difference).abs();
            let size = gradient.abs().max(norms[b]).max(floor);
            let error = if delta == 0.0 { 0.0 } else { delta / size };
            if error.is_nan() || error > worst.error {
                worst = Worst { error, block: name.clone(), gradient, difference };
            }
        }
        at.blocks[b].1 = start;
    }
    worst
}

/// The power of two at or above the largest entry; 1 for a block of zeros.
fn scale(m: &Mat) -> f32 {
    let largest = m.data().iter().fold(0.0f32, |m, x| m.max(x.abs()));
    if largest > 0.0 && largest.is_finite() { largest.log2().ceil().exp2() } else { 1.0 }
}

fn inner(a: &Mat, b: &Mat) -> f64 {
    a.data().iter().zip(b.data()).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The limit of `quotient(h)` for `h → 0`, where `quotient` is a central difference: extrapolated from halved
/// steps, taking the entry of the tableau that agrees best with its neighbours, so that neither the curvature
/// of long steps nor the rounding of short ones decides (Ridders 1982, *Accurate computation of F′(x) and
/// F′(x)F″(x)*).
fn ridders(quotient: &mut dyn FnMut(f64) -> f64, start: f64) -> f64 {
    let mut above: Vec<f64> = vec![quotient(start)];
    let (mut best, mut best_error) = (above[0], f64::INFINITY);
    for halving in 1..=HALVINGS {
        let mut row = vec![quotient(start / f64::from(1 << halving))];
        let mut factor = 1.0;
        for j in 0..above.len() {
            factor *= 4.0;
            row.push((factor * row[j] - above[j]) / (factor - 1.0));
            let error = (row[j + 1] - row[j]).abs().max((row[j + 1] - above[j]).abs());
            if error <= best_error {
                (best, best_error) = (row[j + 1], error);
            }
        }
        above = row;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{Optimiser, Schedule};
    use crate::train::{TrainConfig, train};
    use std::ops::ControlFlow;

    /// A two-layer network that learns a fixed function of two variables; it is an example of an objective on
    /// the tape.
    struct Network {
        x: Tensor<f32>,
        y: Tensor<f32>,
        /// Multiplies one entry of the gradient, to see whether the check notices.
        spoil: f32,
    }

    impl Network {
        fn new(spoil: f32) -> Self {
            let mut rng = Rng::new(0).fork("network");
            let x = Tensor::from_fn(&[200, 2], |_| rng.normal());
            let y = Tensor::new(&[200, 1], x.data().chunks(2).map(|p| p[0] * p[1]).collect());
            Self { x, y, spoil }
        }
    }

    impl Objective for Network {
        fn init(&self, rng: &mut Rng) -> Params {
            let mut block = |name: &str, rows, cols| (name.to_string(), Mat::from_fn(rows, cols, |_, _| rng.normal()));
            Params { blocks: vec![block("w1", 2, 16), block("b1", 1, 16), block("w2", 16, 1), block("unused", 2, 2)] }
        }

        fn loss(&mut self, params: &Params, _step: u64, grad: &mut Params) -> f64 {
            let mut tape = Tape::new();
            let vars: Vec<Var> = params.blocks.iter().map(|(_, m)| tape.input(m.into())).collect();
            let (x, want) = (tape.constant(self.x.clone()), tape.constant(self.y.clone()));
            let hidden = tape.linear(x, vars[0], vars[1]);
            let hidden = tape.gelu(hidden);
            let got = tape.matmul(hidden, vars[2]);
            let error = tape.sub(got, want);
            let error = tape.square(error);
            let loss = tape.mean(error);
            let grads = tape.backward(loss);
            for (&v, (_, g)) in vars.iter().zip(&mut grad.blocks) {
                g.data_mut().iter_mut().zip(grads[v].data()).for_each(|(g, d)| *g += d);
            }
            grad.get_mut("w1").data_mut()[5] *= self.spoil;
            f64::from(tape.value(loss).item())
        }
    }

    #[test]
    fn a_right_gradient_passes_and_one_wrong_entry_does_not() {
        let params = Network::new(1.0).init(&mut Rng::new(1));
        let worst = check_objective(&mut Network::new(1.0), &params, 0, &mut Rng::new(2));
        assert!(worst.error < 1e-3, "{worst:?}");
        let worst = check_objective(&mut Network::new(0.5), &params, 0, &mut Rng::new(2));
        assert!(worst.error > 1e-2 && worst.block == "w1", "{worst:?}");
    }

    #[test]
    fn a_network_on_the_tape_learns() {
        let optimiser = Optimiser::adam(0.02);
        let config = TrainConfig { steps: 400, optimiser, schedule: Schedule::Cosine { floor: 0.0 }, clip_norm: None };
        let mut losses = Vec::new();
        train(&mut Network::new(1.0), &config, &mut Rng::new(1), &mut |s| {
            losses.push(s.loss);
            ControlFlow::Continue(())
        });
        assert!(losses[399] < 0.02 * losses[0].min(1.0), "{} → {}", losses[0], losses[399]);
    }

    #[test]
    fn a_wrong_gradient_on_the_tape_is_noticed() {
        let x = [Tensor::new(&[3], vec![0.3, -1.0, 2.0])];
        let sum_of_squares = |tape: &mut Tape<f64>, v: &[Var]| {
            let y = tape.square(v[0]);
            tape.sum(y)
        };
        assert!(check_tape(&x, &mut { sum_of_squares }) < 1e-9);
        // A copy of the values as a constant hides half of the dependence.
        let half = check_tape(&x, &mut |tape, v| {
            let copy = tape.value(v[0]).clone();
            let copy = tape.constant(copy);
            let y = tape.mul(v[0], copy);
            tape.sum(y)
        });
        assert!((half - 0.5).abs() < 1e-6, "{half}");
    }

    #[test]
    fn the_error_is_relative_with_a_floor() {
        assert!((relative_error(&[1.1, 1e-9], &[1.0, 0.0]) - 0.1).abs() < 1e-12);
        assert!((relative_error(&[1.0, 2e-4], &[1.0, 0.0]) - 0.2).abs() < 1e-12);
        assert_eq!(relative_error(&[0.5], &[0.0]), 0.5);
        assert_eq!(relative_error(&[f64::NAN, 0.0], &[1.0, 0.0]), f64::INFINITY);
    }

    #[test]
    fn extrapolation_survives_curvature_and_rounding() {
        // Rounding the values to 1e-7 stands for a loss in f32.
        let rounded = |x: f64| ((3.0 * x).sin().exp() * 1e7).round() / 1e7;
        let slope = ridders(&mut |h| (rounded(0.4 + h) - rounded(0.4 - h)) / (2.0 * h), 0.1);
        let want = 3.0 * 1.2f64.cos() * 1.2f64.sin().exp();
        assert!((slope / want - 1.0).abs() < 1e-4, "{slope} {want}");
    }
}
