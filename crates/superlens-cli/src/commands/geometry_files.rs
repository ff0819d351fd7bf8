//! Directions and activations from files, for `superlens geometry`.

use std::path::Path;

use superlens::report::InputFile;
use superlens_tensor::Mat;
use superlens_tensor::io::{Loaded, ReadError, ReadOptions, read_directions, read_matrix};

use crate::failure::Failure;

/// Directions, one a row.
pub struct Directions {
    pub mat: Mat,
    /// How they lay in the file, in words.
    pub orientation: String,
    pub input: InputFile,
}

/// A file, the array in it that is meant, and the flag that names it.
#[derive(Clone, Copy)]
pub struct File<'a> {
    pub path: &'a Path,
    pub key: Option<&'a str>,
    pub flag: &'static str,
    pub flatten: bool,
}

/// Reads directions that are rows, or columns with `transpose`.
pub fn directions(file: File, transpose: bool) -> Result<Directions, Failure> {
    let loaded = read(file, read_directions)?;
    let input = input(file.path, &loaded);
    let (rows, columns) = loaded.mat.shape();
    let orientation = if transpose {
        format!("{columns} directions in columns of {rows} (--transpose)")
    } else {
        format!("{rows} directions in rows of {columns}")
    };
    let mat = if transpose { loaded.mat.transposed() } else { loaded.mat };
    Ok(Directions { mat, orientation, input })
}

/// The activations in a file.
pub fn matrix(file: File) -> Result<Loaded, Failure> {
    read(file, read_matrix)
}

/// One array of a file, with the reader's line where it can't be had.
fn read(file: File, by: fn(&Path, &ReadOptions) -> Result<Loaded, ReadError>) -> Result<Loaded, Failure> {
    let options = ReadOptions { key: file.key.map(str::to_owned), flatten: file.flatten };
    // The readers speak of --key; where there are several files each has a flag of its own.
    by(file.path, &options).map_err(|e| Failure::Input(e.to_string().replace("--key", file.flag)))
}

/// What the manifest says of a file that was read.
pub fn input(path: &Path, loaded: &Loaded) -> InputFile {
    InputFile { path: path.display().to_string(), bytes: loaded.bytes, sha256: loaded.sha256.clone() }
}
