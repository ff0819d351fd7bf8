//! [`Source`]: an open file whose size is known, and what its first bytes say it is.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Format, Problem};

/// A regular, non-empty file, opened for reading at its start.
#[derive(Debug)]
pub(super) struct Source {
    pub file: BufReader<File>,
    /// Its size when it was opened. What the file claims about itself is held against this.
    pub len: u64,
}

impl Source {
    /// Opens `path` and holds its extension against its first bytes.
    pub fn open(path: &Path) -> Result<(Self, Format), Problem> {
        // Asked before opening: opening a pipe would wait for somebody to write to it.
        let metadata = std::fs::metadata(path).map_err(Problem::Io)?;
        if metadata.is_dir() {
            return Err(Problem::NotAFile { found: "a folder" });
        }
        if !metadata.is_file() {
            return Err(Problem::NotAFile { found: "a pipe or a device" });
        }
        let file = File::open(path).map_err(Problem::Io)?;
        let len = file.metadata().map_err(Problem::Io)?.len();
        let mut source = Self { file: BufReader::new(file), len };
        let content = if len == 0 { None } else { source.sniff().map_err(Problem::Io)? };
        let extension = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
        let expected = match extension.to_ascii_lowercase().as_str() {
            "npy" => Format::Npy,
            "npz" => Format::Npz,
            "safetensors" => Format::Safetensors,
            _ => return Err(Problem::UnknownExtension { extension, content }),
        };
        if len == 0 {
            return Err(Problem::Empty);
        }
        // A safetensors file has no magic bytes: whether it is one shows when its header is parsed.
        if content != Some(expected) && (content.is_some() || expected != Format::Safetensors) {
            return Err(Problem::WrongMagic { expected, found: content });
        }
        Ok((source, expected))
    }

    /// What the first bytes look like; the position is the start again afterwards.
    fn sniff(&mut self) -> io::Result<Option<Format>> {
        let mut head = Vec::with_capacity(9);
        (&mut self.file).take(9).read_to_end(&mut head)?;
        self.file.seek(SeekFrom::Start(0))?;
        let header_len = head.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        Ok(if head.starts_with(b"\x93NUMPY") {
            Some(Format::Npy)
        } else if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Some(Format::Npz)
        } else if head.get(8) == Some(&b'{') && header_len.is_some_and(|n| n < self.len) {
            Some(Format::Safetensors)
        } else {
            None
        })
    }
}

/// Passes bytes on, counting and hashing them.
pub(super) struct Hashing<R> {
    inner: R,
    sha: Sha256,
    count: u64,
}

impl<R: Read> Hashing<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, sha: Sha256::new(), count: 0 }
    }

    /// Bytes so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The stream behind what was read, and the hash of what was, in hex.
    pub fn finish(self) -> (R, String) {
        let hex = self.sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (self.inner, hex)
    }

    /// Fills `buffer`. Where the stream ends first, the error states that `expected` bytes of it were
    /// promised.
    pub fn fill(&mut self, buffer: &mut [u8], expected: u128) -> Result<(), Problem> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]) {
                Ok(0) => return Err(Problem::Truncated { expected, found: self.count }),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Problem::Truncated { expected, found: self.count });
                }
                Err(e) => return Err(Problem::Io(e)),
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.sha.update(&buffer[..n]);
        self.count += n as u64;
        Ok(n)
    }
}
