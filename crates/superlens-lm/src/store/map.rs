//! [`Map`]: a file as a slice of memory. The one place of the crate with `unsafe`.
//!
//! Files that users name are read, not mapped, since one that shrinks would end the process. The shards of a store are the exception: they are
//! larger than memory, written once, renamed into place and never changed by us. In return nobody else may cut them while they are
//! read, and `docs/store.md` says so.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

/// A file mapped for reading.
#[derive(Debug)]
pub(super) struct Map(memmap2::Mmap);

impl Map {
    pub fn open(path: &Path) -> io::Result<Map> {
        let file = File::open(path)?;
        // SAFETY: the bytes stay as they are as long as nobody writes to the file. We never write to a shard that is in its place: new ones
        // are made beside it and renamed, which leaves this mapping with the old one. The slice has the length that the file
        // has now; bytes have no invalid values; whoever cuts the file meanwhile gets the signal of the system, as documented.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Map(map))
    }

    /// Lets the system read these bytes ahead. A hint: that it fails is no error.
    pub fn soon(&self, first: usize, len: usize) {
        #[cfg(unix)]
        let _ = self.0.advise_range(memmap2::Advice::WillNeed, first, len);
        #[cfg(not(unix))]
        let _ = (first, len);
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
