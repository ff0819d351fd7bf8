//! [`TextError`]: which tokenizer or text can't be read, and why, in one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a tokenizer or a text could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", .path.display())]
pub struct TextError {
    /// The file or folder; `-` for standard input.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: TextProblem,
}

/// What is wrong with a tokenizer or a text.
#[derive(Debug, thiserror::Error)]
pub enum TextProblem {
    #[error("there is no such file")]
    Missing,
    #[error("can't be read: {0}")]
    Read(io::Error),
    #[error("{0}")]
    Wrong(String),
}

impl TextError {
    pub(crate) fn wrong(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), problem: TextProblem::Wrong(what.into()) }
    }

    /// An error of reading `path`.
    pub(crate) fn reading(path: &Path) -> impl Fn(io::Error) -> TextError {
        move |e| {
            let missing = e.kind() == io::ErrorKind::NotFound;
            let problem = if missing { TextProblem::Missing } else { TextProblem::Read(e) };
            Self { path: path.to_owned(), problem }
        }
    }

    /// Whether what was given is wrong; otherwise it is the machine that failed.
    pub fn is_input(&self) -> bool {
        !matches!(self.problem, TextProblem::Read(_))
    }
}
