//! Training straight from a model: no row is seen twice, and none is stored.

use super::{Stream, Synthetic};
use crate::sae::train::{Batch, Source, SourceError};
use superlens_tensor::Mat;

/// Rows in a block of a scan.
const BLOCK: u64 = 4096;

/// Rows of a model for a training with one seed.
pub struct Fresh<'a> {
    pub model: &'a Synthetic,
    pub seed: u64,
    /// Rows a step.
    pub batch: usize,
}

impl Fresh<'_> {
    fn rows(&self, first: u64, many: u64) -> Mat {
        self.model.rows(&self.model.activations(self.seed, Stream::Train, first..first.saturating_add(many)))
    }
}

impl Source for Fresh<'_> {
    fn d_in(&self) -> usize {
        self.model.preset.dims
    }

    fn rows(&self) -> Option<usize> {
        None
    }

    fn batch_rows(&self) -> usize {
        self.batch
    }

    fn batch(&mut self, step: u64) -> Result<Batch, SourceError> {
        Ok(Fresh::rows(self, step.saturating_mul(self.batch as u64), self.batch as u64).into())
    }

    /// The first rows: they are all alike in law.
    fn scan(&mut self, rows: usize, visit: &mut dyn FnMut(Batch)) -> Result<(), SourceError> {
        let rows = rows as u64;
        for first in (0..rows).step_by(BLOCK as usize) {
            visit(Fresh::rows(self, first, BLOCK.min(rows - first)).into());
        }
        Ok(())
    }
}
