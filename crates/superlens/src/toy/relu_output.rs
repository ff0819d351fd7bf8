//! `relu_output`: features squeezed through a linear bottleneck and read out by a ReLU.

use super::groups::FeatureLaw;
use super::tied::{self, BlockLoss, loss_in_blocks, readout_error};
use super::{Origin, Sample, ToyModel, Truth};
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Rng, View};

/// The ReLU-output model of Elhage et al. 2022, *Toy Models of Superposition*: `x' = ReLU(WᵀWx + b)`.
///
/// Its layer is `h = Wx`, without a non-linearity: nothing privileges the neurons, and training is blind to a
/// rotation of them. With at least as many dimensions as features it ends with orthogonal features in directions that
/// the random start set; with fewer and sparse features it ends in superposition.
///
/// Parameters: `w [n_features, d_hidden]`, one feature's direction a row (the paper's `Wᵀ`), and `b [1, n_features]`.
#[derive(Clone, Debug)]
pub struct ReluOutput {
    pub features: FeatureLaw,
    pub d_hidden: usize,
    /// Rows per training step.
    pub batch: usize,
    pub training: TrainConfig,
}

impl ReluOutput {
    /// What trains it; its batches are drawn from streams below `stream`.
    fn objective(&self, stream: &Rng) -> Box<dyn Objective> {
        Box::new(Reconstruction { model: self.clone(), stream: stream.clone() })
    }
}

impl ToyModel for ReluOutput {
    fn name(&self) -> &'static str {
        "relu_output"
    }

    fn source(&self) -> &'static str {
        "Elhage et al. 2022, Toy Models of Superposition"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        Origin::Trained(self.objective(stream), self.training.clone())
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let features = self.features.sample(rows, stream);
        let activations = matmul(&features, params.get("w"));
        Sample { features, activations }
    }

    fn truth(&self, params: &Params) -> Truth {
        Truth::of_directions(params.get("w"), &self.features.variances())
    }
}

/// Squared error of the reconstruction, as the mean over batch and features.
struct Reconstruction {
    model: ReluOutput,
    stream: Rng,
}

impl Objective for Reconstruction {
    fn init(&self, rng: &mut Rng) -> Params {
        tied::init(self.model.features.n_features(), self.model.d_hidden, rng)
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let (w, b) = (params.get("w"), params.get("b"));
        let x = self.model.features.sample(self.model.batch, &self.stream.fork_index(step));
        let scale = 1.0 / (x.rows() * x.cols()) as f32;
        loss_in_blocks(&x, grad, |x| block(x, w, b, scale))
    }
}

/// With `h = x w`, `r = ReLU(h wᵀ + b)` and `e = 2 scale (r − x) [r > 0]`: `dw = xᵀ (e w) + eᵀ h`, `db = Σ e`.
pub(super) fn block(x: View, w: &Mat, b: &Mat, scale: f32) -> BlockLoss {
    let h = matmul(x, w);
    let mut e = matmul(&h, w.t());
    let (loss, db) = readout_error(&mut e, b, x, scale);
    let mut dw = matmul(x.t(), &matmul(&e, w));
    gemm(1.0, e.t(), h.view(), 1.0, &mut dw);
    BlockLoss { loss, dw, db }
}

#[cfg(test)]
mod tests {
    use super::super::data::SparseFeatures;
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_definition() {
        let (n, m, batch) = (7, 3, 300);
        let model = ReluOutput {
            features: SparseFeatures::uniform(n, 0.3).into(),
            d_hidden: m,
            batch,
            training: tied::recipe(1, 0.01),
        };
        let stream = Rng::new(4);
        let x = model.features.sample(batch, &stream.fork_index(3));
        tied::check_gradient(model.objective(&stream).as_mut(), &|w, b| {
            let mut loss = 0.0;
            for r in 0..batch {
                let x = |i: usize| f64::from(x[(r, i)]);
                let h: Vec<f64> = (0..m).map(|j| (0..n).map(|i| x(i) * w[i * m + j]).sum()).collect();
                for i in 0..n {
                    let recon = (0..m).map(|j| h[j] * w[i * m + j]).sum::<f64>() + b[i];
                    loss += (recon.max(0.0) - x(i)).powi(2);
                }
            }
            loss / (batch * n) as f64
        });
    }

    /// An antipodal pair costs `p²/6` a feature: both are on with probability `p²`, and then the smaller is lost.
    #[test]
    fn the_loss_of_an_antipodal_pair_is_known() {
        let p = 0.5;
        let model = ReluOutput {
            features: SparseFeatures::uniform(2, p).into(),
            d_hidden: 1,
            batch: 200_000,
            training: tied::recipe(1, 0.01),
        };
        let params =
            Params { blocks: vec![("w".into(), Mat::from_vec(2, 1, vec![1.0, -1.0])), ("b".into(), Mat::zeros(1, 2))] };
        let loss = model.objective(&Rng::new(1)).loss(&params, 0, &mut params.zeros_like());
        // The standard deviation of the mean is 0.0066 of it: E min⁴ = 1/15.
        assert!((loss / (p * p / 6.0) - 1.0).abs() < 4.0 * 0.0066, "{loss}");
        assert_eq!(model.truth(&params).label(), "superposition");
    }
}
