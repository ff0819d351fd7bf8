//! Stores made of the files of others: matrices (`.npy`, `.npz`, `.safetensors`), SAELens' caches of activations, Parquet.

#[cfg(feature = "tables")]
mod arrow;
mod matrix;
#[cfg(feature = "tables")]
mod parquet;
#[cfg(feature = "tables")]
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use superlens_tensor::Mat;

use super::dtype::DType;
use super::error::Problem;
use super::manifest::Manifest;
use super::{Plan, StoreError, TokenRow, Writer};

/// How a source is read, and what the store is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Name of the hook; that of the source where it has one, else `activations`.
    pub hook: Option<String>,
    /// The array or column, where there are several.
    pub key: Option<String>,
    /// Whether leading axes of an array become rows.
    pub flatten: bool,
    /// The source's, where not given; `f32` for 64 bits.
    pub dtype: Option<DType>,
    pub shard_rows: Option<u64>,
}

/// Rows as they come out of a source.
type Piece = Result<(Mat, Vec<TokenRow>), StoreError>;

/// A source whose head was read.
struct Opened {
    /// The hook that it names.
    name: Option<String>,
    width: usize,
    dtype: DType,
    /// Whether each row comes with its token.
    tokens: bool,
    /// Tells it from other sources.
    origin: String,
    pieces: Box<dyn Iterator<Item = Piece>>,
}

/// Makes the store `out` of `src`, or goes on with one that was not finished; `watch` hears how many rows are there.
///
/// # Errors
/// A source that can't be read, values that the element type can't hold, and what [`Writer`] says.
pub fn import(src: &Path, out: &Path, options: &Options, watch: &mut dyn FnMut(u64)) -> Result<Manifest, StoreError> {
    let opened = open(src, options)?;
    let name = options.hook.clone().or(opened.name).unwrap_or_else(|| "activations".into());
    let plan = Plan {
        origin: Some(opened.origin),
        hooks: vec![(name, opened.width, options.dtype.unwrap_or(opened.dtype))],
        shard_rows: options.shard_rows,
        tokens: opened.tokens,
        ..Plan::default()
    };
    let mut writer = Writer::create(out, &plan)?;
    let mut seen = 0u64;
    for piece in opened.pieces {
        let (mat, tokens) = piece?;
        let have = writer.rows().saturating_sub(seen).min(mat.rows() as u64) as usize;
        seen += mat.rows() as u64;
        if have == mat.rows() {
            continue;
        }
        let rest: Vec<usize> = (have..mat.rows()).collect();
        let (mat, tokens) =
            if have == 0 { (mat, tokens) } else { (mat.select_rows(&rest), tokens[have.min(tokens.len())..].to_vec()) };
        writer.append(&[&mat], &tokens)?;
        watch(writer.rows());
    }
    writer.finish()
}

fn open(src: &Path, options: &Options) -> Result<Opened, StoreError> {
    let extension = src.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let of = |ending: &str| if extension == ending { vec![src.to_owned()] } else { files_in(src, ending) };
    let (arrow, parquet) = (of("arrow"), of("parquet"));
    if arrow.is_empty() && parquet.is_empty() {
        if src.is_dir() {
            let what = "is a folder without .arrow or .parquet files; name a cache of SAELens, or a file";
            return Err(source(src, what.into()));
        }
        return matrix::open(src, options);
    }
    #[cfg(feature = "tables")]
    return if arrow.is_empty() { parquet::open(src, parquet, options) } else { arrow::open(src, arrow, options) };
    #[cfg(not(feature = "tables"))]
    Err(source(src, "Arrow and Parquet need the feature `tables`, which this build is without".into()))
}

/// The files of a folder that end so, in the order of their names; none where it is no folder.
fn files_in(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == ending)).collect();
    files.sort();
    files
}

/// Something is wrong with the source.
fn source(path: &Path, what: String) -> StoreError {
    StoreError::new(path, Problem::Source(what))
}

/// A hash of names, lengths and heads: enough to tell another source, without reading all of a large one twice.
#[cfg(feature = "tables")]
fn fingerprint(files: &[PathBuf], key: Option<&str>) -> Result<String, StoreError> {
    use std::io::Read;
    let mut told = format!("{key:?}").into_bytes();
    for path in files {
        let file = fs::File::open(path).map_err(StoreError::reading(path))?;
        let len = file.metadata().map_err(StoreError::reading(path))?.len();
        told.extend(format!("{:?}{len}", path.file_name()).bytes());
        file.take(1 << 16).read_to_end(&mut told).map_err(StoreError::reading(path))?;
    }
    Ok(super::hash::hex(&told))
}
