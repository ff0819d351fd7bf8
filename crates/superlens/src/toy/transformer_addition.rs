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

    /// The logits of all pairs `[p², p]`, pairs ordered by `a`.
    pub fn logits(&self, model: &Transformer) -> Mat {
        self.run(model, &self.all()).2
    }
}

/// For each frequency `k`, from 1, the share of the variance of `logits` `[p², p]` over numbers `c` that `cos(2πk(a + b − c)/p)` explains; pairs are
/// ordered by `a`.
pub fn wave_shares(logits: &Mat, p: usize) -> Vec<f64> {
    let mut total = 0.0;
    // A wave of a + b − c is the same wherever that is the same, so only the mean over those places counts.
    let mut by_gap = vec![0.0; p];
    for r in 0..logits.rows() {
        let (row, sum) = (logits.row(r), r / p + r % p);
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / p as f64;
        for (c, &x) in row.iter().enumerate() {
            let x = f64::from(x) - mean;
            total += x * x;
            by_gap[(sum + p - c) % p] += x / logits.rows() as f64;
        }
    }
    let share = |k: usize| {
        let along = |(gap, x): (usize, &f64)| x * (TAU * (k * gap % p) as f64 / p as f64).cos();
        let sum: f64 = by_gap.iter().enumerate().map(along).sum();
        // Σ cos² over all gaps is p / 2.
        logits.rows() as f64 * sum * sum * 2.0 / p as f64 / total.max(f64::MIN_POSITIVE)
    };
    (1..=p / 2).map(share).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::make;
    use crate::toy::tied::recipe;
    use std::ops::ControlFlow;

    fn small() -> TransformerAddition {
        TransformerAddition { p: 5, heads: 2, d_head: 8, d_mlp: 24, train_share: 0.6, training: recipe(150, 1e-2) }
    }

    #[test]
    fn the_loss_is_that_of_the_definition_over_the_training_pairs() {
        let of = small();
        let mut objective = of.objective(&Rng::new(1)).unwrap();
        let params = objective.init(&mut Rng::new(2));
        let loss = objective.loss(&params, 0, &mut params.zeros_like());
        let model = of.transformer(&params);
        let mut want = 0.0;
        for &(a, b) in &objective.train {
            let batch = Batch::one(&[a as u32, b as u32, 5]);
            let logits = model.forward(&batch, &Sites::and_logits([], &model.config), None, &mut |_, _| {}).unwrap();
            let sum: f64 = logits.row(2).iter().map(|&x| f64::from(x).exp()).sum();
            want += sum.ln() - f64::from(logits[(2, (a + b) % 5)]);
        }
        want /= objective.train.len() as f64;
        assert!((loss - want).abs() < 1e-5 * want, "{loss} for {want}");
        assert_eq!((objective.train.len(), objective.test.len()), (15, 10));
        assert!(objective.test.iter().all(|pair| !objective.train.contains(pair)));
    }

    #[test]
    fn waves_of_the_sum_are_found_with_their_shares() {
        let p = 7;
        let wave = |k: usize, gap: usize| (TAU * (k * gap) as f64 / p as f64).cos();
        // The constant of a row says nothing of numbers.
        let of = |r: usize, c: usize| {
            let gap = (r / p + r % p + p - c) % p;
            (2.0 * wave(1, gap) - wave(3, gap) + 10.0 * r as f64) as f32
        };
        let shares = wave_shares(&Mat::from_fn(p * p, p, of), p);
        for (got, want) in shares.iter().zip([0.8, 0.0, 0.2]) {
            assert!((got - want).abs() < 1e-3, "{shares:?}");
        }
        let difference = |r: usize, c: usize| wave(1, (r / p + 2 * p - r % p - c) % p) as f32;
        assert!(wave_shares(&Mat::from_fn(p * p, p, difference), p).iter().all(|s| *s < 1e-6));
    }

    #[test]
    fn halves_are_means_over_the_other_number() {
        let of = small();
        let model = of.transformer(&of.objective(&Rng::new(1)).unwrap().init(&mut Rng::new(2)));
        let halves = of.halves(&model);
        let pre = of.run(&model, &(0..5).map(|b| (3, b)).collect::<Vec<_>>()).0;
        for j in 0..24 {
            let want = (0..5).map(|b| pre[(b, j)]).sum::<f32>() / 5.0;
            assert!((halves.get("u")[(3, j)] - want).abs() < 1e-5);
        }
    }

    #[test]
    fn training_pairs_are_learned_by_heart() {
        let of = small();
        let stream = Rng::new(4);
        let made = make(&of, &stream, &mut |_| ControlFlow::Continue(())).unwrap();
        let (train, test) = of.objective(&stream.fork("batches")).unwrap().accuracies(&made.params);
        assert!(train == 1.0 && made.loss.unwrap() < 0.05, "{train} {test} {:?}", made.loss);
    }
}
