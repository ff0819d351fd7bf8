//! Our own layout, which holds every [`Sae`] as it is: `dictionary.json` and `dictionary.safetensors`. For what no tool of the field has a
//! place for: pursuits, principal components, TopK transcoders to another width, crosscoders.

use super::config::{Config, holds};
use super::weights::{Weights, serialize};
use super::{FileError, Files, Format, Loaded};
use crate::sae::{Activation, Encoder, InputNorm, PlainPursuit, Sae};
use serde_json::{Map, Value, json};
use std::path::Path;

pub(super) const FORMAT: Format = Format {
    id: "superlens",
    about: "superlens itself: dictionary.json and dictionary.safetensors, for every dictionary it has",
    detect: |path| holds(path, CONFIG),
    read: |path, _| read(path),
    write: Some(write),
};

const CONFIG: &str = "dictionary.json";
const WEIGHTS: &str = "dictionary.safetensors";
const VERSION: u64 = 1;
const ENCODERS: &str =
    "`identity`, `relu`, `topk`, `abs_topk`, `jumprelu`, `groupmax`, `gated`, `orthogonal_pursuit` or `plain_pursuit`";
/// Pursuit that is never done would take all of its steps.
const MOST_STEPS: usize = 100_000;

fn read(dir: &Path) -> Result<Loaded, FileError> {
    let mut config = Config::read(dir.join(CONFIG))?;
    let version: u64 = config.need("superlens_dictionary", "1")?;
    if version != VERSION {
        return Err(config.wrong("superlens_dictionary", "1", version));
    }
    let (d_in, d_sae, d_out) = (config.width("d_in")?, config.width("d_sae")?, config.width("d_out")?);
    let has_skip: bool = config.need("skip", "true or false")?;
    let norm = norm(&mut config)?;
    let mut weights = Weights::safetensors(dir.join(WEIGHTS))?;
    let w_dec = weights.matrix("w_dec", d_sae, d_out)?;
    let (b_in, b_dec) = (weights.take("b_in", &[d_in])?, weights.take("b_dec", &[d_out])?);
    let encoder = encoder(d_in, d_sae, d_out, &mut config, &mut weights)?;
    let mut sae = Sae::new(b_in, encoder, w_dec, b_dec).with_norm(norm);
    if has_skip {
        sae = sae.with_skip(weights.matrix("skip", d_in, d_out)?);
    }
    weights.nothing_left("superlens")?;
    Ok(Loaded { sae, metadata: config.into_metadata()? })
}

fn norm(config: &mut Config) -> Result<InputNorm, FileError> {
    const KNOWN: &str = "`none`, `layer_norm` or `unit_rms`";
    let word: String = config.need("norm", KNOWN)?;
    match word.as_str() {
        "none" => Ok(InputNorm::None),
        "unit_rms" => Ok(InputNorm::UnitRms),
        "layer_norm" => match config.need("norm_eps", "a number from 0")? {
            eps if f32::is_finite(eps) && eps >= 0.0 => Ok(InputNorm::LayerNorm { eps }),
            eps => Err(config.wrong("norm_eps", "a number from 0", eps)),
        },
        _ => Err(config.wrong("norm", KNOWN, word)),
    }
}

fn encoder(
    d_in: usize,
    d_sae: usize,
    d_out: usize,
    config: &mut Config,
    weights: &mut Weights,
) -> Result<Encoder, FileError> {
    let word: String = config.need("encoder", ENCODERS)?;
    if word.ends_with("_pursuit") && d_in != d_out {
        return Err(config.wrong("encoder", "a product, since a pursuit rebuilds its own input", word));
    }
    let act = match word.as_str() {
        "orthogonal_pursuit" => {
            let non_negative = config.need("non_negative", "true or false")?;
            return Ok(Encoder::MatchingPursuit { k: config.k(d_sae)?, non_negative });
        }
        "plain_pursuit" => return plain(config).map(Encoder::PlainPursuit),
        "identity" => Activation::Identity,
        "relu" => Activation::Relu,
        "topk" => Activation::TopK { k: config.k(d_sae)? },
        "abs_topk" => Activation::AbsTopK { k: config.k(d_sae)? },
        "groupmax" => match config.k(d_sae)? {
            groups if d_sae.is_multiple_of(groups) => Activation::GroupMax { groups },
            groups => return Err(config.wrong("k", format!("a divisor of d_sae = {d_sae}"), groups)),
        },
        "jumprelu" => Activation::JumpRelu { threshold: weights.take("threshold", &[d_sae])? },
        "gated" => {
            let (scale, shift) = (weights.take("gate_scale", &[d_sae])?, weights.take("gate_shift", &[d_sae])?);
            Activation::Gated { scale, shift }
        }
        _ => return Err(config.wrong("encoder", ENCODERS, format!("`{word}`"))),
    };
    let w_enc = weights.matrix("w_enc", d_in, d_sae)?;
    Ok(Encoder::Linear { w_enc, b_enc: weights.take("b_enc", &[d_sae])?, act })
}

fn plain(config: &mut Config) -> Result<PlainPursuit, FileError> {
    let max_steps: usize = config.need("max_steps", "a whole number")?;
    if max_steps > MOST_STEPS {
        return Err(config.wrong("max_steps", format!("at most {MOST_STEPS}"), max_steps));
    }
    let residual_below: f32 = config.need("residual_below", "a finite number")?;
    if !residual_below.is_finite() {
        return Err(config.wrong("residual_below", "a finite number", residual_below));
    }
    Ok(PlainPursuit { max_steps, residual_below, stop_on_repeat: config.need("stop_on_repeat", "true or false")? })
}

fn write(sae: &Sae, metadata: &Map<String, Value>) -> Result<Files, FileError> {
    let (d_in, d_sae, d_out) = (sae.d_in(), sae.d_sae(), sae.d_out());
    let mut config = json!({
        "superlens_dictionary": VERSION, "d_in": d_in, "d_sae": d_sae, "d_out": d_out, "skip": sae.skip.is_some(), "metadata": metadata,
    });
    let mut tensors: Vec<(&str, &[f32], Vec<usize>)> = vec![
        ("b_in", &sae.b_in, vec![d_in]),
        ("w_dec", sae.w_dec.data(), vec![d_sae, d_out]),
        ("b_dec", &sae.b_dec, vec![d_out]),
    ];
    if let Some(skip) = &sae.skip {
        tensors.push(("skip", skip.data(), vec![d_in, d_out]));
    }
    let mut say = |key: &str, value: Value| config[key] = value;
    match sae.norm {
        InputNorm::None => say("norm", "none".into()),
        InputNorm::UnitRms => say("norm", "unit_rms".into()),
        InputNorm::LayerNorm { eps } => {
            say("norm", "layer_norm".into());
            say("norm_eps", json!(eps));
        }
    }
    let word = match &sae.encoder {
        Encoder::MatchingPursuit { k, non_negative } => {
            say("k", json!(k.min(&d_sae)));
            say("non_negative", json!(non_negative));
            "orthogonal_pursuit"
        }
        Encoder::PlainPursuit(PlainPursuit { max_steps, residual_below, stop_on_repeat }) => {
            say("max_steps", json!(max_steps));
            say("residual_below", json!(residual_below));
            say("stop_on_repeat", json!(stop_on_repeat));
            "plain_pursuit"
        }
        Encoder::Linear { w_enc, b_enc, act } => {
            tensors.push(("w_enc", w_enc.data(), vec![d_in, d_sae]));
            tensors.push(("b_enc", b_enc, vec![d_sae]));
            match act {
                Activation::Identity => "identity",
                Activation::Relu => "relu",
                Activation::TopK { k } | Activation::AbsTopK { k } => {
                    say("k", json!(k.min(&d_sae)));
                    if matches!(act, Activation::TopK { .. }) { "topk" } else { "abs_topk" }
                }
                Activation::GroupMax { groups } => {
                    say("k", json!(groups));
                    "groupmax"
                }
                Activation::JumpRelu { threshold } => {
                    tensors.push(("threshold", threshold, vec![d_sae]));
                    "jumprelu"
                }
                Activation::Gated { scale, shift } => {
                    tensors.push(("gate_scale", scale, vec![d_sae]));
                    tensors.push(("gate_shift", shift, vec![d_sae]));
                    "gated"
                }
            }
        }
    };
    say("encoder", word.into());
    let weights = serialize(&tensors, Path::new(WEIGHTS))?;
    Ok(vec![(WEIGHTS, weights), (CONFIG, format!("{config:#}\n").into_bytes())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::files;
    use superlens_tensor::{Mat, Rng};

    fn all() -> Vec<Sae> {
        let mut rng = Rng::new(0).fork("native");
        let mut mat = |r: usize, c: usize| Mat::from_fn(r, c, |_, _| rng.normal());
        let (w_enc, w_dec, b_enc) = (mat(3, 6), mat(6, 3), mat(1, 6).into_vec());
        let (b_in, b_dec, wide, skip) = (mat(1, 3).into_vec(), mat(1, 3).into_vec(), mat(6, 4), mat(3, 4));
        let linear = |act| Encoder::Linear { w_enc: w_enc.clone(), b_enc: b_enc.clone(), act };
        let plain = PlainPursuit { max_steps: 4, residual_below: 0.1, stop_on_repeat: true };
        let encoders = vec![
            linear(Activation::Identity),
            linear(Activation::Relu),
            linear(Activation::TopK { k: 2 }),
            linear(Activation::AbsTopK { k: 2 }),
            linear(Activation::GroupMax { groups: 3 }),
            linear(Activation::JumpRelu { threshold: vec![-0.1, 0.0, 0.1, 0.2, 0.3, 0.4] }),
            linear(Activation::Gated { scale: b_enc.clone(), shift: b_enc.clone() }),
            Encoder::MatchingPursuit { k: 2, non_negative: true },
            Encoder::PlainPursuit(plain),
        ];
        let mut all: Vec<Sae> =
            encoders.into_iter().map(|e| Sae::new(b_in.clone(), e, w_dec.clone(), b_dec.clone())).collect();
        all.push(all[1].clone().with_norm(InputNorm::UnitRms));
        all.push(all[1].clone().with_norm(InputNorm::LayerNorm { eps: 0.25 }));
        all.push(Sae::new(b_in, linear(Activation::TopK { k: 2 }), wide, vec![0.5; 4]).with_skip(skip));
        all
    }

    #[test]
    fn every_dictionary_comes_back_as_it_was() {
        let metadata = json!({"layers": 2, "note": "x"});
        for sae in all() {
            let dir = tempfile::tempdir().unwrap();
            files::write(dir.path(), &FORMAT, &sae, metadata.as_object().unwrap()).unwrap();
            let loaded = files::read(dir.path(), None).unwrap();
            assert_eq!((&loaded.sae, &loaded.metadata), (&sae, metadata.as_object().unwrap()));
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let spoiled = |key: &str, value: Value| {
            let dir = tempfile::tempdir().unwrap();
            files::write(dir.path(), &FORMAT, &all()[4], &Map::new()).unwrap();
            let file = dir.path().join(CONFIG);
            let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            config[key] = value;
            std::fs::write(&file, config.to_string()).unwrap();
            files::read(dir.path(), None).unwrap_err().to_string()
        };
        for (key, value) in [
            ("superlens_dictionary", json!(2)),
            ("encoder", json!("softmax")),
            ("encoder", json!("plain_pursuit")),
            ("k", json!(4)),
            ("k", json!(0)),
            ("d_sae", json!(7)),
            ("norm", json!("batch")),
            ("skip", json!(true)),
        ] {
            let says = spoiled(key, value.clone());
            assert!(says.contains("expected") && !says.contains('\n'), "{key} = {value}: {says}");
        }
    }
}
