//! `.npz`: a zip archive with one `.npy` file an array, stored (`np.savez`) or deflated
//! (`np.savez_compressed`). The `zip` crate knows the archive, [`super::npy`] what is in it.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::source::{Hashing, Source};
use super::{Array, ArrayInfo, Format, Problem, Wanted, npy};

/// The largest ratio that is unpacked beyond [`HARMLESS`]. Deflate reaches 1032 on zeros; 32-bit activations
/// of which 99.5 % are zero carry about 0.17 bits each, so no code packs them tighter than 200-fold.
const MAX_RATIO: u64 = 256;
/// What is unpacked whatever the ratio: labels of 0 and 1 may pack as tightly as zeros.
const HARMLESS: u64 = 256 << 20;

/// An open archive.
pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// Size of the archive itself: no entry can occupy more.
    len: u64,
    /// Key and index of each `.npy` entry.
    entries: Vec<(String, usize)>,
}

impl Archive {
    /// [`open`](Self::open) of a file, if it is such an archive.
    pub fn of_file(path: &Path) -> Result<Self, Problem> {
        match Source::open(path)? {
            (source, Format::Npz) => Self::open(source),
            (_, found) => Err(Problem::WrongMagic { expected: Format::Npz, found: Some(found) }),
        }
    }

    /// Reads the archive's directory.
    pub fn open(source: Source) -> Result<Self, Problem> {
        let zip = ZipArchive::new(source.file).map_err(archive_problem)?;
        let mut entries = Vec::new();
        for index in 0..zip.len() {
            let entry = zip.by_index_data(index).map_err(archive_problem)?;
            // NumPy's names: UTF-8 or ASCII. An entry that isn't an array is none of ours.
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            if let Some(key) = name.strip_suffix(".npy") {
                entries.push((key.to_owned(), index));
            }
        }
        Ok(Self { zip, len: source.len, entries })
    }

    /// The arrays' names, as `np.load` gives them.
    pub fn keys(&self) -> Vec<String> {
        self.entries.iter().map(|(key, _)| key.clone()).collect()
    }

    /// What the header of the array at `position` among [`Archive::keys`] says. Unpacks no more than that.
    pub fn describe(&mut self, position: usize) -> Result<ArrayInfo, Problem> {
        let (key, index) = self.entries[position].clone();
        let entry = self.zip.by_index(index).map_err(archive_problem)?;
        let len = entry.size();
        let header = npy::Header::read(&mut Hashing::new(entry), len).map_err(in_archive)?;
        Ok(ArrayInfo { key: Some(key), shape: header.shape, dtype: header.descr })
    }

    /// The whole numbers of the array at `position`, 32 or 64 bits each, none below zero.
    pub fn integers(&mut self, position: usize) -> Result<Vec<u64>, Problem> {
        let (entry, unpacked) = self.entry(position)?;
        npy::integers(entry, unpacked).map_err(in_archive)
    }

    /// The bytes of the entry at `position`, header and all, of one that should be short.
    pub fn short(&mut self, position: usize) -> Result<Vec<u8>, Problem> {
        const LONGEST: u64 = 1 << 12;
        let (entry, _) = self.entry(position)?;
        let mut bytes = Vec::new();
        entry.take(LONGEST).read_to_end(&mut bytes).map_err(|e| in_archive(Problem::Io(e)))?;
        Ok(bytes)
    }

    /// Reads the array at `position` among [`Archive::keys`], unpacking exactly what its header accounts for.
    pub fn read(&mut self, position: usize, wanted: impl Into<Wanted>) -> Result<Array, Problem> {
        let (entry, unpacked) = self.entry(position)?;
        let (array, mut rest) = npy::read_stream(entry, unpacked, wanted).map_err(in_archive)?;
        // Behind the array the entry must end. Asking also makes `zip` compare the checksum.
        match rest.read(&mut [0]) {
            Ok(0) => Ok(array),
            Ok(_) => Err(Problem::ExtraBytes { expected: unpacked, found: unpacked.saturating_add(1) }),
            Err(e) => Err(in_archive(Problem::Io(e))),
        }
    }

    /// The entry at `position` and the size that it unpacks to, if that is no larger than the archive can account for.
    fn entry(&mut self, position: usize) -> Result<(ZipFile<'_, BufReader<File>>, u64), Problem> {
        let archive_len = self.len;
        let entry = self.zip.by_index(self.entries[position].1).map_err(archive_problem)?;
        let (packed, unpacked) = (entry.compressed_size(), entry.size());
        if packed > archive_len {
            return Err(Problem::Truncated { expected: u128::from(packed), found: archive_len });
        }
        if unpacked > HARMLESS && unpacked / MAX_RATIO > packed {
            return Err(Problem::DeflateBomb { packed, unpacked, limit: MAX_RATIO });
        }
        Ok((entry, unpacked))
    }
}

fn archive_problem(error: ZipError) -> Problem {
    match error {
        ZipError::Io(e) => in_archive(Problem::Io(e)),
        ZipError::CompressionMethodNotSupported(id) => {
            Problem::Archive(format!("compression method {id} isn't read, only stored and deflated"))
        }
        other => Problem::Archive(super::error::printable(&other.to_string(), 200)),
    }
}

/// Errors of reading an entry that are the archive's (a damaged deflate stream, a checksum), not the disk's.
fn in_archive(problem: Problem) -> Problem {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof, Unsupported};
    match problem {
        Problem::Io(e) if matches!(e.kind(), InvalidData | InvalidInput | Other | UnexpectedEof | Unsupported) => {
            Problem::Archive(super::error::printable(&e.to_string(), 200))
        }
        other => other,
    }
}
