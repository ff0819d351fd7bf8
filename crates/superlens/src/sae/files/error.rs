//! [`FileError`]: what is wrong with a file, in one line that says what to do.

use std::io;
use std::path::PathBuf;
use superlens_tensor::io::ReadError;

/// What is wrong with a file or folder, or why it can't be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: {}", file.display(), io_text(.source))]
    Io { file: PathBuf, source: io::Error },
    #[error("{}: {problem}", file.display())]
    Malformed { file: PathBuf, problem: String },
    #[error("{}: key `{key}`: expected {expected}, found {found}", file.display())]
    Key { file: PathBuf, key: String, expected: String, found: String },
    #[error("{}: tensor `{tensor}`: expected {expected}, found {found}", file.display())]
    Tensor { file: PathBuf, tensor: String, expected: String, found: String },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("`{format}` files can't hold this autoencoder: {what}")]
    NoForm { format: &'static str, what: String },
    #[error(
        "{}: no autoencoder of a known format: expected cfg.json with sae_weights.safetensors (SAELens) or sae.safetensors \
         (sparsify), ae.pt with config.json (dictionary_learning), params.npz (Gemma Scope) or a .pt file (OpenAI), found {found}; \
         give the folder that holds them, or name the format",
        path.display()
    )]
    NoSae { path: PathBuf, found: String },
    #[error("{}: holds {} autoencoders; choose one with --key: {}", path.display(), keys.len(), keys.join(", "))]
    KeyNeeded { path: PathBuf, keys: Vec<String> },
    #[error("no format `{id}`; known are {known}")]
    UnknownFormat { id: String, known: String },
}

fn io_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is missing; check the path, and that the folder was copied whole".into(),
        io::ErrorKind::PermissionDenied => "permission denied; check the file's mode".into(),
        _ => error.to_string(),
    }
}

/// `text` from a file on one line, and no longer than a line should be.
pub(super) fn printable(text: &str) -> String {
    const SHOWN: usize = 120;
    let cut: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() { cut + "…" } else { cut }
}
