//! OPT (Zhang et al. 2022, arXiv 2205.01068): learned positions that begin at row 2 of their table; the model of 350M norms after each sum
//! and has embeddings narrower than its layers.

use superlens_tensor::Mat;

use super::{Family, alike, head, head_width, join, scale};
use crate::model::checkpoint::{Checkpoint, Stored::OutIn};
use crate::model::config::{Config, NormKind, Positions, Wiring};
use crate::model::error::ModelError;
use crate::model::settings::Settings;
use crate::model::weights::{AttentionWeights, BlockWeights, Head, MlpWeights, Weights};

pub(super) const FAMILY: Family = Family { model_types: &["opt"], about: "OPT", load };

/// Rows of the table of positions that no token uses.
const UNUSED: usize = 2;

fn load(c: &Settings, t: Checkpoint) -> Result<(Config, Weights), ModelError> {
    let (vocab, d) = (c.size(&["vocab_size"])?, c.size(&["hidden_size"])?);
    let (layers, heads) = (c.size(&["num_hidden_layers"])?, c.size(&["num_attention_heads"])?);
    let (n_ctx, d_mlp) = (c.size(&["max_position_embeddings"])?, c.size(&["ffn_dim"])?);
    let d_embed = c.size_or(&["word_embed_proj_dim"], d)?;
    let (before, bias) = (c.flag("do_layer_norm_before", true)?, c.flag("enable_bias", true)?);
    let d_head = head_width(c, d, heads)?;
    let config = Config {
        family: "opt".into(),
        vocab,
        d_model: d,
        n_ctx,
        heads,
        kv_heads: heads,
        d_head,
        d_mlp,
        activation: c.activation(&["activation_function"], "relu")?,
        gated: false,
        norm: NormKind::Layer,
        eps: 1e-5,
        wiring: if before { Wiring::Pre } else { Wiring::Post },
        positions: Positions::Learned,
        ropes: vec![],
        layers: alike(layers, None, scale(d_head)),
        causal: true,
        score_cap: None,
        logit_cap: None,
        embed_scale: 1.0,
    };
    // Files of the bare model begin with `decoder`, some old ones of the whole one as well.
    let t = t.with_prefix("model.");
    let block = |i: usize| {
        let name = |part: &str| format!("model.decoder.layers.{i}.{part}");
        let projection = |part: &str| t.linear(&name(&format!("self_attn.{part}_proj")), (d, d), OutIn, bias);
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
                into: t.linear(&name("fc1"), (d, d_mlp), OutIn, bias)?,
                linear: None,
                out: t.linear(&name("fc2"), (d_mlp, d), OutIn, bias)?,
            },
            post_mlp: None,
        })
    };
    let projected = d_embed != d;
    let project = |name: &str, shape| if projected { t.linear(name, shape, OutIn, false).map(Some) } else { Ok(None) };
    let table = t.matrix("model.decoder.embed_positions.weight", n_ctx + UNUSED, d)?;
    let positions = Mat::from_vec(n_ctx, d, table.data()[UNUSED * d..].to_vec());
    let last = before && !c.flag("_remove_final_layer_norm", false)?;
    let out = project("model.decoder.project_out", (d, d_embed))?;
    let head = head(c, &t, "lm_head", true, (vocab, d_embed))?.map(|head| Head { project: out, ..head });
    let weights = Weights {
        embed: t.matrix("model.decoder.embed_tokens.weight", vocab, d_embed)?,
        project_in: project("model.decoder.project_in", (d_embed, d))?,
        types: None,
        positions: Some(positions),
        embed_norm: None,
        blocks: (0..layers).map(block).collect::<Result<_, _>>()?,
        final_norm: if last { Some(t.norm("model.decoder.final_layer_norm", d)?) } else { None },
        head,
    };
    t.finish(&[])?;
    Ok((config, weights))
}
