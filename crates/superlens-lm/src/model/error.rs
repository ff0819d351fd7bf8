//! [`ModelError`]: which file of a model, which part of it, and what is wrong, in one line.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a model could not be loaded.
#[derive(Debug)]
pub struct ModelError {
    /// The file or folder.
    pub path: PathBuf,
    /// The tensor or setting.
    pub key: Option<String>,
    /// What was expected, what was found, what to do.
    pub what: String,
    /// Whether the machine failed and not what was given.
    pub system: bool,
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        if let Some(key) = &self.key {
            write!(f, "`{key}`: ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for ModelError {}

impl ModelError {
    pub(super) fn new(path: &Path, what: impl Into<String>) -> ModelError {
        ModelError { path: path.to_owned(), key: None, what: what.into(), system: false }
    }

    pub(super) fn of(path: &Path, key: &str, what: impl Into<String>) -> ModelError {
        ModelError { key: Some(key.to_owned()), ..ModelError::new(path, what) }
    }

    pub(super) fn reading(path: &Path) -> impl Fn(io::Error) -> ModelError {
        move |e| match e.kind() {
            io::ErrorKind::NotFound => ModelError::new(path, "there is no such file"),
            io::ErrorKind::UnexpectedEof => ModelError::new(path, "is cut off; copy the model again"),
            _ => ModelError { system: true, ..ModelError::new(path, format!("can't be read: {e}")) },
        }
    }
}
