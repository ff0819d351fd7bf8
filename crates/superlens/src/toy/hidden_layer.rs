//! One hidden layer of ReLUs that is trained to compute something of sparse inputs: what `abs_value`, `boolean_and`,
//! `compressed_computation` and `stuck` share.

use super::{Sample, Truth};
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::lanes::{GROUP, Lanes, MAX_GROUPS, mix};
use superlens_tensor::kernels::mlp::{Mlp, Room, Slopes};
use superlens_tensor::kernels::random::{SparseUniform, Words};
use superlens_tensor::kernels::tied::{Response, transpose};
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

/// `y = r(W2ᵀ ReLU(W1ᵀ x + b1) + b2)`, and what it is trained for: the mean over batch and outputs of
/// `importance · (y − t)²` for the targets `t` of the task.
///
/// Parameters: `w1 [n_inputs, d_hidden]`, `b1 [1, d_hidden]`, `w2 [d_hidden, n_outputs]`, `b2 [1, n_outputs]`. A bias that is
/// not wanted stays zero.
#[derive(Clone, Debug)]
pub struct HiddenLayer {
    pub task: Task,
    /// Probability of each input to be on.
    pub density: Vec<f64>,
    pub d_hidden: usize,
    /// One an output.
    pub importance: Vec<f64>,
    pub hidden_bias: bool,
    pub output_bias: bool,
    pub readout: Response,
    pub init: Init,
    /// Rows per training step.
    pub batch: usize,
    pub training: TrainConfig,
}

/// Where weights start; the bounds are for a block of `[in, out]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Init {
    /// Normal with variance `2 / (in + out)`, biases zero (Glorot and Bengio 2010).
    #[default]
    Xavier,
    /// Normal with variance `2 / in`, biases zero (He et al. 2015).
    He,
    /// Uniform within `±1/√in`, biases too, as PyTorch's linear layers.
    Uniform,
}

impl Init {
    /// A block of weights and its biases, zero unless there `is` a bias.
    fn draw(self, rows: usize, cols: usize, bias: bool, rng: &mut Rng) -> (Mat, Mat) {
        let normal = |variance: f32, rng: &mut Rng| variance.sqrt() * rng.normal();
        let uniform = |rng: &mut Rng| (2.0 * rng.uniform() - 1.0) / (rows as f32).sqrt();
        let w = Mat::from_fn(rows, cols, |_, _| match self {
            Init::Xavier => normal(2.0 / (rows + cols) as f32, rng),
            Init::He => normal(2.0 / rows as f32, rng),
            Init::Uniform => uniform(rng),
        });
        let b = Mat::from_fn(1, cols, |_, _| if bias && self == Init::Uniform { uniform(rng) } else { 0.0 });
        (w, b)
    }
}

/// What is to be computed.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// `t_i = |x_i|` of inputs that are uniform in `(−1, 1)` when on.
    Abs,
    /// `t_ab = x_a x_b` of inputs that are one when on; pairs in the order of [`pairs`].
    And,
    /// `t = ReLU(x) + L x` of inputs that are uniform in `(−1, 1)` when on; `L [n, n]` row-major and transposed, so that
    /// entry `(i, o)` is what input `i` adds to target `o`.
    Relu { labels: Vec<f32> },
}

/// All pairs of `n` inputs: (0, 1), (0, 2), (1, 2), (0, 3), …
pub fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(|b| (0..b).map(move |a| (a, b)))
}

impl Task {
    pub fn outputs(&self, inputs: usize) -> usize {
        match self {
            Task::And => inputs * inputs.saturating_sub(1) / 2,
            Task::Abs | Task::Relu { .. } => inputs,
        }
    }

    /// Whether inputs have either sign.
    fn signed(&self) -> bool {
        !matches!(self, Task::And)
    }

    /// The targets of one row, plainly.
    pub fn of_row(&self, x: &[f32]) -> Vec<f32> {
        match self {
            Task::Abs => x.iter().map(|x| x.abs()).collect(),
            Task::And => pairs(x.len()).map(|(a, b)| x[a] * x[b]).collect(),
            Task::Relu { labels } => {
                let mixed =
                    |o: usize| x.iter().enumerate().map(|(i, x)| labels[i * x_len(labels) + o] * x).sum::<f32>();
                x.iter().enumerate().map(|(o, x)| x.max(0.0) + mixed(o)).collect()
            }
        }
    }

    /// The targets `t` of all rows in `x`, whose values are made Boolean first where the task asks for that.
    fn in_lanes(&self, x: &mut Lanes, groups: usize, t: &mut Lanes) {
        match self {
            Task::Abs => each_group(x, groups, |x, v, g| {
                t.group_mut(v, g).iter_mut().zip(x.group(v, g)).for_each(|(t, x)| *t = x.abs());
                t.mark(v, g);
            }),
            Task::And => {
                each_group(x, groups, |x, v, g| {
                    x.group_mut(v, g).iter_mut().for_each(|x| *x = f32::from(*x != 0.0));
                });
                for (o, (a, b)) in pairs(x.vars()).enumerate() {
                    for g in (0..groups).filter(|g| x.on(a) & x.on(b) & (1 << g) != 0) {
                        let (xa, xb) = (x.group(a, g), x.group(b, g));
                        t.group_mut(o, g).iter_mut().zip(xa.iter().zip(xb)).for_each(|(t, (a, b))| *t = a * b);
                        t.mark(o, g);
                    }
                }
            }
            Task::Relu { labels } => {
                mix(x, labels, None, groups, t);
                each_group(x, groups, |x, v, g| {
                    t.group_mut(v, g).iter_mut().zip(x.group(v, g)).for_each(|(t, x)| *t += x.max(0.0));
                });
            }
        }
    }
}

/// The side of a square matrix.
fn x_len(square: &[f32]) -> usize {
    square.len().isqrt()
}

/// Calls `f` for every variable and group that is on.
fn each_group(x: &mut Lanes, groups: usize, mut f: impl FnMut(&mut Lanes, usize, usize)) {
    for v in 0..x.vars() {
        let mut left = x.on(v);
        while left != 0 {
            let g = left.trailing_zeros() as usize;
            left &= left - 1;
            if g < groups {
                f(x, v, g);
            }
        }
    }
}

impl HiddenLayer {
    pub fn n_inputs(&self) -> usize {
        self.density.len()
    }

    pub fn n_outputs(&self) -> usize {
        self.task.outputs(self.n_inputs())
    }

    /// What trains it; its batches are drawn from streams below `stream`.
    pub fn objective(&self, stream: &Rng) -> Box<dyn Objective> {
        Box::new(self.fit(self.batch, stream))
    }

    fn fit(&self, batch: usize, stream: &Rng) -> Fit {
        let (n, outs) = (self.n_inputs(), self.n_outputs());
        assert_eq!(outs, self.importance.len(), "importances for {outs} outputs");
        let groups = batch.div_ceil(GROUP).clamp(1, MAX_GROUPS);
        let scale = 1.0 / (batch as f64 * outs as f64);
        Fit {
            law: SparseUniform::new(&self.density, self.task.signed()),
            cost: self.importance.iter().map(|i| (i * scale) as f32).collect(),
            x: Lanes::zeros(n, groups),
            t: Lanes::zeros(outs, groups),
            room: Room::new(self.d_hidden, outs, groups),
            w2t: vec![0.0; self.d_hidden * outs],
            stream: stream.clone(),
            batch,
            layer: self.clone(),
        }
    }

    /// The loss on `rows` rows that no training has seen.
    pub fn fresh_loss(&self, params: &Params, rows: usize, stream: &Rng) -> f64 {
        const PART: usize = 1 << 14;
        let mut fit = self.fit(rows.min(PART), &stream.fork("fresh"));
        let mut spare = params.zeros_like();
        let parts = rows.div_ceil(PART).max(1) as u64;
        (0..parts).map(|k| fit.loss(params, k, &mut spare)).sum::<f64>() / parts as f64
    }

    /// `[rows, n_inputs]` fresh inputs.
    pub fn inputs(&self, rows: usize, stream: &Rng) -> Mat {
        let mut rng = stream.fork("inputs");
        Mat::from_fn(rows, self.n_inputs(), |_, i| match rng.chance(self.density[i]) {
            false => 0.0,
            true if self.task.signed() => 2.0 * rng.uniform() - 1.0,
            true => 1.0,
        })
    }

    /// `[rows, n_features]`: what the layer has to tell apart. The positive and then the negative parts of signed inputs, or
    /// the pairs of Boolean ones.
    pub fn features(&self, x: &Mat) -> Mat {
        let n = x.cols();
        match self.task {
            Task::And => ands(x),
            _ => Mat::from_fn(x.rows(), 2 * n, |r, k| if k < n { x[(r, k)] } else { -x[(r, k - n)] }.max(0.0)),
        }
    }

    /// Variance of each of the [`features`](Self::features).
    pub fn variances(&self) -> Vec<f64> {
        match self.task {
            Task::And => {
                pairs(self.n_inputs()).map(|(a, b)| self.density[a] * self.density[b]).map(|p| p * (1.0 - p)).collect()
            }
            _ => self.density.repeat(2).iter().map(|p| p / 6.0 - p * p / 16.0).collect(),
        }
    }

    /// `[n_features, d_hidden]`: what each of the [`features`](Self::features) alone adds to the neurons.
    pub fn directions(&self, params: &Params) -> Mat {
        match self.task {
            Task::And => of_pairs(params),
            _ => of_halves(params),
        }
    }

    /// What [`ToyModel::sample`](super::ToyModel::sample) gives of a toy that is this layer: neurons with their scale shared evenly, since
    /// a ReLU's own says nothing.
    pub fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let x = self.inputs(rows, stream);
        Sample { activations: neurons(&balanced(params), &x), features: self.features(&x) }
    }

    /// The truth of the same neurons, by their directions alone.
    pub fn truth(&self, params: &Params) -> Truth {
        Truth::of_directions(&self.directions(&balanced(params)), &self.variances())
    }
}

/// `[2 n_inputs, d_hidden]`: what one unit of an input adds to the neurons, positive units first, then negative ones.
fn of_halves(params: &Params) -> Mat {
    let (w1, b1) = (params.get("w1"), params.get("b1"));
    let (n, m) = w1.shape();
    Mat::from_fn(2 * n, m, |i, k| {
        let w = if i < n { w1[(i, k)] } else { -w1[(i - n, k)] };
        (b1[(0, k)] + w).max(0.0) - b1[(0, k)].max(0.0)
    })
}

/// `[pairs, d_hidden]`: what both inputs of a pair add to the neurons beyond what each alone does.
pub fn of_pairs(params: &Params) -> Mat {
    let (w1, b1) = (params.get("w1"), params.get("b1"));
    let pairs: Vec<(usize, usize)> = pairs(w1.rows()).collect();
    let at = |k: usize, add: f32| (b1[(0, k)] + add).max(0.0);
    Mat::from_fn(pairs.len(), w1.cols(), |p, k| {
        let (a, b) = (w1[(pairs[p].0, k)], w1[(pairs[p].1, k)]);
        at(k, a + b) - at(k, a) - at(k, b) + at(k, 0.0)
    })
}

/// `[rows, pairs]`: the AND of every pair of Boolean inputs.
pub fn ands(x: &Mat) -> Mat {
    let pairs: Vec<(usize, usize)> = pairs(x.cols()).collect();
    Mat::from_fn(x.rows(), pairs.len(), |r, k| x[(r, pairs[k].0)] * x[(r, pairs[k].1)])
}

/// The neurons on inputs `x`, `[rows, d_hidden]`.
pub fn neurons(params: &Params, x: &Mat) -> Mat {
    let mut h = matmul(x, params.get("w1"));
    for r in 0..h.rows() {
        h.row_mut(r).iter_mut().zip(params.get("b1").data()).for_each(|(h, b)| *h = (*h + b).max(0.0));
    }
    h
}

/// The same function with the scale of every neuron shared evenly between the weights into it and out of it; a neuron without
/// either becomes zero.
pub fn balanced(params: &Params) -> Params {
    let mut even = params.clone();
    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| v * v).sum::<f32>().sqrt();
    for k in 0..params.get("b1").cols() {
        let w1 = params.get("w1");
        let into = norm(&mut (0..w1.rows()).map(|i| w1[(i, k)]));
        let out = norm(&mut params.get("w2").row(k).iter().copied());
        let (up, down) = if into > 0.0 && out > 0.0 { ((out / into).sqrt(), (into / out).sqrt()) } else { (0.0, 0.0) };
        let w1 = even.get_mut("w1");
        (0..w1.rows()).for_each(|i| w1[(i, k)] *= up);
        even.get_mut("b1")[(0, k)] *= up;
        even.get_mut("w2").row_mut(k).iter_mut().for_each(|w| *w *= down);
    }
    even
}

/// A [`HiddenLayer`] in training, with room for its rows.
struct Fit {
    layer: HiddenLayer,
    stream: Rng,
    batch: usize,
    law: SparseUniform,
    cost: Vec<f32>,
    x: Lanes,
    t: Lanes,
    room: Room,
    w2t: Vec<f32>,
}

impl Objective for Fit {
    fn init(&self, rng: &mut Rng) -> Params {
        let HiddenLayer { d_hidden, init, hidden_bias, output_bias, .. } = self.layer;
        let (w1, b1) = init.draw(self.layer.n_inputs(), d_hidden, hidden_bias, rng);
        let (w2, b2) = init.draw(d_hidden, self.layer.n_outputs(), output_bias, rng);
        let named = [("w1", w1), ("b1", b1), ("w2", w2), ("b2", b2)];
        Params { blocks: named.map(|(name, block)| (name.to_string(), block)).to_vec() }
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let Fit { layer, stream, batch, law, cost, x, t, room, w2t } = self;
        transpose(params.get("w2").data(), cost.len(), w2t);
        let mlp = Mlp {
            w1: params.get("w1").data(),
            b1: params.get("b1").data(),
            w2: params.get("w2").data(),
            w2t,
            b2: params.get("b2").data(),
            cost,
            readout: layer.readout,
        };
        let [(_, w1), (_, b1), (_, w2), (_, b2)] = &mut grad.blocks[..] else { panic!("four blocks of weights") };
        let mut slopes = Slopes { w1: w1.data_mut(), b1: b1.data_mut(), w2: w2.data_mut(), b2: b2.data_mut() };
        let mut words = Words::new(&stream.fork_index(step));
        let (mut loss, mut left, mut seen) = (0.0, *batch, 0);
        while left > 0 {
            x.clear();
            t.clear();
            let (drawn, written) = law.fill(&mut words, left, x);
            left -= drawn;
            let groups = written.div_ceil(GROUP);
            seen += groups * GROUP;
            layer.task.in_lanes(x, groups, t);
            loss += mlp.gradient(x, t, groups, room, &mut slopes);
        }
        loss += mlp.of_empty_rows(*batch as f64 - seen as f64, &mut slopes);
        for (wanted, slope) in [(layer.hidden_bias, slopes.b1), (layer.output_bias, slopes.b2)] {
            if !wanted {
                slope.fill(0.0);
            }
        }
        loss
    }
}

#[cfg(test)]
mod tests;
