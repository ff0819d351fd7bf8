//! `skip_trigram`: one layer of softmax attention, in which a key can silence another.

use super::probe::{Probe, unexplained};
use super::{Cause, Origin, Sample, ToyModel, Truth, concepts, taped};
use crate::verdict::Mechanism;
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Real, Rng, Tape, Tensor, Var};

/// A neuron of whose variance over all sets of keys the best sum of keys leaves this share is non-linear.
const NONLINEAR: f64 = 0.1;

/// What is asked for, given which keys are present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// The value of the last key that is present, values being 1 and 0 in turns: later keys silence earlier ones.
    Strongest,
    /// The mean over places of a unit vector a key, at angles over half a turn: a sum of skip-trigrams, nothing has to be
    /// silenced.
    Sum,
}

/// One head of attention from a fixed query to `k` places, each of which holds its key or the background token; after the
/// skip-trigrams of Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits*:
/// `a = softmax(E q)`, `z = ReLU(Σ_i a_i v_i)`, `y = z O + c`, the rows of `O` of length 1.
///
/// A sum of skip-trigrams can't say what softmax does: it has one denominator for all keys. Trained by squared error on all `2^k`
/// sets, with `l1` times the mean of `Σ|z|` where the layer is to be sparse. Its layer is `z`.
///
/// Parameters: `e [k + 1, d]`, `q [d, 1]`, `v [k + 1, neurons]`, `o [neurons, outputs]`, `c [1, outputs]`; the background is the last token.
#[derive(Clone, Debug)]
pub struct SkipTrigram {
    pub keys: usize,
    pub d_head: usize,
    pub neurons: usize,
    pub task: Task,
    pub l1: f64,
    pub training: TrainConfig,
}

/// The output of attention by hand: `Σ e^{l_i} v_i / Σ e^{l_i}` over the keys that are present and one background of logit and
/// value 0.
pub fn attention(logits: &[f64], values: &[f64], set: usize) -> f64 {
    let present = (0..logits.len()).filter(|i| set >> i & 1 == 1);
    let (above, below) = present.fold((0.0, 1.0), |(a, b), i| (a + logits[i].exp() * values[i], b + logits[i].exp()));
    above / below
}

/// `[2^keys, keys]`: which keys each set holds.
pub fn sets(keys: usize) -> Mat {
    Mat::from_fn(1 << keys, keys, |s, i| f32::from(s >> i & 1 == 1))
}

/// The best sum of one number a key and a constant for `outputs [2^keys, n]`.
pub fn best_sum(outputs: &Mat, keys: usize) -> Mat {
    let sets = sets(keys);
    Probe::fit(&sets, outputs, 0.0).read(&sets)
}

impl SkipTrigram {
    /// One for [`Task::Strongest`], two for [`Task::Sum`].
    fn outputs(&self) -> usize {
        if self.task == Task::Strongest { 1 } else { 2 }
    }

    /// `[2^keys, outputs]`: what is asked for.
    pub fn wanted(&self) -> Mat {
        let angle = |i: usize| std::f32::consts::PI * i as f32 / self.keys as f32;
        Mat::from_fn(1 << self.keys, self.outputs(), |s, o| {
            let present = (0..self.keys).filter(|i| s >> i & 1 == 1);
            match self.task {
                Task::Strongest => present.max().map_or(0.0, |i| f32::from(i.is_multiple_of(2))),
                Task::Sum => present.map(|i| [angle(i).cos(), angle(i).sin()][o]).sum::<f32>() / self.keys as f32,
            }
        })
    }

    /// `[sets, neurons]` and `[sets, outputs]`: the layer and the answers for some sets, one a row as in [`sets`].
    pub fn run(&self, params: &Params, present: &Mat) -> (Mat, Mat) {
        let tokens = tokens(present);
        let rows = present.rows();
        let layer = taped::value(params, |tape, p| forward(tape, p, &tokens, rows).0);
        let answers = taped::value(params, |tape, p| forward(tape, p, &tokens, rows).1);
        (layer, answers)
    }

    /// The share of each neuron's variance over all sets that the best sum of keys leaves.
    pub fn beyond_sums(&self, layer: &Mat) -> Vec<f64> {
        let sums = best_sum(layer, self.keys);
        let column = |m: &Mat, j: usize| m.select_cols(&[j]);
        (0..layer.cols()).map(|j| unexplained(&column(&sums, j), &column(layer, j))).collect()
    }

    fn init(&self, rng: &mut Rng) -> Params {
        let (t, d, m) = (self.keys + 1, self.d_head, self.neurons);
        let mut blocks = vec![("e".into(), Mat::from_fn(t, d, |_, _| rng.normal())), taped::block("q", d, 1, 1.0, rng)];
        blocks.push(("v".into(), Mat::from_fn(t, m, |_, _| 0.3 + 0.5 * rng.normal())));
        blocks.push(taped::block("o", m, self.outputs(), m as f32, rng));
        blocks.push(taped::row("c", self.outputs(), 0.0));
        let mut params = Params { blocks };
        unit_readouts(&mut params);
        params
    }
}

/// Every row of `o` at length 1.
fn unit_readouts(params: &mut Params) {
    let o = params.get_mut("o");
    for j in 0..o.rows() {
        let row = o.row_mut(j);
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
        row.iter_mut().for_each(|v| *v /= norm);
    }
}

/// Token of each place, row after row: its key, or the background.
fn tokens(present: &Mat) -> Vec<usize> {
    let k = present.cols();
    (0..present.rows()).flat_map(|r| (0..k).map(move |i| if present[(r, i)] > 0.0 { i } else { k })).collect()
}

/// The layer `[rows, neurons]` and the answers `[rows, outputs]`.
fn forward<R: Real>(tape: &mut Tape<R>, p: &[Var], tokens: &[usize], rows: usize) -> (Var, Var) {
    let places = tokens.len() / rows.max(1);
    let logits = tape.matmul(p[0], p[1]);
    let scores = tape.embedding(logits, tokens);
    let scores = tape.reshape(scores, &[rows, 1, places]);
    let pattern = tape.softmax(scores);
    let values = tape.embedding(p[2], tokens);
    let neurons = tape.shape(p[2])[1];
    let values = tape.reshape(values, &[rows, places, neurons]);
    let mixed = tape.batch_matmul(pattern, values);
    let mixed = tape.reshape(mixed, &[rows, neurons]);
    let z = tape.relu(mixed);
    let y = tape.linear(z, p[3], p[4]);
    (z, y)
}

/// Mean squared error, and `l1` times the mean of `Σ|z|`.
fn error<R: Real>(tape: &mut Tape<R>, p: &[Var], tokens: &[usize], want: &Tensor<R>, l1: f64) -> Var {
    let rows = want.shape()[0];
    let (z, y) = forward(tape, p, tokens, rows);
    let want = tape.constant(want.clone());
    let off = tape.sub(y, want);
    let off = tape.square(off);
    let off = tape.mean(off);
    let size = tape.sum(z);
    let size = tape.scale(size, l1 / rows as f64);
    tape.add(off, size)
}

struct AllSets {
    model: SkipTrigram,
    tokens: Vec<usize>,
    want: Tensor<f32>,
}

impl Objective for AllSets {
    fn init(&self, rng: &mut Rng) -> Params {
        self.model.init(rng)
    }

    /// On all sets: the step changes nothing.
    fn loss(&mut self, params: &Params, _step: u64, grad: &mut Params) -> f64 {
        taped::loss(params, grad, |tape, p| error(tape, p, &self.tokens, &self.want, self.model.l1))
    }

    /// Read-outs keep length 1, or the layer would escape the penalty by becoming small.
    fn constrain(&self, params: &mut Params) {
        unit_readouts(params);
    }
}

impl ToyModel for SkipTrigram {
    fn name(&self) -> &'static str {
        "skip_trigram"
    }

    fn source(&self) -> &'static str {
        "Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; inhibition through softmax"
    }

    fn origin(&self, _stream: &Rng) -> Origin {
        let (tokens, want) = (tokens(&sets(self.keys)), (&self.wanted()).into());
        Origin::Trained(Box::new(AllSets { model: self.clone(), tokens, want }), self.training.clone())
    }

    /// Rows are random sets, each key present in half of them; the features are the keys.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let mut rng = stream.clone();
        let features = Mat::from_fn(rows, self.keys, |_, _| f32::from(rng.chance(0.5)));
        let activations = self.run(params, &features).0;
        Sample { features, activations }
    }

    fn truth(&self, params: &Params) -> Truth {
        let all = sets(self.keys);
        let layer = self.run(params, &all).0;
        let beyond = self.beyond_sums(&layer);
        concepts::truth(&all, &layer, |j| {
            if beyond[j] > NONLINEAR { Cause::Nonlinear } else { Cause::Orthogonal(Mechanism::Computational) }
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

    fn model() -> SkipTrigram {
        SkipTrigram { keys: 4, d_head: 4, neurons: 3, task: Task::Strongest, l1: 0.01, training: recipe(600, 0.03) }
    }

    #[test]
    fn the_example_of_the_claims() {
        let f = |set| attention(&[3.0, 5.0], &[1.0, 0.0], set);
        assert!((f(1) - 0.9526).abs() < 5e-5 && (f(3) - 0.1185).abs() < 5e-5);
        let sum = f(1) + f(2) - f(0);
        assert!((sum - 0.9526).abs() < 5e-5 && (sum - f(3) - 0.834).abs() < 5e-4);
        // The best sum is off by a quarter of the gap everywhere.
        let outputs = Mat::from_fn(4, 1, |s, _| f(s) as f32);
        let best = best_sum(&outputs, 2);
        (0..4).for_each(|s| assert!(((best[(s, 0)] - outputs[(s, 0)]).abs() - 0.2085).abs() < 1e-3));
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let m = model();
        let want = Tensor::from(&m.wanted()).cast::<f64>();
        taped::check_gradient(m.init(&mut Rng::new(6)), |tape, p| error(tape, p, &tokens(&sets(4)), &want, 0.1));
    }

    #[test]
    fn attention_learns_to_silence_and_no_sum_of_keys_does() {
        let m = SkipTrigram { l1: 0.0, ..model() };
        let made = make(&m, &Rng::new(1), &mut |_| ControlFlow::Continue(())).unwrap();
        let answers = m.run(&made.params, &sets(4)).1;
        assert!(unexplained(&answers, &m.wanted()) < 0.05);
        assert!(unexplained(&best_sum(&m.wanted(), 4), &m.wanted()) > 0.2);
        assert_eq!(m.truth(&made.params).verdict, Verdict::Nonlinear);
        let sum = SkipTrigram { task: Task::Sum, ..m }.wanted();
        assert!(unexplained(&best_sum(&sum, 4), &sum) < 1e-9);
    }
}
