//! [`StoreError`]: which file of a store, and what is wrong with it, in one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a store could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", .path.display())]
pub struct StoreError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

impl StoreError {
    pub(super) fn new(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_owned(), problem }
    }

    /// An error of writing to `path`.
    pub(crate) fn writing(path: &Path) -> impl Fn(io::Error) -> StoreError {
        move |e| Self::new(path, Problem::Write(e))
    }

    /// An error of reading `path`.
    pub(super) fn reading(path: &Path) -> impl Fn(io::Error) -> StoreError {
        move |e| Self::new(path, if e.kind() == io::ErrorKind::NotFound { Problem::Missing } else { Problem::Read(e) })
    }

    /// Whether what was given is wrong; otherwise it is the machine that failed.
    pub fn is_input(&self) -> bool {
        !matches!(self.problem, Problem::Read(_) | Problem::Write(_))
    }
}

/// What is wrong with a file of a store.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("there is no such file")]
    Missing,
    #[error("can't be read: {0}")]
    Read(io::Error),
    #[error("can't be written: {0}; complete shards are kept: make room and run the same again to go on")]
    Write(io::Error),
    #[error("is no store: it has no manifest.json; name a folder that `superlens store import` wrote")]
    NoStore,
    #[error("the store was not written to its end ({rows} rows so far); run what wrote it again to go on")]
    Unfinished { rows: u64 },
    #[error("{0}")]
    Manifest(String),
    #[error("expected {expected} bytes as the manifest says, found {found}; copy the store again")]
    Length { expected: u64, found: u64 },
    #[error("its header can't be right: {0}; copy the store again")]
    Header(String),
    #[error(
        "sha256: expected {expected} as the manifest says, found {found}; the file was changed or damaged: copy it again"
    )]
    Hash { expected: String, found: String },
    #[error("holds no hook `{wanted}`; it holds: {}", .has.join(", "))]
    NoHook { wanted: String, has: Vec<String> },
    #[error("holds {} hooks; choose one with --hook: {}", .has.len(), .has.join(", "))]
    WhichHook { has: Vec<String> },
    #[error("is there and is not empty; name a new folder")]
    Taken,
    #[error("holds an unfinished store of something else ({what}); name a new folder, or remove this one")]
    OtherStore { what: String },
    #[error("hook `{hook}`, row {row}, column {column} (counted from 0): {value} {advice}")]
    Value { hook: String, row: u64, column: usize, value: f32, advice: &'static str },
    #[error("{0}")]
    Source(String),
}
