//! GPT-2 (Radford et al. 2019): learned positions, norms before attention and MLP, matrices stored `[in, out]`.

use super::{Family, alike, head, head_width, scale};
use crate::model::checkpoint::{Checkpoint, Stored::InOut};
use crate::model::config::{Config, NormKind, Positions, Wiring};
use crate::model::error::ModelError;
use crate::model::settings::Settings;
use crate::model::weights::{AttentionWeights, BlockWeights, MlpWeights, Weights};

pub(super) const FAMILY: Family = Family { model_types: &["gpt2"], about: "GPT-2 and models of its layout", load };

fn load(c: &Settings, t: Checkpoint) -> Result<(Config, Weights), ModelError> {
    c.refuse(&["add_cross_attention"])?;
    let (vocab, d, heads) = (c.size(&["vocab_size"])?, c.size(&["n_embd"])?, c.size(&["n_head"])?);
    let (layers, n_ctx) = (c.size(&["n_layer"])?, c.size(&["n_positions", "n_ctx"])?);
    let d_mlp = c.size_or(&["n_inner"], 4 * d)?;
    let d_head = head_width(c, d, heads)?;
    let factor = if c.flag("scale_attn_weights", true)? { scale(d_head) } else { 1.0 };
    let mut kinds = alike(layers, None, factor);
    if c.flag("scale_attn_by_inverse_layer_idx", false)? {
        kinds.iter_mut().enumerate().for_each(|(i, kind)| kind.scale /= (i + 1) as f32);
    }
    let config = Config {
        family: "gpt2".into(),
        vocab,
        d_model: d,
        n_ctx,
        heads,
        kv_heads: heads,
        d_head,
        d_mlp,
        activation: c.activation(&["activation_function"], "gelu_new")?,
        gated: false,
        norm: NormKind::Layer,
        eps: c.epsilon(&["layer_norm_epsilon"], 1e-5)?,
        wiring: Wiring::Pre,
        positions: Positions::Learned,
        ropes: vec![],
        layers: kinds,
        causal: true,
        score_cap: None,
        logit_cap: None,
        embed_scale: 1.0,
    };
    let t = t.with_prefix("transformer.");
    let block = |i: usize| {
        let name = |part: &str| format!("transformer.h.{i}.{part}");
        Ok(BlockWeights {
            ln1: t.norm(&name("ln_1"), d)?,
            attn: AttentionWeights {
                qkv: t.linear(&name("attn.c_attn"), (d, 3 * d), InOut, true)?,
                out: t.linear(&name("attn.c_proj"), (d, d), InOut, true)?,
                q_norm: None,
                k_norm: None,
            },
            post_attn: None,
            ln2: t.norm(&name("ln_2"), d)?,
            mlp: MlpWeights {
                into: t.linear(&name("mlp.c_fc"), (d, d_mlp), InOut, true)?,
                linear: None,
                out: t.linear(&name("mlp.c_proj"), (d_mlp, d), InOut, true)?,
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
