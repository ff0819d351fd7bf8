//! `induction`: a small transformer on sequences that repeat, which takes two layers of attention to go on with.

use rayon::prelude::*;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use superlens_lm::model::{Batch, Examples, ModelError, NextToken, Point, Site, Sites, Transformer, fresh, loss};
use superlens_tensor::train::TrainConfig;
use superlens_tensor::{Mat, Rng};

/// A transformer of Llama's form (rotations, root-mean-square norms, no biases) on sequences of `length` tokens that repeat: a stretch of distinct
/// random tokens, over and over. The stretch is a quarter to half of the sequence long, drawn anew for each, so that no fixed distance tells what
/// comes next. It learns the tokens that can be known: those behind one that was there before.
///
/// One layer of attention can look for the token that it stands on, and finds the place *before* the answer. It takes two to look for the place behind
/// it: a head that writes down each token's predecessor, and one in a later layer that looks for what it wrote, an *induction head* (Elhage et al. 2021,
/// *A Mathematical Framework for Transformer Circuits*; Olsson et al. 2022, arXiv 2209.11895).
#[derive(Clone, Debug, PartialEq)]
pub struct Induction {
    pub layers: usize,
    /// At least half of `length`.
    pub vocab: usize,
    /// Tokens of a sequence, at least 8.
    pub length: usize,
    pub heads: usize,
    /// Numbers of a head, even.
    pub d_head: usize,
    /// Neurons of each MLP; none for attention alone.
    pub d_mlp: usize,
    /// Sequences a step.
    pub batch: usize,
    pub training: TrainConfig,
}

/// A sequence and how long its stretch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    pub ids: Vec<u32>,
    pub period: usize,
}

impl Repeated {
    /// Which tokens can be known. The first that comes again can't: what it follows was never seen before.
    fn known(&self) -> Vec<bool> {
        (0..self.ids.len()).map(|i| i > self.period).collect()
    }
}

/// What heads do on fresh sequences. Heads are `[layers][heads]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Mean cross-entropy in nats of the tokens that can be known, and of those that can't.
    pub loss: f64,
    pub unknown_loss: f64,
    /// Mean attention to the token behind the last one of the same kind (the prefix-matching score of Olsson et al.).
    pub induction: Vec<Vec<f64>>,
    /// Mean attention to the token before.
    pub previous: Vec<Vec<f64>>,
    /// The loss with each head taken to zero.
    pub without: Vec<Vec<f64>>,
}

impl Induction {
    pub fn d_model(&self) -> usize {
        self.heads * self.d_head
    }

    /// The model's `config.json`. Weights are begun with a variance of 1 / `d_model`. Without MLPs there is one neuron in each, which stays at zero:
    /// the family has no other form for it.
    pub fn settings(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": self.vocab,
            "hidden_size": self.d_model(), "intermediate_size": self.d_mlp.max(1), "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "num_key_value_heads": self.heads, "head_dim": self.d_head,
            "hidden_act": "silu", "max_position_embeddings": self.length, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "tie_word_embeddings": false, "attention_bias": false, "mlp_bias": false, "bos_token_id": null,
            "eos_token_id": null, "torch_dtype": "float32", "initializer_range": 1.0 / (self.d_model() as f64).sqrt(),
        })
    }

    /// A random sequence.
    pub fn sequence(&self, rng: &mut Rng) -> Repeated {
        let (least, most) = (self.length / 4, self.length / 2);
        let period = least + rng.below(most - least + 1);
        let stretch = rng.permutation(self.vocab);
        Repeated { ids: (0..self.length).map(|i| stretch[i % period] as u32).collect(), period }
    }

    /// `count` random sequences of a stream.
    pub fn sequences(&self, count: usize, stream: &Rng) -> Vec<Repeated> {
        let mut rng = stream.clone();
        (0..count).map(|_| self.sequence(&mut rng)).collect()
    }

    /// Trains one from `stream`; `tell` hears the share done, and where it breaks there is none.
    ///
    /// # Errors
    /// Settings that make no model; see [`Induction`] for what they must be.
    pub fn train(
        &self,
        stream: &Rng,
        tell: &mut dyn FnMut(f64) -> ControlFlow<()>,
    ) -> Result<Option<Transformer>, ModelError> {
        let mut model = fresh(&self.settings(), &stream.fork("init"))?;
        if self.d_mlp == 0 {
            let config = model.config.clone();
            let tensors = model.weights.tensors_mut(&config);
            tensors.into_iter().filter(|t| t.name.contains("mlp.")).for_each(|t| t.data.fill(0.0));
        }
        let batches = stream.fork("batches");
        let draw = |step| {
            let mut examples = Examples::new();
            let all = self.sequences(self.batch, &batches.fork_index(step));
            all.iter().for_each(|s| examples.push(&s.ids, &s.known()));
            examples
        };
        let mut task = NextToken::new(model, Box::new(draw)).expect("Llama's form has an output and looks back");
        if self.d_mlp == 0 {
            task = task.hold("mlp.");
        }
        let mut end = ControlFlow::Continue(());
        let trained = task.train(&self.training, &mut |step| {
            end = tell((step.step + 1) as f64 / self.training.steps.max(1) as f64);
            end
        });
        Ok(end.is_continue().then_some(trained))
    }

    /// What the model and its heads do on `rows` fresh sequences.
    pub fn measure(&self, model: &Transformer, rows: usize, stream: &Rng) -> Measured {
        let sequences = self.sequences(rows, &stream.fork("fresh"));
        let mut batch = Batch::new();
        sequences.iter().for_each(|s| batch.push(&s.ids));
        let known: Vec<bool> = sequences.iter().flat_map(Repeated::known).collect();
        let (loss, unknown_loss) = losses(model, &batch, &known, None);
        let heads = || vec![vec![0.0; self.heads]; self.layers];
        let (mut induction, mut previous) = (heads(), heads());
        let sites = Sites::new((0..self.layers).map(|l| Site::Block(l, Point::Pattern)), &model.config);
        let mut seen = vec![0; self.layers];
        model.forward(&batch, &sites, None, &mut |site, pattern| {
            let Site::Block(layer, _) = site else { return };
            let period = sequences[seen[layer]].period;
            seen[layer] += 1;
            for head in 0..self.heads {
                let mean = |first: usize, back: usize| {
                    let at = |i: usize| f64::from(pattern[(head * self.length + i, i - back)]);
                    (first..self.length).map(at).sum::<f64>() / (self.length - first) as f64
                };
                induction[layer][head] += mean(period, period - 1) / rows as f64;
                previous[layer][head] += mean(1, 1) / rows as f64;
            }
        });
        let place = |i: usize| (i / self.heads, i % self.heads);
        let flat: Vec<f64> = (0..self.layers * self.heads)
            .into_par_iter()
            .map(|i| losses(model, &batch, &known, Some((place(i), self.d_head))).0)
            .collect();
        let without = flat.chunks(self.heads).map(<[f64]>::to_vec).collect();
        Measured { loss, unknown_loss, induction, previous, without }
    }

    /// A tokenizer for the model's folder (`tokenizer.json`): a text is numbers with spaces between.
    pub fn tokenizer(&self) -> Value {
        let vocab: serde_json::Map<String, Value> = (0..self.vocab).map(|i| (i.to_string(), i.into())).collect();
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "0"},
        })
    }
}

/// Mean cross-entropy of tokens that can be known and of others, a sequence's first aside, with one head of `d_head` numbers taken to zero.
fn losses(model: &Transformer, batch: &Batch, known: &[bool], without: Option<((usize, usize), usize)>) -> (f64, f64) {
    let site = without.map(|((layer, _), _)| Site::Block(layer, Point::Z));
    let logits = model.forward(batch, &Sites::and_logits(site, &model.config).alike(), None, &mut |at, z| {
        if let (true, Some(((_, head), width))) = (Some(at) == site, without) {
            (0..z.rows()).for_each(|i| z.row_mut(i)[head * width..][..width].fill(0.0));
        }
    });
    let surprise = loss::surprise(&logits.expect("Llama's form has an output"), batch);
    let first: Vec<bool> = (0..batch.sequences())
        .flat_map(|s| (batch.rows(s).0..batch.rows(s).1).map(move |i| i == batch.rows(s).0))
        .collect();
    let mean = |of: bool| {
        let all = (0..known.len()).filter(|&i| known[i] == of && !first[i]);
        let (sum, count) = all.fold((0.0, 0usize), |(sum, n), i| (sum + surprise[i], n + 1));
        sum / count.max(1) as f64
    };
    (mean(true), mean(false))
}

/// The best head of some: layer, head and score. Earlier ones win where two are alike.
pub fn best(scores: &[Vec<f64>]) -> (usize, usize, f64) {
    let all = scores.iter().enumerate().flat_map(|(l, heads)| heads.iter().enumerate().map(move |(h, &s)| (l, h, s)));
    all.fold((0, 0, f64::NEG_INFINITY), |best, one| if one.2 > best.2 { one } else { best })
}

/// Attention of every head on one sequence, `[tokens, tokens]` each, layer after layer.
pub fn patterns(model: &Transformer, sequence: &Repeated) -> Vec<Mat> {
    let (layers, heads, n) = (model.config.layers.len(), model.config.heads, sequence.ids.len());
    let sites = Sites::new((0..layers).map(|l| Site::Block(l, Point::Pattern)), &model.config);
    let mut all = Vec::new();
    model.forward(&Batch::one(&sequence.ids), &sites, None, &mut |_, pattern| {
        all.extend((0..heads).map(|h| Mat::from_fn(n, n, |i, j| pattern[(h * n + i, j)])));
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::tied::recipe;

    fn small(layers: usize, steps: u64) -> Induction {
        let training = recipe(steps, 5e-3);
        Induction { layers, vocab: 32, length: 32, heads: 2, d_head: 16, d_mlp: 0, batch: 16, training }
    }

    fn trained(of: &Induction) -> Transformer {
        of.train(&Rng::new(5), &mut |_| ControlFlow::Continue(())).unwrap().unwrap()
    }

    #[test]
    fn sequences_go_over_their_own_stretch_of_distinct_tokens() {
        let of = small(1, 1);
        let all = of.sequences(200, &Rng::new(1));
        for s in &all {
            assert!(s.ids.len() == 32 && (8..=16).contains(&s.period));
            assert!((s.period..32).all(|i| s.ids[i] == s.ids[i - s.period]));
            assert!((0..s.period).all(|i| !s.ids[..i].contains(&s.ids[i])));
            assert_eq!(s.known().iter().filter(|k| **k).count(), 31 - s.period);
        }
        assert!((8..=16).all(|period| all.iter().any(|s| s.period == period)));
        assert_eq!(of.sequences(3, &Rng::new(1)), all[..3]);
    }

    /// Heads that look at all tokens alike: every score is that of the even split.
    #[test]
    fn scores_of_even_attention_are_those_of_counting() {
        let of = small(2, 1);
        let mut model = fresh(&of.settings(), &Rng::new(2)).unwrap();
        let config = model.config.clone();
        let tensors = model.weights.tensors_mut(&config);
        tensors.into_iter().filter(|t| t.name.contains("attn.")).for_each(|t| t.data.fill(0.0));
        let got = of.measure(&model, 40, &Rng::new(3));
        let even = |from: usize| (from..32).map(|i| 1.0 / (i + 1) as f64).sum::<f64>() / (32 - from) as f64;
        let sequences = of.sequences(40, &Rng::new(3).fork("fresh"));
        let induction = sequences.iter().map(|s| even(s.period)).sum::<f64>() / 40.0;
        for layer in 0..2 {
            assert!((got.previous[layer][0] - even(1)).abs() < 1e-6, "{got:?}");
            assert!((got.induction[layer][0] - induction).abs() < 1e-6, "{got:?} for {induction}");
            // What is zero already can be taken to zero.
            assert!((got.without[layer][0] - got.loss).abs() < 1e-9);
        }
    }

    #[test]
    fn two_layers_learn_induction_and_one_does_not() {
        let (two, one) = (small(2, 450), small(1, 450));
        let got = two.measure(&trained(&two), 100, &Rng::new(6));
        let ((il, _, induction), (pl, ph, previous)) = (best(&got.induction), best(&got.previous));
        assert!(got.loss < 0.5 && induction > 0.5 && previous > 0.35, "{got:?}");
        assert_eq!((il, pl), (1, 0));
        assert!(got.without[pl][ph] > got.loss + 1.0, "{got:?}");
        let got = one.measure(&trained(&one), 100, &Rng::new(6));
        assert!(got.loss > 1.5 && best(&got.induction).2 < 0.25, "{got:?}");
    }

    #[test]
    fn attention_alone_keeps_its_neurons_at_zero_and_is_read_back_from_its_files() {
        let of = small(2, 5);
        let mut model = trained(&of);
        let config = model.config.clone();
        let all = |model: &mut Transformer| -> Vec<(String, Vec<f32>)> {
            model.weights.tensors_mut(&config).into_iter().map(|t| (t.name, t.data.to_vec())).collect()
        };
        let mlps = all(&mut model).into_iter().filter(|t| t.0.contains("mlp."));
        assert!(mlps.clone().count() == 6 && mlps.into_iter().all(|t| t.1.iter().all(|w| *w == 0.0)));
        let dir = tempfile::tempdir().unwrap();
        model.save(dir.path(), &of.settings()).unwrap();
        let mut back = superlens_lm::model::load(dir.path()).unwrap();
        assert_eq!(all(&mut back), all(&mut model));
    }
}
