//! GPT-Neo (TinyStories): learned positions, every other layer sees a window, scores are not scaled.

use serde_json::Value;

use super::{Family, head, head_width, join};
use crate::model::checkpoint::{Checkpoint, Stored::OutIn};
use crate::model::config::{Config, LayerKind, NormKind, Positions, Wiring};
use crate::model::error::ModelError;
use crate::model::settings::Settings;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights, Weights};

pub(super) const FAMILY: Family = Family { model_types: &["gpt_neo"], about: "GPT-Neo, TinyStories", load };

fn load(c: &Settings, t: Checkpoint) -> Result<(Config, Weights), ModelError> {
    let (vocab, d) = (c.size(&["vocab_size"])?, c.size(&["hidden_size"])?);
    let (layers, heads) =
        (c.size(&["num_layers", "num_hidden_layers"])?, c.size(&["num_heads", "num_attention_heads"])?);
    let (n_ctx, d_mlp) = (c.size(&["max_position_embeddings"])?, c.size_or(&["intermediate_size"], 4 * d)?);
    let window = c.size_or(&["window_size"], 256)?;
    let local = local_layers(c, layers)?;
    let kind = |local: bool| LayerKind { window: local.then_some(window), rope: None, scale: 1.0 };
    let config = Config {
        family: "gpt_neo".into(),
        vocab,
        d_model: d,
        n_ctx,
        heads,
        kv_heads: heads,
        d_head: head_width(c, d, heads)?,
        d_mlp,
        activation: c.activation(&["activation_function"], "gelu_new")?,
        gated: false,
        norm: NormKind::Layer,
        eps: c.epsilon(&["layer_norm_epsilon"], 1e-5)?,
        wiring: Wiring::Pre,
        positions: Positions::Learned,
        ropes: vec![],
        layers: local.into_iter().map(kind).collect(),
        causal: true,
        score_cap: None,
        logit_cap: None,
        embed_scale: 1.0,
    };
    let t = t.with_prefix("transformer.");
    let block = |i: usize| {
        let name = |part: &str| format!("transformer.h.{i}.{part}");
        let projection =
            |part: &str| t.linear(&name(&format!("attn.attention.{part}_proj")), (d, d), OutIn, part == "out");
        Ok(BlockWeights {
            ln1: t.norm(&name("ln_1"), d)?,
            attn: AttentionWeights {
                qkv: join(&[projection("q")?, projection("k")?, projection("v")?]),
                out: projection("out")?,
                q_norm: None,
                k_norm: None,
            },
            post_attn: None,
            ln2: t.norm(&name("ln_2"), d)?,
            mlp: MlpWeights {
                into: t.linear(&name("mlp.c_fc"), (d, d_mlp), OutIn, true)?,
                linear: None,
                out: t.linear(&name("mlp.c_proj"), (d_mlp, d), OutIn, true)?,
            },
            post_mlp: None,
        })
    };
    let weights = Weights {
        embed: t.matrix("transformer.wte.weight", vocab, d)?,
        project_in: None,
        types: None,
        positions: Some(t.matrix("transformer.wpe.weight", n_ctx, d)?),
        embed_norm: None,
        blocks: (0..layers).map(block).collect::<Result<_, _>>()?,
        final_norm: Some(t.norm("transformer.ln_f", d)?),
        head: head(c, &t, "lm_head", true, (vocab, d))?,
    };
    t.finish(&[])?;
    Ok((config, weights))
}

/// Which layers see a window: `attention_layers`, or `attention_types`, a list of patterns and how often each is repeated.
fn local_layers(c: &Settings, layers: usize) -> Result<Vec<bool>, ModelError> {
    let wrong = |found: &Value| {
        c.wrong("attention_types", format!("expected global and local for {layers} layers, found {found}"))
    };
    let word = |v: &Value| match v.as_str() {
        Some("global") => Ok(false),
        Some("local") => Ok(true),
        _ => Err(wrong(v)),
    };
    if let Some(Value::Array(all)) = c.get(&["attention_layers"]) {
        let all: Vec<bool> = all.iter().map(word).collect::<Result<_, _>>()?;
        return if all.len() == layers { Ok(all) } else { Err(wrong(&Value::from(all.len()))) };
    }
    let Some(types) = c.get(&["attention_types"]) else {
        return Ok((0..layers).map(|i| i % 2 == 1).collect());
    };
    let mut all = Vec::new();
    for pattern in types.as_array().ok_or_else(|| wrong(types))? {
        let (kinds, times) =
            (pattern[0].as_array().ok_or_else(|| wrong(types))?, pattern[1].as_u64().ok_or_else(|| wrong(types))?);
        if times as usize > layers {
            return Err(wrong(types));
        }
        let kinds: Vec<bool> = kinds.iter().map(word).collect::<Result<_, _>>()?;
        (0..times).for_each(|_| all.extend(&kinds));
    }
    if all.len() == layers { Ok(all) } else { Err(wrong(types)) }
}
