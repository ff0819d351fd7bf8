//! The layout of SAELens 6, written.

use super::saelens::{CONFIG, LN_EPS, VERSION, WEIGHTS};
use super::weights::serialize;
use super::{FileError, Files, fold};
use crate::sae::{Activation, Encoder, InputNorm, PlainPursuit, Sae};
use serde_json::{Map, Value, json};
use std::path::Path;

/// The oldest SAELens that reads what is written here.
const LAYOUT: &str = "6.0.0";

/// The two files. An input bias that is neither zero nor `b_dec` is folded into `b_enc`; the metadata go into `cfg.json` as they are.
pub(super) fn write(sae: &Sae, metadata: &Map<String, Value>) -> Result<Files, FileError> {
    let mut metadata = metadata.clone();
    let reshape = metadata.remove("reshape_activations").unwrap_or_else(|| "none".into());
    let is_transcoder = metadata.get("transcode") == Some(&Value::Bool(true));
    metadata.insert(VERSION.into(), LAYOUT.into());
    let mut config = json!({
        "d_in": sae.d_in(), "d_sae": sae.d_sae(), "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": false,
        "normalize_activations": norm(sae.norm)?, "reshape_activations": reshape, "metadata": metadata,
    });
    let mut tensors = match &sae.encoder {
        Encoder::Linear { .. } => linear(sae, is_transcoder, &mut config)?,
        Encoder::PlainPursuit(settings) => pursuit(sae, settings, &mut config)?,
        Encoder::MatchingPursuit { .. } => {
            return Err(none("orthogonal matching pursuit is a way to encode with any dictionary, and no file has it"));
        }
    };
    tensors.push(("W_dec", sae.w_dec.data().to_vec(), vec![sae.d_sae(), sae.d_out()]));
    tensors.push(("b_dec", sae.b_dec.clone(), vec![sae.d_out()]));
    let views: Vec<(&str, &[f32], Vec<usize>)> =
        tensors.iter().map(|(name, numbers, shape)| (*name, numbers.as_slice(), shape.clone())).collect();
    let weights = serialize(&views, Path::new(WEIGHTS))?;
    Ok(vec![(WEIGHTS, weights), (CONFIG, format!("{config:#}\n").into_bytes())])
}

type Tensors = Vec<(&'static str, Vec<f32>, Vec<usize>)>;

fn none(what: impl Into<String>) -> FileError {
    FileError::NoForm { format: "saelens", what: what.into() }
}

fn norm(norm: InputNorm) -> Result<&'static str, FileError> {
    match norm {
        InputNorm::None => Ok("none"),
        InputNorm::LayerNorm { eps } if eps == LN_EPS => Ok("layer_norm"),
        InputNorm::LayerNorm { eps } => Err(none(format!("its layer norm adds {eps}, and SAELens always {LN_EPS}"))),
        InputNorm::UnitRms => Ok("constant_norm_rescale"),
    }
}

fn linear(sae: &Sae, is_transcoder: bool, config: &mut Value) -> Result<Tensors, FileError> {
    let Encoder::Linear { w_enc, b_enc, act } = &sae.encoder else { unreachable!("asked by the caller") };
    let transcoder = sae.d_out() != sae.d_in() || sae.skip.is_some() || (is_transcoder && transcodes(act));
    if transcoder && !transcodes(act) {
        return Err(none("its transcoders have ReLU or JumpReLU latents only"));
    }
    if transcoder && sae.norm != InputNorm::None {
        return Err(none("its transcoders do not scale their output back"));
    }
    let centred = sae.b_in.iter().any(|&b| b != 0.0);
    let tied = centred && !transcoder && sae.b_in == sae.b_dec;
    let target = if tied { sae.b_in.clone() } else { vec![0.0; sae.d_in()] };
    let b_enc = fold::rebias(&sae.b_in, &target, w_enc, b_enc);
    config["apply_b_dec_to_input"] = json!(tied);
    let per_latent = vec![sae.d_sae()];
    let mut tensors: Tensors = vec![("W_enc", w_enc.data().to_vec(), vec![sae.d_in(), sae.d_sae()])];
    let architecture = match act {
        Activation::Relu => "standard",
        Activation::TopK { k } => top_k("topk", *k, sae.d_sae(), config),
        Activation::AbsTopK { k } => top_k("abstopk", *k, sae.d_sae(), config),
        Activation::JumpRelu { threshold } => {
            if threshold.iter().any(|t| !t.is_finite() || *t < 0.0) {
                return Err(none("some thresholds are negative or infinite, and SAELens sets negative latents to 0"));
            }
            tensors.push(("threshold", threshold.clone(), per_latent.clone()));
            "jumprelu"
        }
        Activation::Gated { scale, shift } => {
            let (r_mag, b_mag) = fold::ungated(scale, shift, &b_enc)
                .ok_or_else(|| none("some magnitudes have a scale that is not positive, which exp(r_mag) can't be"))?;
            tensors.push(("r_mag", r_mag, per_latent.clone()));
            tensors.push(("b_mag", b_mag, per_latent.clone()));
            "gated"
        }
        Activation::Identity => return Err(none("it has no activation function")),
        Activation::GroupMax { .. } => {
            return Err(none("it keeps the largest latent of each group"));
        }
    };
    tensors.push((if architecture == "gated" { "b_gate" } else { "b_enc" }, b_enc, per_latent));
    config["architecture"] = json!(architecture);
    if transcoder {
        config["d_out"] = json!(sae.d_out());
        let jump = if architecture == "jumprelu" { "jumprelu_" } else { "" };
        let skip = if sae.skip.is_some() { "skip_" } else { "" };
        config["architecture"] = json!(format!("{jump}{skip}transcoder"));
    }
    if let Some(skip) = &sae.skip {
        tensors.push(("W_skip", skip.transposed().into_vec(), vec![sae.d_out(), sae.d_in()]));
    }
    Ok(tensors)
}

fn transcodes(act: &Activation) -> bool {
    matches!(act, Activation::Relu | Activation::JumpRelu { .. })
}

fn top_k(architecture: &'static str, k: usize, d_sae: usize, config: &mut Value) -> &'static str {
    config["k"] = json!(k.min(d_sae));
    config["rescale_acts_by_decoder_norm"] = json!(false);
    architecture
}

fn pursuit(sae: &Sae, settings: &PlainPursuit, config: &mut Value) -> Result<Tensors, FileError> {
    if sae.skip.is_some() || sae.b_in != sae.b_dec {
        return Err(none("matching pursuit subtracts the bias that it adds, and has no skip"));
    }
    config["architecture"] = json!("matching_pursuit");
    config["apply_b_dec_to_input"] = json!(sae.b_in.iter().any(|&b| b != 0.0));
    config["max_iterations"] = json!(settings.max_steps);
    config["residual_threshold"] = json!(settings.residual_below);
    config["stop_on_duplicate_support"] = json!(settings.stop_on_repeat);
    Ok(Vec::new())
}
