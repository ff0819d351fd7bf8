//! Where a harvest is in its texts: for the store to be gone on with, and for the user.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use superlens_tensor::io::write_atomic;

use crate::corpus::{self, Format, Position};
use crate::store::StoreError;

/// Kept beside the shards while there is no manifest.
const FILE: &str = ".harvest.json";

/// A place in the texts, and how many rows of the store come before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Resume {
    pub rows: u64,
    pub position: Position,
}

impl Resume {
    /// The last place that was kept, if the store has what comes before it; otherwise the beginning.
    pub fn read(dir: &Path, stored: u64) -> Resume {
        let kept = fs::read(dir.join(FILE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        kept.filter(|kept: &Resume| kept.rows <= stored).unwrap_or_default()
    }

    pub fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let file = dir.join(FILE);
        let told = StoreError::writing(&file);
        let text = serde_json::to_vec(self).map_err(|e| told(e.into()))?;
        write_atomic(&file, &text).map_err(told)
    }

    pub fn remove(dir: &Path) {
        // Left over it does no harm: a whole store is never gone on with.
        let _ = fs::remove_file(dir.join(FILE));
    }
}

/// Bytes of each text, from which the share that is read follows. Of Parquet only whole files can be told, of standard input nothing.
pub(super) struct Sizes(Vec<(u64, bool)>);

impl Sizes {
    pub fn of(texts: &[PathBuf], reading: &corpus::Options) -> Sizes {
        let size = |path: &PathBuf| {
            let bytes = fs::metadata(path).map_or(0, |about| about.len());
            (bytes, corpus::format_of(path, reading) == Format::Parquet)
        };
        Sizes(texts.iter().map(size).collect())
    }

    pub fn share(&self, at: Position) -> f64 {
        let all: u64 = self.0.iter().map(|(bytes, _)| bytes).sum();
        let before: u64 = self.0.iter().take(at.place.file).map(|(bytes, _)| bytes).sum();
        let within = match self.0.get(at.place.file) {
            Some((bytes, false)) => at.place.offset.min(*bytes),
            _ => 0,
        };
        if all == 0 { 0.0 } else { (before + within) as f64 / all as f64 }
    }
}
