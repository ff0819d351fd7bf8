//! `residual_mlp`: a small residual network that noisily simulates a larger sparse one.

use super::compressed_computation::unit_rows;
use super::{Origin, Sample, ToyModel, Truth};
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

/// The residual MLP of Braun et al. 2025, *Interpretability in Parameter Space* (arXiv 2501.14926): inputs are embedded by fixed
/// unit rows `E [n, d_resid]`, a few layers add to the stream, `r ← r + W_out ReLU(W_in r)`, and `y = E r` is trained for
/// `x + ReLU(x)`.
///
/// The larger network that it simulates has one neuron an input: `n` ReLUs, of which at most one or two are on in a row. With fewer
/// neurons it can do some of them exactly or all of them with noise. The second seems to pay where `E Eᵀ ≠ I`; with `E = I` the
/// advantage over doing `layers · d_mlp` ReLUs exactly must vanish.
///
/// Parameters: for each layer `in0 [d_resid, d_mlp]` and `out0 [d_mlp, d_resid]`, `in1`, `out1`, …
#[derive(Clone, Debug)]
pub struct ResidualMlp {
    /// `E [n, d_resid]`.
    pub embedding: Mat,
    pub layers: usize,
    /// Neurons a layer.
    pub d_mlp: usize,
    /// Probability of each input to be on, uniform in `(−1, 1)` then.
    pub density: f64,
    /// Rows per training step.
    pub batch: usize,
    pub training: TrainConfig,
}

/// What a network makes of the inputs one by one.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    /// Mean over inputs of what `x_i = 1` adds to output `i` beyond `x_i`, of the 1 that the large network adds.
    pub signal: f64,
    /// Share of the inputs whose signal is at least one half.
    pub computed: f64,
    /// Root mean square of what `x_i = ±1` adds to the other outputs.
    pub noise: f64,
}

/// The embedding whose `E Eᵀ` is the identity, or one of random directions.
pub fn embedding(n: usize, d_resid: usize, mixes: bool, rng: &mut Rng) -> Mat {
    if mixes { unit_rows(n, d_resid, rng) } else { Mat::from_fn(n, n, |i, j| f32::from(i == j)) }
}

impl ResidualMlp {
    /// Loss a feature and `p` of doing as many ReLUs exactly as there are neurons, without mixing: `(1 − d/n) E[ReLU(x)²]`.
    pub fn naive(&self) -> f64 {
        let share = (self.layers * self.d_mlp) as f64 / self.embedding.rows() as f64;
        (1.0 - share).max(0.0) / 6.0
    }

    /// `[rows, n]` inputs, of which rows without any are left out: nothing answers to them.
    fn batch(&self, rng: &mut Rng, rows: usize) -> Mat {
        let n = self.embedding.rows();
        let x = self.inputs(rows, rng);
        let some: Vec<usize> = (0..rows).filter(|&r| x.row(r).iter().any(|v| *v != 0.0)).collect();
        if some.is_empty() { Mat::zeros(1, n) } else { x.select_rows(&some) }
    }

    fn inputs(&self, rows: usize, rng: &mut Rng) -> Mat {
        Mat::from_fn(rows, self.embedding.rows(), |_, _| {
            if rng.chance(self.density) { 2.0 * rng.uniform() - 1.0 } else { 0.0 }
        })
    }

    /// The stream before each layer and after the last, and the neurons of each layer.
    fn forward(&self, params: &Params, x: &Mat) -> (Vec<Mat>, Vec<Mat>) {
        let (mut streams, mut neurons) = (vec![matmul(x, &self.embedding)], Vec::new());
        for pair in params.blocks.chunks_exact(2) {
            let mut r = streams.last().expect("the embedded inputs").clone();
            let mut h = matmul(&r, &pair[0].1);
            h.data_mut().iter_mut().for_each(|h| *h = h.max(0.0));
            gemm(1.0, h.view(), pair[1].1.view(), 1.0, &mut r);
            streams.push(r);
            neurons.push(h);
        }
        (streams, neurons)
    }

    /// The neurons of all layers side by side, the scale of each shared evenly between its weights: `[rows, layers · d_mlp]`.
    fn all_neurons(&self, params: &Params, x: &Mat) -> Mat {
        let (_, neurons) = self.forward(params, x);
        let scale = |l: usize, k: usize| {
            let (into, out) = (&params.blocks[2 * l].1, &params.blocks[2 * l + 1].1);
            let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| v * v).sum::<f32>().sqrt();
            let (a, b) = (norm(&mut (0..into.rows()).map(|i| into[(i, k)])), norm(&mut out.row(k).iter().copied()));
            if a > 0.0 { (b / a).sqrt() } else { 0.0 }
        };
        let scales: Vec<Vec<f32>> = (0..self.layers).map(|l| (0..self.d_mlp).map(|k| scale(l, k)).collect()).collect();
        let m = self.d_mlp;
        Mat::from_fn(x.rows(), self.layers * m, |r, j| scales[j / m][j % m] * neurons[j / m][(r, j % m)])
    }

    /// One unit of each input alone: positive ones, then negative ones. `[2n, n]`.
    fn units(&self) -> Mat {
        let n = self.embedding.rows();
        Mat::from_fn(2 * n, n, |i, j| {
            if i % n != j {
                0.0
            } else if i < n {
                1.0
            } else {
                -1.0
            }
        })
    }

    /// How well it simulates the large network, input by input.
    pub fn simulation(&self, params: &Params) -> Simulation {
        let n = self.embedding.rows();
        let (streams, _) = self.forward(params, &self.units());
        let y = matmul(streams.last().expect("a stream"), self.embedding.t());
        let signals: Vec<f64> = (0..n).map(|i| f64::from(y[(i, i)]) - 1.0).collect();
        let others = (0..2 * n).flat_map(|r| (0..n).filter(move |&o| o != r % n).map(move |o| (r, o)));
        let squares: f64 = others.map(|at| f64::from(y[at]).powi(2)).sum();
        Simulation {
            signal: signals.iter().sum::<f64>() / n as f64,
            computed: signals.iter().filter(|s| **s >= 0.5).count() as f64 / n as f64,
            noise: (squares / (2 * n * n.saturating_sub(1)).max(1) as f64).sqrt(),
        }
    }

    /// The loss on `rows` rows that no training has seen.
    pub fn fresh_loss(&self, params: &Params, rows: usize, stream: &Rng) -> f64 {
        const PART: usize = 4096;
        let part = rows.clamp(1, PART);
        let mut fit = Simulate { model: ResidualMlp { batch: part, ..self.clone() }, stream: stream.fork("fresh") };
        let mut spare = params.zeros_like();
        let parts = rows.div_ceil(part).max(1) as u64;
        (0..parts).map(|k| fit.loss(params, k, &mut spare)).sum::<f64>() / parts as f64
    }
}

impl ToyModel for ResidualMlp {
    fn name(&self) -> &'static str {
        "residual_mlp"
    }

    fn source(&self) -> &'static str {
        "Braun et al. 2025, Interpretability in Parameter Space (arXiv 2501.14926), the residual MLP"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        let objective = Simulate { model: self.clone(), stream: stream.clone() };
        Origin::Trained(Box::new(objective), self.training.clone())
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let x = self.inputs(rows, &mut stream.fork("inputs"));
        let n = x.cols();
        let features = Mat::from_fn(rows, 2 * n, |r, k| if k < n { x[(r, k)] } else { -x[(r, k - n)] }.max(0.0));
        Sample { activations: self.all_neurons(params, &x), features }
    }

    /// Features are halves of inputs, as in `abs_value`.
    fn truth(&self, params: &Params) -> Truth {
        let p = self.density;
        let variance = vec![p / 6.0 - p * p / 16.0; 2 * self.embedding.rows()];
        Truth::of_directions(&self.all_neurons(params, &self.units()), &variance)
    }
}

/// Squared error of `y` for `x + ReLU(x)`, as the mean over batch and outputs.
struct Simulate {
    model: ResidualMlp,
    stream: Rng,
}

impl Objective for Simulate {
    /// Normal weights of variance one over the inputs of a layer.
    fn init(&self, rng: &mut Rng) -> Params {
        let (d, m) = (self.model.embedding.cols(), self.model.d_mlp);
        let mut weights = |rows: usize, cols: usize| {
            let scale = 1.0 / (rows as f32).sqrt();
            Mat::from_fn(rows, cols, |_, _| scale * rng.normal())
        };
        let layer = |l: usize| [(format!("in{l}"), weights(d, m)), (format!("out{l}"), weights(m, d))];
        Params { blocks: (0..self.model.layers).flat_map(layer).collect() }
    }

    /// With `e = 2 scale (y − t)` and `g = e E` at the end of the stream, each layer from the last on adds
    /// `dW_out = hᵀ g`, `dh = (g W_outᵀ) [h > 0]`, `dW_in = rᵀ dh`, and passes `g + dh W_inᵀ` on.
    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let model = &self.model;
        let x = model.batch(&mut self.stream.fork_index(step), model.batch);
        let scale = 1.0 / (model.batch * x.cols()) as f32;
        let (streams, neurons) = model.forward(params, &x);
        let mut e = matmul(&streams[model.layers], model.embedding.t());
        let mut loss = 0.0;
        for (e, x) in e.data_mut().iter_mut().zip(x.data()) {
            let error = *e - x - x.max(0.0);
            loss += f64::from(scale) * f64::from(error * error);
            *e = 2.0 * scale * error;
        }
        let mut g = matmul(&e, &model.embedding);
        for l in (0..model.layers).rev() {
            let mut dh = matmul(&g, params.blocks[2 * l + 1].1.t());
            dh.data_mut().iter_mut().zip(neurons[l].data()).for_each(|(d, h)| *d = if *h > 0.0 { *d } else { 0.0 });
            gemm(1.0, neurons[l].t(), g.view(), 1.0, &mut grad.blocks[2 * l + 1].1);
            gemm(1.0, streams[l].t(), dh.view(), 1.0, &mut grad.blocks[2 * l].1);
            gemm(1.0, dh.view(), params.blocks[2 * l].1.t(), 1.0, &mut g);
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::tied::recipe;

    fn model(mixes: bool) -> ResidualMlp {
        ResidualMlp {
            embedding: embedding(6, 20, mixes, &mut Rng::new(3)),
            layers: 2,
            d_mlp: 2,
            density: 0.3,
            batch: 400,
            training: recipe(1, 1e-3),
        }
    }

    /// The loss by its definition, in `f64`.
    fn definition(model: &ResidualMlp, p: &[Vec<f64>], x: &Mat) -> f64 {
        let (n, d) = model.embedding.shape();
        let e = |i: usize, j: usize| f64::from(model.embedding[(i, j)]);
        let mut loss = 0.0;
        for r in 0..x.rows() {
            let x = |i: usize| f64::from(x[(r, i)]);
            let mut stream: Vec<f64> = (0..d).map(|j| (0..n).map(|i| x(i) * e(i, j)).sum()).collect();
            for l in 0..model.layers {
                let m = model.d_mlp;
                let h = |k: usize| (0..d).map(|j| stream[j] * p[2 * l][j * m + k]).sum::<f64>().max(0.0);
                let h: Vec<f64> = (0..m).map(h).collect();
                (0..d).for_each(|j| stream[j] += (0..m).map(|k| h[k] * p[2 * l + 1][k * d + j]).sum::<f64>());
            }
            for i in 0..n {
                let y: f64 = (0..d).map(|j| stream[j] * e(i, j)).sum();
                loss += (y - x(i) - x(i).max(0.0)).powi(2);
            }
        }
        loss / (model.batch * n) as f64
    }

    #[test]
    fn the_gradient_is_that_of_the_definition() {
        for mixes in [true, false] {
            let model = model(mixes);
            let mut fit = Simulate { model: model.clone(), stream: Rng::new(5) };
            let params = fit.init(&mut Rng::new(6));
            let mut grad = params.zeros_like();
            let loss = fit.loss(&params, 2, &mut grad);
            let x = model.batch(&mut Rng::new(5).fork_index(2), model.batch);
            let wide: Vec<Vec<f64>> =
                params.blocks.iter().map(|(_, b)| b.data().iter().map(|v| f64::from(*v)).collect()).collect();
            let want = definition(&model, &wide, &x);
            assert!((loss / want - 1.0).abs() < 1e-5, "{loss} for {want}");
            let largest = grad.blocks.iter().flat_map(|(_, g)| g.data()).fold(0.0f32, |m, g| m.max(g.abs()));
            for (k, (name, block)) in grad.blocks.iter().enumerate() {
                for (i, &g) in block.data().iter().enumerate() {
                    let at = |step: f64| {
                        let mut moved = wide.clone();
                        moved[k][i] += step;
                        definition(&model, &moved, &x)
                    };
                    let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                    let error = (f64::from(g) - numeric).abs() / f64::from(g.abs().max(1e-3 * largest));
                    assert!(error < 2e-3, "derivative {i} of {name} is {g}, by differences {numeric}");
                }
            }
        }
    }

    /// With the identity as embedding, four neurons that do four of six ReLUs exactly.
    #[test]
    fn the_naive_network_is_monosemantic_and_has_the_naive_loss() {
        let model = ResidualMlp { density: 0.2, ..model(false) };
        let eye = |rows, cols, from: usize| {
            Mat::from_fn(rows, cols, |i, j| f32::from(if rows > cols { i == j + from } else { j == i + from }))
        };
        let blocks = [("in0", eye(6, 2, 0)), ("out0", eye(2, 6, 0)), ("in1", eye(6, 2, 2)), ("out1", eye(2, 6, 2))];
        let params = Params { blocks: blocks.map(|(name, block)| (name.to_string(), block)).to_vec() };
        let loss = model.fresh_loss(&params, 100_000, &Rng::new(1)) / model.density;
        assert!((loss / model.naive() - 1.0).abs() < 0.03, "{loss} for {}", model.naive());
        let s = model.simulation(&params);
        assert!((s.signal - 4.0 / 6.0).abs() < 1e-6 && (s.computed - 4.0 / 6.0).abs() < 1e-6 && s.noise < 1e-6);
        assert_eq!(model.truth(&params).label(), "monosemantic");
    }
}
