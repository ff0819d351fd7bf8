//! One hidden layer of ReLUs that is trained to compute something of sparse inputs: what `abs_value`, `boolean_and`,
//! `compressed_computation` and `stuck` share.

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
mod tests {
    use super::*;
    use crate::toy::tied::recipe;
    use superlens_tensor::gradcheck::check_objective;

    fn layer(task: Task, n: usize) -> HiddenLayer {
        let importance = (0..task.outputs(n)).map(|o| 0.9f64.powi(o as i32)).collect();
        let readout = if task == Task::Abs { Response::Relu } else { Response::Linear };
        HiddenLayer {
            task,
            density: (0..n).map(|i| 0.3 + 0.1 * (i % 3) as f64).collect(),
            d_hidden: 7,
            importance,
            hidden_bias: true,
            output_bias: true,
            readout,
            init: Init::Xavier,
            batch: 1500,
            training: recipe(1, 1e-3),
        }
    }

    fn tasks(n: usize) -> [Task; 3] {
        let mut rng = Rng::new(8);
        [Task::Abs, Task::And, Task::Relu { labels: (0..n * n).map(|_| 0.3 * rng.normal()).collect() }]
    }

    /// The rows of one step, drawn once more, and the loss by the definition on them in `f64`.
    #[test]
    fn loss_and_gradient_are_those_of_the_definition() {
        let n = 5;
        for task in tasks(n) {
            let layer = layer(task, n);
            let stream = Rng::new(2).fork("batches");
            let mut fit = layer.fit(layer.batch, &stream);
            let mut rng = Rng::new(3);
            let mut params = fit.init(&mut rng);
            params.blocks.iter_mut().for_each(|(_, b)| b.data_mut().iter_mut().for_each(|p| *p += 0.2 * rng.normal()));
            let mut grad = params.zeros_like();
            let loss = fit.loss(&params, 4, &mut grad);

            let rows = rows(&layer, &stream.fork_index(4));
            let definition = |params: &[Vec<f64>]| definition(&layer, params, &rows);
            let wide: Vec<Vec<f64>> =
                params.blocks.iter().map(|(_, b)| b.data().iter().map(|v| f64::from(*v)).collect()).collect();
            let want = definition(&wide);
            assert!((loss / want - 1.0).abs() < 1e-5, "{:?}: {loss} for {want}", layer.task);
            let largest = grad.blocks.iter().flat_map(|(_, g)| g.data()).fold(0.0f32, |m, g| m.max(g.abs()));
            for (k, (name, block)) in grad.blocks.iter().enumerate() {
                for (i, &g) in block.data().iter().enumerate().step_by(3) {
                    let at = |step: f64| {
                        let mut moved = wide.clone();
                        moved[k][i] += step;
                        definition(&moved)
                    };
                    // So small that none of the thousands of neurons and rows has its kink within the step.
                    let numeric = (at(1e-8) - at(-1e-8)) / 2e-8;
                    let error = (f64::from(g) - numeric).abs() / f64::from(g.abs().max(1e-3 * largest));
                    assert!(error < 1e-3, "derivative {i} of {name} is {g}, by differences {numeric}");
                }
            }
        }
    }

    /// All rows of a batch but those that are zero throughout.
    fn rows(layer: &HiddenLayer, stream: &Rng) -> Vec<Vec<f32>> {
        let (mut law, mut words) = (SparseUniform::new(&layer.density, layer.task.signed()), Words::new(stream));
        let mut x = Lanes::zeros(layer.n_inputs(), layer.batch.div_ceil(GROUP).min(MAX_GROUPS));
        let (mut rows, mut left) = (Vec::new(), layer.batch);
        while left > 0 {
            x.clear();
            let (drawn, written) = law.fill(&mut words, left, &mut x);
            left -= drawn;
            let value = |v: f32| if layer.task.signed() { v } else { f32::from(v != 0.0) };
            rows.extend((0..written).map(|r| (0..x.vars()).map(|v| value(x.value(v, r))).collect()));
        }
        rows
    }

    fn definition(layer: &HiddenLayer, p: &[Vec<f64>], rows: &[Vec<f32>]) -> f64 {
        let (n, m, outs) = (layer.n_inputs(), layer.d_hidden, layer.n_outputs());
        let of = |x: &[f32]| {
            let pre = |k: usize| p[1][k] + (0..n).map(|i| f64::from(x[i]) * p[0][i * m + k]).sum::<f64>();
            let h: Vec<f64> = (0..m).map(|k| pre(k).max(0.0)).collect();
            let error = |(o, t): (usize, f32)| {
                let y = p[3][o] + (0..m).map(|k| h[k] * p[2][k * outs + o]).sum::<f64>();
                let y = if layer.readout == Response::Relu { y.max(0.0) } else { y };
                layer.importance[o] * (y - f64::from(t)).powi(2)
            };
            layer.task.of_row(x).into_iter().enumerate().map(error).sum::<f64>()
        };
        let empty = (layer.batch - rows.len()) as f64 * of(&vec![0.0; n]);
        (rows.iter().map(|x| of(x)).sum::<f64>() + empty) / (layer.batch * outs) as f64
    }

    #[test]
    fn directions_are_differences_of_neurons() {
        let n = 4;
        for task in tasks(n) {
            let layer = layer(task, n);
            let params = balanced(&layer.fit(16, &Rng::new(0)).init(&mut Rng::new(5)));
            let mut x = Mat::zeros(3, n);
            x[(0, 2)] = 1.0;
            x[(1, 3)] = 1.0;
            (x[(2, 2)], x[(2, 3)]) = (1.0, 1.0);
            let (h, directions) = (neurons(&params, &x), layer.directions(&params));
            for k in 0..layer.d_hidden {
                // Biases are zero, so a silent layer gives nothing.
                let want = match layer.task {
                    Task::And => h[(2, k)] - h[(0, k)] - h[(1, k)],
                    _ => h[(0, k)],
                };
                let row = if layer.task == Task::And { 5 } else { 2 };
                assert!((directions[(row, k)] - want).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn starts_have_the_variance_of_their_law() {
        let variance = |m: &Mat| m.data().iter().map(|v| f64::from(v * v)).sum::<f64>() / m.data().len() as f64;
        let laws = [(Init::Xavier, 2.0 / 400.0), (Init::He, 2.0 / 300.0), (Init::Uniform, 1.0 / 900.0)];
        for (init, want) in laws {
            let (w, b) = init.draw(300, 100, true, &mut Rng::new(1));
            assert!((variance(&w) / want - 1.0).abs() < 0.05, "{init:?}: {} for {want}", variance(&w));
            assert_eq!(variance(&b) > 0.0, init == Init::Uniform);
            assert_eq!(init.draw(3, 5, false, &mut Rng::new(1)).1, Mat::zeros(1, 5));
        }
    }

    #[test]
    fn balancing_changes_no_output() {
        let layer = layer(Task::Abs, 4);
        let params = layer.fit(16, &Rng::new(0)).init(&mut Rng::new(6));
        let even = balanced(&params);
        let (a, b) = (layer.fresh_loss(&params, 4000, &Rng::new(1)), layer.fresh_loss(&even, 4000, &Rng::new(1)));
        assert!((a / b - 1.0).abs() < 1e-5 && params != even, "{a} {b}");
    }

    #[test]
    fn unwanted_biases_stay_zero_and_the_check_of_objectives_agrees() {
        let layer = HiddenLayer { hidden_bias: false, output_bias: false, batch: 4000, ..layer(Task::Abs, 4) };
        let mut objective = layer.objective(&Rng::new(1));
        let params = objective.init(&mut Rng::new(2));
        let mut grad = params.zeros_like();
        objective.loss(&params, 0, &mut grad);
        assert!(grad.get("b1").data().iter().chain(grad.get("b2").data()).all(|g| *g == 0.0));
        let whole = HiddenLayer { hidden_bias: true, output_bias: true, ..layer };
        // Kinks of the ReLUs within the steps cost accuracy.
        let worst = check_objective(whole.objective(&Rng::new(1)).as_mut(), &params, 0, &mut Rng::new(7));
        assert!(worst.error < 2e-2, "{worst:?}");
    }
}
