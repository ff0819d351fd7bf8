//! The layout of SAELens 6: `cfg.json` and `sae_weights.safetensors`, of inference and of training checkpoints.

use super::config::{Config, holds};
use super::weights::Weights;
use super::{FileError, Format, Loaded, ReadOptions, fold, saelens_write};
use crate::sae::{Activation, Encoder, InputNorm, PlainPursuit, Sae};
use serde_json::Value;
use std::path::Path;
use superlens_tensor::Mat;

pub(super) const FORMAT: Format = Format {
    id: "saelens",
    about: "SAELens 6: cfg.json and sae_weights.safetensors; its training checkpoints are read too",
    detect: |path| holds(path, CONFIG) && !super::sparsify::detect(path) && is_v6(path),
    read: |path, options| read_with(path, options),
    write: Some(saelens_write::write),
};

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";
/// Where a training checkpoint keeps the factor of `expected_average_only_in`.
const SCALER: &str = "activation_scaler.json";
/// Where files of this layout name the version of it. SAELens takes a folder without it for one from before v6.
pub(super) const VERSION: &str = "sae_lens_version";
/// The `eps` of its layer norm.
pub(super) const LN_EPS: f32 = 1e-5;

/// Matching pursuit that is never done would take all of its steps.
const MOST_STEPS: usize = 100_000;

const ARCHITECTURES: &str = "`standard`, `topk`, `abstopk`, `jumprelu`, `gated`, `batchtopk`, `matryoshka_batchtopk`, `matching_pursuit`, \
     `transcoder`, `skip_transcoder`, `jumprelu_transcoder` or `jumprelu_skip_transcoder`";

/// Reads a folder that superlens or SAELens 6 wrote.
///
/// # Errors
/// [`FileError`]: a file is missing or damaged, or says what is not known here.
pub fn read(dir: &Path) -> Result<Loaded, FileError> {
    read_with(dir, &ReadOptions::default())
}

fn read_with(dir: &Path, options: &ReadOptions) -> Result<Loaded, FileError> {
    let config = Config::read(dir.join(CONFIG))?;
    if !is_six(&config) {
        let version = config.keys.get(VERSION).or_else(|| config.keys.get("metadata")?.get(VERSION));
        let found = version.map_or("nothing".into(), Value::to_string);
        let expected = "6.0.0 or later (read an older folder with the format `saelens_v5`)";
        return Err(config.wrong(VERSION, expected, found));
    }
    from_parts(config, Weights::safetensors(dir.join(WEIGHTS))?, options)
}

/// What can't be read as JSON is left to the reader, which says why.
fn is_v6(dir: &Path) -> bool {
    Config::read(dir.join(CONFIG)).map_or(true, |config| is_six(&config))
}

/// Before v6 the same keys had other defaults, so an old folder must not pass for a new one.
pub(super) fn is_six(config: &Config) -> bool {
    let version = config.keys.get(VERSION).or_else(|| config.keys.get("metadata")?.get(VERSION));
    let text = version.and_then(Value::as_str).unwrap_or_default();
    text.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 6)
}

/// The widths of one autoencoder.
#[derive(Clone, Copy)]
struct Widths {
    d_in: usize,
    d_sae: usize,
    d_out: usize,
}

/// From a config with the keys of v6 and its tensors.
pub(super) fn from_parts(mut config: Config, mut weights: Weights, options: &ReadOptions) -> Result<Loaded, FileError> {
    let architecture: String = config.need("architecture", ARCHITECTURES)?;
    let transcoder = architecture.ends_with("transcoder");
    let (d_in, d_sae) = (config.width("d_in")?, config.width("d_sae")?);
    let widths = Widths { d_in, d_sae, d_out: if transcoder { config.width("d_out")? } else { d_in } };
    let tied: bool = config.need("apply_b_dec_to_input", "true or false")?;
    if transcoder && tied {
        return Err(config.wrong(
            "apply_b_dec_to_input",
            "false, since the bias of a transcoder is one of its output",
            tied,
        ));
    }
    let (norm, scale) = normalisation(&mut config, transcoder, options)?;
    reshaping(&mut config)?;
    let rescale = match architecture.contains("topk") {
        true => config.take("rescale_acts_by_decoder_norm", "true or false")?.unwrap_or(false),
        false => false,
    };
    // Before anything is made that is as long as the config says.
    if weights.shape2("W_dec")?.0 != d_sae {
        weights.matrix("W_dec", d_sae, widths.d_out)?;
    }
    let encoder = encoder(&architecture, widths, &mut config, &mut weights)?;
    let w_dec = weights.matrix("W_dec", d_sae, widths.d_out)?;
    let mut b_dec = weights.take("b_dec", &[widths.d_out])?;
    // Matching pursuit adds the bias only where it subtracts it.
    if matches!(encoder, Encoder::PlainPursuit(_)) && !tied {
        b_dec.fill(0.0);
    }
    let skip = match architecture.contains("skip") {
        true => Some(weights.matrix("W_skip", widths.d_out, d_in)?.transposed()),
        false => None,
    };
    weights.nothing_left(&architecture)?;
    let b_in = if tied { b_dec.clone() } else { vec![0.0; d_in] };
    let mut sae = Sae::new(b_in, encoder, w_dec, b_dec).with_norm(norm);
    if rescale {
        let expected = "rows of positive length, by which `rescale_acts_by_decoder_norm` divides";
        fold::decoder_norms(&mut sae)
            .map_err(|row| weights.wrong("W_dec", expected, format!("row {row} of length zero")))?;
    }
    if let Some(scale) = scale {
        fold::input_scale(&mut sae, scale);
    }
    if let Some(skip) = skip {
        sae = sae.with_skip(skip);
    }
    let mut metadata = config.into_metadata()?;
    metadata.remove(VERSION);
    if transcoder {
        metadata.insert("transcode".into(), true.into());
    }
    Ok(Loaded { sae, metadata })
}

/// What is done to each row, and the factor on all of them that is to be folded.
fn normalisation(
    config: &mut Config,
    transcoder: bool,
    options: &ReadOptions,
) -> Result<(InputNorm, Option<f64>), FileError> {
    const KEY: &str = "normalize_activations";
    const KNOWN: &str = "`none`, `layer_norm`, `constant_norm_rescale` or `expected_average_only_in`";
    let word: String = config.need(KEY, KNOWN)?;
    if transcoder && word != "none" {
        return Err(config.wrong(
            KEY,
            "`none`, since SAELens does not say how a transcoder's output is scaled back",
            word,
        ));
    }
    match word.as_str() {
        "none" => Ok((InputNorm::None, None)),
        "layer_norm" => Ok((InputNorm::LayerNorm { eps: LN_EPS }, None)),
        "constant_norm_rescale" => Ok((InputNorm::UnitRms, None)),
        "expected_average_only_in" => {
            let kept = || Config::read(config.file.with_file_name(SCALER)).ok()?.keys.get("scaling_factor")?.as_f64();
            match options.input_scale.or_else(kept).filter(|s| s.is_finite() && *s > 0.0) {
                Some(scale) => Ok((InputNorm::None, Some(scale))),
                None => Err(config.wrong(
                    KEY,
                    "a scale that is folded in, or --input-scale with the factor √d_in / mean‖x‖ that training used",
                    "`expected_average_only_in`, and the factor is not in the folder",
                )),
            }
        }
        _ => Err(config.wrong(KEY, KNOWN, format!("`{word}` (fold it with SAELens and save again)"))),
    }
}

/// Heads side by side are kept for the metadata, since they do not change what is computed.
fn reshaping(config: &mut Config) -> Result<(), FileError> {
    const KEY: &str = "reshape_activations";
    let word: String = config.need(KEY, "`none` or `hook_z`")?;
    match word.as_str() {
        "none" => Ok(()),
        "hook_z" => {
            config.keys.insert(KEY.into(), word.into());
            Ok(())
        }
        _ => Err(config.wrong(KEY, "`none` or `hook_z`", format!("`{word}`"))),
    }
}

fn encoder(
    architecture: &str,
    Widths { d_in, d_sae, .. }: Widths,
    config: &mut Config,
    weights: &mut Weights,
) -> Result<Encoder, FileError> {
    if architecture == "matching_pursuit" {
        return Ok(Encoder::PlainPursuit(pursuit(d_in, config)?));
    }
    let act = match architecture {
        "standard" | "transcoder" | "skip_transcoder" => Activation::Relu,
        "topk" => Activation::TopK { k: config.k(d_sae)? },
        "abstopk" => Activation::AbsTopK { k: config.k(d_sae)? },
        "jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder" => fold::jump_relu(thresholds(d_sae, weights)?),
        "batchtopk" | "matryoshka_batchtopk" => {
            let threshold = weights.scalar("topk_threshold")?;
            if threshold < 0.0 {
                return Err(weights.wrong(
                    "topk_threshold",
                    "a threshold from 0, found in training",
                    threshold.to_string(),
                ));
            }
            Activation::JumpRelu { threshold: vec![threshold; d_sae] }
        }
        "gated" => {
            let w_enc = weights.matrix("W_enc", d_in, d_sae)?;
            let mut take = |name| weights.take(name, &[d_sae]);
            let (b_gate, b_mag, r_mag) = (take("b_gate")?, take("b_mag")?, take("r_mag")?);
            let act = fold::gated(&r_mag, &b_mag, &b_gate);
            return Ok(Encoder::Linear { w_enc, b_enc: b_gate, act });
        }
        _ => return Err(config.wrong("architecture", ARCHITECTURES, format!("`{architecture}`"))),
    };
    let w_enc: Mat = weights.matrix("W_enc", d_in, d_sae)?;
    Ok(Encoder::Linear { w_enc, b_enc: weights.take("b_enc", &[d_sae])?, act })
}

/// Training once kept logarithms.
fn thresholds(d_sae: usize, weights: &mut Weights) -> Result<Vec<f32>, FileError> {
    if weights.has("log_threshold") {
        let logs = weights.take("log_threshold", &[d_sae])?;
        return Ok(logs.iter().map(|&l| f64::from(l).exp() as f32).collect());
    }
    weights.take("threshold", &[d_sae])
}

fn pursuit(d_in: usize, config: &mut Config) -> Result<PlainPursuit, FileError> {
    const THRESHOLD: &str = "residual_threshold";
    let max_steps: Option<usize> = config.take("max_iterations", "a whole number or null")?;
    if max_steps.is_some_and(|steps| steps > MOST_STEPS) {
        return Err(config.wrong("max_iterations", format!("at most {MOST_STEPS}"), max_steps.unwrap_or_default()));
    }
    let residual_below: f32 = config.need(THRESHOLD, "a number")?;
    if !residual_below.is_finite() {
        return Err(config.wrong(THRESHOLD, "a finite number", residual_below));
    }
    let stop_on_repeat = config.need("stop_on_duplicate_support", "true or false")?;
    Ok(PlainPursuit { max_steps: max_steps.unwrap_or(d_in), residual_below, stop_on_repeat })
}
