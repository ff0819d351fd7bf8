//! OpenAI's sparse_autoencoder (Gao et al. 2024, arXiv 2406.04093): one `.pt` file. Only read.

use super::weights::Weights;
use super::{FileError, Format, Loaded, ReadOptions};
use crate::sae::{Activation, Encoder, InputNorm, Sae};
use serde_json::{Map, Value as Json};
use std::path::Path;
use superlens_tensor::io::torch::{TorchFile, Value};

pub(super) const FORMAT: Format =
    Format { id: "openai", about: "OpenAI's sparse_autoencoder: one .pt file", detect, read, write: None };

/// The `eps` of its layer norm.
const LN_EPS: f32 = 1e-5;
/// Counters of training.
const COUNTERS: [&str; 3] = ["stats_last_nonzero", "latents_activation_frequency", "latents_mean_square"];

/// By the name alone.
pub(super) fn is_torch(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|e| e == "pt" || e == "pth")
}

pub(super) fn detect(path: &Path) -> bool {
    is_torch(path) && TorchFile::open(path).is_ok_and(|file| file.root().get("pre_bias").is_some())
}

fn read(path: &Path, _: &ReadOptions) -> Result<Loaded, FileError> {
    let mut torch = TorchFile::open(path)?;
    let root = torch.root().clone();
    let (mut weights, others) = Weights::torch(path, &mut torch, &root)?;
    for name in COUNTERS {
        weights.drop(name);
    }
    let (d_sae, d_in) = weights.shape2("encoder.weight")?;
    let (act, norm) = activation(path, &root, d_sae)?;
    let (b_in, b_enc) = (weights.take("pre_bias", &[d_in])?, weights.take("latent_bias", &[d_sae])?);
    let encoder = weights.matrix("encoder.weight", d_sae, d_in)?;
    // A tied decoder is the encoder turned around, and has no weights of its own.
    let w_dec = match weights.has("decoder.weight") {
        true => weights.matrix("decoder.weight", d_in, d_sae)?.transposed(),
        false => encoder.clone(),
    };
    weights.nothing_left("openai")?;
    let w_enc = encoder.transposed();
    let sae = Sae::new(b_in.clone(), Encoder::Linear { w_enc, b_enc, act }, w_dec, b_in).with_norm(norm);
    let kept = others.into_iter().filter(|(key, _)| !key.starts_with("activation"));
    let metadata: Map<String, Json> = kept.filter_map(|(key, value)| Some((key, plain(value)?))).collect();
    Ok(Loaded { sae, metadata })
}

/// TopK comes with a layer norm of the input, which the file does not mention.
fn activation(file: &Path, root: &Value, d_sae: usize) -> Result<(Activation, InputNorm), FileError> {
    let wrong = |key: &str, expected: &str, found: Option<&Value>| FileError::Key {
        file: file.to_owned(),
        key: key.into(),
        expected: expected.into(),
        found: match found {
            None => "nothing".into(),
            Some(Value::Str(text)) => format!("`{text}`"),
            Some(Value::Int(n)) => n.to_string(),
            Some(other) => other.kind().into(),
        },
    };
    let name = root.get("activation");
    match name {
        Some(Value::Str(name)) if name == "ReLU" => Ok((Activation::Relu, InputNorm::None)),
        Some(Value::Str(name)) if name == "Identity" => Ok((Activation::Identity, InputNorm::None)),
        Some(Value::Str(name)) if name == "TopK" => {
            let settings = root.get("activation_state_dict");
            let after = settings.and_then(|s| s.get("postact_fn"));
            if !matches!(after, None | Some(Value::Str(_))) || matches!(after, Some(Value::Str(f)) if f != "ReLU") {
                return Err(wrong("postact_fn", "`ReLU`", after));
            }
            match settings.and_then(|s| s.get("k")) {
                Some(&Value::Int(k)) if k >= 1 && k as usize <= d_sae => {
                    Ok((Activation::TopK { k: k as usize }, InputNorm::LayerNorm { eps: LN_EPS }))
                }
                k => Err(wrong("activation_state_dict.k", &format!("1 to d_sae = {d_sae}"), k)),
            }
        }
        other => Err(wrong("activation", "`ReLU`, `TopK` or `Identity`", other)),
    }
}

fn plain(value: Value) -> Option<Json> {
    match value {
        Value::Bool(v) => Some(v.into()),
        Value::Int(v) => Some(v.into()),
        Value::Float(v) => Some(v.into()),
        Value::Str(v) => Some(v.into()),
        _ => None,
    }
}
