//! One shard: a safetensors file with the tensor `activations`, `[rows, width]`.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use tempfile::NamedTempFile;

use super::StoreError;
use super::dtype::DType;
use super::error::Problem;
use super::hash;
use super::manifest::{Hook, Shard, Stored};
use super::map::Map;

const TENSOR: &str = "activations";
/// The header, padded with blanks to this length so that the number of rows can be filled in at the end. With the eight bytes of its
/// length before it, the numbers begin on a multiple of 64.
const HEADER: usize = 248;
/// Ends the name of a file that is still written.
pub(super) const PART: &str = ".part";

/// A shard that is open for reading: sizes and header agree with the manifest.
#[derive(Debug)]
pub(super) struct Mapped {
    map: Map,
    /// Where the numbers begin.
    start: usize,
    pub rows: u64,
}

impl Mapped {
    /// Opens shard `index` of `hook`. Only its size and its header are looked at.
    pub fn open(dir: &Path, hook: &Hook, index: usize) -> Result<Mapped, StoreError> {
        let (path, shard) = (hook.shard_path(dir, index), &hook.shards[index]);
        check_length(&path, &shard.stored)?;
        let map = Map::open(&path).map_err(StoreError::reading(&path))?;
        let bad = |what: String| StoreError::new(&path, Problem::Header(what));
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| bad(e.to_string()))?;
        let info = metadata.info(TENSOR).ok_or_else(|| bad(format!("it has no tensor `{TENSOR}`")))?;
        let found = DType::of(info.dtype);
        if found != Some(hook.dtype) {
            let expected = hook.dtype;
            return Err(bad(format!("dtype: expected {expected} as the manifest says, found {}", info.dtype)));
        }
        let shape: Vec<u64> = info.shape.iter().map(|&n| n as u64).collect();
        if shape != [shard.rows, hook.width as u64] {
            let expected = [shard.rows, hook.width as u64];
            return Err(bad(format!("shape: expected {expected:?} as the manifest says, found {shape:?}")));
        }
        let start = header + 8 + info.data_offsets.0;
        Ok(Mapped { map, start, rows: shard.rows })
    }

    /// The bytes of `count` rows from `first` on, of `row_bytes` each.
    pub fn bytes(&self, first: u64, count: usize, row_bytes: usize) -> &[u8] {
        assert!(first + count as u64 <= self.rows, "rows {first} to {first} + {count} of {}", self.rows);
        let from = self.start + first as usize * row_bytes;
        &self.map[from..from + count * row_bytes]
    }

    /// Lets the system read these rows ahead.
    pub fn soon(&self, first: u64, count: usize, row_bytes: usize) {
        self.map.soon(self.start + first as usize * row_bytes, count * row_bytes);
    }
}

pub(super) fn check_length(path: &Path, stored: &Stored) -> Result<(), StoreError> {
    let found = fs::metadata(path).map_err(StoreError::reading(path))?.len();
    if found != stored.bytes {
        return Err(StoreError::new(path, Problem::Length { expected: stored.bytes, found }));
    }
    Ok(())
}

/// A shard that is being written, beside its place.
pub(super) struct Growing {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    rows: u64,
    hook: (usize, DType),
}

impl Growing {
    pub fn new(path: PathBuf, width: usize, dtype: DType) -> Result<Growing, StoreError> {
        let make = || {
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            let mut builder = tempfile::Builder::new();
            builder.prefix(".").suffix(PART);
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            let mut file = BufWriter::with_capacity(1 << 20, builder.tempfile_in(folder)?);
            file.write_all(&[b' '; 8 + HEADER])?;
            Ok(file)
        };
        let file = make().map_err(StoreError::writing(&path))?;
        Ok(Growing { path, file, rows: 0, hook: (width, dtype) })
    }

    /// Appends `bytes` of `rows` whole rows.
    pub fn append(&mut self, bytes: &[u8], rows: u64) -> Result<(), StoreError> {
        self.rows += rows;
        self.file.write_all(bytes).map_err(StoreError::writing(&self.path))
    }

    /// Fills in the header, syncs, hashes what is on disk, and renames it into its place.
    pub fn close(self) -> Result<Shard, StoreError> {
        let Growing { path, file, rows, hook: (width, dtype) } = self;
        let told = StoreError::writing(&path);
        let close = || -> std::io::Result<Shard> {
            let mut file = file.into_inner().map_err(|e| e.into_error())?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header(rows, width, dtype))?;
            file.as_file().sync_all()?;
            let sha256 = hash::of_file(file.path())?;
            let bytes = file.as_file().metadata()?.len();
            file.persist(&path).map_err(|e| e.error)?;
            sync_folder(&path)?;
            Ok(Shard { rows, stored: Stored { bytes, sha256 } })
        };
        close().map_err(told)
    }
}

fn header(rows: u64, width: usize, dtype: DType) -> Vec<u8> {
    let end = rows * (width * dtype.bytes()) as u64;
    let dtype = dtype.safetensors();
    let text = format!(r#"{{"{TENSOR}":{{"dtype":"{dtype}","shape":[{rows},{width}],"data_offsets":[0,{end}]}}}}"#);
    let mut bytes = (HEADER as u64).to_le_bytes().to_vec();
    bytes.extend(format!("{text:<HEADER$}").bytes());
    bytes
}

/// A rename lives in the folder. Elsewhere than on Unix a folder can't be opened as a file.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
