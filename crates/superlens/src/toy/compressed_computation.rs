//! `compressed_computation`: a hundred ReLUs that fifty neurons seem to compute, thanks to labels that mix the inputs.

use super::hidden_layer::{HiddenLayer, Init, Task, balanced};
use super::{Origin, Sample, ToyModel, Truth};
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::tied::Response;
use superlens_tensor::train::{Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

/// Bhagat et al. 2026, *Compressed Computation is (probably) not Computation in Superposition* (arXiv 2606.14673), on the model of
/// Braun et al. 2025: `y = W_E (W_Eᵀ x + MLP(W_Eᵀ x))` is trained for `x + ReLU(x)`.
///
/// `W_E [n, d_resid]` is fixed with unit rows and `M = W_E W_Eᵀ − I`. Since `d_resid ≥ n`, the weights that the inputs and outputs
/// see are as free as the MLP's own, so that the model is one hidden layer trained for the labels `ReLU(x) − M x`, without biases:
/// what the residual stream adds wrongly is left to the neurons. Half the ReLUs done and half of them left costs `1/12` a feature and
/// `p`; only `M` lets training go below.
#[derive(Clone, Debug)]
pub struct CompressedComputation {
    /// `M [n, n]`, symmetric.
    pub mixing: Mat,
    pub d_hidden: usize,
    /// Probability of each input to be on.
    pub density: f64,
    /// Rows per training step.
    pub batch: usize,
    pub training: TrainConfig,
}

/// `M = W_E W_Eᵀ − I` for `n` random unit rows in `d_resid` dimensions, times `scale`.
pub fn mixing(n: usize, d_resid: usize, scale: f32, rng: &mut Rng) -> Mat {
    let embedding = unit_rows(n, d_resid, rng);
    let mut m = matmul(&embedding, embedding.t());
    (0..n).for_each(|i| m[(i, i)] = 0.0);
    m.data_mut().iter_mut().for_each(|v| *v *= scale);
    m
}

/// `n` random directions in `d` dimensions, `[n, d]`.
pub fn unit_rows(n: usize, d: usize, rng: &mut Rng) -> Mat {
    let mut rows = Mat::from_fn(n, d, |_, _| rng.normal());
    for i in 0..n {
        let norm = rows.row(i).iter().map(|v| v * v).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        rows.row_mut(i).iter_mut().for_each(|v| *v /= norm);
    }
    rows
}

impl CompressedComputation {
    pub fn layer(&self) -> HiddenLayer {
        let n = self.mixing.rows();
        HiddenLayer {
            task: Task::Relu { labels: self.mixing.data().iter().map(|m| -m).collect() },
            density: vec![self.density; n],
            d_hidden: self.d_hidden,
            importance: vec![1.0; n],
            hidden_bias: false,
            output_bias: false,
            readout: Response::Linear,
            init: Init::Xavier,
            batch: self.batch,
            training: self.training.clone(),
        }
    }

    /// Loss a feature and `p` of a network that does as many ReLUs as it has neurons: `(1 − d/n) E[ReLU(x)²]`, with `M = 0`.
    pub fn naive(&self) -> f64 {
        (1.0 - self.d_hidden as f64 / self.mixing.rows() as f64).max(0.0) / 6.0
    }

    /// Share of the squared weights into the neurons, and of those out of them, that lies in the `d_hidden` eigenvectors along which
    /// the labels are mixed most, those of `−M` with the largest eigenvalues. Random weights have `d/n`.
    pub fn eigenspace_shares(&self, params: &Params) -> (f64, f64) {
        let n = self.mixing.rows();
        let labels: Vec<f64> = self.mixing.data().iter().map(|m| -f64::from(*m)).collect();
        let Some(eigen) = sym_eigen(&labels, n) else { return (f64::NAN, f64::NAN) };
        let even = balanced(params);
        let share = |rows: &Mat| {
            let all: f64 = rows.data().iter().map(|v| f64::from(v * v)).sum();
            let within = |v: &Vec<f64>| {
                let along = |k: usize| rows.row(k).iter().zip(v).map(|(r, v)| f64::from(*r) * v).sum::<f64>();
                (0..rows.rows()).map(|k| along(k).powi(2)).sum::<f64>()
            };
            eigen.vectors.iter().take(self.d_hidden).map(within).sum::<f64>() / all.max(f64::MIN_POSITIVE)
        };
        (share(&even.get("w1").transposed()), share(even.get("w2")))
    }

    /// Weights made from `M` alone, without training: the semi-non-negative factors `A ≥ 0` and `B` of what a single positive input
    /// has as labels, `I − M ≈ B A` (Ding, Li and Jordan 2010, *Convex and semi-nonnegative matrix factorizations*).
    pub fn factored(&self, iterations: usize, rng: &mut Rng) -> Params {
        let n = self.mixing.rows();
        let labels = Mat::from_fn(n, n, |i, j| f32::from(i == j) - self.mixing[(i, j)]);
        let (b, a) = semi_nmf(&labels, self.d_hidden, iterations, rng);
        let blocks = [
            ("w1", a.transposed()),
            ("b1", Mat::zeros(1, self.d_hidden)),
            ("w2", b.transposed()),
            ("b2", Mat::zeros(1, n)),
        ];
        Params { blocks: blocks.map(|(name, block)| (name.to_string(), block)).to_vec() }
    }
}

/// `x [n, n] ≈ b [n, k] · a [k, n]` with `a ≥ 0`, from a random start, by their multiplicative updates.
fn semi_nmf(x: &Mat, k: usize, iterations: usize, rng: &mut Rng) -> (Mat, Mat) {
    let n = x.rows();
    let mut a = Mat::from_fn(k, n, |_, _| rng.uniform() + 0.1);
    let mut b = best_factor(x, &a);
    let part = |v: f32, sign: f32| (sign * v).max(0.0);
    for _ in 0..iterations {
        let (bx, bb) = (matmul(b.t(), x), matmul(b.t(), &b));
        let plus = Mat::from_fn(k, k, |i, j| part(bb[(i, j)], 1.0));
        let minus = Mat::from_fn(k, k, |i, j| part(bb[(i, j)], -1.0));
        let (up, down) = (matmul(&minus, &a), matmul(&plus, &a));
        a = Mat::from_fn(k, n, |i, j| {
            let grow = part(bx[(i, j)], 1.0) + up[(i, j)];
            let shrink = part(bx[(i, j)], -1.0) + down[(i, j)];
            a[(i, j)] * (grow / shrink.max(1e-12)).sqrt()
        });
        b = best_factor(x, &a);
    }
    (b, a)
}

/// The `b` that minimises `‖x − b a‖`, through the pseudo-inverse of `a aᵀ`.
fn best_factor(x: &Mat, a: &Mat) -> Mat {
    let k = a.rows();
    let gram: Vec<f64> = matmul(a, a.t()).data().iter().map(|v| f64::from(*v)).collect();
    let Some(eigen) = sym_eigen(&gram, k) else { return Mat::zeros(x.rows(), k) };
    let floor = 1e-6 * eigen.values[0].max(f64::MIN_POSITIVE);
    let kept: Vec<(f64, &Vec<f64>)> =
        eigen.values.iter().copied().zip(&eigen.vectors).filter(|e| e.0 > floor).collect();
    let inverse = Mat::from_fn(k, k, |i, j| kept.iter().map(|(s, v)| v[i] * v[j] / s).sum::<f64>() as f32);
    matmul(&matmul(x, a.t()), &inverse)
}

impl ToyModel for CompressedComputation {
    fn name(&self) -> &'static str {
        "compressed_computation"
    }

    fn source(&self) -> &'static str {
        "Bhagat et al. 2026, Compressed Computation is (probably) not Computation in Superposition (arXiv 2606.14673)"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        Origin::Trained(self.layer().objective(stream), self.training.clone())
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        self.layer().sample(params, rows, stream)
    }

    fn truth(&self, params: &Params) -> Truth {
        self.layer().truth(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::tied::recipe;

    fn model(scale: f32) -> CompressedComputation {
        CompressedComputation {
            mixing: mixing(20, 200, scale, &mut Rng::new(4)),
            d_hidden: 10,
            density: 0.05,
            batch: 1024,
            training: recipe(100, 3e-3),
        }
    }

    /// Half the ReLUs on a neuron each: without mixing that costs exactly the naive loss.
    #[test]
    fn the_naive_network_has_the_naive_loss() {
        let model = model(0.0);
        let eye = |rows, cols| Mat::from_fn(rows, cols, |i, j| f32::from(i == j));
        let blocks = [("w1", eye(20, 10)), ("b1", Mat::zeros(1, 10)), ("w2", eye(10, 20)), ("b2", Mat::zeros(1, 20))];
        let params = Params { blocks: blocks.map(|(name, block)| (name.to_string(), block)).to_vec() };
        let loss = model.layer().fresh_loss(&params, 200_000, &Rng::new(1)) / model.density;
        assert!((model.naive() - 1.0 / 12.0).abs() < 1e-12);
        assert!((loss / model.naive() - 1.0).abs() < 0.03, "{loss}");
        assert_eq!(model.truth(&params).label(), "monosemantic");
    }

    /// What is factored exactly: a product of factors of that kind.
    #[test]
    fn semi_nmf_finds_a_product_of_its_kind() {
        let mut rng = Rng::new(5);
        let b = Mat::from_fn(12, 3, |_, _| rng.normal());
        let a = Mat::from_fn(3, 12, |_, _| rng.uniform());
        let x = matmul(&b, &a);
        let (b, a) = semi_nmf(&x, 3, 2000, &mut Rng::new(6));
        assert!(a.data().iter().all(|v| *v >= 0.0));
        let left = x.data().iter().zip(matmul(&b, &a).data()).map(|(x, y)| (x - y).powi(2)).sum::<f32>();
        let all = x.data().iter().map(|x| x * x).sum::<f32>();
        assert!(left < 1e-2 * all, "{left} of {all}");
    }

    #[test]
    fn weights_from_the_labels_lie_in_their_eigenspace() {
        let model = model(1.0);
        let random = model.layer().objective(&Rng::new(0)).init(&mut Rng::new(1));
        let (random, _) = model.eigenspace_shares(&random);
        let (_, made) = model.eigenspace_shares(&model.factored(200, &mut Rng::new(2)));
        assert!((random - 0.5).abs() < 0.2 && made > 0.7, "{random} {made}");
    }
}
