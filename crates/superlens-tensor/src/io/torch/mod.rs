//! PyTorch files (`.pt`, `.pth`): a zip archive of one pickle, `data.pkl`, and one raw file a storage, `data/KEY`.
//!
//! Nothing in a file is run, and nothing is believed before the archive bears it out: storages are stored, not packed, so that
//! none is larger than the file; a tensor must lie inside its storage.

mod pickle;
mod value;
mod write;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::{CompressionMethod, ZipArchive};

use super::error::printable;
use super::{Problem, ReadError};
pub use value::{TensorInfo, Value};
pub use write::{Numbers, state_dict};

/// The largest pickle that is read. It describes tensors and holds no numbers; those of large models have some 100 kB.
const MAX_PICKLE: u64 = 4 << 20;

/// An open file whose pickle is read, and whose tensors are not yet.
#[derive(Debug)]
pub struct TorchFile {
    path: PathBuf,
    zip: ZipArchive<BufReader<File>>,
    len: u64,
    /// The folder in the archive that everything lies in, with its slash.
    folder: String,
    root: Value,
}

impl TorchFile {
    /// Opens `path` and reads its pickle.
    ///
    /// # Errors
    /// [`ReadError`] if it can't be read, isn't what `torch.save` writes since PyTorch 1.6, or asks for anything but tensors and plain
    /// values.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::opened(path).map_err(|problem| ReadError::new(path, None, problem))
    }

    fn opened(path: &Path) -> Result<Self, Problem> {
        let metadata = std::fs::metadata(path).map_err(Problem::Io)?;
        if !metadata.is_file() {
            return Err(Problem::NotAFile { found: if metadata.is_dir() { "a folder" } else { "a pipe or a device" } });
        }
        let mut file = BufReader::new(File::open(path).map_err(Problem::Io)?);
        let len = metadata.len();
        let mut head = Vec::new();
        (&mut file).take(4).read_to_end(&mut head).map_err(Problem::Io)?;
        if head.is_empty() {
            return Err(Problem::Empty);
        }
        if !head.starts_with(b"PK\x03\x04") {
            return Err(bad(
                "it is no zip archive; files from before PyTorch 1.6 must be loaded and saved again by a newer one",
            ));
        }
        let zip = ZipArchive::new(file).map_err(|e| archive(&e))?;
        let folder =
            |name: &str| name.strip_suffix("data.pkl").filter(|f| f.is_empty() || f.ends_with('/')).map(str::to_owned);
        let named = zip.file_names().filter_map(Result::ok).find_map(|name| folder(&name));
        let folder = named.ok_or_else(|| bad("the archive holds no data.pkl"))?;
        let mut file = Self { path: path.to_owned(), zip, len, folder, root: Value::None };
        if file.zip.index_for_name(&format!("{}byteorder", file.folder)).is_some() {
            let order = file.entry("byteorder", 16)?;
            if order != b"little" {
                return Err(bad("its numbers are not little-endian; save it on another machine"));
            }
        }
        file.root = pickle::parse(&file.entry("data.pkl", MAX_PICKLE)?)?;
        Ok(file)
    }

    /// The value that was saved.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// The numbers of a tensor of this file, in row-major order, rounded to f32.
    ///
    /// # Errors
    /// [`ReadError`], naming `key`, if its storage is missing, cut off, or packed.
    pub fn tensor(&mut self, key: &str, info: &TensorInfo) -> Result<Vec<f32>, ReadError> {
        self.numbers(info).map_err(|problem| ReadError::new(&self.path, Some(key), problem))
    }

    fn numbers(&mut self, info: &TensorInfo) -> Result<Vec<f32>, Problem> {
        let width = info.element.bytes();
        let bytes = self.entry(&format!("data/{}", info.storage), self.len)?;
        if bytes.len() as u128 != u128::from(info.storage_len) * width as u128 {
            let expected = u128::from(info.storage_len) * width as u128;
            return Err(bad(&format!(
                "storage {} holds {} bytes, where its type says {expected}",
                printable(&info.storage, 40),
                bytes.len()
            )));
        }
        let number = |at: usize| info.element.number(&bytes[at * width..(at + 1) * width]);
        let mut numbers = Vec::with_capacity(info.len() as usize);
        let Some((&columns, leading)) = info.shape.split_last() else { return Ok(vec![number(info.offset as usize)]) };
        if info.len() == 0 {
            return Ok(numbers);
        }
        let step = info.strides[leading.len()];
        let mut index = vec![0; leading.len()];
        loop {
            let start = info.offset + index.iter().zip(&info.strides).map(|(i, stride)| i * stride).sum::<u64>();
            numbers.extend((0..columns).map(|j| number((start + j * step) as usize)));
            // The next of the leading indices, the last of them fastest.
            let Some(axis) = (0..leading.len()).rev().find(|&axis| index[axis] + 1 < leading[axis]) else { break };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
        Ok(numbers)
    }

    /// The bytes of one file of the archive, at most `limit`.
    fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, Problem> {
        let full = format!("{}{name}", self.folder);
        let entry = self.zip.by_name(&full).map_err(|e| match e {
            zip::result::ZipError::FileNotFound => bad(&format!("the archive holds no {}", printable(&full, 80))),
            other => archive(&other),
        })?;
        let size = entry.size();
        if entry.compression() != CompressionMethod::Stored || entry.compressed_size() != size {
            return Err(bad(&format!("{} is packed, as PyTorch never does", printable(&full, 80))));
        }
        if size > limit.min(self.len) {
            return Err(bad(&format!(
                "{} claims {size} bytes, where {} can be",
                printable(&full, 80),
                limit.min(self.len)
            )));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        entry.take(size).read_to_end(&mut bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::Other => {
                bad(&format!("{}: {}", printable(&full, 80), printable(&e.to_string(), 100)))
            }
            _ => Problem::Io(e),
        })?;
        match bytes.len() as u64 == size {
            true => Ok(bytes),
            false => Err(Problem::Truncated { expected: u128::from(size), found: bytes.len() as u64 }),
        }
    }
}

fn bad(what: &str) -> Problem {
    Problem::Torch(what.to_owned())
}

fn archive(error: &zip::result::ZipError) -> Problem {
    bad(&format!("the zip archive is damaged: {}", printable(&error.to_string(), 150)))
}

#[cfg(test)]
mod tests;
