//! BLOOM (Le Scao et al. 2022, arXiv 2211.05100): scores fall with distance (ALiBi), a norm on the embeddings.

use super::gpt_neox::by_kind;
use super::{Family, alike, head, head_width, reorder, scale};
use crate::model::checkpoint::{Checkpoint, Stored::OutIn};
use crate::model::config::{Config, NormKind, Positions, Wiring};
use crate::model::error::ModelError;
use crate::model::settings::Settings;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights, Weights};
use superlens_tensor::kernels::pointwise::Activation;

pub(super) const FAMILY: Family = Family { model_types: &["bloom"], about: "BLOOM", load };

fn load(c: &Settings, t: Checkpoint) -> Result<(Config, Weights), ModelError> {
    c.refuse(&["apply_residual_connection_post_layernorm"])?;
    let (vocab, d) = (c.size(&["vocab_size"])?, c.size(&["hidden_size", "n_embed"])?);
    let (layers, heads) = (c.size(&["n_layer", "num_hidden_layers"])?, c.size(&["n_head", "num_attention_heads"])?);
    let d_head = head_width(c, d, heads)?;
    let config = Config {
        family: "bloom".into(),
        vocab,
        d_model: d,
        n_ctx: c.size_or(&["seq_length"], 2048)?,
        heads,
        kv_heads: heads,
        d_head,
        d_mlp: 4 * d,
        activation: Activation::GeluTanh,
        gated: false,
        norm: NormKind::Layer,
        eps: c.epsilon(&["layer_norm_epsilon"], 1e-5)?,
        wiring: Wiring::Pre,
        positions: Positions::Alibi,
        ropes: vec![],
        layers: alike(layers, None, scale(d_head)),
        causal: true,
        score_cap: None,
        logit_cap: None,
        embed_scale: 1.0,
    };
    let t = t.with_prefix("transformer.");
    let order = by_kind(heads, d_head);
    let block = |i: usize| {
        let name = |part: &str| format!("transformer.h.{i}.{part}");
        let qkv = t.linear(&name("self_attention.query_key_value"), (d, 3 * d), OutIn, true)?;
        Ok(BlockWeights {
            ln1: t.norm(&name("input_layernorm"), d)?,
            attn: AttentionWeights {
                qkv: reorder(&qkv, &order),
                out: t.linear(&name("self_attention.dense"), (d, d), OutIn, true)?,
                q_norm: None,
                k_norm: None,
            },
            post_attn: None,
            ln2: t.norm(&name("post_attention_layernorm"), d)?,
            mlp: MlpWeights {
                into: t.linear(&name("mlp.dense_h_to_4h"), (d, 4 * d), OutIn, true)?,
                linear: None,
                out: t.linear(&name("mlp.dense_4h_to_h"), (4 * d, d), OutIn, true)?,
            },
            post_mlp: None,
        })
    };
    let weights = Weights {
        embed: t.matrix("transformer.word_embeddings.weight", vocab, d)?,
        project_in: None,
        types: None,
        positions: None,
        embed_norm: Some(t.norm("transformer.word_embeddings_layernorm", d)?),
        blocks: (0..layers).map(block).collect::<Result<_, _>>()?,
        final_norm: Some(t.norm("transformer.ln_f", d)?),
        head: head(c, &t, "lm_head", true, (vocab, d))?,
    };
    t.finish(&[])?;
    Ok((config, weights))
}
