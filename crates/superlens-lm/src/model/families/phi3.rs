//! Phi-3 (arXiv 2404.14219): Llama with queries, keys and values in one matrix, gate and up in another, and rotations for long texts.

use super::llama::config as llama_config;
use super::{Family, head, reorder};
use crate::model::checkpoint::{Checkpoint, Stored::OutIn};
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::settings::Settings;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights, Weights};

pub(super) const FAMILY: Family = Family { model_types: &["phi3"], about: "Phi-3 and 3.5 (text)", load };

fn load(c: &Settings, t: Checkpoint) -> Result<(Config, Weights), ModelError> {
    c.refuse(&["quantization_config", "attention_bias"])?;
    let mut config = llama_config(c, "phi3")?;
    if c.has("sliding_window") {
        let window = c.size(&["sliding_window"])?;
        config.layers.iter_mut().for_each(|kind| kind.window = Some(window));
    }
    let (d, queries, keys, d_mlp) = (config.d_model, config.d_queries(), config.d_keys(), config.d_mlp);
    let t = t.with_prefix("model.");
    let block = |i: usize| {
        let name = |part: &str| format!("model.layers.{i}.{part}");
        let both = t.linear(&name("mlp.gate_up_proj"), (d, 2 * d_mlp), OutIn, false)?;
        let half = |from: usize| reorder(&both, &(from..from + d_mlp).collect::<Vec<_>>());
        Ok(BlockWeights {
            ln1: t.gain(&name("input_layernorm"), d)?,
            attn: AttentionWeights {
                qkv: t.linear(&name("self_attn.qkv_proj"), (d, queries + 2 * keys), OutIn, false)?,
                out: t.linear(&name("self_attn.o_proj"), (queries, d), OutIn, false)?,
                q_norm: None,
                k_norm: None,
            },
            post_attn: None,
            ln2: t.gain(&name("post_attention_layernorm"), d)?,
            mlp: MlpWeights {
                into: half(0),
                linear: Some(half(d_mlp)),
                out: t.linear(&name("mlp.down_proj"), (d_mlp, d), OutIn, false)?,
            },
            post_mlp: None,
        })
    };
    let weights = Weights {
        embed: t.matrix("model.embed_tokens.weight", config.vocab, d)?,
        project_in: None,
        types: None,
        positions: None,
        embed_norm: None,
        blocks: (0..config.layers.len()).map(block).collect::<Result<_, _>>()?,
        final_norm: Some(t.gain("model.norm", d)?),
        head: head(c, &t, "lm_head", false, (config.vocab, d))?,
    };
    t.finish(&[])?;
    Ok((config, weights))
}
