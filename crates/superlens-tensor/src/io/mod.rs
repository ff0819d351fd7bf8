//! Matrices of activations from files: `.npy`, `.npz` and `.safetensors`.
//!
//! [`read_matrix`] either returns a matrix that every test downstream may rely on (at least two rows, at
//! least two columns that vary, finite numbers only) or one [`ReadError`] whose single line says what to do.
//!
//! What a file says about itself is never trusted:
//! - nothing is allocated before the file's own size justifies it, so a header that claims 10¹⁵ rows costs
//!   nothing;
//! - bytes come through `read` in bounded pieces, never through a memory map, so a file that shrinks while
//!   it is read gives an error and not a SIGBUS;
//! - only the array that was asked for is read.
//!
//! [`read_arrays`] reads all arrays of an `.npz` as they are, and [`torch`] PyTorch files; whoever asks judges the numbers.
//!
//! [`write_atomic`] is the way out: a file appears whole or not at all.

mod atomic;
mod check;
mod csr;
mod element;
mod error;
mod fill;
mod npy;
mod npz;
mod safetensors;
mod sampled;
mod source;
pub mod torch;

use std::fmt;
use std::path::Path;

pub use atomic::{is_part, remove_parts, too_little_room, write_atomic};
pub use csr::{is_sparse, npy_header, read_csr, write_csr};
pub use error::{Problem, ReadError};
pub use sampled::spread_runs;

use crate::Mat;
use source::Source;

/// Which array of a file to read, and how.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// The array's name in an `.npz` or `.safetensors` file; may be left out where there is only one.
    pub key: Option<String>,
    /// Whether an array of more than two dimensions is read with its leading axes run together as rows
    /// (`[batch, position, neuron]` becomes `[batch · position, neuron]`) or refused.
    pub flatten: bool,
}

/// A matrix fit for analysis, and where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// `[rows, columns]`, one sample per row, converted to f32 (rounded to nearest from f64). All finite.
    pub mat: Mat,
    /// The shape as in the file, before flattening.
    pub shape: Vec<usize>,
    /// The element type as the file spells it: `<f4`, `BF16`.
    pub dtype: String,
    /// The array's name in the file, given or found; `None` for `.npy`.
    pub key: Option<String>,
    /// SHA-256, in hex, of the bytes that were used: of the whole file for `.npy` (what `sha256sum FILE`
    /// prints); of the unpacked entry for `.npz` (`unzip -p FILE KEY.npy | sha256sum`, so an array has one
    /// hash in both formats); of the tensor's bytes alone, without the header, for `.safetensors`.
    pub sha256: String,
    /// How many bytes `sha256` is of.
    pub bytes: u64,
    /// Columns that hold one value in all rows, ascending. They are left in `mat`.
    pub constant_columns: Vec<usize>,
}

/// An array in a file, as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayInfo {
    /// Its name; `None` for the one array of an `.npy` file.
    pub key: Option<String>,
    /// The shape as in the file.
    pub shape: Vec<u64>,
    /// The element type as the file spells it.
    pub dtype: String,
}

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// NumPy's array format, versions 1 to 3 (NEP 1).
    Npy,
    /// A zip archive of `.npy` files, as `np.savez` and `np.savez_compressed` write it.
    Npz,
    /// Hugging Face safetensors.
    Safetensors,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Npy => ".npy",
            Format::Npz => ".npz (a zip archive)",
            Format::Safetensors => ".safetensors",
        })
    }
}

/// An array as a format's reader hands it over: read and converted, its values not yet judged.
struct Array {
    mat: Mat,
    shape: Vec<u64>,
    dtype: String,
    sha256: String,
    bytes: u64,
    /// Finite 64-bit values that became infinite in f32.
    too_large: u64,
    /// Which rows of the file these are; `None` for all.
    rows: Option<Vec<u64>>,
}

/// Reads one array of `path` as a `[rows, columns]` matrix.
///
/// # Errors
/// [`ReadError`] if the file can't be read, isn't one of the three formats, is damaged, lacks the key, or
/// holds something other than a finite float matrix of at least two rows with at least two columns that vary.
pub fn read_matrix(path: &Path, options: &ReadOptions) -> Result<Loaded, ReadError> {
    let (array, key) = read_array(path, options, Shape::of(options))?;
    let constant_columns = check::finite(&array.mat, array.too_large)
        .and_then(|()| check::constant_columns(&array.mat))
        .map_err(|p| ReadError::new(path, key.as_deref(), p))?;
    Ok(loaded(array, key, constant_columns))
}

/// Reads one array of `path` as directions, one a row; a single vector is one of them. Unlike activations they need not vary: a single one will do, and so will a single
/// dimension. Constant columns are not looked for.
///
/// # Errors
/// [`ReadError`] if the file can't be read, isn't one of the three formats, is damaged, lacks the key, or holds something other than a
/// finite float matrix with at least one number.
pub fn read_directions(path: &Path, options: &ReadOptions) -> Result<Loaded, ReadError> {
    let (array, key) = read_array(path, options, Shape::Directions { flatten: options.flatten })?;
    check::finite(&array.mat, array.too_large).map_err(|p| ReadError::new(path, key.as_deref(), p))?;
    Ok(loaded(array, key, Vec::new()))
}

/// Reads one array of `path` as labels, one row for each row of activations: floats, whole numbers or truth values. A single vector is a row, as in
/// [`read_directions`].
///
/// # Errors
/// As [`read_directions`].
pub fn read_labels(path: &Path, options: &ReadOptions) -> Result<Loaded, ReadError> {
    let wanted = Wanted { shape: Shape::Directions { flatten: options.flatten }, sample: None, whole: true };
    let (array, key) = read_array(path, options, wanted)?;
    check::finite(&array.mat, array.too_large).map_err(|p| ReadError::new(path, key.as_deref(), p))?;
    Ok(loaded(array, key, Vec::new()))
}

/// As much of a matrix as may be in memory.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Numbers that are kept at most; two rows are kept anyhow.
    pub numbers: u64,
    /// Rows that are kept at one place: neighbours stay neighbours.
    pub run: u64,
    pub seed: u64,
}

/// As [`read_matrix`], for a file that may be larger than memory: all of it is read and judged, and where it holds more than the `sample` allows,
/// runs of rows that are spread over it are kept, in their order. Says which; `None` for all. Columns are constant that are so in what was kept.
///
/// # Errors
/// As [`read_matrix`].
pub fn read_sample(
    path: &Path,
    options: &ReadOptions,
    sample: Sample,
) -> Result<(Loaded, Option<Vec<u64>>), ReadError> {
    let wanted = Wanted { shape: Shape::of(options), sample: Some(sample), whole: false };
    let (mut array, key) = read_array(path, options, wanted)?;
    let rows = array.rows.take();
    let constant_columns = check::finite(&array.mat, array.too_large)
        .and_then(|()| check::constant_columns(&array.mat))
        .map_err(|p| ReadError::new(path, key.as_deref(), p))?;
    Ok((loaded(array, key, constant_columns), rows))
}

fn loaded(array: Array, key: Option<String>, constant_columns: Vec<usize>) -> Loaded {
    let shape = array.shape.iter().map(|&n| n as usize).collect();
    let Array { mat, dtype, sha256, bytes, .. } = array;
    Loaded { mat, shape, dtype, key, sha256, bytes, constant_columns }
}

/// An array of any shape, converted to f32 and not judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    pub key: String,
    pub shape: Vec<usize>,
    /// In row-major order.
    pub data: Vec<f32>,
}

/// All arrays of an `.npz` archive, whatever their shapes and values.
///
/// # Errors
/// [`ReadError`] if the file can't be read, isn't an `.npz`, is damaged, or holds an array that is empty or not of floats.
pub fn read_arrays(path: &Path) -> Result<Vec<Named>, ReadError> {
    let in_file = |problem| ReadError::new(path, None, problem);
    let mut archive = npz::Archive::of_file(path).map_err(in_file)?;
    let keys = archive.keys();
    let read = |(i, key): (usize, String)| {
        let array = archive.read(i, Shape::Any).map_err(|p| ReadError::new(path, Some(&key), p))?;
        Ok(Named { key, shape: array.shape.iter().map(|&n| n as usize).collect(), data: array.mat.into_vec() })
    };
    keys.into_iter().enumerate().map(read).collect()
}

/// Which shapes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Two axes.
    Matrix,
    /// Two or more; all but the last run together as rows.
    Flattened,
    /// As these two, but a single row or column will do, and of the first a single vector.
    Directions { flatten: bool },
    /// Any that holds a number.
    Any,
}

/// What is wanted of an array.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    shape: Shape,
    /// All of it, or as much as this.
    sample: Option<Sample>,
    /// Whether whole numbers and truth values will do.
    whole: bool,
}

impl From<Shape> for Wanted {
    fn from(shape: Shape) -> Self {
        Wanted { shape, sample: None, whole: false }
    }
}

impl Shape {
    fn of(options: &ReadOptions) -> Self {
        if options.flatten { Shape::Flattened } else { Shape::Matrix }
    }
}

/// The array that is asked for, whatever its values, and its name.
fn read_array(path: &Path, options: &ReadOptions, of: impl Into<Wanted>) -> Result<(Array, Option<String>), ReadError> {
    let of = of.into();
    let in_file = |problem| ReadError::new(path, None, problem);
    let wanted = options.key.as_deref();
    let (source, format) = Source::open(path).map_err(in_file)?;
    match format {
        Format::Npy => match wanted {
            Some(key) => Err(in_file(Problem::KeyWithoutUse(key.to_owned()))),
            None => Ok((npy::read(source, of).map_err(in_file)?, None)),
        },
        Format::Npz => {
            let mut archive = npz::Archive::open(source).map_err(in_file)?;
            let mut keys = archive.keys();
            let chosen = choose(&keys, wanted).map_err(in_file)?;
            let key = keys.swap_remove(chosen);
            let array = archive.read(chosen, of).map_err(|p| ReadError::new(path, Some(&key), p))?;
            Ok((array, Some(key)))
        }
        Format::Safetensors => {
            let mut tensors = safetensors::Tensors::open(source).map_err(in_file)?;
            let mut keys = tensors.keys();
            let chosen = choose(&keys, wanted).map_err(in_file)?;
            let key = keys.swap_remove(chosen);
            let array = tensors.read(&key, of).map_err(|p| ReadError::new(path, Some(&key), p))?;
            Ok((array, Some(key)))
        }
    }
}

/// The arrays in `path`, in the order in which the file holds them. Only headers are read.
///
/// # Errors
/// [`ReadError`] if the file can't be read, isn't one of the three formats, or a header in it is damaged.
pub fn describe(path: &Path) -> Result<Vec<ArrayInfo>, ReadError> {
    let in_file = |problem| ReadError::new(path, None, problem);
    let (source, format) = Source::open(path).map_err(in_file)?;
    match format {
        Format::Npy => Ok(vec![npy::describe(source).map_err(in_file)?]),
        Format::Npz => {
            let mut archive = npz::Archive::open(source).map_err(in_file)?;
            let keys = archive.keys();
            let info = |(i, key): (usize, &String)| archive.describe(i).map_err(|p| ReadError::new(path, Some(key), p));
            keys.iter().enumerate().map(info).collect()
        }
        Format::Safetensors => Ok(safetensors::Tensors::open(source).map_err(in_file)?.describe()),
    }
}

/// The position of the wanted key, or of the only one if none is wanted.
fn choose(keys: &[String], wanted: Option<&str>) -> Result<usize, Problem> {
    let position = |name: &str| keys.iter().position(|k| k == name);
    match (wanted, keys) {
        (_, []) => Err(Problem::NoArrays),
        (None, [_]) => Ok(0),
        (None, _) => Err(Problem::KeyNeeded { keys: keys.to_vec() }),
        // `unzip -l` shows `resid.npy` where `np.load` says `resid`.
        (Some(wanted), _) => {
            position(wanted).or_else(|| wanted.strip_suffix(".npy").and_then(position)).ok_or_else(|| {
                Problem::UnknownKey { wanted: wanted.to_owned(), closest: closest(keys, wanted), keys: keys.to_vec() }
            })
        }
    }
}

/// The key that was probably meant: the one whose spelling is nearest, if it is near at all.
fn closest(keys: &[String], wanted: &str) -> Option<String> {
    const NEAR: f64 = 0.6;
    // Bounds the quadratic comparison: no name that a person typed is longer, nor a useful list.
    let comparable = |name: &str| name.len() <= 200;
    if !comparable(wanted) {
        return None;
    }
    let scored = keys.iter().take(10_000).filter(|k| comparable(k));
    scored
        .map(|k| (strsim::normalized_damerau_levenshtein(k, wanted), k))
        .filter(|(score, _)| *score >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k.clone())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// 20,000 rows of 2 in each format: more than any buffer reads ahead.
    fn files() -> [(Format, Vec<u8>); 3] {
        let data: Vec<u8> = (0..40_000).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
        let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (20000, 2), }";
        npy.extend(format!("{header:<117}\n").bytes());
        npy.extend(&data);
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file("a.npy", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&npy).unwrap();
        let header = r#"{"a":{"dtype":"F32","shape":[20000,2],"data_offsets":[0,160000]}}"#;
        let tensors = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
        [(Format::Npy, npy), (Format::Npz, zip.finish().unwrap().into_inner()), (Format::Safetensors, tensors)]
    }

    /// The readers keep the file open between judging its size and reading the elements. Under a memory map
    /// this is where the process would die of SIGBUS.
    #[test]
    fn a_file_that_shrinks_while_it_is_read_gives_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for (format, bytes) in files() {
            let extension = match format {
                Format::Npy => "npy",
                Format::Npz => "npz",
                Format::Safetensors => "safetensors",
            };
            let path = dir.path().join(format!("x.{extension}"));
            std::fs::write(&path, &bytes).unwrap();
            assert!(read_matrix(&path, &ReadOptions::default()).is_ok());
            let (source, found) = Source::open(&path).unwrap();
            assert_eq!(found, format);
            let shrink = || std::fs::File::options().write(true).open(&path).unwrap().set_len(80_000).unwrap();
            let result = match format {
                Format::Npy => {
                    shrink();
                    npy::read(source, Shape::Matrix)
                }
                Format::Npz => {
                    let mut archive = npz::Archive::open(source).unwrap();
                    shrink();
                    archive.read(0, Shape::Matrix)
                }
                Format::Safetensors => {
                    let mut tensors = safetensors::Tensors::open(source).unwrap();
                    shrink();
                    tensors.read("a", Shape::Matrix)
                }
            };
            let problem = result.err().unwrap_or_else(|| panic!("{format} was read in full"));
            assert!(matches!(problem, Problem::Truncated { .. } | Problem::Archive(_)), "{problem}");
        }
    }

    /// `.npz` of one array with this shape, as `np.savez` writes it.
    fn archive(shape: &str, numbers: usize) -> Vec<u8> {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        npy.extend(format!("{header:<117}\n").bytes());
        npy.extend((0..numbers).flat_map(|i| (i as f32).to_le_bytes()));
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        zip.start_file("a.npy", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&npy).unwrap();
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn arrays_of_any_shape_are_read_and_empty_ones_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        for (shape, want, numbers) in [
            ("()", vec![], 1),
            ("(1,)", vec![1], 1),
            ("(5,)", vec![5], 5),
            ("(1, 3)", vec![1, 3], 3),
            ("(2, 1, 2)", vec![2, 1, 2], 4),
        ] {
            std::fs::write(&path, archive(shape, numbers)).unwrap();
            let arrays = read_arrays(&path).unwrap();
            let data = (0..numbers).map(|i| i as f32).collect();
            assert_eq!(arrays, [Named { key: "a".into(), shape: want, data }]);
        }
        for shape in ["(0,)", "(3, 0)", "(0, 18446744073709551615)", "(4, 4)"] {
            std::fs::write(&path, archive(shape, 0)).unwrap();
            assert!(read_arrays(&path).unwrap_err().to_string().contains("key `a`"), "{shape}");
        }
        std::fs::write(&path, &files()[0].1).unwrap();
        assert!(read_arrays(&path).is_err(), "an .npy of that name");
    }
}
