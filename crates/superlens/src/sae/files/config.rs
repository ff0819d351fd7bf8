//! [`Config`]: a JSON object, key by key; what nobody takes ends up in the metadata.

use super::FileError;
use super::error::printable;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

pub(super) struct Config {
    pub file: PathBuf,
    pub keys: Map<String, Value>,
}

impl Config {
    pub fn read(file: PathBuf) -> Result<Self, FileError> {
        let text = fs::read(&file).map_err(|source| FileError::Io { file: file.clone(), source })?;
        match serde_json::from_slice(&text) {
            Ok(Value::Object(keys)) => Ok(Self { file, keys }),
            Ok(_) => Err(FileError::Malformed { file, problem: "not a JSON object".into() }),
            Err(e) => Err(FileError::Malformed { file, problem: format!("not JSON: {e}") }),
        }
    }

    /// The same file, `key`'s object alone.
    pub fn inner(&mut self, key: &str) -> Result<Self, FileError> {
        match self.keys.remove(key) {
            Some(Value::Object(keys)) => Ok(Self { file: self.file.clone(), keys }),
            other => Err(self.wrong(key, "an object", other.map_or("nothing".into(), |v| v.to_string()))),
        }
    }

    pub fn wrong(&self, key: &str, expected: impl Into<String>, found: impl ToString) -> FileError {
        let found = printable(&found.to_string());
        FileError::Key { file: self.file.clone(), key: key.into(), expected: expected.into(), found }
    }

    /// The value of `key`, or `None` where it is absent or null.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Result<Option<T>, FileError> {
        let Some(value) = self.keys.remove(key).filter(|v| !v.is_null()) else { return Ok(None) };
        serde_json::from_value(value.clone()).map(Some).map_err(|_| self.wrong(key, expected, value))
    }

    pub fn need<T: DeserializeOwned>(&mut self, key: &str, expected: &str) -> Result<T, FileError> {
        self.take(key, expected)?.ok_or_else(|| self.wrong(key, expected, "nothing"))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.keys.get(key)?.as_str()
    }

    /// A width: a whole number from 1.
    pub fn width(&mut self, key: &str) -> Result<usize, FileError> {
        let n: usize = self.need(key, "a whole number from 1")?;
        if n == 0 { Err(self.wrong(key, "a whole number from 1", n)) } else { Ok(n) }
    }

    /// How many latents are kept, of `d_sae`.
    pub fn k(&mut self, d_sae: usize) -> Result<usize, FileError> {
        let k: usize = self.need("k", "a number")?;
        if (1..=d_sae).contains(&k) { Ok(k) } else { Err(self.wrong("k", format!("1 to d_sae = {d_sae}"), k)) }
    }

    /// The file's own metadata, and beside it whatever was not taken.
    pub fn into_metadata(mut self) -> Result<Map<String, Value>, FileError> {
        let mut metadata: Map<String, Value> = self.take("metadata", "an object")?.unwrap_or_default();
        for key in ["dtype", "device"] {
            self.keys.remove(key);
        }
        for (key, value) in self.keys {
            metadata.entry(key).or_insert(value);
        }
        Ok(metadata)
    }
}

/// Whether `path` is a file, for the detectors.
pub(super) fn holds(dir: &Path, name: &str) -> bool {
    dir.join(name).is_file()
}
