//! Gemma Scope (Lieberum et al. 2024, arXiv 2408.05147): `params.npz` of a JumpReLU autoencoder. Only read.
//!
//! The file holds numbers alone. Model, layer and hook stand in the names of the folders, as the repositories have them:
//! `gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82/params.npz`.

use super::weights::Weights;
use super::{FileError, Format, Loaded, ReadOptions, fold};
use crate::sae::{Encoder, Sae};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

pub(super) const FORMAT: Format = Format {
    id: "gemma_scope",
    about: "Gemma Scope: params.npz; model and hook from the names of its folders",
    detect: |path| file(path).is_file() && file(path).ends_with(WEIGHTS),
    read,
    write: None,
};

const WEIGHTS: &str = "params.npz";

fn file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(WEIGHTS) } else { path.to_owned() }
}

fn read(path: &Path, options: &ReadOptions) -> Result<Loaded, FileError> {
    let file = file(path);
    let mut weights = Weights::npz(file.clone())?;
    for (lower, name) in [("w_enc", "W_enc"), ("w_dec", "W_dec")] {
        weights.rename(lower, name);
    }
    let (d_in, d_sae) = weights.shape2("W_enc")?;
    let d_out = weights.shape2("W_dec")?.1;
    let mut w_enc = weights.matrix("W_enc", d_in, d_sae)?;
    let mut w_dec = weights.matrix("W_dec", d_sae, d_out)?;
    let (b_enc, b_dec) = (weights.take("b_enc", &[d_sae])?, weights.take("b_dec", &[d_out])?);
    let act = fold::jump_relu(weights.take("threshold", &[d_sae])?);
    if weights.scaling_factor(d_sae)?.is_some() {
        return Err(weights.wrong("scaling_factor", "ones: what other numbers scale, no file says", "other numbers"));
    }
    weights.nothing_left("jumprelu")?;
    let names = names(&file);
    if options.embedding.unwrap_or_else(|| names.iter().any(|name| name == "embedding")) {
        // They were trained on embeddings times √d_in, as the model itself uses them, and the hook gives them without.
        let root = (d_in as f64).sqrt();
        w_enc.data_mut().iter_mut().for_each(|w| *w = (f64::from(*w) / root) as f32);
        w_dec.data_mut().iter_mut().for_each(|w| *w = (f64::from(*w) * root) as f32);
    }
    let sae = Sae::new(vec![0.0; d_in], Encoder::Linear { w_enc, b_enc, act }, w_dec, b_dec);
    Ok(Loaded { sae, metadata: metadata(&names) })
}

/// The folders above the file.
fn names(file: &Path) -> Vec<String> {
    let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    path.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect()
}

/// What the names say, as far as they say it: nothing is made up.
fn metadata(names: &[String]) -> Map<String, Value> {
    let mut metadata = Map::new();
    let repository =
        names.iter().rev().find_map(|name| Some(&name[name.find("gemma-scope-")? + "gemma-scope-".len()..]));
    let layer = names.iter().rev().find_map(|name| name.strip_prefix("layer_")?.parse::<u32>().ok());
    let embedding = names.iter().any(|name| name == "embedding");
    // 2b-pt-res, 9b-it-att, 2b-pt-transcoders.
    let Some((size, rest)) = repository.and_then(|name| name.split_once('-')) else { return metadata };
    let (tuning, site) = rest.split_once('-').unwrap_or((rest, ""));
    let tuned = if tuning == "it" { "-it" } else { "" };
    metadata.insert("model_name".into(), format!("gemma-2-{size}{tuned}").into());
    let hook = match (site.split('-').next().unwrap_or_default(), layer) {
        ("res", _) if embedding => Some("hook_embed".to_owned()),
        ("res", Some(layer)) => Some(format!("blocks.{layer}.hook_resid_post")),
        ("mlp", Some(layer)) => Some(format!("blocks.{layer}.hook_mlp_out")),
        ("att", Some(layer)) => {
            metadata.insert("reshape_activations".into(), "hook_z".into());
            Some(format!("blocks.{layer}.attn.hook_z"))
        }
        ("transcoders", Some(layer)) => {
            metadata.insert("transcode".into(), true.into());
            metadata.insert("hook_name_out".into(), format!("blocks.{layer}.hook_mlp_out").into());
            Some(format!("blocks.{layer}.ln2.hook_normalized"))
        }
        _ => None,
    };
    if let Some(hook) = hook {
        metadata.insert("hook_name".into(), hook.into());
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_and_hook_come_from_the_names() {
        let said = |path: &str| {
            let metadata = metadata(&path.split('/').map(str::to_owned).collect::<Vec<_>>());
            let get = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
            (get("model_name"), get("hook_name"))
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let file = "average_l0_82/params.npz";
        assert_eq!(
            said(&format!("x/gemma-scope-2b-pt-res/layer_12/width_16k/{file}")),
            pair("gemma-2-2b", "blocks.12.hook_resid_post")
        );
        assert_eq!(
            said(&format!("models--google--gemma-scope-9b-it-att/layer_3/{file}")),
            pair("gemma-2-9b-it", "blocks.3.attn.hook_z")
        );
        assert_eq!(said(&format!("gemma-scope-2b-pt-res/embedding/width_4k/{file}")), pair("gemma-2-2b", "hook_embed"));
        assert_eq!(
            said(&format!("gemma-scope-2b-pt-transcoders/layer_1/{file}")),
            pair("gemma-2-2b", "blocks.1.ln2.hook_normalized")
        );
        assert_eq!(said(file), pair("-", "-"));
    }
}
