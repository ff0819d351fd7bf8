//! Files of the field: the SAELens v6 layout, a folder of `cfg.json` and `sae_weights.safetensors`.
//!
//! Orientation, activation and input handling are never guessed: what a file does not say, or says in a way that is not
//! known here, is an error.

use super::{Activation, Encoder, Sae};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use superlens_tensor::Mat;
use superlens_tensor::io::write_atomic;

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";
/// Where files of this layout name the version of it. SAELens takes a folder without it for one from before v6.
const VERSION: &str = "sae_lens_version";
/// The oldest SAELens that reads what is written here.
const LAYOUT: &str = "6.0.0";

/// What is wrong with a folder.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("{}: {problem}", file.display())]
    Malformed { file: PathBuf, problem: String },
    #[error("{}: key `{key}`: expected {expected}, found {found}", file.display())]
    Key { file: PathBuf, key: String, expected: String, found: String },
    #[error("{}: tensor `{tensor}`: expected {expected}, found {found}", file.display())]
    Tensor { file: PathBuf, tensor: String, expected: String, found: String },
    #[error("SAELens files hold ReLU and TopK encoders; this decomposition has {0}")]
    NoForm(&'static str),
}

/// An [`Sae`] from a folder, with everything its `cfg.json` said that does not bear on inference.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub sae: Sae,
    pub metadata: Map<String, Value>,
}

/// Writes `sae` to the folder `dir`, which is made if need be. `metadata` goes into `cfg.json` as it is.
///
/// Each file is complete or not there at all; `cfg.json` is written last. An input bias that is neither zero nor
/// `b_dec` is folded into `b_enc`.
pub fn write_saelens(dir: &Path, sae: &Sae, metadata: &Map<String, Value>) -> Result<(), FileError> {
    let (w_enc, b_enc, act) = match &sae.encoder {
        Encoder::Linear { w_enc, b_enc, act } => (w_enc, b_enc, act),
        Encoder::MatchingPursuit { .. } => return Err(FileError::NoForm("matching pursuit")),
    };
    let centred = sae.b_in.iter().any(|&b| b != 0.0);
    let tied = centred && sae.b_in == sae.b_dec;
    let b_enc = if centred && !tied { fold_input_bias(&sae.b_in, w_enc, b_enc) } else { b_enc.clone() };
    let mut config = json!({
        "d_in": sae.d_in(), "d_sae": sae.d_sae(), "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": tied,
        "normalize_activations": "none", "reshape_activations": "none", "metadata": metadata,
    });
    config["metadata"][VERSION] = json!(LAYOUT);
    match act {
        Activation::Identity => return Err(FileError::NoForm("no activation function")),
        Activation::Relu => config["architecture"] = json!("standard"),
        Activation::TopK { k } => {
            config["architecture"] = json!("topk");
            config["k"] = json!(*k);
            config["rescale_acts_by_decoder_norm"] = json!(false);
        }
        _ => return Err(FileError::NoForm("another activation function")),
    }
    let io = |file: &Path| {
        let file = file.to_owned();
        move |source| FileError::Io { file, source }
    };
    fs::create_dir_all(dir).map_err(io(dir))?;
    let (weights, cfg) = (dir.join(WEIGHTS), dir.join(CONFIG));
    let tensors = [
        ("W_enc", w_enc.data(), vec![sae.d_in(), sae.d_sae()]),
        ("b_enc", &b_enc, vec![sae.d_sae()]),
        ("W_dec", sae.w_dec.data(), vec![sae.d_sae(), sae.d_in()]),
        ("b_dec", &sae.b_dec, vec![sae.d_in()]),
    ];
    write_atomic(&weights, &serialize(&tensors, &weights)?).map_err(io(&weights))?;
    write_atomic(&cfg, format!("{config:#}\n").as_bytes()).map_err(io(&cfg))
}

/// Reads a folder that [`write_saelens`] or SAELens 6 wrote, architectures `standard` and `topk`.
pub fn read_saelens(dir: &Path) -> Result<Loaded, FileError> {
    let mut config = Config::read(dir.join(CONFIG))?;
    config.check_version()?;
    let architecture: String = config.need("architecture", "`standard` or `topk`")?;
    let (d_in, d_sae) = (config.need("d_in", "a number")?, config.need("d_sae", "a number")?);
    let tied: bool = config.need("apply_b_dec_to_input", "true or false")?;
    config.expect(
        "normalize_activations",
        &["none"],
        "normalised input, which can't be read yet: fold it and save again",
    )?;
    config.expect("reshape_activations", &["none", "hook_z"], "an unknown way to reshape activations")?;
    let (act, rescale) = match architecture.as_str() {
        "standard" => (Activation::Relu, false),
        "topk" => {
            let k: usize = config.need("k", "a number")?;
            if !(1..=d_sae).contains(&k) {
                return Err(config.wrong("k", format!("1 to d_sae = {d_sae}"), k));
            }
            let rescale = config.take("rescale_acts_by_decoder_norm", "true or false")?.unwrap_or(false);
            (Activation::TopK { k }, rescale)
        }
        _ => return Err(config.wrong("architecture", "`standard` or `topk`".into(), format!("`{architecture}`"))),
    };
    let mut weights = Weights::read(dir.join(WEIGHTS))?;
    let mut w_enc = weights.matrix("W_enc", d_in, d_sae)?;
    let mut w_dec = weights.matrix("W_dec", d_sae, d_in)?;
    let (mut b_enc, b_dec) = (weights.take("b_enc", &[d_sae])?, weights.take("b_dec", &[d_in])?);
    weights.nothing_left(&architecture)?;
    if rescale {
        fold_decoder_norms(&mut w_enc, &mut b_enc, &mut w_dec).map_err(|row| FileError::Tensor {
            file: weights.file,
            tensor: "W_dec".into(),
            expected: "rows of positive length, by which `rescale_acts_by_decoder_norm` divides".into(),
            found: format!("row {row} of length zero"),
        })?;
    }
    let b_in = if tied { b_dec.clone() } else { vec![0.0; d_in] };
    let sae = Sae::new(b_in, Encoder::Linear { w_enc, b_enc, act }, w_dec, b_dec);
    Ok(Loaded { sae, metadata: config.into_metadata()? })
}

/// `cfg.json`, key by key; what nobody takes ends up in the metadata.
struct Config {
    file: PathBuf,
    keys: Map<String, Value>,
}

impl Config {
    fn read(file: PathBuf) -> Result<Self, FileError> {
        let text = fs::read(&file).map_err(|source| FileError::Io { file: file.clone(), source })?;
        match serde_json::from_slice(&text) {
            Ok(Value::Object(keys)) => Ok(Self { file, keys }),
            Ok(_) => Err(FileError::Malformed { file, problem: "not a JSON object".into() }),
            Err(e) => Err(FileError::Malformed { file, problem: format!("not JSON: {e}") }),
        }
    }

    fn wrong(&self, key: &str, expected: String, found: impl ToString) -> FileError {
        FileError::Key { file: self.file.clone(), key: key.into(), expected, found: found.to_string() }
    }

    /// The value of `key`, or `None` where it is absent or null.
    fn take<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Result<Option<T>, FileError> {
        let Some(value) = self.keys.remove(key).filter(|v| !v.is_null()) else { return Ok(None) };
        serde_json::from_value(value.clone()).map(Some).map_err(|_| self.wrong(key, expected.into(), value))
    }

    fn need<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Result<T, FileError> {
        self.take(key, expected)?.ok_or_else(|| self.wrong(key, expected.into(), "nothing"))
    }

    /// A word out of `known`; kept for the metadata unless it is the first of them, which stands for nothing to do.
    fn expect(&mut self, key: &str, known: &[&str], otherwise: &str) -> Result<(), FileError> {
        let word: String = self.need(key, "a string")?;
        if !known.contains(&word.as_str()) {
            let known = known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(" or ");
            return Err(self.wrong(key, known, format!("`{word}` ({otherwise})")));
        }
        if word != known[0] {
            self.keys.insert(key.into(), Value::String(word));
        }
        Ok(())
    }

    /// Before v6 the same keys had other defaults, so an old folder must not pass for a new one.
    fn check_version(&self) -> Result<(), FileError> {
        let version = self.keys.get(VERSION).or_else(|| self.keys.get("metadata")?.get(VERSION));
        let text = version.and_then(Value::as_str).unwrap_or_default();
        if text.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 6) {
            return Ok(());
        }
        let expected = "6.0.0 or later (load the folder with SAELens 6 and save it again)".into();
        Err(self.wrong(VERSION, expected, version.map_or("nothing".into(), Value::to_string)))
    }

    /// The file's own metadata, and beside it whatever was not taken.
    fn into_metadata(mut self) -> Result<Map<String, Value>, FileError> {
        let mut metadata: Map<String, Value> = self.take("metadata", "an object")?.unwrap_or_default();
        for key in ["dtype", "device"] {
            self.keys.remove(key);
        }
        for (key, value) in self.keys {
            metadata.entry(key).or_insert(value);
        }
        metadata.remove(VERSION);
        Ok(metadata)
    }
}

/// The tensors of a safetensors file, taken one by one.
struct Weights {
    file: PathBuf,
    bytes: Vec<u8>,
    left: Vec<String>,
}

impl Weights {
    fn read(file: PathBuf) -> Result<Self, FileError> {
        let bytes = fs::read(&file).map_err(|source| FileError::Io { file: file.clone(), source })?;
        let names = match safetensors::SafeTensors::deserialize(&bytes) {
            Ok(tensors) => tensors.names().into_iter().map(str::to_owned).collect(),
            Err(e) => return Err(FileError::Malformed { file, problem: format!("not a safetensors file: {e}") }),
        };
        Ok(Self { file, bytes, left: names })
    }

    fn wrong(&self, tensor: &str, expected: String, found: String) -> FileError {
        FileError::Tensor { file: self.file.clone(), tensor: tensor.into(), expected, found }
    }

    /// The numbers of `tensor`, which must have this shape and be finite.
    fn take(&mut self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, FileError> {
        let all = safetensors::SafeTensors::deserialize(&self.bytes);
        let Ok(view) = all.and_then(|all| all.tensor(tensor)) else {
            return Err(self.wrong(
                tensor,
                format!("shape {shape:?}"),
                format!("no such tensor among {:?}", self.left),
            ));
        };
        if view.shape() != shape {
            let expected = format!("shape {shape:?} by `d_in` and `d_sae`");
            return Err(self.wrong(tensor, expected, format!("{:?}", view.shape())));
        }
        let numbers = to_f32(view.dtype(), view.data())
            .ok_or_else(|| self.wrong(tensor, "F32, F64, F16 or BF16".into(), format!("{:?}", view.dtype())))?;
        if let Some(at) = numbers.iter().position(|v| !v.is_finite()) {
            return Err(self.wrong(tensor, "finite numbers".into(), format!("{} at position {at}", numbers[at])));
        }
        self.left.retain(|name| name != tensor);
        Ok(numbers)
    }

    fn matrix(&mut self, tensor: &str, rows: usize, cols: usize) -> Result<Mat, FileError> {
        Ok(Mat::from_vec(rows, cols, self.take(tensor, &[rows, cols])?))
    }

    /// A tensor that nobody asked for means that the architecture is not what the config says.
    fn nothing_left(&self, architecture: &str) -> Result<(), FileError> {
        match self.left.iter().min() {
            Some(extra) => Err(self.wrong(extra, format!("only the tensors of `{architecture}`"), "one more".into())),
            None => Ok(()),
        }
    }
}

fn to_f32(dtype: safetensors::Dtype, data: &[u8]) -> Option<Vec<f32>> {
    use safetensors::Dtype;
    fn each<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        data.as_chunks().0.iter().map(|&bytes| read(bytes)).collect()
    }
    Some(match dtype {
        Dtype::F32 => each(data, f32::from_le_bytes),
        Dtype::F64 => each(data, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::F16 => each(data, |bytes| half::f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => each(data, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
        _ => return None,
    })
}

/// A little-endian safetensors file of `(name, numbers, shape)`.
fn serialize(tensors: &[(&str, &[f32], Vec<usize>)], file: &Path) -> Result<Vec<u8>, FileError> {
    let malformed =
        |e: safetensors::SafeTensorError| FileError::Malformed { file: file.to_owned(), problem: e.to_string() };
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, numbers, _)| numbers.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, _, shape), data)| {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data).map(|view| (*name, view))
        })
        .collect();
    safetensors::serialize(views.map_err(malformed)?, None).map_err(malformed)
}

/// `b_enc − b_in · w_enc`: the encoder's bias when nothing is subtracted from the input.
fn fold_input_bias(b_in: &[f32], w_enc: &Mat, b_enc: &[f32]) -> Vec<f32> {
    let mut folded: Vec<f64> = b_enc.iter().map(|&b| f64::from(b)).collect();
    for (i, &b) in b_in.iter().enumerate() {
        folded.iter_mut().zip(w_enc.row(i)).for_each(|(f, &w)| *f -= f64::from(b) * f64::from(w));
    }
    folded.into_iter().map(|f| f as f32).collect()
}

/// Unit decoder rows, their lengths moved to the encoder. `Err(row)` where a row has no length.
fn fold_decoder_norms(w_enc: &mut Mat, b_enc: &mut [f32], w_dec: &mut Mat) -> Result<(), usize> {
    for j in 0..w_dec.rows() {
        let norm = w_dec.row(j).iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
        if norm == 0.0 {
            return Err(j);
        }
        w_dec.row_mut(j).iter_mut().for_each(|w| *w = (f64::from(*w) / norm) as f32);
        b_enc[j] = (f64::from(b_enc[j]) * norm) as f32;
        for i in 0..w_enc.rows() {
            w_enc[(i, j)] = (f64::from(w_enc[(i, j)]) * norm) as f32;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
