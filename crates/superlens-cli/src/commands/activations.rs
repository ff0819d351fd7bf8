//! What `--activations` and the input of `diagnose` may name: a file with a matrix, or a store.

use std::path::Path;

use superlens_lm::store::Rows;
use superlens_tensor::io::{Loaded, ReadOptions, Sample, read_matrix, read_sample};
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
        if is_store(path, options, hook)? {
            return Ok(Activations::Store(Rows::open(path, hook)?));
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

/// Whether a path names a store rather than a file; an error where options don't go with what it is.
fn is_store(path: &Path, options: &ReadOptions, hook: Option<&str>) -> Result<bool, Failure> {
    let named_like_a_file = path.extension().is_some_and(|e| ["npy", "npz", "safetensors"].iter().any(|own| e == *own));
    if path.is_dir() && !named_like_a_file {
        if options.key.is_some() || options.flatten {
            let path = path.display();
            return Err(Failure::Input(format!(
                "{path}: is a folder: --key and --flatten go with files; choose with --hook"
            )));
        }
        return Ok(true);
    }
    if let Some(hook) = hook {
        let path = path.display();
        return Err(Failure::Input(format!(
            "--hook {hook}: goes with a store, but {path} is no folder; choose with --key"
        )));
    }
    Ok(false)
}

/// As many rows as may be in memory at once, with two columns that vary at least.
pub struct Held {
    pub loaded: Loaded,
    /// Rows of the file or store.
    pub of: usize,
    /// Which of them are held; `None` for all.
    pub rows: Option<Vec<u64>>,
}

impl Held {
    /// Of a file or a store, as in [`Activations::open`]. Says so where it is not all.
    pub fn read(
        path: &Path,
        options: &ReadOptions,
        hook: Option<&str>,
        what_for: &str,
        seed: u64,
    ) -> Result<Held, Failure> {
        Held::read_within(path, options, hook, what_for, (seed, MEMORY))
    }

    /// As [`Held::read`], with as many rows as `memory` bytes hold.
    pub fn read_within(
        path: &Path,
        options: &ReadOptions,
        hook: Option<&str>,
        what_for: &str,
        (seed, memory): (u64, usize),
    ) -> Result<Held, Failure> {
        if !is_store(path, options, hook)? {
            let sample = Sample { numbers: memory as u64 / 4, run: RUN, seed };
            let (loaded, rows) = read_sample(path, options, sample).map_err(Failure::input)?;
            let of = loaded.shape.iter().rev().skip(1).product();
            if let Some(rows) = &rows {
                say_sampled(what_for, rows.len(), of as u64);
            }
            return Ok(Held { loaded, of, rows });
        }
        let store = Rows::open(path, hook)?;
        let (mat, rows) = sample_within(&store, what_for, &Rng::new(seed), memory)?;
        let same = |j: &usize| (1..mat.rows()).all(|i| mat.row(i)[*j] == mat.row(0)[*j]);
        let constant_columns: Vec<usize> = (0..mat.cols()).filter(same).collect();
        if mat.cols() < constant_columns.len() + 2 {
            let (hook, varying) = (&store.name, mat.cols() - constant_columns.len());
            return Err(Failure::Input(format!(
                "hook `{hook}`: at least 2 columns (neurons) must vary, found {varying}"
            )));
        }
        let of = store.len() as usize;
        let rows = (rows.len() < of).then_some(rows);
        let loaded = Loaded {
            shape: vec![of, mat.cols()],
            bytes: store.len() * store.row_bytes() as u64,
            dtype: store.dtype.to_string(),
            key: Some(store.name),
            sha256: store.sha256,
            mat,
            constant_columns,
        };
        Ok(Held { loaded, of, rows })
    }
}

fn say_sampled(what_for: &str, some: usize, all: u64) {
    say(&format!("note: {what_for} reads {some} of the {all} rows, in runs of {RUN} spread over them"));
}

/// As many rows of a store as may be in memory at once, spread over all and in their order, and which they are; says so where it is not all.
pub fn sample(rows: &Rows, what_for: &str, rng: &Rng) -> Result<(Mat, Vec<u64>), Failure> {
    sample_within(rows, what_for, rng, MEMORY)
}

fn sample_within(rows: &Rows, what_for: &str, rng: &Rng, memory: usize) -> Result<(Mat, Vec<u64>), Failure> {
    let most = (memory / (4 * rows.width())).max(2) as u64;
    let chosen: Vec<u64> = rows.sample(most, RUN, rng).into_iter().flatten().collect();
    if (chosen.len() as u64) < rows.len() {
        say_sampled(what_for, chosen.len(), rows.len());
    }
    let mat = rows.select(&chosen);
    if mat.data().iter().all(|v| v.is_finite()) { Ok((mat, chosen)) } else { Err(not_finite(rows)) }
}

pub fn not_finite(rows: &Rows) -> Failure {
    Failure::Input(format!(
        "hook `{}` of the store holds NaN or infinite values; superlens store verify tells if it was damaged",
        rows.name
    ))
}
