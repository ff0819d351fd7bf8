//! What `--activations` and the input of `diagnose` may name: a file with a matrix, or a store.

use std::path::Path;

use superlens_lm::store::Rows;
use superlens_tensor::io::{Loaded, ReadOptions, read_matrix};
use superlens_tensor::{Mat, Rng};

use crate::failure::{Failure, say};

/// Bytes of rows of a store that are read where all rows must be in memory at once.
const MEMORY: usize = 512 << 20;
/// Rows that are sampled at one place: neighbours stay neighbours.
const RUN: u64 = 64;

/// Activations, read or opened.
pub enum Activations {
    Matrix(Box<Loaded>),
    Store(Rows),
}

impl Activations {
    /// A folder is a store, of which `hook` says which part; anything else is a file, of which `options` do.
    pub fn open(path: &Path, options: &ReadOptions, hook: Option<&str>) -> Result<Activations, Failure> {
        let named_like_a_file =
            path.extension().is_some_and(|e| ["npy", "npz", "safetensors"].iter().any(|own| e == *own));
        if path.is_dir() && !named_like_a_file {
            if options.key.is_some() || options.flatten {
                let path = path.display();
                return Err(Failure::Input(format!(
                    "{path}: is a folder: --key and --flatten go with files; choose with --hook"
                )));
            }
            return Ok(Activations::Store(Rows::open(path, hook)?));
        }
        if let Some(hook) = hook {
            let path = path.display();
            return Err(Failure::Input(format!(
                "--hook {hook}: goes with a store, but {path} is no folder; choose with --key"
            )));
        }
        Ok(Activations::Matrix(Box::new(read_matrix(path, options).map_err(Failure::input)?)))
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Activations::Matrix(loaded) => loaded.mat.shape(),
            Activations::Store(rows) => (usize::try_from(rows.len()).unwrap_or(usize::MAX), rows.width()),
        }
    }
}

impl Activations {
    /// A matrix that is in memory whole, with two columns that vary at least: the one read, or rows of the store.
    pub fn in_memory(self, what_for: &str, rng: &Rng) -> Result<Loaded, Failure> {
        let rows = match self {
            Activations::Matrix(loaded) => return Ok(*loaded),
            Activations::Store(rows) => rows,
        };
        let mat = sample(&rows, what_for, rng)?;
        let same = |j: &usize| (1..mat.rows()).all(|i| mat.row(i)[*j] == mat.row(0)[*j]);
        let constant_columns: Vec<usize> = (0..mat.cols()).filter(same).collect();
        if mat.cols() < constant_columns.len() + 2 {
            let (hook, varying) = (&rows.name, mat.cols() - constant_columns.len());
            return Err(Failure::Input(format!(
                "hook `{hook}`: at least 2 columns (neurons) must vary, found {varying}"
            )));
        }
        Ok(Loaded {
            shape: vec![mat.rows(), mat.cols()],
            bytes: rows.len() * rows.row_bytes() as u64,
            dtype: rows.dtype.to_string(),
            key: Some(rows.name),
            sha256: rows.sha256,
            mat,
            constant_columns,
        })
    }
}

/// As many rows of a store as may be in memory at once, spread over all and in their order; says so where it is not all.
pub fn sample(rows: &Rows, what_for: &str, rng: &Rng) -> Result<Mat, Failure> {
    let most = (MEMORY / (4 * rows.width())).max(2) as u64;
    let chosen: Vec<u64> = rows.sample(most, RUN, rng).into_iter().flatten().collect();
    if (chosen.len() as u64) < rows.len() {
        let (some, all) = (chosen.len(), rows.len());
        say(&format!("note: {what_for} reads {some} of the {all} rows, in runs of {RUN} spread over the store"));
    }
    let mat = rows.select(&chosen);
    if mat.data().iter().all(|v| v.is_finite()) { Ok(mat) } else { Err(not_finite(rows)) }
}

pub fn not_finite(rows: &Rows) -> Failure {
    Failure::Input(format!(
        "hook `{}` of the store holds NaN or infinite values; superlens store verify tells if it was damaged",
        rows.name
    ))
}
