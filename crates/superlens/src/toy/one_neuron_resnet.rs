//! `one_neuron_resnet`: a ResNet with one neuron a block, and the fully connected network of the input's width.

use super::{Cause, Origin, Sample, ToyModel, Truth, concepts, taped};
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Real, Rng, Tape, Tensor, Var};

/// Half the side of the square that inputs are drawn from; the ball has radius 1.
pub const REACH: f32 = 1.5;
/// Points on which the truth is measured.
const POINTS: usize = 4000;

/// Lin and Jegelka 2018, *ResNet with one-neuron hidden layers is a Universal Approximator* (arXiv 1806.10909), on the unit disc
/// in the plane: `x ← x + v ReLU(u · x + b)` again and again, then a linear read-out of two classes. A network that is not
/// residual has `x ← ReLU(x W + b)` with `W [2, 2]` instead; no such network of the input's width is universal.
///
/// Its layer is the neurons of all blocks.
#[derive(Clone, Debug)]
pub struct OneNeuronResnet {
    pub residual: bool,
    /// Blocks or layers.
    pub depth: usize,
    /// Fresh points a step.
    pub batch: usize,
    pub training: TrainConfig,
}

/// Whether a point lies in the disc.
pub fn inside(point: &[f32]) -> bool {
    point.iter().map(|x| x * x).sum::<f32>() < 1.0
}

fn points(rows: usize, stream: &Rng) -> Mat {
    let mut rng = stream.clone();
    Mat::from_fn(rows, 2, |_, _| REACH * (2.0 * rng.uniform() - 1.0))
}

fn labels(x: &Mat) -> Vec<usize> {
    (0..x.rows()).map(|r| usize::from(inside(x.row(r)))).collect()
}

impl OneNeuronResnet {
    /// `[rows]`: by how much a point looks inside.
    pub fn margin(&self, params: &Params, x: &Mat) -> Vec<f32> {
        let logits = taped::value(params, |tape, p| {
            let x = tape.constant(x.into());
            self.forward(tape, p, x).0
        });
        (0..x.rows()).map(|r| logits[(r, 1)] - logits[(r, 0)]).collect()
    }

    /// Logits, and the neurons of each block.
    fn forward<R: Real>(&self, tape: &mut Tape<R>, p: &[Var], mut x: Var) -> (Var, Vec<Var>) {
        let per = if self.residual { 3 } else { 2 };
        let mut neurons = Vec::with_capacity(self.depth);
        for block in p.chunks_exact(per).take(self.depth) {
            let h = tape.linear(x, block[0], block[1]);
            let h = tape.relu(h);
            x = if self.residual {
                let back = tape.matmul(h, block[2]);
                tape.add(x, back)
            } else {
                h
            };
            neurons.push(h);
        }
        let read = &p[per * self.depth..];
        (tape.linear(x, read[0], read[1]), neurons)
    }

    fn init(&self, rng: &mut Rng) -> Params {
        let mut blocks = Vec::new();
        for l in 0..self.depth {
            if self.residual {
                blocks.push(taped::block(format!("u{l}"), 2, 1, 2.0, rng));
                blocks.push((format!("b{l}"), Mat::from_vec(1, 1, vec![0.5 * rng.normal()])));
                blocks.push((format!("v{l}"), Mat::from_fn(1, 2, |_, _| 0.5 * rng.normal())));
            } else {
                blocks.push(taped::block(format!("w{l}"), 2, 2, 2.0, rng));
                blocks.push((format!("b{l}"), Mat::from_fn(1, 2, |_, _| 0.3 + 0.5 * rng.normal())));
            }
        }
        blocks.push(taped::block("read", 2, 2, 1.0, rng));
        blocks.push(taped::row("c", 2, 0.0));
        Params { blocks }
    }
}

struct Disc {
    model: OneNeuronResnet,
    stream: Rng,
}

impl Objective for Disc {
    fn init(&self, rng: &mut Rng) -> Params {
        self.model.init(rng)
    }

    /// The cross-entropy on fresh points.
    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let x = points(self.model.batch, &self.stream.fork_index(step));
        taped::loss(params, grad, |tape, p| cross_entropy(&self.model, tape, p, &(&x).into(), &labels(&x)))
    }
}

fn cross_entropy<R: Real>(m: &OneNeuronResnet, tape: &mut Tape<R>, p: &[Var], x: &Tensor<R>, y: &[usize]) -> Var {
    let x = tape.constant(x.clone());
    let (logits, _) = m.forward(tape, p, x);
    tape.cross_entropy(logits, y)
}

impl ToyModel for OneNeuronResnet {
    fn name(&self) -> &'static str {
        "one_neuron_resnet"
    }

    fn source(&self) -> &'static str {
        "Lin and Jegelka 2018, ResNet with one-neuron hidden layers is a Universal Approximator (arXiv 1806.10909)"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        let objective = Disc { model: self.clone(), stream: stream.clone() };
        Origin::Trained(Box::new(objective), self.training.clone())
    }

    /// The features are both coordinates and whether the point is inside.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let x = points(rows, stream);
        let features = Mat::from_fn(rows, 3, |r, c| if c < 2 { x[(r, c)] } else { f32::from(inside(x.row(r))) });
        let activations = taped::value(params, |tape, p| {
            let x = tape.constant((&x).into());
            let (_, neurons) = self.forward(tape, p, x);
            tape.concat(&neurons, 1)
        });
        Sample { features, activations }
    }

    fn truth(&self, params: &Params) -> Truth {
        let sample = self.sample(params, POINTS, &Rng::new(0).fork("points of the truth"));
        concepts::truth(&sample.features, &sample.activations, |_| Cause::Compositional)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::make;
    use crate::toy::tied::recipe;
    use std::ops::ControlFlow;

    fn model(residual: bool) -> OneNeuronResnet {
        OneNeuronResnet { residual, depth: 3, batch: 60, training: recipe(300, 0.02) }
    }

    #[test]
    fn the_gradients_are_those_of_the_loss() {
        for residual in [true, false] {
            let (m, x) = (model(residual), points(60, &Rng::new(5)));
            let (y, x) = (labels(&x), Tensor::from(&x).cast::<f64>());
            taped::check_gradient(m.init(&mut Rng::new(2)), |tape, p| cross_entropy(&m, tape, p, &x, &y));
        }
    }

    #[test]
    fn training_learns_and_every_neuron_is_there() {
        let m = model(true);
        let made = make(&m, &Rng::new(1), &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(made.loss.unwrap() < 0.6, "{:?}", made.loss);
        assert_eq!(m.truth(&made.params).causes.len(), 3);
        assert!(inside(&[0.6, 0.6]) && !inside(&[0.8, 0.8]));
    }
}
