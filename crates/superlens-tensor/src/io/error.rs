//! [`ReadError`]: which file, which array in it, and what is wrong with it. Its `Display` is one line
//! that says what was expected, what was found and what to do, whatever bytes the file holds.

use std::path::{Path, PathBuf};

use super::Format;

/// Why a file could not be read as a matrix of activations.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", place(.path, .key.as_deref()))]
pub struct ReadError {
    /// The file as the caller named it.
    pub path: PathBuf,
    /// The array inside the file, once one was chosen.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: Box<Problem>,
}

impl ReadError {
    pub(super) fn new(path: &Path, key: Option<&str>, problem: Problem) -> Self {
        Self { path: path.to_owned(), key: key.map(str::to_owned), problem: Box::new(problem) }
    }
}

/// What is wrong with the file. Each variant hints at the way out, because its reader is a person at a
/// terminal.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The system refused to open or to read the file: it isn't there, permission is missing, a disk
    /// fails.
    #[error("{}", io_text(.0))]
    Io(std::io::Error),

    /// The path names a folder, a pipe or a device.
    #[error("is {found}, not a file; give a .npy, .npz or .safetensors file")]
    NotAFile {
        /// What it is: "a folder", "a pipe or a device".
        found: &'static str,
    },

    /// The file has no bytes.
    #[error("is empty (0 bytes); was the program that writes it interrupted?")]
    Empty,

    /// The extension isn't one that is read. `content` is what the first bytes look like, if they are known.
    #[error(
        "has the extension {}, but only .npy, .npz and .safetensors are read; {}",
        quoted_extension(.extension),
        extension_advice(*.content)
    )]
    UnknownExtension {
        /// The extension without its dot; empty where there is none.
        extension: String,
        /// What the first bytes look like.
        content: Option<Format>,
    },

    /// The first bytes are not those of the format that the extension promises.
    #[error("is named like {expected}, but {}", magic_advice(*.found))]
    WrongMagic {
        /// What the extension promises.
        expected: Format,
        /// What the first bytes look like, if they are known.
        found: Option<Format>,
    },

    /// The header is cut off, contradicts itself, or isn't in its format's grammar.
    #[error("its header can't be read: {0}; write the file anew")]
    BadHeader(String),

    /// Fewer bytes than the header promises; also when the file shrinks while it is read.
    #[error(
        "is cut off: the header promises {expected} bytes, {found} are there; was it copied or written to its end?"
    )]
    Truncated {
        /// Bytes that the header promises.
        expected: u128,
        /// Bytes that are there.
        found: u64,
    },

    /// More bytes than the header accounts for.
    #[error(
        "holds {found} bytes where its header accounts for {expected}; save one array per .npy file, or write it anew"
    )]
    ExtraBytes {
        /// Bytes that the header accounts for.
        expected: u64,
        /// Bytes that are there (or more).
        found: u64,
    },

    /// The zip archive around the arrays is damaged, encrypted, or packed in a way that NumPy doesn't use.
    #[error("the zip archive can't be read: {0}; write it anew with np.savez or np.savez_compressed")]
    Archive(String),

    /// An entry claims to unpack to far more than it occupies.
    #[error(
        "unpacks from {packed} to {unpacked} bytes, more than {limit}-fold, as no activations do; if they are real, \
         save them uncompressed with np.savez"
    )]
    DeflateBomb {
        /// Bytes in the archive.
        packed: u64,
        /// Bytes the entry claims to hold.
        unpacked: u64,
        /// The largest ratio that is unpacked.
        limit: u64,
    },

    /// Not what `torch.save` writes, or more than tensors and plain values.
    #[error("can't be read as a PyTorch file: {0}")]
    Torch(String),

    /// The file holds no arrays at all.
    #[error("holds no arrays; save at least one two-dimensional float array in it")]
    NoArrays,

    /// Several arrays, and none was asked for.
    #[error("holds {} arrays; choose one with --key: {}", .keys.len(), listed(.keys))]
    KeyNeeded {
        /// The arrays in the file.
        keys: Vec<String>,
    },

    /// No array of that name.
    #[error(
        "holds no array named `{}`{}; it holds {}: {}",
        printable(.wanted, 80),
        did_you_mean(.closest),
        .keys.len(),
        listed(.keys)
    )]
    UnknownKey {
        /// The name that was asked for.
        wanted: String,
        /// The name nearest to it, if one is near.
        closest: Option<String>,
        /// The arrays in the file.
        keys: Vec<String>,
    },

    /// A key was given for a format whose one array has no name.
    #[error("is a .npy file: its one array has no name; leave out --key `{}`", printable(.0, 80))]
    KeyWithoutUse(String),

    /// The elements aren't floating-point numbers of 16, 32 or 64 bits.
    #[error(
        "holds {} ({what}), but only float16, bfloat16 (.safetensors), float32 and float64 are read; {advice}",
        printable(.dtype, 60)
    )]
    Dtype {
        /// The element type as the file spells it.
        dtype: String,
        /// The kind of it, in words.
        what: &'static str,
        /// What to do.
        advice: &'static str,
    },

    /// Not two dimensions, nor more with `flatten`.
    #[error("has shape {}: a matrix [rows, columns] is needed; {advice}", shape_text(.shape))]
    Dimensions {
        /// The shape as in the file.
        shape: Vec<u64>,
        /// What to do.
        advice: &'static str,
    },

    /// Fewer than two rows: nothing varies.
    #[error(
        "has {rows} {} of {columns} {}: at least 2 rows (samples) are needed",
        plural(*.rows, "row", "rows"),
        plural(*.columns, "column", "columns")
    )]
    TooFewRows {
        /// Rows after flattening.
        rows: u64,
        /// Columns.
        columns: u64,
    },

    /// Fewer than two columns that vary.
    #[error(
        "has {varying} {} among {columns} {} of {rows} rows: at least 2 (neurons) must vary; is this the right array?",
        plural(*.varying, "column that varies", "columns that vary"),
        plural(*.columns, "column", "columns")
    )]
    TooFewVarying {
        /// Columns with at least two distinct values.
        varying: u64,
        /// All columns.
        columns: u64,
        /// Rows.
        rows: u64,
    },

    /// NaN, infinity, or a 64-bit value that 32 bits can't hold.
    #[error(
        "holds {}, the first at row {row}, column {column} (counted from 0); remove or repair those rows",
        non_finite_text(*.nan, *.infinite, *.too_large)
    )]
    NonFinite {
        /// Values that aren't a number.
        nan: u64,
        /// Infinities as stored.
        infinite: u64,
        /// Finite 64-bit values beyond the range of f32.
        too_large: u64,
        /// Row of the first, in row-major order, after flattening.
        row: u64,
        /// Its column.
        column: u64,
    },

    /// The matrix doesn't fit in memory.
    #[error("needs {bytes} bytes of memory as f32, which this machine won't give; read fewer rows")]
    TooLarge {
        /// Bytes that were asked for.
        bytes: u128,
    },
}

/// The file, and the array in it: "acts.npz, key `resid`".
fn place(path: &Path, key: Option<&str>) -> String {
    let file = printable(&path.to_string_lossy(), usize::MAX);
    match key {
        Some(key) => format!("{file}, key `{}`", printable(key, 80)),
        None => file,
    }
}

/// `text` on one line: control characters escaped (a file may put a terminal's escape codes in a key), and
/// no more than `limit` characters of it.
pub(super) fn printable(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == limit {
            out.push('…');
            break;
        }
        // Line and paragraph separators, and marks that turn the direction of the text around.
        let hidden = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}');
        if c.is_control() || hidden {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The first keys, and how many are left.
fn listed(keys: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut text = keys.iter().take(SHOWN).map(|k| printable(k, 60)).collect::<Vec<_>>().join(", ");
    if keys.len() > SHOWN {
        text.push_str(&format!(", … and {} more", keys.len() - SHOWN));
    }
    text
}

pub(super) fn shape_text(shape: &[u64]) -> String {
    let axes: Vec<String> = shape.iter().map(u64::to_string).collect();
    format!("[{}]", axes.join(", "))
}

fn io_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file; check the path".into(),
        std::io::ErrorKind::PermissionDenied => "may not be read: permission denied; check the file's mode".into(),
        _ => format!("can't be read: {}", printable(&error.to_string(), 200)),
    }
}

fn quoted_extension(extension: &str) -> String {
    if extension.is_empty() { "none".into() } else { format!("`.{}`", printable(extension, 20)) }
}

fn extension_advice(content: Option<Format>) -> String {
    match content {
        Some(format) => format!("its content looks like {format}: rename it"),
        None => "save the activations with np.save".into(),
    }
}

fn magic_advice(found: Option<Format>) -> String {
    match found {
        Some(format) => format!("its content looks like {format}: rename it"),
        None => "its first bytes say it is none; write it anew, or name it after what it is".into(),
    }
}

fn did_you_mean(closest: &Option<String>) -> String {
    closest.as_ref().map_or_else(String::new, |name| format!(" (did you mean `{}`?)", printable(name, 80)))
}

fn plural(n: u64, one: &'static str, many: &'static str) -> &'static str {
    if n == 1 { one } else { many }
}

fn non_finite_text(nan: u64, infinite: u64, too_large: u64) -> String {
    let counts = [
        (nan, "NaN", "NaN"),
        (infinite, "infinity", "infinities"),
        (too_large, "value beyond the range of float32", "values beyond the range of float32"),
    ];
    let parts: Vec<String> =
        counts.iter().filter(|(n, ..)| *n > 0).map(|&(n, one, many)| format!("{n} {}", plural(n, one, many))).collect();
    parts.join(" and ")
}
