//! The layout of dictionary_learning, written.

use super::dictionary_learning::{CONFIG, WEIGHTS};
use super::{FileError, Files, fold};
use crate::sae::{Activation, Encoder, InputNorm, Sae};
use serde_json::{Map, Value, json};
use superlens_tensor::io::torch::{Numbers, state_dict};

fn none(what: &str) -> FileError {
    FileError::NoForm { format: "dictionary_learning", what: what.into() }
}

/// Name, numbers, shape.
type Tensors = Vec<(&'static str, Vec<f32>, Vec<usize>)>;

/// What a class of the library is called, and its trainer.
struct Class {
    name: &'static str,
    trainer: &'static str,
    k: Option<usize>,
}

pub(super) fn write(sae: &Sae, metadata: &Map<String, Value>) -> Result<Files, FileError> {
    let Encoder::Linear { w_enc, b_enc, act } = &sae.encoder else {
        return Err(none("its encoder is not a product with an activation function"));
    };
    if sae.norm != InputNorm::None || sae.skip.is_some() {
        return Err(none("it normalises its input or has a skip"));
    }
    if sae.d_out() != sae.d_in() {
        return Err(none("it writes another width than it reads"));
    }
    let (d_in, d_sae) = (sae.d_in(), sae.d_sae());
    let bias = |target: &[f32]| fold::rebias(&sae.b_in, target, w_enc, b_enc);
    let enc = ("encoder.weight", w_enc.transposed().into_vec(), vec![d_sae, d_in]);
    let dec = ("decoder.weight", sae.w_dec.transposed().into_vec(), vec![d_in, d_sae]);
    let per_latent = vec![d_sae];
    let b_dec = |name| (name, sae.b_dec.clone(), vec![d_in]);
    let (class, tensors): (Class, Tensors) = match act {
        // On loading, the library scales an `AutoEncoder` to unit decoder rows, and its latents with them; never an `AutoEncoderNew`.
        Activation::Relu if sae.b_in == sae.b_dec && unit_rows(sae) => {
            let class = Class { name: "AutoEncoder", trainer: "StandardTrainer", k: None };
            (class, vec![b_dec("bias"), enc, ("encoder.bias", b_enc.clone(), per_latent), dec])
        }
        Activation::Relu => {
            let class = Class { name: "AutoEncoderNew", trainer: "StandardTrainer", k: None };
            (class, vec![enc, ("encoder.bias", bias(&vec![0.0; d_in]), per_latent), dec, b_dec("decoder.bias")])
        }
        Activation::TopK { k } => {
            let k = Some(*k.min(&d_sae));
            let class = Class { name: "AutoEncoderTopK", trainer: "TopKTrainer", k };
            (class, vec![b_dec("b_dec"), dec, enc, ("encoder.bias", bias(&sae.b_dec), per_latent)])
        }
        Activation::JumpRelu { threshold } => {
            if threshold.iter().any(|t| !t.is_finite() || *t < 0.0) {
                return Err(none(
                    "some thresholds are negative or infinite, and the library sets negative latents to 0",
                ));
            }
            let class = Class { name: "JumpReluAutoEncoder", trainer: "JumpReluTrainer", k: None };
            let weights = vec![
                ("W_enc", w_enc.data().to_vec(), vec![d_in, d_sae]),
                ("b_enc", bias(&vec![0.0; d_in]), per_latent.clone()),
                ("W_dec", sae.w_dec.data().to_vec(), vec![d_sae, d_in]),
                b_dec("b_dec"),
                ("threshold", threshold.clone(), per_latent),
            ];
            (class, weights)
        }
        Activation::Gated { scale, shift } => {
            let gate = bias(&sae.b_dec);
            let (r_mag, mag) = fold::ungated(scale, shift, &gate)
                .ok_or_else(|| none("some magnitudes have a scale that is not positive, which exp(r_mag) can't be"))?;
            let class = Class { name: "GatedAutoEncoder", trainer: "GatedSAETrainer", k: None };
            let three = [("r_mag", r_mag), ("gate_bias", gate), ("mag_bias", mag)]
                .map(|(name, v)| (name, v, per_latent.clone()));
            (class, [b_dec("decoder_bias"), enc, dec].into_iter().chain(three).collect())
        }
        Activation::AbsTopK { .. } => return Err(none("it keeps negative latents")),
        Activation::GroupMax { .. } => {
            return Err(none("it keeps the largest latent of each group"));
        }
        Activation::Identity => return Err(none("it has no activation function")),
    };
    let k = class.k.map(|k| [k as i32]);
    let mut entries: Vec<(&str, Numbers<'_>, Vec<usize>)> =
        tensors.iter().map(|(name, numbers, shape)| (*name, Numbers::F32(numbers), shape.clone())).collect();
    if let Some(k) = &k {
        entries.push(("k", Numbers::I32(k), vec![]));
        entries.push(("threshold", Numbers::F32(&[-1.0]), vec![]));
    }
    let config = config(&class, d_in, d_sae, metadata);
    Ok(vec![(WEIGHTS, state_dict("ae", &entries)), (CONFIG, format!("{config:#}\n").into_bytes())])
}

/// What the library's loader asks for, what its tools show, and the metadata that the source had.
fn config(class: &Class, d_in: usize, d_sae: usize, metadata: &Map<String, Value>) -> Value {
    let of = |keys: [&str; 2]| keys.iter().find_map(|key| metadata.get(*key)).cloned().unwrap_or(Value::Null);
    let mut trainer = json!({
        "dict_class": class.name, "trainer_class": class.trainer, "activation_dim": d_in, "dict_size": d_sae,
        "lm_name": of(["lm_name", "model_name"]), "submodule_name": of(["submodule_name", "hook_name"]), "layer": of(["layer", "hook_layer"]),
    });
    if let Some(k) = class.k {
        trainer["k"] = json!(k);
    }
    json!({ "trainer": trainer, "buffer": metadata.get("buffer").cloned().unwrap_or(json!({})), "metadata": metadata })
}

fn unit_rows(sae: &Sae) -> bool {
    let norm = |row: &[f32]| row.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
    // Nearer than what the library takes for unit length, so that it leaves them alone.
    (0..sae.d_sae()).all(|j| (norm(sae.w_dec.row(j)) - 1.0).abs() < 1e-6)
}
