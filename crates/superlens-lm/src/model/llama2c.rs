//! Models of llama2.c: a header of seven integers, then all numbers in single precision, each kind of matrix for all layers together.

use std::fs;
use std::path::Path;

use superlens_tensor::Mat;
use superlens_tensor::kernels::pointwise::Activation;

use super::config::{Config, LayerKind, NormKind, Positions, Rope, Wiring};
use super::error::ModelError;
use super::transformer::Transformer;
use super::weights::{AttentionWeights, BlockWeights, Head, Linear, MlpWeights, NormWeights, Weights};

const HEADER: usize = 7;
/// No size in a header is larger.
const LARGEST: i32 = 1 << 20;

/// Loads a `.bin` file of llama2.c (version 0). Its queries and keys are rotated in pairs of neighbours; they are put in the order of the
/// canonical rotation, so that hooks read what the same model gives as a Hugging Face folder.
///
/// # Errors
/// A header that makes no sense, a file of another length than it says, numbers that are not finite, and what the system refuses.
pub fn load_llama2c(path: &Path) -> Result<Transformer, ModelError> {
    let bytes = fs::read(path).map_err(ModelError::reading(path))?;
    let word = |i: usize| i32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]);
    if bytes.len() < 4 * HEADER {
        return Err(ModelError::new(
            path,
            format!("has {} bytes, fewer than the header of a llama2.c model", bytes.len()),
        ));
    }
    let header: Vec<i32> = (0..HEADER).map(word).collect();
    let sizes = [header[0], header[1], header[2], header[3], header[4], header[5].saturating_abs(), header[6]];
    if sizes.iter().any(|&n| !(1..=LARGEST).contains(&n)) {
        return Err(ModelError::new(path, format!("begins with {header:?}, which are no sizes of a llama2.c model")));
    }
    let [d, d_mlp, layers, heads, kv_heads, vocab, n_ctx] = sizes.map(|n| n as usize);
    let even = d.is_multiple_of(heads) && (d / heads).is_multiple_of(2) && heads.is_multiple_of(kv_heads);
    if !even {
        let what = format!("{heads} heads and {kv_heads} of keys don't share a width of {d} in pairs");
        return Err(ModelError::new(path, what));
    }
    let d_head = d / heads;
    let (keys, tied) = (kv_heads * d_head, header[5] > 0);
    let block = (2 * d + 2 * d * d + 2 * d * keys + 3 * d * d_mlp) as u128 * layers as u128;
    let ends = (vocab * d * if tied { 1 } else { 2 } + d + n_ctx * d_head) as u128;
    let expected = 4 * (HEADER as u128 + block + ends);
    if expected != bytes.len() as u128 {
        let what = format!("expected {expected} bytes by its header, found {}; copy the file again", bytes.len());
        return Err(ModelError::new(path, what));
    }
    let mut numbers = bytes[4 * HEADER..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let mut take = |n: usize| numbers.by_ref().take(n).collect::<Vec<f32>>();
    let embed = Mat::from_vec(vocab, d, take(vocab * d));
    // `[out, in]` for each layer.
    let mut kind = |out: usize, width: usize| (0..layers).map(|_| take(out * width)).collect::<Vec<_>>();
    let rms_attn = kind(1, d);
    let (wq, wk, wv, wo) = (kind(d, d), kind(keys, d), kind(keys, d), kind(d, d));
    let rms_mlp = kind(1, d);
    let (gate, down, up) = (kind(d_mlp, d), kind(d, d_mlp), kind(d_mlp, d));
    let rms_final = take(d);
    // Sines and cosines, which are computed here.
    take(n_ctx * d_head);
    let own = if tied { None } else { Some(Mat::from_vec(vocab, d, take(vocab * d)).transposed()) };
    let gain = |gain: Vec<f32>| NormWeights { gain: Some(gain), bias: None };
    let linear =
        |w: &[f32], out: usize, width: usize| Linear { w: Mat::from_vec(out, width, w.to_vec()).transposed(), b: None };
    let blocks = (0..layers).map(|l| {
        let qkv = [halves(&wq[l], d, d_head), halves(&wk[l], d, d_head), wv[l].clone()].concat();
        BlockWeights {
            ln1: gain(rms_attn[l].clone()),
            attn: AttentionWeights {
                qkv: linear(&qkv, d + 2 * keys, d),
                out: linear(&wo[l], d, d),
                q_norm: None,
                k_norm: None,
            },
            post_attn: None,
            ln2: gain(rms_mlp[l].clone()),
            mlp: MlpWeights {
                into: linear(&gate[l], d_mlp, d),
                linear: Some(linear(&up[l], d_mlp, d)),
                out: linear(&down[l], d, d_mlp),
            },
            post_mlp: None,
        }
    });
    let weights = Weights {
        blocks: blocks.collect(),
        embed,
        project_in: None,
        types: None,
        positions: None,
        embed_norm: None,
        final_norm: Some(gain(rms_final)),
        head: Some(Head { transform: None, project: None, own, bias: None }),
    };
    let finite = |m: &Mat| m.data().iter().all(|x| x.is_finite());
    let fine = |b: &BlockWeights| {
        finite(&b.attn.qkv.w) && finite(&b.attn.out.w) && finite(&b.mlp.into.w) && finite(&b.mlp.out.w)
    };
    if !finite(&weights.embed) || !weights.blocks.iter().all(fine) {
        return Err(ModelError::new(path, "holds numbers that are not finite; copy the file again"));
    }
    let frequencies = (0..d_head / 2).map(|i| 1.0 / 10_000f32.powf((2 * i) as f32 / d_head as f32)).collect();
    let config = Config {
        family: "llama".into(),
        vocab,
        d_model: d,
        n_ctx,
        heads,
        kv_heads,
        d_head,
        d_mlp,
        activation: Activation::Silu,
        gated: true,
        norm: NormKind::Rms,
        eps: 1e-5,
        wiring: Wiring::Pre,
        positions: Positions::None,
        ropes: vec![Rope { dims: d_head, frequencies, scale: 1.0, long: None }],
        layers: vec![LayerKind { window: None, rope: Some(0), scale: 1.0 / (d_head as f32).sqrt() }; layers],
        causal: true,
        score_cap: None,
        logit_cap: None,
        embed_scale: 1.0,
    };
    Ok(Transformer { config, weights })
}

/// Rows of each head, neighbours apart: first the even ones, then the odd ones.
fn halves(w: &[f32], width: usize, d_head: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = w.chunks_exact(width).collect();
    let head = |rows: &[&[f32]]| {
        [0, 1].map(|odd| rows.iter().skip(odd).step_by(2).flat_map(|r| r.to_vec()).collect::<Vec<_>>()).concat()
    };
    rows.chunks_exact(d_head).flat_map(head).collect()
}
