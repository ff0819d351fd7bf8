//! sparsify (EleutherAI): a folder for each hookpoint (and seed) with `cfg.json` and `sae.safetensors`, below one for the run.

use super::config::{Config, holds};
use super::weights::{Weights, serialize};
use super::{FileError, Files, Format, Loaded, ReadOptions, fold};
use crate::sae::{Activation, Encoder, InputNorm, Sae};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) const FORMAT: Format = Format {
    id: "sparsify",
    about: "sparsify (EleutherAI): cfg.json and sae.safetensors, or a run's folder of such folders",
    detect,
    read,
    write: Some(write),
};

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae.safetensors";
/// What we know beside. The library's loader ignores files, while it complains of keys that it does not know.
const METADATA: &str = "metadata.json";
/// A hookpoint's folder and a seed's folder in it; names of hookpoints may hold slashes.
const MAX_DEPTH: usize = 4;

/// By the weights, or by a config whose weights are missing.
pub(super) fn detect(path: &Path) -> bool {
    let config = || Config::read(path.join(CONFIG));
    !folders(path).is_empty() || config().is_ok_and(|config| config.keys.contains_key("num_latents"))
}

/// The folders at and below `root` that hold an autoencoder, sorted.
fn folders(root: &Path) -> Vec<PathBuf> {
    fn walk(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
        if holds(dir, WEIGHTS) {
            return found.push(dir.to_owned());
        }
        let Ok(entries) = fs::read_dir(dir) else { return };
        let below = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        if depth > 0 {
            below.for_each(|entry| walk(&entry.path(), depth - 1, found));
        }
    }
    let mut found = Vec::new();
    walk(root, MAX_DEPTH, &mut found);
    found.sort();
    found
}

/// The folder that is meant, and its name below `root`.
fn choose(root: &Path, key: Option<&str>) -> Result<(PathBuf, String), FileError> {
    let folders = folders(root);
    let name = |folder: &PathBuf| folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().into_owned();
    let keys: Vec<String> = folders.iter().map(name).collect();
    let at = match key {
        Some(key) => keys.iter().position(|k| k == key.trim_end_matches('/')),
        None => Some(0).filter(|_| keys.len() <= 1),
    };
    match at {
        // Without any the reader says which file is missing.
        Some(_) if keys.is_empty() => Ok((root.to_owned(), String::new())),
        Some(at) => Ok((folders[at].clone(), keys[at].clone())),
        None => Err(FileError::KeyNeeded { path: root.to_owned(), keys }),
    }
}

fn read(root: &Path, options: &ReadOptions) -> Result<Loaded, FileError> {
    let (dir, hookpoint) = choose(root, options.key.as_deref())?;
    let mut config = Config::read(dir.join(CONFIG))?;
    let d_in = config.width("d_in")?;
    let latents: usize = config.take("num_latents", "a whole number")?.unwrap_or(0);
    let d_sae = match latents {
        0 => {
            let factor = config.width("expansion_factor")?;
            d_in.checked_mul(factor).ok_or_else(|| config.wrong("expansion_factor", "a smaller number", factor))?
        }
        n => n,
    };
    let k = config.k(d_sae)?;
    if config.take::<bool>("signed", "true or false")?.unwrap_or(false) {
        return Err(config.wrong(
            "signed",
            "false: whether negative latents are then kept by size or by value, no file says",
            true,
        ));
    }
    let activation: String = config.take("activation", "`topk` or `groupmax`")?.unwrap_or_else(|| "topk".into());
    let act = match activation.as_str() {
        "topk" => Activation::TopK { k },
        "groupmax" if d_sae.is_multiple_of(k) => Activation::GroupMax { groups: k },
        "groupmax" => return Err(config.wrong("k", format!("a number of groups that divides d_sae = {d_sae}"), k)),
        _ => return Err(config.wrong("activation", "`topk` or `groupmax`", format!("`{activation}`"))),
    };
    let transcode: bool = config.take("transcode", "true or false")?.unwrap_or(false);
    let skips: bool = config.take("skip_connection", "true or false")?.unwrap_or(false);

    let mut weights = Weights::safetensors(dir.join(WEIGHTS))?;
    if !weights.has("W_dec") {
        return Err(weights.wrong(
            "W_dec",
            "a decoder",
            "none: only the encoder was saved; save the whole autoencoder",
        ));
    }
    let w_enc = weights.matrix("encoder.weight", d_sae, d_in)?.transposed();
    let b_enc = weights.take("encoder.bias", &[d_sae])?;
    let w_dec = weights.matrix("W_dec", d_sae, d_in)?;
    let b_dec = weights.take("b_dec", &[d_in])?;
    let skip = if skips { Some(weights.matrix("W_skip", d_in, d_in)?.transposed()) } else { None };
    weights.nothing_left(&activation)?;

    let b_in = if transcode { vec![0.0; d_in] } else { b_dec.clone() };
    let mut sae = Sae::new(b_in, Encoder::Linear { w_enc, b_enc, act }, w_dec, b_dec);
    if let Some(skip) = skip {
        sae = sae.with_skip(skip);
    }
    let mut metadata = config.into_metadata()?;
    if holds(&dir, METADATA) {
        metadata.extend(Config::read(dir.join(METADATA))?.keys);
    }
    metadata.insert("transcode".into(), transcode.into());
    if !hookpoint.is_empty() {
        metadata.insert("hookpoint".into(), hookpoint.into());
    }
    Ok(Loaded { sae, metadata })
}

fn none(what: &str) -> FileError {
    FileError::NoForm { format: "sparsify", what: what.into() }
}

fn write(sae: &Sae, metadata: &Map<String, Value>) -> Result<Files, FileError> {
    let Encoder::Linear { w_enc, b_enc, act } = &sae.encoder else {
        return Err(none("its encoder is not a product with an activation function"));
    };
    let (activation, k) = match act {
        Activation::TopK { k } => ("topk", *k.min(&sae.d_sae())),
        Activation::GroupMax { groups } => ("groupmax", *groups),
        Activation::Relu | Activation::Identity => {
            return Err(none("it keeps all latents, and sparsify always k of them"));
        }
        Activation::AbsTopK { .. } => return Err(none("it keeps negative latents")),
        Activation::JumpRelu { .. } => return Err(none("it has thresholds, and there is no place for them")),
        Activation::Gated { .. } => return Err(none("it has gates, and there is no place for them")),
    };
    if sae.norm != InputNorm::None {
        return Err(none("it normalises its input"));
    }
    if sae.d_out() != sae.d_in() {
        return Err(none("it writes another width than it reads"));
    }
    // Either nothing is subtracted from the input or b_dec is; anything else is folded into the encoder's bias.
    let transcode = match metadata.get("transcode").and_then(Value::as_bool) {
        Some(transcode) => transcode,
        None => sae.skip.is_some() && sae.b_in.iter().all(|&b| b == 0.0),
    };
    let target = if transcode { vec![0.0; sae.d_in()] } else { sae.b_dec.clone() };
    let b_enc = fold::rebias(&sae.b_in, &target, w_enc, b_enc);
    let (enc, turned) = (w_enc.transposed(), sae.skip.as_ref().map(|skip| skip.transposed()));
    let (d_in, d_sae) = (sae.d_in(), sae.d_sae());
    let mut tensors: Vec<(&str, &[f32], Vec<usize>)> = vec![
        ("encoder.weight", enc.data(), vec![d_sae, d_in]),
        ("encoder.bias", &b_enc, vec![d_sae]),
        ("W_dec", sae.w_dec.data(), vec![d_sae, d_in]),
        ("b_dec", &sae.b_dec, vec![d_in]),
    ];
    if let Some(skip) = &turned {
        tensors.push(("W_skip", skip.data(), vec![d_in, d_in]));
    }
    let mut rest = metadata.clone();
    let mut setting = |key: &str, default: Value| rest.remove(key).unwrap_or(default);
    let config = json!({
        "activation": activation, "k": k, "num_latents": d_sae, "d_in": d_in, "transcode": transcode, "skip_connection": sae.skip.is_some(),
        "expansion_factor": setting("expansion_factor", json!((d_sae / d_in.max(1)).max(1))),
        "normalize_decoder": setting("normalize_decoder", json!(false)), "multi_topk": setting("multi_topk", json!(false)),
    });
    rest.remove("transcode");
    let text = |value: Value| format!("{value:#}\n").into_bytes();
    let mut files = vec![(WEIGHTS, serialize(&tensors, Path::new(WEIGHTS))?)];
    if !rest.is_empty() {
        files.push((METADATA, text(Value::Object(rest))));
    }
    files.push((CONFIG, text(config)));
    Ok(files)
}
