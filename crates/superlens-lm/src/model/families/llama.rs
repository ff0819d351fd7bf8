//! Llama (Touvron et al. 2023, arXiv 2302.13971) and those that follow it: Mistral (a window), Qwen2 (biases on queries, keys and values),
//! Qwen3 (norms of queries and keys), SmolLM3 (layers without rotation).

use super::rotation::{USUAL, rope, windowed};
use super::{Family, alike, head, head_width, join, key_heads, scale};
use crate::model::checkpoint::{Checkpoint, Stored::OutIn};
use crate::model::config::{Config, LayerKind, NormKind, Positions, Wiring};
use crate::model::error::ModelError;
use crate::model::settings::Settings;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights, Weights};

pub(super) const FAMILY: Family = Family {
    model_types: &["llama", "mistral", "qwen2", "qwen3", "smollm3"],
    about: "Llama 1 to 3, Mistral, Qwen 2 to 3, SmolLM",
    load,
};

fn load(c: &Settings, t: Checkpoint) -> Result<(Config, Weights), ModelError> {
    let family = c.text(&["model_type"]).unwrap_or("llama").to_owned();
    c.refuse(&["quantization_config"])?;
    let config = config(c, &family)?;
    let (d, queries, keys) = (config.d_model, config.d_queries(), config.d_keys());
    // Qwen2 has biases on queries, keys and values whatever its settings say.
    let all = c.flag("attention_bias", false)? && family != "qwen2";
    let bias = Biases { qkv: all || family == "qwen2", out: all, mlp: c.flag("mlp_bias", false)? };
    let t = t.with_prefix("model.");
    let block = |i: usize| {
        let name = |part: &str| format!("model.layers.{i}.{part}");
        let projection =
            |part: &str, width| t.linear(&name(&format!("self_attn.{part}_proj")), (d, width), OutIn, bias.qkv);
        let norm = |part: &str| {
            let name = name(&format!("self_attn.{part}_norm.weight"));
            if family == "qwen3" { t.vector(&name, config.d_head).map(Some) } else { Ok(None) }
        };
        Ok(BlockWeights {
            ln1: t.gain(&name("input_layernorm"), d)?,
            attn: AttentionWeights {
                qkv: join(&[projection("q", queries)?, projection("k", keys)?, projection("v", keys)?]),
                out: t.linear(&name("self_attn.o_proj"), (queries, d), OutIn, bias.out)?,
                q_norm: norm("q")?,
                k_norm: norm("k")?,
            },
            post_attn: None,
            ln2: t.gain(&name("post_attention_layernorm"), d)?,
            mlp: gated_mlp(&t, &name("mlp"), &config, bias.mlp)?,
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

struct Biases {
    qkv: bool,
    out: bool,
    mlp: bool,
}

/// Gate, up and down.
pub(super) fn gated_mlp(t: &Checkpoint, name: &str, config: &Config, bias: bool) -> Result<MlpWeights, ModelError> {
    let (d, d_mlp) = (config.d_model, config.d_mlp);
    Ok(MlpWeights {
        into: t.linear(&format!("{name}.gate_proj"), (d, d_mlp), OutIn, bias)?,
        linear: Some(t.linear(&format!("{name}.up_proj"), (d, d_mlp), OutIn, bias)?),
        out: t.linear(&format!("{name}.down_proj"), (d_mlp, d), OutIn, bias)?,
    })
}

/// What Llama and its followers share.
pub(super) fn config(c: &Settings, family: &str) -> Result<Config, ModelError> {
    let d = c.size(&["hidden_size"])?;
    let (layers, heads) = (c.size(&["num_hidden_layers"])?, c.size(&["num_attention_heads"])?);
    let d_head = match family {
        // Its heads don't share the width of the model.
        "qwen3" => c.size_or(&["head_dim"], 128)?,
        _ => head_width(c, d, heads)?,
    };
    let mut kinds = alike(layers, Some(0), scale(d_head));
    windows(c, family, &mut kinds)?;
    if family == "smollm3" {
        without_rotation(c, &mut kinds)?;
    }
    Ok(Config {
        family: family.to_owned(),
        vocab: c.size(&["vocab_size"])?,
        d_model: d,
        n_ctx: c.size_or(&["max_position_embeddings"], 2048)?,
        heads,
        kv_heads: key_heads(c, heads)?,
        d_head,
        d_mlp: c.size(&["intermediate_size"])?,
        activation: c.activation(&["hidden_act"], "silu")?,
        gated: true,
        norm: NormKind::Rms,
        eps: c.epsilon(&["rms_norm_eps"], 1e-6)?,
        wiring: Wiring::Pre,
        positions: Positions::None,
        ropes: vec![rope(c, d_head, &USUAL)?],
        layers: kinds,
        causal: true,
        score_cap: None,
        logit_cap: None,
        embed_scale: 1.0,
    })
}

fn windows(c: &Settings, family: &str, kinds: &mut [LayerKind]) -> Result<(), ModelError> {
    let windowed = match family {
        "mistral" if c.has("sliding_window") => vec![true; kinds.len()],
        "qwen2" | "qwen3" | "smollm3" if c.flag("use_sliding_window", false)? => {
            let first = c.get(&["max_window_layers"]).and_then(|v| v.as_u64()).unwrap_or(28) as usize;
            windowed(c, kinds.len(), |i| i >= first)?
        }
        _ => return Ok(()),
    };
    let window = c.size(&["sliding_window"])?;
    kinds.iter_mut().zip(windowed).for_each(|(kind, on)| kind.window = on.then_some(window));
    Ok(())
}

/// SmolLM3: `no_rope_layers` has a 0 where a layer does not rotate; otherwise every so many layers.
fn without_rotation(c: &Settings, kinds: &mut [LayerKind]) -> Result<(), ModelError> {
    let every = c.size_or(&["no_rope_layer_interval"], 4)?;
    let listed = match c.get(&["no_rope_layers"]) {
        Some(_) => Some(c.numbers(&["no_rope_layers"], kinds.len())?),
        None => None,
    };
    for (i, kind) in kinds.iter_mut().enumerate() {
        let rotates = listed.as_ref().map_or((i + 1) % every != 0, |l| l[i] != 0.0);
        kind.rope = rotates.then_some(0);
    }
    Ok(())
}
