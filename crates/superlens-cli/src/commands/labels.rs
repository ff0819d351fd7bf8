//! Labels beside activations: what each row is about.

use std::fs;
use std::path::Path;

use superlens_tensor::Mat;
use superlens_tensor::io::{self, ReadOptions};

use super::activations::Held;
use crate::args::LabelsOf;
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
    Ok(of_held(whole(path, key, input, held)?, held))
}

/// The same, of zeros and ones alone.
pub fn binary(path: &Path, key: Option<&str>, input: &Path, held: &Held) -> Result<Labels, Failure> {
    let labels = whole(path, key, input, held)?;
    let mat = &labels.mat;
    if let Some(at) = mat.data().iter().position(|l| *l != 0.0 && *l != 1.0) {
        let (path, row, column, found) = (&labels.path, at / mat.cols(), at % mat.cols(), mat.data()[at]);
        return Err(Failure::Input(format!(
            "{path}: row {row}, column {column}: expected 0 or 1, found {found}; of classes make a column of zeros and ones each, of a number \
             whether it is above a limit"
        )));
    }
    Ok(of_held(labels, held))
}

/// Concepts with their names; `plain` stands before the number of one that has none.
pub fn concepts(args: &LabelsOf, input: &Path, held: &Held, plain: &str) -> Result<(Mat, Vec<String>), Failure> {
    let mat = binary(&args.labels, args.labels_key.as_deref(), input, held)?.mat;
    let Some(path) = &args.names else {
        let names = (0..mat.cols()).map(|c| format!("{plain}{c}")).collect();
        return Ok((mat, names));
    };
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::Input(format!("--names {}: {error}; expected text with a name a line", path.display()))
    })?;
    let shown = |line: &str| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let names: Vec<String> = text.trim_end().lines().map(|line| shown(line).trim().to_string()).collect();
    if names.len() != mat.cols() {
        return Err(Failure::Input(format!(
            "--names {}: expected {} lines, a name for each column of {}, found {}",
            path.display(),
            mat.cols(),
            args.labels.display(),
            names.len()
        )));
    }
    Ok((mat, names))
}

/// A row for each row there is.
fn whole(path: &Path, key: Option<&str>, input: &Path, held: &Held) -> Result<Labels, Failure> {
    let options = ReadOptions { key: key.map(str::to_string), flatten: false };
    // Readers don't know by which flag the array is chosen here.
    let told = |error: io::ReadError| Failure::Input(error.to_string().replace("--key", "--labels-key"));
    let read = io::read_labels(path, &options).map_err(told)?;
    let mat = if read.shape.len() == 1 { read.mat.transposed() } else { read.mat };
    if mat.rows() != held.of {
        return Err(Failure::Input(format!(
            "{}: labels for {} rows, but {} has {}; one row of labels is needed for each row of activations, in the same order",
            path.display(),
            mat.rows(),
            input.display(),
            held.of
        )));
    }
    Ok(Labels { mat, path: path.display().to_string(), bytes: read.bytes, sha256: read.sha256 })
}

fn of_held(labels: Labels, held: &Held) -> Labels {
    let mat = match &held.rows {
        Some(rows) => labels.mat.select_rows(&rows.iter().map(|&row| row as usize).collect::<Vec<_>>()),
        None => labels.mat,
    };
    Labels { mat, ..labels }
}
