//! Gemma 1 to 3 (arXiv 2403.08295, 2408.00118, 2503.19786): norms multiply by one plus their weight, embeddings by √d_model; 2 and 3 norm what
//! is added too and let layers see a window in turn; 2 caps scores and logits softly, 3 norms queries and keys and rotates by two bases.

use super::llama::gated_mlp;
use super::rotation::{Place, USUAL, rope, windowed};
use super::{Family, head, join, key_heads};
use crate::model::checkpoint::{Checkpoint, Stored::OutIn};
use crate::model::config::{Config, LayerKind, NormKind, Positions, Wiring};
use crate::model::error::ModelError;
use crate::model::settings::Settings;
use crate::model::weights::{AttentionWeights, BlockWeights, NormWeights, Weights};

pub(super) const FAMILY: Family =
    Family { model_types: &["gemma", "gemma2", "gemma3_text"], about: "Gemma 1, 2, and 3 (text)", load };

fn load(c: &Settings, t: Checkpoint) -> Result<(Config, Weights), ModelError> {
    let family = c.text(&["model_type"]).unwrap_or("gemma").to_owned();
    c.refuse(&["quantization_config", "use_bidirectional_attention"])?;
    let config = config(c, &family)?;
    let (d, queries, keys) = (config.d_model, config.d_queries(), config.d_keys());
    let bias = c.flag("attention_bias", false)?;
    let t = t.with_prefix("model.");
    let block = |i: usize| {
        let name = |part: &str| format!("model.layers.{i}.{part}");
        let projection =
            |part: &str, width| t.linear(&name(&format!("self_attn.{part}_proj")), (d, width), OutIn, bias);
        let norm = |part: &str| one_plus(&t, &name(part), d);
        let head_norm = |part: &str| {
            let name = name(&format!("self_attn.{part}_norm"));
            if family == "gemma3_text" { Ok(one_plus(&t, &name, config.d_head)?.gain) } else { Ok(None) }
        };
        let sandwich = config.wiring == Wiring::Sandwich;
        let (post_attn, ln2, post_mlp) = if sandwich {
            let inner = norm("pre_feedforward_layernorm")?;
            (Some(norm("post_attention_layernorm")?), inner, Some(norm("post_feedforward_layernorm")?))
        } else {
            (None, norm("post_attention_layernorm")?, None)
        };
        Ok(BlockWeights {
            ln1: norm("input_layernorm")?,
            attn: AttentionWeights {
                qkv: join(&[projection("q", queries)?, projection("k", keys)?, projection("v", keys)?]),
                out: t.linear(&name("self_attn.o_proj"), (queries, d), OutIn, bias)?,
                q_norm: head_norm("q")?,
                k_norm: head_norm("k")?,
            },
            post_attn,
            ln2,
            mlp: gated_mlp(&t, &name("mlp"), &config, false)?,
            post_mlp,
        })
    };
    let weights = Weights {
        embed: t.matrix("model.embed_tokens.weight", config.vocab, d)?,
        project_in: None,
        types: None,
        positions: None,
        embed_norm: None,
        blocks: (0..config.layers.len()).map(block).collect::<Result<_, _>>()?,
        final_norm: Some(one_plus(&t, "model.norm", d)?),
        head: head(c, &t, "lm_head", true, (config.vocab, d))?,
    };
    t.finish(&[])?;
    Ok((config, weights))
}

/// A norm whose files hold the gain less one.
fn one_plus(t: &Checkpoint, name: &str, len: usize) -> Result<NormWeights, ModelError> {
    let gain = t.vector(&format!("{name}.weight"), len)?;
    Ok(NormWeights { gain: Some(gain.into_iter().map(|w| 1.0 + w).collect()), bias: None })
}

fn config(c: &Settings, family: &str) -> Result<Config, ModelError> {
    let d = c.size(&["hidden_size"])?;
    let (layers, heads) = (c.size(&["num_hidden_layers"])?, c.size(&["num_attention_heads"])?);
    let d_head = c.size_or(&["head_dim"], 256)?;
    let scalar = if family == "gemma" { d_head as f64 } else { c.number(&["query_pre_attn_scalar"], 256.0)? };
    if scalar <= 0.0 {
        return Err(c.wrong("query_pre_attn_scalar", format!("expected a number above 0, found {scalar}")));
    }
    let cap = |key: &str| {
        if family == "gemma" || !c.has(key) { Ok(None) } else { c.number(&[key], 0.0).map(|x| Some(x as f32)) }
    };
    let gemma3 = family == "gemma3_text";
    let windowed = match family {
        "gemma" => vec![false; layers],
        "gemma2" => windowed(c, layers, |i| i % 2 == 0)?,
        _ => {
            let pattern = c.size_or(&["sliding_window_pattern", "_sliding_window_pattern"], 6)?;
            windowed(c, layers, |i| (i + 1) % pattern != 0)?
        }
    };
    let window = if family == "gemma" { 1 } else { c.size_or(&["sliding_window"], 4096)? };
    let ropes = if gemma3 {
        let full = Place { within: "full_attention.", base: ("rope_theta", 1e6), scaled: true };
        let local = Place { within: "sliding_attention.", base: ("rope_local_base_freq", 1e4), scaled: false };
        vec![rope(c, d_head, &full)?, rope(c, d_head, &local)?]
    } else {
        vec![rope(c, d_head, &USUAL)?]
    };
    let kind = |windowed: bool| LayerKind {
        window: windowed.then_some(window),
        rope: Some(usize::from(gemma3 && windowed)),
        scale: (1.0 / scalar.sqrt()) as f32,
    };
    Ok(Config {
        family: family.to_owned(),
        vocab: c.size(&["vocab_size"])?,
        d_model: d,
        n_ctx: c.size_or(&["max_position_embeddings"], 8192)?,
        heads,
        kv_heads: key_heads(c, heads)?,
        d_head,
        d_mlp: c.size(&["intermediate_size"])?,
        // Files of the first Gemma say "gelu" in `hidden_act` and mean the approximation.
        activation: c.activation(&["hidden_activation"], "gelu_pytorch_tanh")?,
        gated: true,
        norm: NormKind::Rms,
        eps: c.epsilon(&["rms_norm_eps"], 1e-6)?,
        wiring: if family == "gemma" { Wiring::Pre } else { Wiring::Sandwich },
        positions: Positions::None,
        ropes,
        layers: windowed.into_iter().map(kind).collect(),
        causal: true,
        score_cap: cap("attn_logit_softcapping")?,
        logit_cap: cap("final_logit_softcapping")?,
        embed_scale: (d as f32).sqrt(),
    })
}
