//! Training small transformers: the gradient of next-token cross-entropy by every weight, and the objective that the shared loop descends.

use std::ops::ControlFlow;

use rayon::prelude::*;
use superlens_tensor::kernels::pointwise::axpy;
use superlens_tensor::train::{Objective, Params, Step, TrainConfig, train};
use superlens_tensor::{Mat, Rng};

use super::backward::{Found, Run};
use super::batch::Batch;
use super::loss::{surprise, surprise_gradient};
use super::transformer::Transformer;
use super::weights::Weights;

/// Tokens that one thread computes at once. Pieces are of whole sequences and don't depend on the number of threads.
const PIECE: usize = 512;

/// Sequences to learn from.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    ids: Vec<Vec<u32>>,
    counted: Vec<Vec<bool>>,
}

impl Examples {
    /// None yet.
    pub fn new() -> Examples {
        Examples::default()
    }

    /// Adds a sequence of which the tokens are to be predicted for which `counted` is true; the first never is.
    ///
    /// Panics on another number of them than of tokens.
    pub fn push(&mut self, ids: &[u32], counted: &[bool]) {
        assert_eq!(ids.len(), counted.len(), "a mark for each token");
        self.ids.push(ids.to_vec());
        self.counted.push(counted.to_vec());
    }

    /// Adds a sequence of which all tokens but the first are to be predicted.
    pub fn push_all(&mut self, ids: &[u32]) {
        self.push(ids, &vec![true; ids.len()]);
    }

    /// How many predictions count.
    pub fn predictions(&self) -> usize {
        self.counted.iter().map(|c| c.iter().skip(1).filter(|&&c| c).count()).sum()
    }

    /// Runs of sequences of about [`PIECE`] tokens, with what counts in them.
    fn pieces(&self) -> Vec<(Batch, Vec<bool>)> {
        let mut pieces: Vec<(Batch, Vec<bool>)> = Vec::new();
        for (ids, counted) in self.ids.iter().zip(&self.counted) {
            if pieces.last().is_none_or(|(batch, _)| batch.tokens() + ids.len() > PIECE) {
                pieces.push((Batch::new(), Vec::new()));
            }
            if let Some((batch, all)) = pieces.last_mut() {
                batch.push(ids);
                all.extend(counted.iter().enumerate().map(|(i, &c)| c && i > 0));
            }
        }
        pieces
    }
}

impl Transformer {
    /// The gradient of a number by every weight: `seed(logits)` is its gradient by the logits `[tokens, vocab]`, which come first in the answer. The
    /// gradients have the shape of the weights; those of a tied output are part of the embedding's, and computed positions have none.
    ///
    /// # Errors
    /// Models without an output, or with a hidden layer in it. Panics on a seed of another shape and on tokens that [`check`](Self::check) refuses.
    pub fn weight_gradients(&self, batch: &Batch, seed: &dyn Fn(&Mat) -> Mat) -> Result<(Mat, Weights), String> {
        self.has_gradients()?;
        let run = Run::new(self, batch, &mut |_, _| {});
        let d = seed(&run.logits);
        assert_eq!(d.shape(), run.logits.shape(), "a gradient for each logit");
        let mut found = Found::new(&[], Some(self.weights.zeros(&self.config)));
        run.backward(d, &mut found);
        Ok((run.logits, found.weights.expect("given above")))
    }

    /// Mean cross-entropy of the predictions that count, in nats, and none where none counts.
    ///
    /// # Errors
    /// Models without an output. Panics on tokens that [`check`](Self::check) refuses.
    pub fn cross_entropy(&self, examples: &Examples) -> Result<f64, String> {
        self.has_gradients()?;
        let sites = super::Sites::and_logits([], &self.config);
        let of = |(batch, counted): &(Batch, Vec<bool>)| {
            let logits = self.forward(batch, &sites, None, &mut |_, _| {}).expect("checked: it has an output");
            total(&logits, batch, counted)
        };
        let sums: Vec<f64> = examples.pieces().par_iter().map(of).collect();
        Ok(sums.iter().sum::<f64>() / examples.predictions().max(1) as f64)
    }
}

/// The sum of the cross-entropies that count.
fn total(logits: &Mat, batch: &Batch, counted: &[bool]) -> f64 {
    surprise(logits, batch).iter().zip(counted).filter(|(_, counted)| **counted).map(|(s, _)| s).sum()
}

/// What a step learns from, a function of the step alone.
pub type Draw<'a> = Box<dyn Fn(u64) -> Examples + Send + Sync + 'a>;

/// Next-token cross-entropy of a transformer, as an [`Objective`]: the mean over the predictions that count. It starts from the weights that the
/// model has ([`fresh`](fn@super::fresh) gives random ones).
pub struct NextToken<'a> {
    model: Transformer,
    draw: Draw<'a>,
    held: Vec<String>,
}

impl<'a> NextToken<'a> {
    /// `draw(step)` gives the examples of a step, whose tokens must be such that [`Transformer::check`] passes them.
    ///
    /// # Errors
    /// Models that can't learn this: those without an output, those with a hidden layer in it, and those that see what they are to predict.
    pub fn new(model: Transformer, draw: Draw<'a>) -> Result<NextToken<'a>, String> {
        model.has_gradients()?;
        if !model.config.causal {
            return Err(format!("a model of family {} sees the tokens that it is to predict", model.config.family));
        }
        Ok(NextToken { model, draw, held: Vec::new() })
    }

    /// Leaves the tensors as they are whose names ([`Tensor::name`](super::Tensor)) hold `part`. With weight decay, only zeros stay.
    pub fn hold(mut self, part: &str) -> NextToken<'a> {
        self.held.push(part.to_owned());
        self
    }

    /// The model with these parameters.
    pub fn model(&mut self, params: &Params) -> &Transformer {
        let Transformer { config, weights } = &mut self.model;
        weights.set(config, params);
        &self.model
    }

    /// Trains it by the shared loop and gives the model after the last step, or after the one at which `observe` broke.
    pub fn train(mut self, config: &TrainConfig, observe: &mut dyn FnMut(Step) -> ControlFlow<()>) -> Transformer {
        // Nothing is drawn here: the model has its weights, and steps have streams of their own.
        let params = train(&mut self, config, &mut Rng::new(0), observe);
        self.model(&params);
        self.model
    }
}

impl Objective for NextToken<'_> {
    fn init(&self, _rng: &mut Rng) -> Params {
        self.model.weights.clone().to_params(&self.model.config)
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let examples = (self.draw)(step);
        let scale = 1.0 / examples.predictions().max(1) as f32;
        let model = self.model(params);
        let one = |(batch, counted): &(Batch, Vec<bool>)| {
            let seed = |logits: &Mat| surprise_gradient(logits, batch, counted, scale);
            let (logits, grad) = model.weight_gradients(batch, &seed).expect("checked when it was made");
            (total(&logits, batch, counted), grad)
        };
        let pieces: Vec<(f64, Weights)> = examples.pieces().par_iter().map(one).collect();
        let mut loss = 0.0;
        for (part, mut gradients) in pieces {
            loss += part;
            let tensors = gradients.tensors_mut(&model.config);
            tensors.into_iter().zip(&mut grad.blocks).for_each(|(t, (_, g))| axpy(1.0, t.data, g.data_mut()));
        }
        loss * f64::from(scale)
    }

    fn project(&self, _params: &Params, grad: &mut Params) {
        for (name, block) in &mut grad.blocks {
            if self.held.iter().any(|part| name.contains(part)) {
                block.data_mut().fill(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use superlens_tensor::optim::{Optimiser, Schedule};

    use super::super::family_tests::fixtures;
    use super::super::{Config, fresh, load};
    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch::one(&[3, 41, 7, 7, 55, 20, 9]);
        batch.push(&[9, 1, 30]);
        batch
    }

    fn counted() -> Vec<bool> {
        vec![false, true, true, false, true, true, true, false, true, true]
    }

    fn loss(model: &Transformer) -> f64 {
        let sites = super::super::Sites::and_logits([], &model.config);
        total(&model.forward(&batch(), &sites, None, &mut |_, _| {}).unwrap(), &batch(), &counted())
    }

    /// What all weights of one tensor move along.
    fn direction(i: usize) -> f32 {
        ((5 * i + 1) as f32).sin()
    }

    fn moved(model: &Transformer, tensor: usize, by: f32) -> f64 {
        let mut other = model.clone();
        let tensor = other.weights.tensors_mut(&model.config).remove(tensor);
        tensor.data.iter_mut().enumerate().for_each(|(i, w)| *w += by * direction(i));
        loss(&other)
    }

    #[test]
    fn gradients_are_those_of_finite_differences_by_every_weight_of_every_family() {
        let folders = std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
        let (mut tensors, mut told) = (0, 0);
        for path in folders {
            let family = path.file_name().unwrap().to_string_lossy().into_owned();
            let mut model = load(&path).unwrap();
            let seed = |logits: &Mat| surprise_gradient(logits, &batch(), &counted(), 1.0);
            let mut found = match model.weight_gradients(&batch(), &seed) {
                Ok(found) => found.1,
                Err(why) => {
                    assert!(family.starts_with("bert"), "{family}: {why}");
                    continue;
                }
            };
            let config: Config = model.config.clone();
            let grads = found.tensors_mut(&config);
            let sizes: Vec<f32> = model.weights.tensors_mut(&config).iter().map(|t| size(t.data)).collect();
            assert_eq!(grads.len(), sizes.len(), "{family}");
            for (at, (grad, size)) in grads.into_iter().zip(sizes).enumerate() {
                tensors += 1;
                let terms = || grad.data.iter().enumerate().map(|(i, g)| f64::from(g * direction(i)));
                let (want, length) = (terms().sum::<f64>(), terms().map(|x| x * x).sum::<f64>().sqrt());
                // Large steps cross the kinks of ReLUs, in small ones the loss is rounded.
                let least = |h: f32| 4e-6 / f64::from(h * size);
                told += usize::from(want.abs() > 5e-3 * (want.abs() + length) + least(2e-3));
                let errors = [2e-3, 4e-4].map(|h| {
                    let by = h * size;
                    let found = (moved(&model, at, by) - moved(&model, at, -by)) / f64::from(2.0 * by);
                    (found - want).abs() / (5e-3 * (want.abs() + length) + least(h))
                });
                let name = &grad.name;
                assert!(errors[0].min(errors[1]) < 1.0, "{family}, {name}: {want} of {length}, off by {errors:?}");
            }
        }
        assert!(tensors > 800, "{tensors}");
        // No gradient at all would be noticed in these.
        assert!(told * 20 > tensors * 19, "{told} of {tensors}");
    }

    fn size(data: &[f32]) -> f32 {
        (data.iter().map(|x| x.abs()).sum::<f32>() / data.len() as f32).max(0.02)
    }

    fn tiny() -> Transformer {
        let settings = serde_json::json!({"model_type": "llama", "vocab_size": 7, "hidden_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "initializer_range": 0.2});
        fresh(&settings, &Rng::new(3)).unwrap()
    }

    /// Counting by threes, in sequences of several lengths.
    fn counting(step: u64) -> Examples {
        let mut examples = Examples::new();
        let mut rng = Rng::new(4).fork_index(step);
        for i in 0..80 {
            let first = rng.below(7);
            examples.push_all(&(0..5 + i % 4).map(|i| ((first + 3 * i) % 7) as u32).collect::<Vec<_>>());
        }
        examples
    }

    fn config(steps: u64) -> TrainConfig {
        TrainConfig { steps, optimiser: Optimiser::adam(1e-2), schedule: Schedule::Constant, clip_norm: None }
    }

    #[test]
    fn a_rule_is_learned_and_threads_change_no_byte() {
        let trained = |threads: usize, steps: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let task = NextToken::new(tiny(), Box::new(counting)).unwrap();
                task.train(&config(steps), &mut |_| ControlFlow::Continue(()))
            })
        };
        let before = tiny().cross_entropy(&counting(900)).unwrap();
        let model = trained(2, 60);
        let after = model.cross_entropy(&counting(900)).unwrap();
        assert!(before > 1.5 && after < 0.02, "{before} {after}");
        let all = |mut model: Transformer| model.weights.to_params(&model.config);
        assert!(counting(0).pieces().len() > 1);
        assert_eq!(all(trained(1, 4)), all(trained(3, 4)));
    }

    #[test]
    fn what_is_held_stays_and_what_does_not_count_is_not_learned() {
        let task = NextToken::new(tiny(), Box::new(counting)).unwrap().hold("mlp.");
        let mut trained = task.train(&config(3), &mut |_| ControlFlow::Continue(()));
        let (mut before, config_of) = (tiny(), tiny().config);
        for (a, b) in trained.weights.tensors_mut(&config_of).iter().zip(before.weights.tensors_mut(&config_of)) {
            assert_eq!(a.data == b.data, a.name.contains("mlp."), "{}", a.name);
        }
        let nothing = |_| {
            let mut examples = Examples::new();
            examples.push(&[1, 2, 3], &[true, false, false]);
            examples
        };
        let task = NextToken::new(tiny(), Box::new(nothing)).unwrap();
        let mut same = task.train(&config(2), &mut |_| ControlFlow::Continue(()));
        assert_eq!(same.weights.to_params(&config_of), before.weights.to_params(&config_of));
    }

    #[test]
    fn models_that_can_not_learn_this_are_refused() {
        for family in ["bert-published", "bert-masked-lm"] {
            let model = load(&fixtures().join(family)).unwrap();
            assert!(NextToken::new(model, Box::new(counting)).is_err(), "{family}");
        }
        let mut seeing = load(&fixtures().join("gpt2-published")).unwrap();
        seeing.config.causal = false;
        assert!(NextToken::new(seeing, Box::new(counting)).err().unwrap().contains("sees"));
    }
}
