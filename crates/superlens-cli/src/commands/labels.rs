//! Labels beside activations: what each row is about.

use std::path::Path;

use superlens_tensor::Mat;
use superlens_tensor::io::{self, ReadOptions};

use super::activations::Held;
use crate::failure::Failure;

/// Labels as they were read, one row for each row of activations.
pub struct Labels {
    /// `[rows held, concepts]`.
    pub mat: Mat,
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
}

/// Labels for the rows that are held, out of one for each row there is. A single vector is one concept.
pub fn read(path: &Path, key: Option<&str>, input: &Path, held: &Held) -> Result<Labels, Failure> {
    let options = ReadOptions { key: key.map(str::to_string), flatten: false };
    let read = io::read_labels(path, &options).map_err(Failure::input)?;
    let mut mat = if read.shape.len() == 1 { read.mat.transposed() } else { read.mat };
    if mat.rows() != held.of {
        return Err(Failure::Input(format!(
            "{}: labels for {} rows, but {} has {}; one row of labels is needed for each row of activations, in the same order",
            path.display(),
            mat.rows(),
            input.display(),
            held.of
        )));
    }
    if let Some(rows) = &held.rows {
        mat = mat.select_rows(&rows.iter().map(|&row| row as usize).collect::<Vec<_>>());
    }
    Ok(Labels { mat, path: path.display().to_string(), bytes: read.bytes, sha256: read.sha256 })
}
