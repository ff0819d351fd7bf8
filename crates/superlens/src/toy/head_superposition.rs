//! `head_superposition`: more skip-trigrams than attention heads, each spread over several heads.

use super::{Origin, Sample, ToyModel, Truth};
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Real, Rng, Tape, Tensor, Var};

/// A layer of attention heads trained on skip-trigrams: source `s` … destination `d` → output `c`, after Jermyn, Olah and Henighan
/// 2023, *Attention head superposition* (Circuits Updates, May 2023).
///
/// The context is a token to rest on and at most one source. Head `h` at destination `d` attends to the source with
/// `α_h(s, d) = softmax` over the two scores `q_h(d) · k_h`, and adds `α v_h(s) + (1 − α) v_h(rest)` through its output weights; a direct
/// path adds what depends on `d` alone. A head that attends from `d` and from `d'` to the same source says the same at both, so
/// skip-trigrams that share a source and differ in their output can't share a head as they are: with fewer heads than destinations
/// each is written as a pattern of attention over heads. The scores are products of destination and source, which makes each
/// a soft AND.
///
/// The layer that is read is `α`, one number a head; features are the skip-trigrams. Parameters, for `H` heads of `e` dimensions:
/// `q [destinations, H·e]`, `k` and `v [sources + 1, H·e]` (the last row is the token to rest on), `o [H·e, outputs]` and
/// `direct [destinations, outputs]`. Output 0 is "nothing".
#[derive(Clone, Debug)]
pub struct HeadSuperposition {
    pub sources: usize,
    pub destinations: usize,
    /// Source and destination of each; output `1 + i` belongs to skip-trigram `i`.
    pub trigrams: Vec<(usize, usize)>,
    pub heads: usize,
    /// Dimensions of a head.
    pub d_head: usize,
    pub training: TrainConfig,
}

/// That many different pairs of sources and destinations, at random.
pub fn trigrams(sources: usize, destinations: usize, count: usize, rng: &mut Rng) -> Vec<(usize, usize)> {
    let all = rng.permutation(sources * destinations);
    all.into_iter().take(count).map(|i| (i / destinations, i % destinations)).collect()
}

/// What the heads do with one skip-trigram.
#[derive(Clone, Debug)]
pub struct Spread {
    /// Whether its output has the highest logit.
    pub learned: bool,
    /// What each head adds to the logit of its output beyond what it adds to the others on average.
    pub parts: Vec<f64>,
    /// In how many heads it effectively is: `(Σ|part|)² / Σ part²`.
    pub heads: f64,
    /// The largest over heads of its attention minus the mean attention of either token with others: how much of an AND it is.
    pub and: f64,
}

impl HeadSuperposition {
    /// Every input there is: source (`sources` for none) and destination, and the right output.
    fn inputs(&self) -> Vec<(usize, usize, usize)> {
        let output = |s: usize, d: usize| self.trigrams.iter().position(|&t| t == (s, d)).map_or(0, |i| i + 1);
        (0..=self.sources)
            .flat_map(|s| (0..self.destinations).map(move |d| (s, d)))
            .map(|(s, d)| (s, d, output(s, d)))
            .collect()
    }

    fn shapes(&self) -> [(&'static str, usize, usize); 5] {
        let (width, outputs) = (self.heads * self.d_head, self.trigrams.len() + 1);
        [
            ("q", self.destinations, width),
            ("k", self.sources + 1, width),
            ("v", self.sources + 1, width),
            ("o", width, outputs),
            ("direct", self.destinations, outputs),
        ]
    }

    /// Attention to the source `[inputs, heads]` and logits `[inputs, outputs]` of all [`inputs`](Self::inputs).
    fn record<R: Real>(&self, tape: &mut Tape<R>, p: &[Var]) -> (Var, Var) {
        let [q, k, v, o, direct] = p[..] else { panic!("five blocks of weights") };
        let inputs = self.inputs();
        let (from, to): (Vec<usize>, Vec<usize>) = inputs.iter().map(|i| (i.0, i.1)).unzip();
        let rest = vec![self.sources; inputs.len()];
        let (width, e) = (self.heads * self.d_head, self.d_head);
        let own = |row: usize, col: usize| R::of(f64::from(u8::from(row / e == col)));
        let sum = Tensor::from_fn(&[width, self.heads], |i| own(i / self.heads, i % self.heads));
        let present = Tensor::from_fn(&[inputs.len(), self.heads], |i| {
            R::of(f64::from(u8::from(from[i / self.heads] < self.sources)))
        });
        let (sum, present) = (tape.constant(sum), tape.constant(present));
        let (ks, kr) = (tape.embedding(k, &from), tape.embedding(k, &rest));
        let (vs, vr) = (tape.embedding(v, &from), tape.embedding(v, &rest));
        let q = tape.embedding(q, &to);
        let dk = tape.sub(ks, kr);
        let products = tape.mul(q, dk);
        let scores = tape.matmul(products, sum);
        let scores = tape.scale(scores, 1.0 / (e as f64).sqrt());
        // A softmax over two is a sigmoid of their difference.
        let alpha = tape.sigmoid(scores);
        let alpha = tape.mul(alpha, present);
        let wide = tape.matmul_nt(alpha, sum);
        let dv = tape.sub(vs, vr);
        let moved = tape.mul(wide, dv);
        let z = tape.add(vr, moved);
        let logits = tape.matmul(z, o);
        let direct = tape.embedding(direct, &to);
        (alpha, tape.add(logits, direct))
    }

    fn cross_entropy<R: Real>(&self, tape: &mut Tape<R>, p: &[Var]) -> Var {
        let (_, logits) = self.record(tape, p);
        let targets: Vec<usize> = self.inputs().iter().map(|i| i.2).collect();
        tape.cross_entropy(logits, &targets)
    }

    /// Attention and logits as numbers.
    fn forward(&self, params: &Params) -> (Mat, Mat) {
        let mut tape = Tape::<f32>::new();
        let vars: Vec<Var> = params.blocks.iter().map(|(_, m)| tape.input(m.into())).collect();
        let (alpha, logits) = self.record(&mut tape, &vars);
        let mat = |v: Var| {
            let t = tape.value(v);
            Mat::from_vec(t.shape()[0], t.shape()[1], t.data().to_vec())
        };
        (mat(alpha), mat(logits))
    }

    fn row(&self, (s, d): (usize, usize)) -> usize {
        s * self.destinations + d
    }

    /// Share of all inputs that get the right output.
    pub fn accuracy(&self, params: &Params) -> f64 {
        let (_, logits) = self.forward(params);
        let inputs = self.inputs();
        let right = |(r, i): (usize, &(usize, usize, usize))| best(logits.row(r)) == i.2;
        inputs.iter().enumerate().filter(|i| right(*i)).count() as f64 / inputs.len() as f64
    }

    /// How each skip-trigram is written over the heads.
    pub fn spreads(&self, params: &Params) -> Vec<Spread> {
        let (alpha, logits) = self.forward(params);
        let (v, o) = (params.get("v"), params.get("o"));
        let e = self.d_head;
        let of = |(i, &(s, d)): (usize, &(usize, usize))| {
            let (r, c) = (self.row((s, d)), i + 1);
            let part = |h: usize| {
                let to = |c: usize| {
                    (h * e..(h + 1) * e).map(|j| f64::from((v[(s, j)] - v[(self.sources, j)]) * o[(j, c)])).sum::<f64>()
                };
                let others = (0..o.cols()).filter(|x| *x != c).map(to).sum::<f64>() / (o.cols() - 1) as f64;
                f64::from(alpha[(r, h)]) * (to(c) - others)
            };
            let parts: Vec<f64> = (0..self.heads).map(part).collect();
            let (sum, squares) = parts.iter().fold((0.0, 0.0), |(a, b), p| (a + p.abs(), b + p * p));
            let mean = |rows: &[usize], h: usize| {
                rows.iter().map(|&r| f64::from(alpha[(r, h)])).sum::<f64>() / rows.len().max(1) as f64
            };
            let here: Vec<usize> = (0..self.sources).filter(|x| *x != s).map(|x| self.row((x, d))).collect();
            let there: Vec<usize> = (0..self.destinations).filter(|x| *x != d).map(|x| self.row((s, x))).collect();
            let and = |h: usize| f64::from(alpha[(r, h)]) - mean(&here, h).max(mean(&there, h));
            Spread {
                learned: best(logits.row(r)) == c,
                heads: if squares > 0.0 { sum * sum / squares } else { 0.0 },
                and: (0..self.heads).map(and).fold(f64::NEG_INFINITY, f64::max),
                parts,
            }
        };
        self.trigrams.iter().enumerate().map(of).collect()
    }

    /// Weights that decide where heads look.
    pub fn attention_parameters(&self) -> usize {
        (self.destinations + self.sources + 1) * self.heads * self.d_head
    }
}

/// The first of the largest.
fn best(row: &[f32]) -> usize {
    (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0)
}

impl ToyModel for HeadSuperposition {
    fn name(&self) -> &'static str {
        "head_superposition"
    }

    fn source(&self) -> &'static str {
        "Jermyn, Olah and Henighan 2023, Attention head superposition (Circuits Updates, May 2023)"
    }

    fn origin(&self, _: &Rng) -> Origin {
        Origin::Trained(Box::new(Predict { model: self.clone() }), self.training.clone())
    }

    /// Inputs are drawn evenly from all there are.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let (alpha, _) = self.forward(params);
        let inputs = self.inputs();
        let mut rng = stream.fork("inputs");
        let drawn: Vec<usize> = (0..rows).map(|_| rng.below(inputs.len())).collect();
        let features = Mat::from_fn(rows, self.trigrams.len(), |r, i| f32::from(inputs[drawn[r]].2 == i + 1));
        Sample { activations: alpha.select_rows(&drawn), features }
    }

    /// The direction of a skip-trigram is the attention that its heads pay to the source.
    fn truth(&self, params: &Params) -> Truth {
        let (alpha, _) = self.forward(params);
        let rows: Vec<usize> = self.trigrams.iter().map(|&t| self.row(t)).collect();
        let p = 1.0 / self.inputs().len() as f64;
        Truth::of_directions(&alpha.select_rows(&rows), &vec![p * (1.0 - p); rows.len()])
    }
}

/// Cross-entropy over all inputs, each counted once.
struct Predict {
    model: HeadSuperposition,
}

impl Objective for Predict {
    /// Normal weights of variance one over the width of the heads; no direct path.
    fn init(&self, rng: &mut Rng) -> Params {
        let scale = 1.0 / ((self.model.heads * self.model.d_head) as f32).sqrt();
        let block = |(name, rows, cols): (&str, usize, usize)| {
            let block = match name {
                "direct" => Mat::zeros(rows, cols),
                _ => Mat::from_fn(rows, cols, |_, _| scale * rng.normal()),
            };
            (name.to_string(), block)
        };
        Params { blocks: self.model.shapes().into_iter().map(block).collect() }
    }

    fn loss(&mut self, params: &Params, _step: u64, grad: &mut Params) -> f64 {
        let mut tape = Tape::<f32>::new();
        let vars: Vec<Var> = params.blocks.iter().map(|(_, m)| tape.input(m.into())).collect();
        let loss = self.model.cross_entropy(&mut tape, &vars);
        let grads = tape.backward(loss);
        for (&v, (_, g)) in vars.iter().zip(&mut grad.blocks) {
            g.data_mut().iter_mut().zip(grads[v].data()).for_each(|(g, d)| *g += d);
        }
        f64::from(tape.value(loss).item())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::make;
    use crate::toy::tied::recipe;
    use std::ops::ControlFlow;
    use superlens_tensor::gradcheck::check_tape;

    fn model(heads: usize, count: usize) -> HeadSuperposition {
        HeadSuperposition {
            sources: 2,
            destinations: 5,
            trigrams: trigrams(2, 5, count, &mut Rng::new(3)),
            heads,
            d_head: 2,
            training: recipe(1500, 2e-2),
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let model = model(3, 4);
        let mut rng = Rng::new(1);
        let blocks: Vec<Tensor<f64>> =
            model.shapes().iter().map(|s| Tensor::from_fn(&[s.1, s.2], |_| 0.5 * rng.normal_f64())).collect();
        let worst = check_tape(&blocks, &mut |tape, p| model.cross_entropy(tape, p));
        assert!(worst < 1e-6, "{worst}");
    }

    #[test]
    fn fewer_heads_than_trigrams_share_them() {
        let model = model(3, 7);
        let made = make(&model, &Rng::new(4), &mut |_| ControlFlow::Continue(())).unwrap();
        let spreads = model.spreads(&made.params);
        assert!(spreads.iter().all(|s| s.learned), "{:?}", made.loss);
        assert_eq!(model.truth(&made.params).label(), "superposition");
        assert!(spreads.iter().all(|s| (1.0..=3.0 + 1e-9).contains(&s.heads)));
        assert_eq!(model.accuracy(&made.params), 1.0);
    }

    #[test]
    fn without_a_source_nothing_is_attended_to() {
        let model = model(2, 3);
        let params = Predict { model: model.clone() }.init(&mut Rng::new(0));
        let (alpha, logits) = model.forward(&params);
        assert_eq!((alpha.shape(), logits.shape()), ((15, 2), (15, 4)));
        assert!((10..15).all(|r| alpha.row(r) == [0.0, 0.0]));
        assert!((0..10).all(|r| alpha.row(r).iter().all(|a| (0.0..1.0).contains(a))));
    }
}
