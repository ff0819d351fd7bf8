//! XGLM (Lin et al. 2021, arXiv 2112.10668): positions made of sines and cosines, embeddings scaled by √d_model.

use superlens_tensor::Mat;

use super::{Family, alike, head, head_width, join, scale};
use crate::model::checkpoint::{Checkpoint, Stored::OutIn};
use crate::model::config::{Config, NormKind, Positions, Wiring};
use crate::model::error::ModelError;
use crate::model::settings::Settings;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights, Weights};

pub(super) const FAMILY: Family = Family { model_types: &["xglm"], about: "XGLM", load };

/// The first token stands at this position.
const FIRST: usize = 2;

fn load(c: &Settings, t: Checkpoint) -> Result<(Config, Weights), ModelError> {
    c.refuse(&["add_cross_attention"])?;
    let (vocab, d) = (c.size(&["vocab_size"])?, c.size(&["d_model"])?);
    let (layers, heads) = (c.size(&["num_layers"])?, c.size(&["attention_heads"])?);
    let (n_ctx, d_mlp) = (c.size(&["max_position_embeddings"])?, c.size(&["ffn_dim"])?);
    if d < 4 {
        return Err(c.wrong("d_model", format!("expected 4 at least, found {d}")));
    }
    let d_head = head_width(c, d, heads)?;
    let config = Config {
        family: "xglm".into(),
        vocab,
        d_model: d,
        n_ctx,
        heads,
        kv_heads: heads,
        d_head,
        d_mlp,
        activation: c.activation(&["activation_function"], "gelu")?,
        gated: false,
        norm: NormKind::Layer,
        eps: 1e-5,
        wiring: Wiring::Pre,
        positions: Positions::Sines,
        ropes: vec![],
        layers: alike(layers, None, scale(d_head)),
        causal: true,
        score_cap: None,
        logit_cap: None,
        embed_scale: if c.flag("scale_embedding", true)? { (d as f32).sqrt() } else { 1.0 },
    };
    let t = t.with_prefix("model.");
    let block = |i: usize| {
        let name = |part: &str| format!("model.layers.{i}.{part}");
        let projection = |part: &str| t.linear(&name(&format!("self_attn.{part}_proj")), (d, d), OutIn, true);
        Ok(BlockWeights {
            ln1: t.norm(&name("self_attn_layer_norm"), d)?,
            attn: AttentionWeights {
                qkv: join(&[projection("q")?, projection("k")?, projection("v")?]),
                out: projection("out")?,
                q_norm: None,
                k_norm: None,
            },
            post_attn: None,
            ln2: t.norm(&name("final_layer_norm"), d)?,
            mlp: MlpWeights {
                into: t.linear(&name("fc1"), (d, d_mlp), OutIn, true)?,
                linear: None,
                out: t.linear(&name("fc2"), (d_mlp, d), OutIn, true)?,
            },
            post_mlp: None,
        })
    };
    let weights = Weights {
        embed: t.matrix("model.embed_tokens.weight", vocab, d)?,
        project_in: None,
        types: None,
        positions: Some(sines(n_ctx, d, c.get(&["pad_token_id"]).and_then(|v| v.as_u64()))),
        embed_norm: None,
        blocks: (0..layers).map(block).collect::<Result<_, _>>()?,
        final_norm: Some(t.norm("model.layer_norm", d)?),
        head: head(c, &t, "lm_head", true, (vocab, d))?,
    };
    t.finish(&["embed_positions"])?;
    Ok((config, weights))
}

/// Sines in the first half of a row, cosines in the second; zeros at the place that has the number of the padding.
fn sines(n_ctx: usize, d: usize, padding: Option<u64>) -> Mat {
    let half = d / 2;
    let step = -(10_000f64.ln()) / (half as f64 - 1.0);
    Mat::from_fn(n_ctx, d, |at, i| {
        let angle = ((at + FIRST) as f64) * (f64::from((i % half) as u32) * step).exp();
        if i >= 2 * half || padding == Some((at + FIRST) as u64) {
            0.0
        } else if i < half {
            angle.sin() as f32
        } else {
            angle.cos() as f32
        }
    })
}
