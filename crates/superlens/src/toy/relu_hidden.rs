//! `relu_hidden`: features through a hidden layer of ReLUs, whose neurons are a privileged basis.

use super::data::SparseFeatures;
use super::tied::{self, BlockLoss, loss_in_blocks, readout_error};
use super::{Origin, Sample, ToyModel, Truth};
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Rng, View};

/// The ReLU-hidden-layer model of Elhage et al. 2022, *Toy Models of Superposition*: `h = ReLU(Wx)`,
/// `x' = ReLU(Wᵀh + b)`, with the paper's `λ‖h‖₁` on the hidden layer.
///
/// Its layer is `h`. A rotation of the neurons changes the loss: the ReLU privileges them. With at least as many
/// neurons as features and some `λ` each feature takes a neuron of its own.
///
/// Parameters: `w [n_features, d_hidden]`, one feature's weights a row (the paper's `Wᵀ`), and `b [1, n_features]`.
#[derive(Clone, Debug)]
pub struct ReluHidden {
    pub features: SparseFeatures,
    pub d_hidden: usize,
    /// `λ`, the weight of the mean over batch and features of `Σ_j h_j`.
    pub l1: f32,
    /// Rows per training step.
    pub batch: usize,
    pub training: TrainConfig,
}

impl ReluHidden {
    /// What trains it; its batches are drawn from streams below `stream`.
    fn objective(&self, stream: &Rng) -> Box<dyn Objective> {
        Box::new(SparseReconstruction { model: self.clone(), stream: stream.clone() })
    }
}

impl ToyModel for ReluHidden {
    fn name(&self) -> &'static str {
        "relu_hidden"
    }

    fn source(&self) -> &'static str {
        "Elhage et al. 2022, Toy Models of Superposition (the privileged basis)"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        Origin::Trained(self.objective(stream), self.training.clone())
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let features = self.features.sample(rows, stream);
        let mut activations = matmul(&features, params.get("w"));
        activations.data_mut().iter_mut().for_each(|h| *h = h.max(0.0));
        Sample { features, activations }
    }

    /// The direction of a feature is the response of the layer to that feature alone, `ReLU(w_i)`.
    fn truth(&self, params: &Params) -> Truth {
        let mut directions = params.get("w").clone();
        directions.data_mut().iter_mut().for_each(|w| *w = w.max(0.0));
        Truth::of_directions(&directions, &self.features.variances())
    }
}

/// Squared error of the reconstruction plus `λ` times the sum of the hidden layer, as the mean over batch and features.
struct SparseReconstruction {
    model: ReluHidden,
    stream: Rng,
}

impl Objective for SparseReconstruction {
    fn init(&self, rng: &mut Rng) -> Params {
        tied::init(self.model.features.n_features(), self.model.d_hidden, rng)
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let (w, b) = (params.get("w"), params.get("b"));
        let x = self.model.features.sample(self.model.batch, &self.stream.fork_index(step));
        let scale = 1.0 / (x.rows() * x.cols()) as f32;
        loss_in_blocks(&x, grad, |x| block(x, w, b, scale, self.model.l1))
    }
}

/// With `h = ReLU(x w)`, `r = ReLU(h wᵀ + b)`, `e = 2 scale (r − x) [r > 0]` and `g = (e w + scale λ) [h > 0]`:
/// `dw = xᵀ g + eᵀ h`, `db = Σ e`.
fn block(x: View, w: &Mat, b: &Mat, scale: f32, l1: f32) -> BlockLoss {
    let mut h = matmul(x, w);
    let mut sum = 0.0;
    for h in h.data_mut() {
        *h = h.max(0.0);
        sum += f64::from(*h);
    }
    let mut e = matmul(&h, w.t());
    let (squares, db) = readout_error(&mut e, b, x, scale);
    let mut g = matmul(&e, w);
    for (g, &h) in g.data_mut().iter_mut().zip(h.data()) {
        *g = if h > 0.0 { *g + scale * l1 } else { 0.0 };
    }
    let mut dw = matmul(x.t(), &g);
    gemm(1.0, e.t(), h.view(), 1.0, &mut dw);
    BlockLoss { loss: squares + f64::from(scale * l1) * sum, dw, db }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_definition() {
        let (n, m, batch, l1) = (6, 8, 300, 0.2);
        let model = ReluHidden {
            features: SparseFeatures::uniform(n, 0.3),
            d_hidden: m,
            l1,
            batch,
            training: tied::recipe(1, 0.01),
        };
        let stream = Rng::new(4);
        let x = model.features.sample(batch, &stream.fork_index(3));
        tied::check_gradient(model.objective(&stream).as_mut(), &|w, b| {
            let mut loss = 0.0;
            for r in 0..batch {
                let x = |i: usize| f64::from(x[(r, i)]);
                let h: Vec<f64> = (0..m).map(|j| (0..n).map(|i| x(i) * w[i * m + j]).sum::<f64>().max(0.0)).collect();
                loss += f64::from(l1) * h.iter().sum::<f64>();
                for i in 0..n {
                    let recon = (0..m).map(|j| h[j] * w[i * m + j]).sum::<f64>() + b[i];
                    loss += (recon.max(0.0) - x(i)).powi(2);
                }
            }
            loss / (batch * n) as f64
        });
    }

    /// The ReLU privileges the neurons: rotating `W` changes what the layer can do.
    #[test]
    fn a_rotation_of_the_neurons_changes_the_loss() {
        let n = 8;
        let model = ReluHidden {
            features: SparseFeatures::uniform(n, 0.2),
            d_hidden: n,
            l1: 0.0,
            batch: 2000,
            training: tied::recipe(1, 0.01),
        };
        let q = superlens_tensor::decomp::haar_rotation(n, &mut Rng::new(3));
        let loss = |w: Mat| {
            let params = Params { blocks: vec![("w".into(), w), ("b".into(), Mat::zeros(1, n))] };
            (model.objective(&Rng::new(1)).loss(&params, 0, &mut params.zeros_like()), model.truth(&params).verdict)
        };
        let (aligned, truth) = loss(Mat::from_fn(n, n, |i, j| f32::from(i == j)));
        assert_eq!((aligned, truth), (0.0, crate::verdict::Verdict::Monosemantic));
        let (rotated, _) = loss(Mat::from_fn(n, n, |i, j| q[i * n + j] as f32));
        assert!(rotated > 0.005, "{rotated}");
    }
}
