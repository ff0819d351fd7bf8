//! What tells the rows of one harvest from those of another, without reading gigabytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::TextError;
use crate::corpus::{self, STDIN};
use crate::store::hash;

use super::Plan;

/// Bytes at either end of a file that are looked at.
const EDGE: u64 = 64 << 10;

/// Length and both ends of the file, or of the `config.json` and all weights of a model's folder, as one hash. Weights of another training
/// differ at their ends; a change in the middle alone is not seen.
///
/// # Errors
/// What the system refuses.
pub fn fingerprint(model: &Path) -> io::Result<String> {
    let mut files = vec![model.to_owned()];
    if model.is_dir() {
        let weights = |path: &PathBuf| path.extension().is_some_and(|e| e == "safetensors");
        files = std::fs::read_dir(model)?.flatten().map(|e| e.path()).filter(weights).collect();
        files.sort();
        files.insert(0, model.join("config.json"));
    }
    let mut all = Sha256::new();
    for file in &files {
        all.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        edges(file, &mut all)?;
    }
    Ok(hash::spelled(&all.finalize()))
}

/// Adds a file's length and ends.
fn edges(path: &Path, to: &mut Sha256) -> io::Result<()> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    to.update(len.to_le_bytes());
    let mut piece = Vec::new();
    file.by_ref().take(EDGE).read_to_end(&mut piece)?;
    to.update(&piece);
    if len > EDGE {
        piece.clear();
        file.seek(SeekFrom::Start(len.saturating_sub(EDGE)))?;
        file.take(EDGE).read_to_end(&mut piece)?;
        to.update(&piece);
    }
    Ok(())
}

/// The texts, the model and all that decides which row comes where, as one hash. Of standard input nothing is known.
pub(super) fn of(plan: &Plan, texts: &[PathBuf], reading: &corpus::Options) -> Result<String, TextError> {
    let mut all = Sha256::new();
    let words = format!(
        "{} {:?} {:?} {} {:?} {:?}",
        plan.fingerprint, plan.windows, plan.max_rows, plan.skip_special, reading.split, reading.text_key
    );
    all.update(words.as_bytes());
    for path in texts {
        all.update([0]);
        if path.as_os_str() != STDIN {
            edges(path, &mut all).map_err(TextError::reading(path))?;
        }
    }
    Ok(hash::spelled(&all.finalize()))
}
