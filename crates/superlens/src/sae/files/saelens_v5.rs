//! SAELens before version 6: the same two files, with other keys and other defaults. Only read.

use super::config::{Config, holds};
use super::saelens::{CONFIG, VERSION, WEIGHTS, from_parts, is_six};
use super::weights::Weights;
use super::{FileError, Format, Loaded, ReadOptions};
use serde_json::{Value, json};
use std::path::Path;

pub(super) const FORMAT: Format = Format {
    id: "saelens_v5",
    about: "SAELens before 6: the same two files with other defaults",
    detect: |path| {
        holds(path, CONFIG)
            && !super::sparsify::detect(path)
            && Config::read(path.join(CONFIG)).is_ok_and(|config| !is_six(&config))
    },
    read,
    write: None,
};

fn read(dir: &Path, options: &ReadOptions) -> Result<Loaded, FileError> {
    let mut config = Config::read(dir.join(CONFIG))?;
    if is_six(&config) {
        return Err(config.wrong(
            VERSION,
            "nothing, or a version before 6 (read this folder with the format `saelens`)",
            "6 or later",
        ));
    }
    modernise(&mut config)?;
    let finetuned: bool = config.take("finetuning_scaling_factor", "true or false")?.unwrap_or(false);
    let mut weights = Weights::safetensors(dir.join(WEIGHTS))?;
    let d_sae = weights.shape2("W_dec")?.0;
    let scale = weights.scaling_factor(d_sae)?;
    if scale.is_some() && !finetuned {
        let expected = "ones, unless `finetuning_scaling_factor` is true";
        return Err(weights.wrong("scaling_factor", expected, "other numbers"));
    }
    let mut loaded = from_parts(config, weights, options)?;
    // Latents were multiplied by it on their way into the decoder.
    for (j, scale) in scale.iter().flatten().enumerate() {
        loaded.sae.w_dec.row_mut(j).iter_mut().for_each(|w| *w *= scale);
    }
    Ok(loaded)
}

/// Gives the keys their names and values of version 6.
fn modernise(config: &mut Config) -> Result<(), FileError> {
    for (old, new) in [
        ("hook_point", "hook_name"),
        ("hook_point_head_index", "hook_head_index"),
        ("activation_fn_str", "activation_fn"),
    ] {
        if let Some(value) = config.keys.remove(old) {
            config.keys.entry(new).or_insert(value);
        }
    }
    if config.keys.get("d_sae").is_none_or(Value::is_null) {
        let (d_in, factor) = (config.width("d_in")?, config.width("expansion_factor")?);
        let d_sae =
            d_in.checked_mul(factor).ok_or_else(|| config.wrong("expansion_factor", "a smaller number", factor))?;
        config.keys.extend([("d_in".into(), json!(d_in)), ("d_sae".into(), json!(d_sae))]);
    }
    let activation: Option<String> = config.take("activation_fn", "`relu` or `topk`")?;
    let mut settings = match config.keys.remove("activation_fn_kwargs") {
        Some(Value::Object(settings)) => settings,
        _ => Default::default(),
    };
    match activation.as_deref() {
        None | Some("relu") => {}
        Some("topk") => {
            let k = settings.remove("k").or_else(|| config.keys.remove("k")).unwrap_or(Value::Null);
            config.keys.extend([("architecture".into(), json!("topk")), ("k".into(), k)]);
        }
        Some(other) => return Err(config.wrong("activation_fn", "`relu` or `topk`", format!("`{other}`"))),
    }
    let heads = config.text("hook_name").is_some_and(|name| name.contains("hook_z"));
    let mut default = |key: &str, value: Value| {
        if config.keys.get(key).is_none_or(Value::is_null) {
            config.keys.insert(key.into(), value);
        }
    };
    default("architecture", json!("standard"));
    default("prepend_bos", json!(true));
    default("apply_b_dec_to_input", json!(true));
    default("reshape_activations", json!(if heads { "hook_z" } else { "none" }));
    default("normalize_activations", json!("none"));
    match config.keys["normalize_activations"] {
        Value::Bool(false) => config.keys.insert("normalize_activations".into(), json!("none")),
        Value::Bool(true) => config.keys.insert("normalize_activations".into(), json!("expected_average_only_in")),
        _ => None,
    };
    Ok(())
}
