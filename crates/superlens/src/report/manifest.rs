//! `manifest.json`: which program made a run, from what, and when.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// What is known when a run starts.
#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    pub threads: usize,
    /// Revision of the source that this program was built from, where known.
    pub revision: Option<String>,
    pub inputs: Vec<InputFile>,
    /// The resolved settings, for `config.toml`.
    pub config: toml::Table,
}

/// The record of a finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of superlens.
    pub superlens: String,
    pub revision: Option<String>,
    pub seed: u64,
    pub threads: usize,
    pub inputs: Vec<InputFile>,
    /// RFC 3339, UTC.
    pub start: String,
    /// RFC 3339, UTC.
    pub end: String,
    /// `done`: a run folder comes into place only when it is whole.
    pub status: String,
}

/// A file that a run has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    pub path: String,
    /// How many bytes were hashed: the whole file, or the array that was read from it.
    pub bytes: u64,
    /// SHA-256 of them, lower-case hexadecimal, as the readers of `superlens_tensor::io` give it.
    pub sha256: String,
}

/// The time now, to the second: `2026-01-31T12:00:00Z`.
pub(super) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
