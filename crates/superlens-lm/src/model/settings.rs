//! [`Settings`]: a model's `config.json`, whose values are checked as they are asked for.

use std::path::{Path, PathBuf};

use serde_json::Value;
use superlens_tensor::kernels::pointwise::Activation;

use super::checkpoint::read_json;
use super::error::ModelError;

/// No size of a model is larger, and no product of two overflows.
const LARGEST: u64 = 1 << 28;

/// The settings and where they stand.
pub(super) struct Settings {
    pub path: PathBuf,
    value: Value,
}

impl Settings {
    /// Reads `config.json` of the folder.
    pub fn read(dir: &Path) -> Result<Settings, ModelError> {
        let path = dir.join("config.json");
        if !dir.is_dir() {
            return Err(ModelError::new(
                dir,
                "is no folder; name the folder of a model (config.json, model.safetensors)",
            ));
        }
        let value = read_json(&path)?;
        if !value.is_object() {
            return Err(ModelError::new(&path, "expected an object of settings"));
        }
        Ok(Settings { path, value })
    }

    /// Settings that stand in no file yet.
    pub fn of(value: &Value) -> Settings {
        Settings { path: PathBuf::from("config.json"), value: value.clone() }
    }

    pub fn wrong(&self, key: &str, what: impl Into<String>) -> ModelError {
        ModelError::of(&self.path, key, what)
    }

    /// The value of the first of these names that is set; `a.b` looks within.
    pub fn get(&self, keys: &[&str]) -> Option<&Value> {
        let look = |key: &&str| key.split('.').try_fold(&self.value, |v, k| v.get(k)).filter(|v| !v.is_null());
        keys.iter().find_map(look)
    }

    pub fn has(&self, key: &str) -> bool {
        self.get(&[key]).is_some()
    }

    /// A size above zero, under the first of these names that is set.
    pub fn size(&self, keys: &[&str]) -> Result<usize, ModelError> {
        let Some(value) = self.get(keys) else {
            return Err(self.wrong(keys[0], "is missing; expected a whole number"));
        };
        match value.as_u64() {
            Some(n) if (1..=LARGEST).contains(&n) => Ok(n as usize),
            _ => Err(self.wrong(keys[0], format!("expected a whole number from 1 to {LARGEST}, found {value}"))),
        }
    }

    pub fn size_or(&self, keys: &[&str], default: usize) -> Result<usize, ModelError> {
        if self.get(keys).is_some() { self.size(keys) } else { Ok(default) }
    }

    pub fn number(&self, keys: &[&str], default: f64) -> Result<f64, ModelError> {
        match self.get(keys) {
            None => Ok(default),
            Some(value) => {
                let number = value.as_f64().filter(|x| x.is_finite());
                number.ok_or_else(|| self.wrong(keys[0], format!("expected a number, found {value}")))
            }
        }
    }

    /// What keeps a norm from dividing by zero.
    pub fn epsilon(&self, keys: &[&str], default: f64) -> Result<f64, ModelError> {
        match self.number(keys, default)? {
            eps if eps >= 0.0 => Ok(eps),
            eps => Err(self.wrong(keys[0], format!("expected a number from 0 on, found {eps}"))),
        }
    }

    pub fn numbers(&self, keys: &[&str], len: usize) -> Result<Vec<f64>, ModelError> {
        let all = self.get(keys).and_then(Value::as_array);
        let all = all.and_then(|a| a.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
        match all {
            Some(all) if all.len() == len && all.iter().all(|x| x.is_finite()) => Ok(all),
            _ => Err(self.wrong(keys[0], format!("expected a list of {len} numbers"))),
        }
    }

    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(&[key]) {
            None => Ok(default),
            Some(value) => {
                value.as_bool().ok_or_else(|| self.wrong(key, format!("expected true or false, found {value}")))
            }
        }
    }

    pub fn text(&self, keys: &[&str]) -> Option<&str> {
        self.get(keys).and_then(Value::as_str)
    }

    /// The non-linearity under the first of these names that is set.
    pub fn activation(&self, keys: &[&str], default: &str) -> Result<Activation, ModelError> {
        Ok(match self.text(keys).unwrap_or(default) {
            "relu" => Activation::Relu,
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "silu" | "swish" => Activation::Silu,
            other => {
                let what = format!("expected relu, gelu, gelu_new, gelu_pytorch_tanh or silu, found {other:?}");
                return Err(self.wrong(keys[0], what));
            }
        })
    }

    /// Refuses settings that change what the model computes and that no code here knows, unless they are off.
    pub fn refuse(&self, keys: &[&str]) -> Result<(), ModelError> {
        let on = |v: &Value| !matches!(v, Value::Null | Value::Bool(false));
        match keys.iter().find(|k| self.get(&[k]).is_some_and(on)) {
            None => Ok(()),
            Some(key) => Err(self.wrong(key, "is set, and models with it are not computed here; nothing was guessed")),
        }
    }
}
