//! `circular`: a feature that is a position on a circle, among sparse ones that are directions.

use super::{Cause, Origin, Sample, ToyModel, Truth, concepts, taped};
use crate::verdict::Mechanism;
use std::f32::consts::TAU;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Real, Rng, Tape, Tensor, Var};

/// Arcs that the circle is cut into for the truth: each is a concept, as a weekday would be.
const ARCS: usize = 8;
/// Rows on which the truth is measured.
const ROWS: usize = 4000;

/// A position on a circle and some sparse features through a linear bottleneck: `h = x E`, `y = ReLU(h D + b)`.
///
/// The position θ is seen by `units` broad receptive fields, `x_i = (1 + cos(θ − θ_i)) / 2`, as the heading of an animal is; the
/// other inputs are on with probability `density`, then uniform in `[0, 1)`. What is asked for are the fields at `θ + shift`, as
/// the next day is, and the other inputs unchanged. Trained on the mean squared error. The circles are those of Engels et al.
/// 2024 (arXiv 2405.14860) for days and months; this model is ours.
///
/// Its layer is `h`. Parameters: `enc [units + others, d_hidden]`, `dec [d_hidden, units + others]`, `b`.
#[derive(Clone, Debug)]
pub struct Circular {
    pub units: usize,
    /// Positions: 7 for days; 0 for all of the circle.
    pub values: usize,
    pub others: usize,
    pub density: f64,
    /// In turns.
    pub shift: f32,
    pub d_hidden: usize,
    pub batch: usize,
    pub training: TrainConfig,
}

/// Inputs with the angle of each row, in turns.
pub struct Positions {
    pub turns: Vec<f32>,
    /// `[rows, others]`.
    pub others: Mat,
}

impl Circular {
    pub fn draw(&self, rows: usize, stream: &Rng) -> Positions {
        let mut rng = stream.clone();
        let mut others = Mat::zeros(rows, self.others);
        let mut turns = Vec::with_capacity(rows);
        for r in 0..rows {
            for v in others.row_mut(r) {
                *v = if rng.chance(self.density) { rng.uniform() } else { 0.0 };
            }
            let values = self.values;
            turns.push(if values > 0 { rng.below(values) as f32 / values as f32 } else { rng.uniform() });
        }
        Positions { turns, others }
    }

    /// `[rows, units + others]`, the circle turned on by `shift` turns.
    pub fn inputs(&self, at: &Positions, shift: f32) -> Mat {
        let field = |r: usize, i: usize| {
            let away = at.turns[r] + shift - i as f32 / self.units as f32;
            0.5 * (1.0 + (TAU * away).cos())
        };
        Mat::from_fn(at.turns.len(), self.units + self.others, |r, i| {
            if i < self.units { field(r, i) } else { at.others[(r, i - self.units)] }
        })
    }

    /// `[rows, d_hidden]`.
    pub fn layer(&self, params: &Params, x: &Mat) -> Mat {
        matmul(x, params.get("enc"))
    }

    /// `[rows, units + others]`: what the model answers.
    pub fn answers(&self, params: &Params, x: &Mat) -> Mat {
        taped::value(params, |tape, p| {
            let x = tape.constant(x.into());
            forward(tape, p, x)
        })
    }

    /// What one unit of cos θ and of sin θ adds to each neuron: the axes of an ellipse in the layer.
    pub fn axes(&self, params: &Params) -> [Vec<f32>; 2] {
        let enc = params.get("enc");
        let along = |f: fn(f32) -> f32| {
            let weight = |i: usize| 0.5 * f(TAU * i as f32 / self.units as f32);
            (0..self.d_hidden).map(|j| (0..self.units).map(|i| weight(i) * enc[(i, j)]).sum()).collect()
        };
        [along(f32::cos), along(f32::sin)]
    }

    fn init(&self, rng: &mut Rng) -> Params {
        let n = self.units + self.others;
        let blocks =
            vec![taped::block("enc", n, self.d_hidden, 1.0, rng), taped::block("dec", self.d_hidden, n, 0.3, rng)];
        // Above zero, or read-outs would die at once.
        Params { blocks: blocks.into_iter().chain([taped::row("b", n, 0.5)]).collect() }
    }
}

fn forward<R: Real>(tape: &mut Tape<R>, p: &[Var], x: Var) -> Var {
    let h = tape.matmul(x, p[0]);
    let y = tape.linear(h, p[1], p[2]);
    tape.relu(y)
}

fn error<R: Real>(tape: &mut Tape<R>, p: &[Var], x: &Tensor<R>, want: &Tensor<R>) -> Var {
    let (x, want) = (tape.constant(x.clone()), tape.constant(want.clone()));
    let got = forward(tape, p, x);
    let off = tape.sub(got, want);
    let off = tape.square(off);
    tape.mean(off)
}

struct Turn {
    model: Circular,
    stream: Rng,
}

impl Objective for Turn {
    fn init(&self, rng: &mut Rng) -> Params {
        self.model.init(rng)
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let at = self.model.draw(self.model.batch, &self.stream.fork_index(step));
        let (x, want) = (self.model.inputs(&at, 0.0), self.model.inputs(&at, self.model.shift));
        taped::loss(params, grad, |tape, p| error(tape, p, &(&x).into(), &(&want).into()))
    }
}

impl ToyModel for Circular {
    fn name(&self) -> &'static str {
        "circular"
    }

    fn source(&self) -> &'static str {
        "circles of Engels et al. 2024, Not All Language Model Features Are One-Dimensionally Linear (arXiv 2405.14860)"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        let objective = Turn { model: self.clone(), stream: stream.clone() };
        Origin::Trained(Box::new(objective), self.training.clone())
    }

    /// The features are the arcs of the circle, one-hot, and then the other inputs.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let at = self.draw(rows, stream);
        let arc = |turn: f32| ((turn * ARCS as f32) as usize).min(ARCS - 1);
        let features = Mat::from_fn(rows, ARCS + self.others, |r, c| {
            if c < ARCS { f32::from(arc(at.turns[r]) == c) } else { at.others[(r, c - ARCS)] }
        });
        Sample { features, activations: self.layer(params, &self.inputs(&at, 0.0)) }
    }

    /// A neuron that owes at least half its variance to the circle is non-linear; the others miss their features, which fit or
    /// do not.
    fn truth(&self, params: &Params) -> Truth {
        let sample = self.sample(params, ROWS, &Rng::new(0).fork("rows of the truth"));
        let (axes, enc) = (self.axes(params), params.get("enc"));
        let fits = self.others + 2 <= self.d_hidden;
        let else_ = if fits { Cause::Orthogonal(Mechanism::Rotated) } else { Cause::Superposition };
        let p = self.density as f32;
        concepts::truth(&sample.features, &sample.activations, |j| {
            let circle = 0.5 * (axes[0][j].powi(2) + axes[1][j].powi(2));
            let rest: f32 = (self.units..self.units + self.others).map(|i| enc[(i, j)].powi(2)).sum();
            if circle >= rest * (p / 3.0 - p * p / 4.0) { Cause::Nonlinear } else { else_ }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::make;
    use crate::toy::tied::recipe;
    use crate::verdict::Verdict;
    use std::ops::ControlFlow;

    fn model(values: usize) -> Circular {
        let training = recipe(400, 0.02);
        Circular { units: 12, values, others: 3, density: 0.1, shift: 0.25, d_hidden: 5, batch: 64, training }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let m = model(0);
        let at = m.draw(64, &Rng::new(3));
        let (x, want) = (m.inputs(&at, 0.0), m.inputs(&at, 0.25));
        let (x, want) = (Tensor::from(&x).cast::<f64>(), Tensor::from(&want).cast::<f64>());
        taped::check_gradient(m.init(&mut Rng::new(2)), |tape, p| error(tape, p, &x, &want));
    }

    #[test]
    fn the_circle_is_turned_and_its_neurons_answer_to_many_arcs() {
        for values in [0, 7] {
            let m = model(values);
            let made = make(&m, &Rng::new(4), &mut |_| ControlFlow::Continue(())).unwrap();
            assert!(made.loss.unwrap() < 0.01, "{:?}", made.loss);
            let truth = m.truth(&made.params);
            assert_eq!(truth.verdict, Verdict::Nonlinear, "{:?}", truth.causes);
        }
        let at = model(7).draw(500, &Rng::new(1));
        assert!(at.turns.iter().all(|t| ((t * 7.0) - (t * 7.0).round()).abs() < 1e-5));
    }
}
