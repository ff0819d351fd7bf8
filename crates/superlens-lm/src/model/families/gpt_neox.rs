//! GPT-NeoX (Black et al. 2022, arXiv 2204.06745), Pythia: rotations of a part of each head, attention and MLP side by side or in turn;
//! one matrix holds queries, keys and values of the first head, then of the second, and so on.

use super::rotation::{USUAL, rope};
use super::{Family, alike, head, head_width, reorder, scale};
use crate::model::checkpoint::{Checkpoint, Stored::OutIn};
use crate::model::config::{Config, NormKind, Positions, Wiring};
use crate::model::error::ModelError;
use crate::model::settings::Settings;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights, Weights};

pub(super) const FAMILY: Family = Family { model_types: &["gpt_neox"], about: "GPT-NeoX, Pythia", load };

fn load(c: &Settings, t: Checkpoint) -> Result<(Config, Weights), ModelError> {
    let (vocab, d) = (c.size(&["vocab_size"])?, c.size(&["hidden_size"])?);
    let (layers, heads) = (c.size(&["num_hidden_layers"])?, c.size(&["num_attention_heads"])?);
    let d_mlp = c.size(&["intermediate_size"])?;
    let d_head = head_width(c, d, heads)?;
    let mut place = USUAL;
    place.base.0 = "rotary_emb_base";
    let wiring = if c.flag("use_parallel_residual", true)? { Wiring::Parallel } else { Wiring::Pre };
    let bias = c.flag("attention_bias", true)?;
    let config = Config {
        family: "gpt_neox".into(),
        vocab,
        d_model: d,
        n_ctx: c.size(&["max_position_embeddings"])?,
        heads,
        kv_heads: heads,
        d_head,
        d_mlp,
        activation: c.activation(&["hidden_act"], "gelu")?,
        gated: false,
        norm: NormKind::Layer,
        eps: c.epsilon(&["layer_norm_eps"], 1e-5)?,
        wiring,
        positions: Positions::None,
        ropes: vec![rope(c, d_head, &place)?],
        layers: alike(layers, Some(0), scale(d_head)),
        causal: true,
        score_cap: None,
        logit_cap: None,
        embed_scale: 1.0,
    };
    let t = t.with_prefix("gpt_neox.");
    let order = by_kind(heads, d_head);
    let block = |i: usize| {
        let name = |part: &str| format!("gpt_neox.layers.{i}.{part}");
        let qkv = t.linear(&name("attention.query_key_value"), (d, 3 * d), OutIn, bias)?;
        Ok(BlockWeights {
            ln1: t.norm(&name("input_layernorm"), d)?,
            attn: AttentionWeights {
                qkv: reorder(&qkv, &order),
                out: t.linear(&name("attention.dense"), (d, d), OutIn, bias)?,
                q_norm: None,
                k_norm: None,
            },
            post_attn: None,
            ln2: t.norm(&name("post_attention_layernorm"), d)?,
            mlp: MlpWeights {
                into: t.linear(&name("mlp.dense_h_to_4h"), (d, d_mlp), OutIn, true)?,
                linear: None,
                out: t.linear(&name("mlp.dense_4h_to_h"), (d_mlp, d), OutIn, true)?,
            },
            post_mlp: None,
        })
    };
    let weights = Weights {
        embed: t.matrix("gpt_neox.embed_in.weight", vocab, d)?,
        project_in: None,
        types: None,
        positions: None,
        embed_norm: None,
        blocks: (0..layers).map(block).collect::<Result<_, _>>()?,
        final_norm: Some(t.norm("gpt_neox.final_layer_norm", d)?),
        head: head(c, &t, "embed_out", false, (vocab, d))?,
    };
    t.finish(&[])?;
    Ok((config, weights))
}

/// Columns of queries, keys and values head by head, put in the order queries, keys, values.
pub(super) fn by_kind(heads: usize, d_head: usize) -> Vec<usize> {
    let column = |kind: usize, head: usize, i: usize| (head * 3 + kind) * d_head + i;
    let of_kind = |kind| (0..heads).flat_map(move |h| (0..d_head).map(move |i| column(kind, h, i)));
    (0..3).flat_map(of_kind).collect()
}
