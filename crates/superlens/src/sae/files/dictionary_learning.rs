//! dictionary_learning (Marks, Karvonen and Mueller): `ae.pt`, a PyTorch state dict, beside `config.json`.

use super::config::{Config, holds};
use super::weights::Weights;
use super::{FileError, Format, Loaded, ReadOptions, dictionary_learning_write, fold};
use crate::sae::{Activation, Encoder, Sae};
use std::path::{Path, PathBuf};
use superlens_tensor::io::torch::{TorchFile, Value};

pub(super) const FORMAT: Format = Format {
    id: "dictionary_learning",
    about: "dictionary_learning (Marks et al.): ae.pt and config.json, checkpoints and backups too",
    detect: |path| holds(path, WEIGHTS) || (super::openai::is_torch(path) && !super::openai::detect(path)),
    read,
    write: Some(dictionary_learning_write::write),
};

pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "ae.pt";

const CLASSES: &str = "`AutoEncoder`, `AutoEncoderNew`, `GatedAutoEncoder`, `AutoEncoderTopK`, `BatchTopKSAE`, `MatryoshkaBatchTopKSAE` or \
     `JumpReluAutoEncoder`";

/// The weights, and the config: beside them, or above `checkpoints/`.
fn files(path: &Path) -> (PathBuf, PathBuf) {
    if path.is_dir() {
        return (path.join(WEIGHTS), path.join(CONFIG));
    }
    let beside = path.with_file_name(CONFIG);
    let above = path.parent().filter(|dir| dir.ends_with("checkpoints")).map(|dir| dir.with_file_name(CONFIG));
    (path.to_owned(), above.filter(|_| !beside.is_file()).unwrap_or(beside))
}

fn read(path: &Path, _: &ReadOptions) -> Result<Loaded, FileError> {
    let (file, config) = files(path);
    let mut torch = TorchFile::open(&file)?;
    let mut config = Config::read(config)?;
    let mut trainer = config.inner("trainer")?;
    let class: String = trainer.need("dict_class", CLASSES)?;
    let (dict, norm_factor) = backup(&file, torch.root().clone())?;
    let (mut weights, _) = Weights::torch(&file, &mut torch, &dict)?;
    let mut sae = autoencoder(&class, &mut trainer, &mut weights)?;
    weights.nothing_left(&class)?;
    if let Some(factor) = norm_factor {
        raise_biases(&class, &mut sae, factor, &trainer)?;
    }
    let mut metadata = trainer.into_metadata()?;
    metadata.insert("dict_class".into(), class.into());
    for (theirs, name) in [("lm_name", "model_name"), ("submodule_name", "hook_name")] {
        if let Some(value) = metadata.get(theirs).filter(|v| v.is_string()).cloned() {
            metadata.entry(name).or_insert(value);
        }
    }
    for (key, value) in config.into_metadata()? {
        metadata.entry(key).or_insert(value);
    }
    Ok(Loaded { sae, metadata })
}

/// A backup lies under the same name as the finished autoencoder, which is then one level further down, and still reads activations
/// that are divided by `norm_factor`.
fn backup(file: &Path, root: Value) -> Result<(Value, Option<f64>), FileError> {
    let Some(dict) = root.get("ae") else { return Ok((root, None)) };
    match root.get("norm_factor") {
        None | Some(Value::None) => Ok((dict.clone(), None)),
        Some(Value::Float(factor)) if factor.is_finite() && *factor > 0.0 => Ok((dict.clone(), Some(*factor))),
        Some(Value::Int(factor)) if *factor > 0 => Ok((dict.clone(), Some(*factor as f64))),
        Some(other) => Err(FileError::Key {
            file: file.to_owned(),
            key: "norm_factor".into(),
            expected: "a positive number, by which the activations of this backup are divided".into(),
            found: format!("{other:?}"),
        }),
    }
}

fn autoencoder(class: &str, trainer: &mut Config, weights: &mut Weights) -> Result<Sae, FileError> {
    let rows = matches!(class, "MatryoshkaBatchTopKSAE" | "JumpReluAutoEncoder");
    let (d_in, d_sae) = if rows {
        weights.shape2("W_enc")?
    } else {
        let (d_sae, d_in) = weights.shape2("encoder.weight")?;
        (d_in, d_sae)
    };
    let (w_enc, w_dec) = if rows {
        (weights.matrix("W_enc", d_in, d_sae)?, weights.matrix("W_dec", d_sae, d_in)?)
    } else {
        let turned = weights.matrix("encoder.weight", d_sae, d_in)?.transposed();
        (turned, weights.matrix("decoder.weight", d_in, d_sae)?.transposed())
    };
    let none = vec![0.0; d_in];
    let mut take = |name: &str, n: usize| weights.take(name, &[n]);
    let (b_enc, b_dec, b_in, act) = match class {
        "AutoEncoder" => {
            let (b_enc, bias) = (take("encoder.bias", d_sae)?, take("bias", d_in)?);
            (b_enc, bias.clone(), bias, Activation::Relu)
        }
        "AutoEncoderNew" => (take("encoder.bias", d_sae)?, take("decoder.bias", d_in)?, none, Activation::Relu),
        "GatedAutoEncoder" => {
            let (gate, mag) = (take("gate_bias", d_sae)?, take("mag_bias", d_sae)?);
            let act = fold::gated(&take("r_mag", d_sae)?, &mag, &gate);
            let bias = take("decoder_bias", d_in)?;
            (gate, bias.clone(), bias, act)
        }
        "JumpReluAutoEncoder" => {
            let act = fold::jump_relu(take("threshold", d_sae)?);
            (take("b_enc", d_sae)?, take("b_dec", d_in)?, none, act)
        }
        "AutoEncoderTopK" | "BatchTopKSAE" | "MatryoshkaBatchTopKSAE" => {
            let b_enc = take(if rows { "b_enc" } else { "encoder.bias" }, d_sae)?;
            let b_dec = take("b_dec", d_in)?;
            let act = kept(class, d_sae, trainer, weights)?;
            (b_enc, b_dec.clone(), b_dec, act)
        }
        _ => return Err(trainer.wrong("dict_class", CLASSES, format!("`{class}`"))),
    };
    Ok(Sae::new(b_in, Encoder::Linear { w_enc, b_enc, act }, w_dec, b_dec))
}

/// TopK keeps k in every row; the others have the threshold that kept k on average in training.
fn kept(class: &str, d_sae: usize, trainer: &mut Config, weights: &mut Weights) -> Result<Activation, FileError> {
    let k = if weights.has("k") { Some(weights.count("k")?) } else { None };
    let said: Option<usize> = trainer.take("k", "a whole number")?;
    if let (Some(k), Some(said)) = (k, said)
        && k != said
    {
        return Err(trainer.wrong("k", format!("{k}, as in the weights"), said));
    }
    let k = k.or(said).ok_or_else(|| trainer.wrong("k", "a whole number", "nothing, nor in the weights"))?;
    if !(1..=d_sae).contains(&k) {
        return Err(trainer.wrong("k", format!("1 to d_sae = {d_sae}"), k));
    }
    if class == "AutoEncoderTopK" {
        // Old files have none; by default the library keeps k whatever it says.
        weights.drop("threshold");
        return Ok(Activation::TopK { k });
    }
    if class == "MatryoshkaBatchTopKSAE" {
        weights.drop("group_sizes");
    }
    let threshold = weights.scalar("threshold")?;
    if threshold < 0.0 {
        let expected = "a threshold from 0, which training sets after its first 1,000 steps (train on and save again; without it \
             single rows can't be encoded)";
        return Err(weights.wrong("threshold", expected, format!("{threshold}, which stands for none")));
    }
    trainer.keys.insert("k".into(), k.into());
    Ok(Activation::JumpRelu { threshold: vec![threshold; d_sae] })
}

/// From an autoencoder of `x / factor` whose outputs are multiplied by it to one of x, as the library does before it saves the last
/// one: all biases and thresholds times the factor. Latents grow with it.
fn raise_biases(class: &str, sae: &mut Sae, factor: f64, trainer: &Config) -> Result<(), FileError> {
    if class == "AutoEncoderNew" {
        return Err(trainer.wrong("norm_factor", "none, since the library has no rule for this class", factor));
    }
    let times = |numbers: &mut [f32]| numbers.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
    times(&mut sae.b_in);
    times(&mut sae.b_dec);
    if let Encoder::Linear { b_enc, act, .. } = &mut sae.encoder {
        times(b_enc);
        match act {
            Activation::JumpRelu { threshold } => times(threshold),
            Activation::Gated { shift, .. } => times(shift),
            _ => {}
        }
    }
    Ok(())
}
