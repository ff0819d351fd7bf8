//! Directions and activations from files, for `superlens geometry`.

use std::path::Path;

use superlens::report::InputFile;
use superlens_tensor::Mat;
use superlens_tensor::io::{Loaded, ReadOptions, read_matrix};

use crate::failure::Failure;

/// Directions, one a row.
pub struct Directions {
    pub mat: Mat,
    /// How they lay in the file, in words.
    pub orientation: String,
    pub input: InputFile,
}

/// Reads directions that are rows, or columns with `transpose`.
pub fn directions(path: &Path, key: Option<&str>, transpose: bool) -> Result<Directions, Failure> {
    let loaded = matrix(path, key)?;
    let input = input(path, &loaded);
    let (rows, columns) = loaded.mat.shape();
    let orientation = if transpose {
        format!("{columns} directions in columns of {rows} (--transpose)")
    } else {
        format!("{rows} directions in rows of {columns}")
    };
    let mat = if transpose { loaded.mat.transposed() } else { loaded.mat };
    Ok(Directions { mat, orientation, input })
}

/// One array of a file, with the reader's line where it can't be had.
pub fn matrix(path: &Path, key: Option<&str>) -> Result<Loaded, Failure> {
    read_matrix(path, &ReadOptions { key: key.map(str::to_owned), flatten: false }).map_err(Failure::input)
}

/// What the manifest says of a file that was read.
pub fn input(path: &Path, loaded: &Loaded) -> InputFile {
    InputFile { path: path.display().to_string(), bytes: loaded.bytes, sha256: loaded.sha256.clone() }
}
