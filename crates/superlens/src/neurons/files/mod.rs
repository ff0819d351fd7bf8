//! What other tools keep of units: records of examples and caches of activations.

pub mod dashboard;
pub mod delphi;
pub mod neuronpedia;
pub mod openai;

use std::path::{Path, PathBuf};

/// What is wrong with a file, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct FileError {
    pub path: PathBuf,
    pub what: String,
}

impl FileError {
    pub fn new(path: &Path, what: impl Into<String>) -> FileError {
        FileError { path: path.to_owned(), what: what.into() }
    }
}

/// Bytes of a file that is read whole, at most.
const MOST: u64 = 1 << 31;

/// The text of a file of JSON.
fn text(path: &Path) -> Result<String, FileError> {
    let told = |e: std::io::Error| FileError::new(path, format!("can't be read: {e}"));
    let bytes = std::fs::metadata(path).map_err(told)?.len();
    if bytes > MOST {
        return Err(FileError::new(path, format!("holds {bytes} bytes, where at most {MOST} are read")));
    }
    std::fs::read_to_string(path).map_err(told)
}
