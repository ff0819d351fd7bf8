//! `diagnose --model`: the model asked what it makes of the layer that its activations are of.

use superlens::diagnose::{Basis, Diagnosis, Hypothesis};
use superlens_lm::intervene::{Ablated, Text, Uses, uses};
use superlens_lm::model::{Point, Site};
use superlens_tensor::Rng;

use super::model_files::Model;
use super::model_texts;
use crate::args::{Asked, ModelFiles};
use crate::failure::Failure;

/// Tokens on which the model is asked.
const TOKENS: u64 = 4096;
/// Draws of the null of the directions: so many as are asked about, out of the random ones.
const DRAWS: usize = 199;

/// A model, the place of the layer in it, and texts.
pub struct WithModel {
    model: Model,
    site: Site,
    texts: Vec<Text>,
    /// Whether the model made the texts.
    own: bool,
}

impl WithModel {
    /// Opened and held against the activations' `columns`; `hook` is where they were read.
    pub fn open(asked: &Asked, hook: Option<&str>, columns: usize, seed: u64) -> Result<Option<WithModel>, Failure> {
        let Some(path) = &asked.model else { return Ok(None) };
        let files = ModelFiles { model: path.clone(), tokenizer: asked.tokenizer.clone() };
        let (model, tokenizer) = Model::with_tokenizer(&files)?;
        let hook = hook.ok_or_else(|| {
            Failure::Input(
                "--model: where in the model the activations were read is not known; say it with --hook".into(),
            )
        })?;
        let config = &model.transformer.config;
        let site = Site::parse(hook, config).map_err(|e| Failure::Input(format!("--hook {hook}: {e}")))?;
        match site.width(config) {
            _ if matches!(site, Site::Logits | Site::Block(_, Point::Scores | Point::Pattern)) => {
                return Err(Failure::Input(format!(
                    "--hook {hook}: nothing of the model comes after it, or its rows are no tokens"
                )));
            }
            Some(width) if width == columns => {}
            width => {
                let width = width.map_or("no fixed width".into(), |w| format!("{w} columns"));
                return Err(Failure::Input(format!(
                    "--hook {hook}: has {width} in {}, but the activations have {columns}",
                    path.display()
                )));
            }
        }
        let texts = model_texts::of(&asked.text, &model, &tokenizer, TOKENS, seed)?;
        Ok(Some(WithModel { model, site, texts, own: asked.text.is_empty() }))
    }

    /// What the model's output says of the layer's directions. The features are those of the diagnosis.
    pub fn hypotheses(
        &self,
        diagnosis: &Diagnosis,
        seed: u64,
        watch: &(dyn Fn(f64) + Sync),
    ) -> Result<Vec<Hypothesis>, Failure> {
        let rng = Rng::new(seed);
        let found = uses(&self.model.transformer, &self.texts, self.site, &diagnosis.directions, &rng, watch);
        let effects = found.ablated.iter().chain(&found.random).flat_map(|a| [a.by_direction, a.by_neuron]);
        if found.turned.iter().copied().chain([found.halved]).chain(effects).any(|effect| !effect.is_finite()) {
            return Err(Failure::Input(
                "--model: with these activations changed it computes no numbers any more".into(),
            ));
        }
        let text = if self.own { "text of its own" } else { "the text" };
        let over = format!("{} tokens of {text}", found.tokens);
        let mut out = vec![size(&found, &over)];
        if !found.ablated.is_empty() {
            out.push(directions(&found, &over, diagnosis.layer.basis, &mut rng.fork("draws of directions")));
        }
        Ok(out)
    }
}

/// Whether the output follows the size of the activations less than their direction.
fn size(found: &Uses, over: &str) -> Hypothesis {
    let mean = found.turned.iter().sum::<f64>() / found.turned.len() as f64;
    let scale = mean.max(1e-300);
    let mut draws: Vec<f64> = found.turned.iter().map(|t| t / scale).collect();
    draws.sort_by(f64::total_cmp);
    let statistic = found.halved / scale;
    let p_value = (1 + draws.iter().filter(|d| **d <= statistic).count()) as f64 / (1 + draws.len()) as f64;
    let supports = p_value <= 0.05;
    let share = 100.0 * statistic;
    Hypothesis {
        id: "direction_not_size".into(),
        measures: "change of the model's output when activations are halved, over that when they are turned as far"
            .into(),
        statistic,
        null_mean: 1.0,
        null_high: draws[(draws.len() - 1) / 20],
        null_draws: draws.len(),
        p_value,
        supports,
        says: if supports {
            format!(
                "The model follows the direction of these activations rather than their size: halving them does {share:.0} % of what turning them as far does, over {over}. What it reads are directions."
            )
        } else {
            format!(
                "The size of these activations matters to the model as well as their direction: halving them does {share:.0} % of what turning them as far does, over {over}."
            )
        },
        null: "activations turned as far towards those of random other tokens, their length kept".into(),
        draws,
    }
}

/// Whether the output follows the directions found more than their strongest neurons.
fn directions(found: &Uses, over: &str, basis: Basis, rng: &mut Rng) -> Hypothesis {
    let ratio = |list: &mut dyn Iterator<Item = &Ablated>| {
        let (by_direction, by_neuron) = list.fold((0.0, 0.0), |s, a| (s.0 + a.by_direction, s.1 + a.by_neuron));
        by_direction / f64::max(by_neuron, 1e-300)
    };
    let n = found.ablated.len();
    let statistic = ratio(&mut found.ablated.iter());
    let mut draws: Vec<f64> = (0..if found.random.is_empty() { 0 } else { DRAWS })
        .map(|_| {
            let drawn: Vec<&Ablated> = (0..n).map(|_| &found.random[rng.below(found.random.len())]).collect();
            ratio(&mut drawn.into_iter())
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    let p_value = (1 + draws.iter().filter(|d| **d >= statistic).count()) as f64 / (1 + draws.len()) as f64;
    let supports = p_value <= 0.05 && statistic > 1.0;
    let null_mean = if draws.is_empty() { 0.0 } else { draws.iter().sum::<f64>() / draws.len() as f64 };
    let own = if basis == Basis::None { "the strongest column of each" } else { "the strongest neuron of each" };
    Hypothesis {
        id: "direction_ablation".into(),
        measures: "change of the model's output for the variance taken away: along the directions found, over their strongest neurons".into(),
        statistic,
        null_mean,
        null_high: draws.get(draws.len() * 19 / 20).copied().unwrap_or(0.0),
        null_draws: draws.len(),
        p_value,
        supports,
        says: if supports {
            format!("The model uses the directions found rather than neurons: taking {n} of them away changes its output {statistic:.1} times as much, for the same variance, as taking away {own}, over {over}.")
        } else {
            format!("Taking {n} of the directions away changes the model's output {statistic:.1} times as much, for the same variance, as taking away {own}, over {over}; of random directions it is {null_mean:.1} times. Features along neurons, and a model that reads all directions alike, give about one.")
        },
        null: "random directions and their strongest neurons, as many a draw".into(),
        draws,
    }
}

/// What a hook's name says of its columns: neurons after a non-linearity, or places of a stream that only directions matter in.
pub fn basis_of(hook: &str) -> Basis {
    const STREAMS: [&str; 8] =
        ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "hook_embed", "hook_pos_embed", "normalized"];
    if hook.ends_with("mlp.hook_post") {
        Basis::Privileged
    } else if STREAMS.iter().any(|name| hook.ends_with(name)) {
        Basis::None
    } else {
        Basis::Unknown
    }
}
