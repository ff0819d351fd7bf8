//! Families of transformers: one file each, which maps settings and names of tensors to the canonical model.
//!
//! **To add one**, write a file with a [`Family`] and add it to [`FAMILIES`]. Add a tiny model of it to `fixtures/families/make.py`.

mod bert;
mod bloom;
mod gemma;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod llama;
mod opt;
mod phi3;
mod rotation;
mod xglm;

use std::path::Path;

use superlens_tensor::Mat;

use super::checkpoint::Checkpoint;
use super::config::{Config, LayerKind};
use super::error::ModelError;
use super::made::Made;
use super::settings::Settings;
use super::transformer::Transformer;
use super::weights::{Head, Linear, Weights};

/// Models that are laid out alike.
pub struct Family {
    /// As `config.json` has it under `model_type`.
    pub model_types: &'static [&'static str],
    /// Which models those are.
    pub about: &'static str,
    load: LoadFn,
}

type LoadFn = fn(&Settings, Checkpoint) -> Result<(Config, Weights), ModelError>;

/// Every family. Help and documents follow from this list.
pub const FAMILIES: &[Family] = &[
    gpt2::FAMILY,
    gpt_neox::FAMILY,
    gpt_neo::FAMILY,
    llama::FAMILY,
    gemma::FAMILY,
    phi3::FAMILY,
    opt::FAMILY,
    bert::FAMILY,
    bloom::FAMILY,
    xglm::FAMILY,
];

/// Loads the model of a Hugging Face folder: `config.json` and `model.safetensors`, or shards and their index.
///
/// # Errors
/// Files that are missing, damaged or contradict each other; families and settings that are not known; what the system refuses.
pub fn load(dir: &Path) -> Result<Transformer, ModelError> {
    let settings = Settings::read(dir)?;
    // What kind of model it is comes first: its weights are not looked for if that is not known.
    let family = of(&settings)?;
    load_by(family, &settings, Checkpoint::open(dir)?)
}

/// Which family these settings are of.
fn of(settings: &Settings) -> Result<&'static Family, ModelError> {
    let Some(kind) = settings.text(&["model_type"]) else {
        return Err(settings.wrong("model_type", "is missing; is this the config.json of a transformer?"));
    };
    FAMILIES.iter().find(|f| f.model_types.contains(&kind)).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().flat_map(|f| f.model_types).copied().collect();
        let what = format!("models of type {kind:?} are not known; known are {}", known.join(", "));
        settings.wrong("model_type", what)
    })
}

fn load_by(family: &Family, settings: &Settings, tensors: Checkpoint) -> Result<Transformer, ModelError> {
    let (config, weights) = (family.load)(settings, tensors)?;
    Ok(Transformer { config, weights })
}

/// The model of these settings whose tensors are made.
pub(super) fn load_made(settings: &Settings, made: Made) -> Result<Transformer, ModelError> {
    load_by(of(settings)?, settings, Checkpoint::made(&settings.path, made))
}

/// Columns of several layers side by side, all with a bias or none.
fn join(parts: &[Linear]) -> Linear {
    let rows = parts[0].w.rows();
    let cols = parts.iter().map(|p| p.w.cols()).sum();
    let mut w = Mat::zeros(rows, cols);
    for i in 0..rows {
        let mut to = w.row_mut(i);
        for part in parts {
            let (here, rest) = to.split_at_mut(part.w.cols());
            here.copy_from_slice(part.w.row(i));
            to = rest;
        }
    }
    let b = parts.iter().map(|p| p.b.clone()).collect::<Option<Vec<_>>>().map(|b| b.concat());
    Linear { w, b }
}

/// A layer's columns in another order.
fn reorder(linear: &Linear, columns: &[usize]) -> Linear {
    let b = linear.b.as_ref().map(|b| columns.iter().map(|&c| b[c]).collect());
    Linear { w: linear.w.select_cols(columns), b }
}

/// The output layer: `name.weight` `[vocab, d]`, or the embedding where the two are tied; `usually` says what the family does where
/// `tie_word_embeddings` is not set. None for a bare model (`LlamaModel` under `architectures`), which has no output.
///
/// # Errors
/// A model with an output of its own that the files lack: `transformers` would go on with random numbers in its place.
fn head(
    c: &Settings,
    t: &Checkpoint,
    name: &str,
    usually: bool,
    (vocab, d): (usize, usize),
) -> Result<Option<Head>, ModelError> {
    let (weight, tied) = (format!("{name}.weight"), c.flag("tie_word_embeddings", usually)?);
    // Some files keep a copy of a tied embedding; it is read, so that it counts as known.
    let own = if t.has(&weight) { Some(t.matrix(&weight, vocab, d)?) } else { None };
    if own.is_none() && !tied {
        let class = c.get(&["architectures"]).and_then(|all| all.get(0)).and_then(|class| class.as_str());
        if class.is_some_and(|class| class.ends_with("Model") && !class.ends_with("LMHeadModel")) {
            return Ok(None);
        }
        let what = format!(
            "is {}false, but the weights have no `{weight}`; copy the model again, or set it to true if the embedding is the output",
            if c.has("tie_word_embeddings") { "" } else { "not set, which here means " }
        );
        return Err(c.wrong("tie_word_embeddings", what));
    }
    let own = own.filter(|_| !tied).map(|w| w.transposed());
    Ok(Some(Head { transform: None, project: None, own, bias: None }))
}

/// Layers that are all alike.
fn alike(layers: usize, rope: Option<usize>, scale: f32) -> Vec<LayerKind> {
    vec![LayerKind { window: None, rope, scale }; layers]
}

/// Width of a head: what `head_dim` says, or a share of the model's width, which then must come out even.
fn head_width(c: &Settings, d_model: usize, heads: usize) -> Result<usize, ModelError> {
    if c.has("head_dim") {
        return c.size(&["head_dim"]);
    }
    if !d_model.is_multiple_of(heads) {
        let what = format!("{heads} heads don't share {d_model} numbers evenly");
        return Err(c.wrong("num_attention_heads", what));
    }
    Ok(d_model / heads)
}

/// Heads of keys and values, of which each serves the same number of queries' heads.
fn key_heads(c: &Settings, heads: usize) -> Result<usize, ModelError> {
    let kv = c.size_or(&["num_key_value_heads"], heads)?;
    if !heads.is_multiple_of(kv) {
        return Err(
            c.wrong("num_key_value_heads", format!("{kv} heads of keys don't share {heads} heads of queries evenly"))
        );
    }
    Ok(kv)
}

/// `1 / √d`, the usual factor on scores.
fn scale(d_head: usize) -> f32 {
    1.0 / (d_head as f32).sqrt()
}
