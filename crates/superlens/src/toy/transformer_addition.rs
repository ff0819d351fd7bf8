//! `transformer_addition`: a + b mod p by a transformer of one layer.

use super::modular_addition::{truth_of, waves};
use super::{Origin, Sample, ToyModel, Truth};
use serde_json::{Value, json};
use std::f64::consts::TAU;
use superlens_lm::model::{Batch, Examples, ModelError, NextToken, Point, Site, Sites, Transformer, fresh};
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

/// A transformer of one layer that reads `a b =` and is to say `a + b mod p`, trained by cross-entropy on a share of the `p²` pairs at once with weight
/// decay. It first knows the pairs by heart, and long after that adds by waves of a few frequencies: its neurons multiply waves of both numbers, and its
/// logits are sums of `cos(2πk(a + b − c)/p)` (Nanda et al. 2023, *Progress measures for grokking via mechanistic interpretability*, arXiv 2301.05217).
///
/// Theirs has no norms and no biases; ours is of GPT-2's form with ReLUs, which has both, so that its folder is one that others read.
///
/// Its layer is the neurons at `=`. Parameters: the tensors of the transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct TransformerAddition {
    /// Odd.
    pub p: usize,
    pub heads: usize,
    pub d_head: usize,
    pub d_mlp: usize,
    /// Share of the pairs that is trained on.
    pub train_share: f64,
    pub training: TrainConfig,
}

/// Two numbers.
pub type Pair = (usize, usize);

/// What is trained, with the pairs that it is trained on and those held out.
pub struct Sums {
    task: NextToken<'static>,
    model: TransformerAddition,
    train: Vec<Pair>,
    test: Vec<Pair>,
}

impl TransformerAddition {
    /// The model's `config.json`. Weights are begun with a variance of 1 / `d_model`.
    pub fn settings(&self) -> Value {
        let d = self.heads * self.d_head;
        json!({
            "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": self.p + 1, "n_positions": 4,
            "n_embd": d, "n_layer": 1, "n_head": self.heads, "n_inner": self.d_mlp, "activation_function": "relu",
            "layer_norm_epsilon": 1e-5, "tie_word_embeddings": false, "bos_token_id": null, "eos_token_id": null,
            "torch_dtype": "float32", "initializer_range": 1.0 / (d as f64).sqrt(),
        })
    }

    /// Draws first weights and which pairs are trained on from `stream`; at least one, and all but one at most.
    ///
    /// # Errors
    /// Settings that make no model.
    pub fn objective(&self, stream: &Rng) -> Result<Sums, ModelError> {
        let all = self.p * self.p;
        let mut order = stream.fork("split").permutation(all);
        let test = order.split_off(((self.train_share * all as f64).round() as usize).clamp(1, all - 1));
        let pairs = |numbers: Vec<usize>| numbers.iter().map(|k| (k / self.p, k % self.p)).collect::<Vec<_>>();
        let (train, test) = (pairs(order), pairs(test));
        let mut examples = Examples::new();
        for &(a, b) in &train {
            let ids = [a, b, self.p, (a + b) % self.p].map(|id| id as u32);
            examples.push(&ids, &[false, false, false, true]);
        }
        let model = fresh(&self.settings(), &stream.fork("weights"))?;
        let task = NextToken::new(model, Box::new(move |_| examples.clone()));
        let task = task.expect("GPT-2's form has an output and looks back");
        Ok(Sums { task, model: self.clone(), train, test })
    }

    /// The transformer with these parameters. Panics on parameters of another.
    pub fn transformer(&self, params: &Params) -> Transformer {
        let made = fresh(&self.settings(), &Rng::new(0)).expect("parameters were made by these settings");
        let Transformer { config, mut weights } = made;
        weights.set(&config, params);
        Transformer { config, weights }
    }

    /// At `=` of each pair: what goes into the neurons `[pairs, d_mlp]`, the neurons, and the logits of numbers `[pairs, p]`.
    pub fn run(&self, model: &Transformer, pairs: &[Pair]) -> (Mat, Mat, Mat) {
        let mut batch = Batch::new();
        pairs.iter().for_each(|&(a, b)| batch.push(&[a, b, self.p].map(|id| id as u32)));
        let last: Vec<usize> = (0..pairs.len()).map(|r| 3 * r + 2).collect();
        let (mut pre, mut post) = (Mat::zeros(0, self.d_mlp), Mat::zeros(0, self.d_mlp));
        let seen = [Point::Pre, Point::Post].map(|point| Site::Block(0, point));
        let sites = Sites::and_logits(seen, &model.config);
        let logits = model.forward(&batch, &sites, None, &mut |site, x| match site {
            Site::Block(_, Point::Pre) => pre = x.select_rows(&last),
            Site::Block(_, Point::Post) => post = x.select_rows(&last),
            _ => {}
        });
        let logits = logits.expect("GPT-2's form has an output").select_rows(&last);
        (pre, post, logits.select_cols(&(0..self.p).collect::<Vec<_>>()))
    }

    fn all(&self) -> Vec<Pair> {
        (0..self.p * self.p).map(|k| (k / self.p, k % self.p)).collect()
    }

    /// What the neurons read of each number, the other one averaged over: blocks `u` and `v` `[p, d_mlp]`, as in
    /// [`ModularAddition`](super::modular_addition::ModularAddition).
    pub fn halves(&self, model: &Transformer) -> Params {
        let pairs = self.all();
        let pre = self.run(model, &pairs).0;
        let mean = |of: fn(&Pair) -> usize| {
            let mut sum = Mat::zeros(self.p, self.d_mlp);
            for (r, pair) in pairs.iter().enumerate() {
                let row = sum.row_mut(of(pair));
                row.iter_mut().zip(pre.row(r)).for_each(|(s, x)| *s += x / self.p as f32);
            }
            sum
        };
        Params { blocks: vec![("u".into(), mean(|p| p.0)), ("v".into(), mean(|p| p.1))] }
    }

    /// For each frequency, from 1, the share of the logits' variance over numbers that `cos(2πk(a + b − c)/p)` explains, over all pairs.
    pub fn logit_waves(&self, model: &Transformer) -> Vec<f64> {
        let (pairs, p) = (self.all(), self.p);
        let logits = self.run(model, &pairs).2;
        let mut total = 0.0;
        // Over a + b − c the waves are at right angles, so only the mean over it counts.
        let mut by_gap = vec![0.0; p];
        for (&(a, b), row) in pairs.iter().zip(0..) {
            let row = logits.row(row);
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / p as f64;
            for (c, &x) in row.iter().enumerate() {
                let x = f64::from(x) - mean;
                total += x * x;
                by_gap[(a + b + p - c) % p] += x / (p * p) as f64;
            }
        }
        let share = |k: usize| {
            let along = |(gap, x): (usize, &f64)| x * (TAU * (k * gap % p) as f64 / p as f64).cos();
            let sum: f64 = by_gap.iter().enumerate().map(along).sum();
            // p² pairs for each gap, and Σ cos² = p / 2.
            (p * p) as f64 * sum * sum * 2.0 / p as f64 / total.max(f64::MIN_POSITIVE)
        };
        (1..=p / 2).map(share).collect()
    }
}

impl Sums {
    /// Shares of the training pairs and of the held-out pairs whose sum has the largest logit.
    pub fn accuracies(&mut self, params: &Params) -> (f64, f64) {
        let model = self.task.model(params);
        let of = |pairs: &[Pair]| {
            let logits = self.model.run(model, pairs).2;
            let p = self.model.p;
            let right = |(r, &(a, b)): (usize, &Pair)| {
                let row = logits.row(r);
                (0..p).max_by(|&i, &j| row[i].total_cmp(&row[j])) == Some((a + b) % p)
            };
            pairs.iter().enumerate().filter(|&one| right(one)).count() as f64 / pairs.len() as f64
        };
        (of(&self.train), of(&self.test))
    }
}

impl Objective for Sums {
    fn init(&self, rng: &mut Rng) -> Params {
        self.task.init(rng)
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        self.task.loss(params, step, grad)
    }
}

impl ToyModel for TransformerAddition {
    fn name(&self) -> &'static str {
        "transformer_addition"
    }

    fn source(&self) -> &'static str {
        "Nanda et al. 2023, Progress measures for grokking via mechanistic interpretability (arXiv 2301.05217)"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        let objective = self.objective(stream).expect("settings are looked at when the toy is made");
        Origin::Trained(Box::new(objective), self.training.clone())
    }

    /// Features are the waves of `a` and then those of `b`, each of variance 1; inputs are all pairs, equally likely.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let (p, mut rng) = (self.p, stream.clone());
        let pairs: Vec<Pair> = (0..rows).map(|_| (rng.below(p), rng.below(p))).collect();
        let (a, b): (Vec<usize>, Vec<usize>) = pairs.iter().copied().unzip();
        Sample { features: waves(&a, &b, p), activations: self.run(&self.transformer(params), &pairs).1 }
    }

    /// Read from what the neurons take of either number by itself, over all pairs.
    fn truth(&self, params: &Params) -> Truth {
        truth_of(&self.halves(&self.transformer(params)))
    }
}
