//! `correlated`: concepts that occur together, or exclude each other, share a neuron.

use super::data::BLOCK_ROWS;
use super::exact::ExactLoss;
use super::groups::{FeatureLaw, Groups};
use super::relu_output::block;
use super::tied::loss_in_blocks;
use super::{Cause, Origin, Sample, ToyModel, Truth};
use crate::verdict::Mechanism;
use rayon::prelude::*;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

/// How the two concepts of a pair go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// On together with the density as probability, with independent uniform sizes.
    Together,
    /// One of them, at random, is on with the density as probability; never both.
    Apart,
}

/// Pairs of related concepts, each pair through one neuron: `h = Wx`, `x' = ReLU(Wᵀh + b)` with `W` zero but for the two
/// weights of a pair on its neuron; squared error as the mean over batch and concepts.
///
/// After the correlated and anticorrelated pairs of Elhage et al. 2022, *Toy Models of Superposition*, two concepts in one
/// dimension, many times side by side. Two concepts that occur together keep their sum, `(a + b)/√2`, and lose their
/// difference; two that exclude each other lie opposite and lose nothing. Either way a neuron answers to two concepts, since
/// nothing that the data do tells it to take them apart.
///
/// Parameters: `w [2 pairs, pairs]`, concepts `2k` and `2k + 1` being a pair, and `b [1, 2 pairs]`.
#[derive(Clone, Debug)]
pub struct Correlated {
    pub pairs: usize,
    /// Probability that a pair is on.
    pub density: f64,
    pub relation: Relation,
    /// Rows per training step.
    pub batch: usize,
    pub training: TrainConfig,
}

impl Correlated {
    /// `[rows, 2 pairs]` fresh inputs.
    fn inputs(&self, rows: usize, stream: &Rng) -> Mat {
        let n = 2 * self.pairs;
        let mut x = Mat::zeros(rows, n);
        x.data_mut().par_chunks_mut(BLOCK_ROWS * n).enumerate().for_each(|(k, block)| {
            let mut rng = stream.fork_index(k as u64);
            for pair in block.chunks_exact_mut(2) {
                if rng.chance(self.density) {
                    match self.relation {
                        Relation::Together => pair.iter_mut().for_each(|x| *x = rng.uniform()),
                        Relation::Apart => pair[rng.below(2)] = rng.uniform(),
                    }
                }
            }
        });
        x
    }
}

impl ToyModel for Correlated {
    fn name(&self) -> &'static str {
        "correlated"
    }

    fn source(&self) -> &'static str {
        "Elhage et al. 2022, Toy Models of Superposition (correlated and anticorrelated features)"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        Origin::Trained(Box::new(Reconstruction { model: self.clone(), stream: stream.clone() }), self.training.clone())
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let features = self.inputs(rows, stream);
        let activations = matmul(&features, params.get("w"));
        Sample { features, activations }
    }

    /// Only related concepts can meet on a neuron; whether they do is read from the weights.
    fn truth(&self, params: &Params) -> Truth {
        let p = match self.relation {
            Relation::Together => self.density,
            Relation::Apart => self.density / 2.0,
        };
        let cause = Cause::Orthogonal(Mechanism::Correlated);
        Truth::of_known(params.get("w"), &vec![p / 3.0 - p * p / 4.0; 2 * self.pairs], |_| cause)
    }
}

struct Reconstruction {
    model: Correlated,
    stream: Rng,
}

impl Objective for Reconstruction {
    fn init(&self, rng: &mut Rng) -> Params {
        // The law for two concepts and one neuron; the bias starts at zero.
        let scale = (2.0f32 / 3.0).sqrt();
        let n = 2 * self.model.pairs;
        let w = Mat::from_fn(n, self.model.pairs, |i, j| if i / 2 == j { scale * rng.normal() } else { 0.0 });
        Params { blocks: vec![("w".into(), w), ("b".into(), Mat::zeros(1, n))] }
    }

    /// Weights from a pair to the neurons of others stay zero.
    fn project(&self, _params: &Params, grad: &mut Params) {
        let w = grad.get_mut("w");
        for i in 0..w.rows() {
            w.row_mut(i).iter_mut().enumerate().filter(|(j, _)| *j != i / 2).for_each(|(_, g)| *g = 0.0);
        }
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let (w, b) = (params.get("w"), params.get("b"));
        let x = self.model.inputs(self.model.batch, &self.stream.fork_index(step));
        let scale = 1.0 / (x.rows() * x.cols()) as f32;
        loss_in_blocks(&x, grad, |x| block(x, w, b, scale))
    }
}

/// The expected loss (a sum over concepts) of one pair through one neuron, without penalty.
pub fn pair_loss(relation: Relation, density: f64, bias: bool) -> ExactLoss {
    let (groups, each) = match relation {
        Relation::Together => (Groups::Correlated(2), density),
        Relation::Apart => (Groups::Anticorrelated(2), 0.5 * density),
    };
    let law = FeatureLaw::new(vec![each; 2], groups).expect("two concepts of one density");
    ExactLoss::of_law(&[1.0; 2], 1, &law, bias)
}

/// The expected loss (a sum over kinds) of `kinds` equally frequent kinds of text, exactly one a row, through a latent of two
/// dense factors, genre and language.
pub fn kinds_loss(kinds: usize) -> ExactLoss {
    let points = (0..kinds * kinds).map(|ij| f64::from(ij / kinds == ij % kinds)).collect();
    ExactLoss::listed(kinds, 2, points, vec![1.0 / kinds as f64; kinds], true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::tied::{check_gradient, recipe};

    fn model(relation: Relation) -> Correlated {
        Correlated { pairs: 4, density: 0.1, relation, batch: 512, training: recipe(1500, 0.01) }
    }

    #[test]
    fn the_gradient_is_that_of_the_definition() {
        for relation in [Relation::Together, Relation::Apart] {
            let model = Correlated { batch: 300, density: 0.3, ..model(relation) };
            let (n, m, stream) = (2 * model.pairs, model.pairs, Rng::new(4));
            let x = model.inputs(model.batch, &stream.fork_index(3));
            let mut objective = Reconstruction { model: model.clone(), stream };
            check_gradient(&mut objective, &|w, b| {
                let mut loss = 0.0;
                for r in 0..model.batch {
                    let x = |i: usize| f64::from(x[(r, i)]);
                    let h: Vec<f64> = (0..m).map(|j| (0..n).map(|i| x(i) * w[i * m + j]).sum()).collect();
                    for i in 0..n {
                        let recon = (0..m).map(|j| h[j] * w[i * m + j]).sum::<f64>() + b[i];
                        loss += (recon.max(0.0) - x(i)).powi(2);
                    }
                }
                loss / (model.batch * n) as f64
            });
        }
    }

    #[test]
    fn pairs_are_on_together_or_apart() {
        for relation in [Relation::Together, Relation::Apart] {
            let x = model(relation).inputs(20_000, &Rng::new(5));
            let count = |f: &dyn Fn(f32, f32) -> bool| x.data().chunks(2).filter(|p| f(p[0], p[1])).count() as f64;
            let (any, both) = (count(&|a, b| a > 0.0 || b > 0.0), count(&|a, b| a > 0.0 && b > 0.0));
            // 80,000 pairs at a density of 0.1.
            assert!((any / 80_000.0 - 0.1).abs() < 4.0 * (0.09f64 / 80_000.0).sqrt(), "{any}");
            assert_eq!(both, if relation == Relation::Together { any } else { 0.0 });
        }
    }

    /// The closed forms of one pair on one neuron.
    #[test]
    fn known_pairs_have_their_known_losses() {
        let half = 0.5f64.sqrt();
        for p in [1.0, 0.1] {
            let at = |relation, w: [f64; 2]| pair_loss(relation, p, false).value(&w, &mut [0.0; 2]) / p;
            assert!((at(Relation::Together, [half, half]) - 1.0 / 12.0).abs() < 1e-9);
            assert!((at(Relation::Together, [1.0, 0.0]) - 1.0 / 3.0).abs() < 1e-9);
            assert!((at(Relation::Together, [1.0, -1.0]) - 1.0 / 3.0).abs() < 1e-3);
            assert!(at(Relation::Apart, [1.0, -1.0]) < 1e-12);
        }
        // Seven kinds on a regular heptagon, far enough out, are read off without error.
        let angle = |k: usize| std::f64::consts::TAU * k as f64 / 7.0;
        let square = 1.0 / (1.0 - angle(1).cos());
        let mut p: Vec<f64> =
            (0..14).map(|i| square.sqrt() * if i % 2 == 0 { angle(i / 2).cos() } else { angle(i / 2).sin() }).collect();
        p.extend([1.0 - square; 7]);
        assert!(kinds_loss(7).value(&p, &mut [0.0; 21]) < 1e-20);
    }

    #[test]
    fn trained_pairs_share_a_neuron() {
        for relation in [Relation::Together, Relation::Apart] {
            let model = model(relation);
            let made = super::super::make(&model, &Rng::new(1), &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
            let (w, truth) = (made.params.get("w"), model.truth(&made.params));
            assert_eq!(truth.label(), "orthogonal/correlated", "{w:?}");
            let elsewhere = (0..8).flat_map(|i| (0..4).map(move |j| (i, j))).filter(|(i, j)| i / 2 != *j);
            assert!(elsewhere.into_iter().all(|at| w[at] == 0.0));
        }
    }
}
