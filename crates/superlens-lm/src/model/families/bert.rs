//! BERT (Devlin et al. 2019, arXiv 1810.04805), MiniLM: an encoder, norms after each sum, every token sees all others.

use super::{Family, alike, head_width, join, scale};
use crate::model::checkpoint::{Checkpoint, Stored::OutIn};
use crate::model::config::{Config, NormKind, Positions, Wiring};
use crate::model::error::ModelError;
use crate::model::settings::Settings;
use crate::model::weights::{AttentionWeights, BlockWeights, Head, MlpWeights, Weights};

pub(super) const FAMILY: Family = Family { model_types: &["bert"], about: "BERT, MiniLM (encoders)", load };

/// Parts that no activation depends on.
const UNUSED: &[&str] = &["pooler.", "cls.seq_relationship.", "cls.predictions.decoder."];

fn load(c: &Settings, t: Checkpoint) -> Result<(Config, Weights), ModelError> {
    c.refuse(&["is_decoder", "add_cross_attention"])?;
    if let Some(kind) = c.text(&["position_embedding_type"]).filter(|k| *k != "absolute") {
        return Err(c.wrong("position_embedding_type", format!("expected absolute, found {kind:?}")));
    }
    let (vocab, d) = (c.size(&["vocab_size"])?, c.size(&["hidden_size"])?);
    let (layers, heads) = (c.size(&["num_hidden_layers"])?, c.size(&["num_attention_heads"])?);
    let (n_ctx, d_mlp) = (c.size(&["max_position_embeddings"])?, c.size(&["intermediate_size"])?);
    let d_head = head_width(c, d, heads)?;
    let config = Config {
        family: "bert".into(),
        vocab,
        d_model: d,
        n_ctx,
        heads,
        kv_heads: heads,
        d_head,
        d_mlp,
        activation: c.activation(&["hidden_act"], "gelu")?,
        gated: false,
        norm: NormKind::Layer,
        eps: c.epsilon(&["layer_norm_eps"], 1e-12)?,
        wiring: Wiring::Post,
        positions: Positions::Learned,
        ropes: vec![],
        layers: alike(layers, None, scale(d_head)),
        causal: false,
        score_cap: None,
        logit_cap: None,
        embed_scale: 1.0,
    };
    let t = t.with_prefix("bert.");
    let block = |i: usize| {
        let name = |part: &str| format!("bert.encoder.layer.{i}.{part}");
        let projection = |part: &str| t.linear(&name(&format!("attention.self.{part}")), (d, d), OutIn, true);
        Ok(BlockWeights {
            ln1: t.norm(&name("attention.output.LayerNorm"), d)?,
            attn: AttentionWeights {
                qkv: join(&[projection("query")?, projection("key")?, projection("value")?]),
                out: t.linear(&name("attention.output.dense"), (d, d), OutIn, true)?,
                q_norm: None,
                k_norm: None,
            },
            post_attn: None,
            ln2: t.norm(&name("output.LayerNorm"), d)?,
            mlp: MlpWeights {
                into: t.linear(&name("intermediate.dense"), (d, d_mlp), OutIn, true)?,
                linear: None,
                out: t.linear(&name("output.dense"), (d_mlp, d), OutIn, true)?,
            },
            post_mlp: None,
        })
    };
    let types = c.size_or(&["type_vocab_size"], 2)?;
    let weights = Weights {
        embed: t.matrix("bert.embeddings.word_embeddings.weight", vocab, d)?,
        project_in: None,
        types: Some(t.matrix("bert.embeddings.token_type_embeddings.weight", types, d)?),
        positions: Some(t.matrix("bert.embeddings.position_embeddings.weight", n_ctx, d)?),
        embed_norm: Some(t.norm("bert.embeddings.LayerNorm", d)?),
        blocks: (0..layers).map(block).collect::<Result<_, _>>()?,
        final_norm: None,
        head: masked_head(&t, (vocab, d))?,
    };
    t.finish(UNUSED)?;
    Ok((config, weights))
}

/// The output of the masked language model, where the files have it; its matrix is the embedding.
fn masked_head(t: &Checkpoint, (vocab, d): (usize, usize)) -> Result<Option<Head>, ModelError> {
    if !t.has("cls.predictions.transform.dense.weight") {
        return Ok(None);
    }
    let dense = t.linear("cls.predictions.transform.dense", (d, d), OutIn, true)?;
    let norm = t.norm("cls.predictions.transform.LayerNorm", d)?;
    let bias = Some(t.vector("cls.predictions.bias", vocab)?);
    Ok(Some(Head { transform: Some((dense, norm)), project: None, own: None, bias }))
}
