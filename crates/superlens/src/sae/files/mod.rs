//! Files of the field: the autoencoders that other tools save, and their files written from ours. One file a format, one line
//! of [`FORMATS`] each; [`read`] tells them apart.
//!
//! Orientation, activation and input handling are never guessed: what a file does not say, or says in a way that is not
//! known here, is an error. So is what a format can't express when it is written: a threshold, a norm or an activation is
//! never dropped. Where the layouts are described: `docs/formats.md`.

mod compare;
mod config;
mod dictionary_learning;
mod dictionary_learning_write;
mod error;
mod fold;
mod gemma_scope;
mod native;
mod openai;
mod saelens;
mod saelens_v5;
mod saelens_write;
mod sparsify;
mod weights;

use super::Sae;
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;
use superlens_tensor::io::write_atomic;

pub use compare::{Difference, TOLERANCE, compare};
pub use error::FileError;
pub use saelens::read as read_saelens;

/// A format of the field.
pub struct Format {
    /// As it is typed.
    pub id: &'static str,
    /// Whose it is, and what lies in it.
    pub about: &'static str,
    /// Whether there are signs of it at a path: names of files, or keys. No two formats see signs of themselves at one path.
    detect: fn(&Path) -> bool,
    read: fn(&Path, &ReadOptions) -> Result<Loaded, FileError>,
    /// The files of the folder, in the order in which they are to be written; `None` for formats that are only read.
    write: Option<WriteFn>,
}

type WriteFn = fn(&Sae, &Map<String, Value>) -> Result<Files, FileError>;

/// Names and contents.
pub(super) type Files = Vec<(&'static str, Vec<u8>)>;

/// Every format. Help and documents follow from this list.
pub const FORMATS: &[Format] = &[
    native::FORMAT,
    saelens::FORMAT,
    saelens_v5::FORMAT,
    sparsify::FORMAT,
    dictionary_learning::FORMAT,
    gemma_scope::FORMAT,
    openai::FORMAT,
];

impl Format {
    /// Whether it is written too.
    pub fn writes(&self) -> bool {
        self.write.is_some()
    }

    /// The format of that id.
    pub fn named(id: &str) -> Result<&'static Format, FileError> {
        let known = || FORMATS.iter().map(|f| f.id).collect::<Vec<_>>().join(", ");
        FORMATS.iter().find(|f| f.id == id).ok_or_else(|| FileError::UnknownFormat { id: id.into(), known: known() })
    }

    /// The format of what lies at `path`.
    pub fn of(path: &Path) -> Result<&'static Format, FileError> {
        fs::metadata(path).map_err(|source| FileError::Io { file: path.to_owned(), source })?;
        FORMATS
            .iter()
            .find(|f| (f.detect)(path))
            .ok_or_else(|| FileError::NoSae { path: path.to_owned(), found: found(path) })
    }
}

/// What a reader may be told beside the path.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Which of several autoencoders in a folder: the path below it.
    pub key: Option<String>,
    /// What the input is multiplied by before it is encoded, for files that say that it is scaled but not by how much.
    pub input_scale: Option<f64>,
    /// Whether a Gemma Scope file is one of embeddings, where the name of its folder does not tell.
    pub embedding: Option<bool>,
}

/// An [`Sae`] from a file or folder, with everything it said that does not bear on inference.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub sae: Sae,
    pub metadata: Map<String, Value>,
}

/// Reads the autoencoder at `path`, of whatever format it shows signs of unless one is given.
///
/// # Errors
/// [`FileError`]: nothing of any format is there; a file is missing, damaged, or says what is not known here.
pub fn read(path: &Path, format: Option<&Format>) -> Result<Loaded, FileError> {
    read_with(path, format, &ReadOptions::default())
}

/// [`read`] with options.
///
/// # Errors
/// As [`read`].
pub fn read_with(path: &Path, format: Option<&Format>, options: &ReadOptions) -> Result<Loaded, FileError> {
    let format = match format {
        Some(format) => format,
        None => Format::of(path)?,
    };
    (format.read)(path, options)
}

/// Writes `sae` to the folder `dir`, which is made if need be. `metadata` goes beside the weights, where the format has room.
///
/// Each file is complete or not there at all.
///
/// # Errors
/// [`FileError::NoForm`], before anything is written, if the format can't express it; or a file can't be written.
pub fn write(dir: &Path, format: &Format, sae: &Sae, metadata: &Map<String, Value>) -> Result<(), FileError> {
    let Some(write) = format.write else {
        return Err(FileError::NoForm { format: format.id, what: "they are only read here".into() });
    };
    let layers = metadata.get("layers").and_then(Value::as_u64).unwrap_or(1);
    if layers > 1 && format.id != native::FORMAT.id {
        return Err(FileError::NoForm {
            format: format.id,
            what: format!(
                "it is a crosscoder: its rows are {layers} layers side by side, of which the format says nothing"
            ),
        });
    }
    let files = write(sae, metadata)?;
    let failed = |file: &Path| {
        let file = file.to_owned();
        move |source| FileError::Io { file, source }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    for (name, bytes) in files {
        let path = dir.join(name);
        write_atomic(&path, &bytes).map_err(failed(&path))?;
    }
    Ok(())
}

/// [`write()`] in the layout of SAELens.
///
/// # Errors
/// As [`write()`].
pub fn write_saelens(dir: &Path, sae: &Sae, metadata: &Map<String, Value>) -> Result<(), FileError> {
    write(dir, &saelens::FORMAT, sae, metadata)
}

/// [`write()`] in our own layout, which holds every dictionary.
///
/// # Errors
/// As [`write()`], but for [`FileError::NoForm`].
pub fn write_native(dir: &Path, sae: &Sae, metadata: &Map<String, Value>) -> Result<(), FileError> {
    write(dir, &native::FORMAT, sae, metadata)
}

/// What is at a path that no format knows, for the message.
fn found(path: &Path) -> String {
    const SHOWN: usize = 8;
    let Ok(entries) = fs::read_dir(path) else { return "a file".into() };
    let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    match names.len() {
        0 => "an empty folder".into(),
        n if n > SHOWN => format!("{}, … and {} more", names[..SHOWN].join(", "), n - SHOWN),
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod tests;
