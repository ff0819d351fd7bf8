//! [`Stored`]: a store of activations as a source of training, larger than memory.

use superlens_lm::store::{Rows, Shuffle};
use superlens_tensor::Rng;

use super::source::{Batch, Source, SourceError};

/// Rows in a block of a scan, and rows that a scan of some reads at one place.
const BLOCK: usize = 4096;
const RUN: u64 = 16;

/// The rows of one hook of a store, in the order of [`Shuffle`].
pub struct Stored {
    shuffle: Shuffle,
    rng: Rng,
}

impl Stored {
    /// Batches of `batch` rows, or of all where there are fewer, out of a buffer of about `buffer` bytes. Panics where one is 0.
    pub fn new(rows: Rows, batch: usize, buffer: usize, rng: &Rng) -> Self {
        Stored { shuffle: Shuffle::new(rows, batch, buffer, rng), rng: rng.fork("scan") }
    }
}

impl Source for Stored {
    fn d_in(&self) -> usize {
        self.shuffle.rows().width()
    }

    fn rows(&self) -> Option<usize> {
        usize::try_from(self.shuffle.rows().len()).ok()
    }

    fn batch_rows(&self) -> usize {
        self.shuffle.batch_rows()
    }

    fn batch(&mut self, step: u64) -> Result<Batch, SourceError> {
        Ok(self.shuffle.batch(step).into())
    }

    fn scan(&mut self, rows: usize, visit: &mut dyn FnMut(Batch)) -> Result<(), SourceError> {
        let stored = self.shuffle.rows();
        // Whole runs, so that there are `rows` at least.
        let wanted = (rows as u64).max(1).div_ceil(RUN).saturating_mul(RUN);
        let mut block = Vec::with_capacity(BLOCK);
        for row in stored.sample(wanted, RUN, &self.rng).into_iter().flatten() {
            block.push(row);
            if block.len() == BLOCK {
                visit(stored.select(&block).into());
                block.clear();
            }
        }
        if !block.is_empty() {
            visit(stored.select(&block).into());
        }
        Ok(())
    }
}
