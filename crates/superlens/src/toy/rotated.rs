//! `rotated`: another toy's layer seen in a random basis.

use super::{Cause, Origin, Sample, ToyModel, Truth};
use crate::verdict::{Mechanism, Verdict};
use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::train::{Objective, Params};
use superlens_tensor::{Mat, Rng};

/// The activations of another toy, turned by a rotation drawn from the Haar measure.
///
/// What the layer represents stays as it was, but no feature lies along a neuron any more: the exact case of orthogonal
/// features that miss the neurons.
///
/// Parameters: those of the other toy, and `rotation [neurons, neurons]`.
pub struct Rotated {
    pub of: Box<dyn ToyModel>,
}

const ROTATION: &str = "rotation";
/// Rows from which the variances of the features are measured.
const ROWS: usize = 4000;

impl ToyModel for Rotated {
    fn name(&self) -> &'static str {
        "rotated"
    }

    fn source(&self) -> &'static str {
        self.of.source()
    }

    fn origin(&self, stream: &Rng) -> Origin {
        let rotation = |params: &Params| {
            let neurons = self.of.sample(params, 2, stream).activations.cols();
            let q = haar_rotation(neurons, &mut stream.fork(ROTATION));
            Mat::from_vec(neurons, neurons, q.into_iter().map(|q| q as f32).collect())
        };
        match self.of.origin(stream) {
            Origin::Written(mut params) => {
                let rotation = rotation(&params);
                params.blocks.push((ROTATION.into(), rotation));
                Origin::Written(params)
            }
            Origin::Trained(of, config) => {
                let rotation = rotation(&of.init(&mut stream.fork("size")));
                Origin::Trained(Box::new(Turned { of, rotation }), config)
            }
        }
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let sample = self.of.sample(&without_rotation(params), rows, stream);
        Sample { activations: matmul(&sample.activations, params.get(ROTATION)), ..sample }
    }

    /// The other toy's truth with its directions turned. Superposition, codes and what is not linear stay what they are in any
    /// basis; features that fit are now rotated.
    fn truth(&self, params: &Params) -> Truth {
        let truth = self.of.truth(&without_rotation(params));
        let neurons = truth.causes.len();
        let directions = matmul(&truth.directions, params.get(ROTATION));
        let everywhere = |cause| Truth::of_causes(directions.clone(), vec![true; neurons], vec![Some(cause); neurons]);
        match truth.verdict {
            Verdict::Inconclusive => Truth::nothing(neurons),
            Verdict::Nonlinear => everywhere(Cause::Nonlinear),
            Verdict::Compositional => everywhere(Cause::Compositional),
            Verdict::Superposition => everywhere(Cause::Superposition),
            Verdict::Monosemantic | Verdict::Orthogonal => {
                let variance = self.variances(params, &truth.features);
                let cause = Cause::Orthogonal(Mechanism::Rotated);
                let known = Truth::of_known(&directions, &variance, |_| cause);
                // The other toy may count features whose directions are too short to count by themselves.
                if known.verdict == Verdict::Inconclusive { everywhere(cause) } else { known }
            }
        }
    }
}

impl Rotated {
    /// Neurons of the layer.
    pub fn neurons(&self) -> usize {
        let stream = Rng::new(0);
        let params = match self.of.origin(&stream) {
            Origin::Written(params) => params,
            Origin::Trained(of, _) => of.init(&mut stream.clone()),
        };
        self.of.sample(&params, 2, &stream).activations.cols()
    }

    /// Variances of the features, measured.
    fn variances(&self, params: &Params, features: &[usize]) -> Vec<f64> {
        let x = self.of.sample(&without_rotation(params), ROWS, &Rng::new(0).fork("variances")).features;
        let variance = |&i: &usize| {
            let column: Vec<f64> = (0..x.rows()).map(|r| f64::from(x[(r, i)])).collect();
            let mean = column.iter().sum::<f64>() / column.len() as f64;
            column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / column.len() as f64
        };
        features.iter().map(variance).collect()
    }
}

/// The parameters of the other toy, which may take no block but its own.
pub fn without_rotation(params: &Params) -> Params {
    Params { blocks: params.blocks.iter().filter(|(name, _)| name != ROTATION).cloned().collect() }
}

/// The other toy's training, with a rotation beside its parameters that nothing moves.
struct Turned {
    of: Box<dyn Objective>,
    rotation: Mat,
}

impl Objective for Turned {
    fn init(&self, rng: &mut Rng) -> Params {
        let mut params = self.of.init(rng);
        params.blocks.push((ROTATION.into(), self.rotation.clone()));
        params
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let rotation = grad.blocks.pop().expect("a rotation last");
        let loss = self.of.loss(&without_rotation(params), step, grad);
        grad.blocks.push(rotation);
        loss
    }

    fn project(&self, params: &Params, grad: &mut Params) {
        let rotation = grad.blocks.pop().expect("a rotation last");
        self.of.project(&without_rotation(params), grad);
        grad.blocks.push(rotation);
    }

    fn constrain(&self, params: &mut Params) {
        // Weight decay shrinks it, so it is put back as it was.
        params.blocks.pop();
        self.of.constrain(params);
        params.blocks.push((ROTATION.into(), self.rotation.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::data::SparseFeatures;
    use crate::toy::make;
    use crate::toy::relu_hidden::ReluHidden;
    use crate::toy::tied::recipe;
    use std::ops::ControlFlow;

    fn of(n: usize, d: usize) -> ReluHidden {
        let features = SparseFeatures::uniform(n, 0.1);
        ReluHidden { features, d_hidden: d, l1: 0.1, batch: 256, training: recipe(400, 0.02) }
    }

    /// Training is the other toy's own, and turning back gives its activations.
    #[test]
    fn turned_back_it_is_the_other_toy() {
        let (plain, turned) = (of(6, 8), Rotated { of: Box::new(of(6, 8)) });
        let stream = Rng::new(2);
        let train = |model: &dyn ToyModel| make(model, &stream, &mut |_| ControlFlow::Continue(())).unwrap();
        let (a, b) = (train(&plain), train(&turned));
        assert_eq!(a.params.get("w"), b.params.get("w"));
        assert_eq!(a.loss, b.loss);
        let rows = |model: &dyn ToyModel, params: &Params| model.sample(params, 50, &Rng::new(5)).activations;
        let back = matmul(&rows(&turned, &b.params), b.params.get(ROTATION).t());
        let furthest =
            rows(&plain, &a.params).data().iter().zip(back.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(furthest < 1e-5, "{furthest}");
        let other = make(&turned, &Rng::new(3), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_ne!(other.params.get(ROTATION), b.params.get(ROTATION));
    }

    #[test]
    fn what_fits_is_rotated_and_superposition_stays() {
        let turned = Rotated { of: Box::new(of(6, 6)) };
        let label = |w: Mat| {
            let (n, d) = w.shape();
            let q = haar_rotation(d, &mut Rng::new(4));
            let rotation = Mat::from_vec(d, d, q.into_iter().map(|q| q as f32).collect());
            let blocks = vec![("w".into(), w), ("b".into(), Mat::zeros(1, n)), (ROTATION.into(), rotation)];
            turned.truth(&Params { blocks })
        };
        let fits = label(Mat::from_fn(6, 6, |i, j| f32::from(i == j)));
        assert_eq!((fits.label().as_str(), fits.polysemantic(), fits.rank), ("orthogonal/rotated", 6, 6));
        let mut rng = Rng::new(1);
        let crowded = label(Mat::from_fn(6, 3, |_, _| 0.5 + rng.uniform()));
        assert_eq!((crowded.label().as_str(), crowded.cause(0)), ("superposition", Some("superposition")));
    }
}
