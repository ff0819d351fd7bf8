//! [`Source`]: where the rows of a training run come from, in memory, on disk or made on the spot.

use super::batches::Batches;
use superlens_tensor::{Mat, Rng};

/// The rows of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// What the encoder reads, `[rows, d_in]`.
    pub x: Mat,
    /// What is to be rebuilt, `[rows, d_out]`, where that is something else than `x`.
    pub y: Option<Mat>,
}

impl From<Mat> for Batch {
    fn from(x: Mat) -> Self {
        Batch { x, y: None }
    }
}

/// Why rows can't be had: one line that names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// Where rows come from. What a step sees depends on the source and the step's number alone, so that a run can be gone on with.
pub trait Source: Send {
    /// Width of a row that the encoder reads.
    fn d_in(&self) -> usize;

    /// Width of a row that is to be rebuilt.
    fn d_out(&self) -> usize {
        self.d_in()
    }

    /// Rows there are; `None` where they don't end.
    fn rows(&self) -> Option<usize>;

    /// Rows in a step's batch.
    fn batch_rows(&self) -> usize;

    /// The rows of step `step`, from 0. Steps are mostly asked for in order, and other orders may be slow.
    ///
    /// # Errors
    /// [`SourceError`] where they can't be read any more.
    fn batch(&mut self, step: u64) -> Result<Batch, SourceError>;

    /// Shows `visit` at least `rows` rows (all, where there are fewer), spread over all there are, block by block: the same ones at every
    /// call. Scales and thresholds are measured on them.
    ///
    /// # Errors
    /// [`SourceError`] where they can't be read any more.
    fn scan(&mut self, rows: usize, visit: &mut dyn FnMut(Batch)) -> Result<(), SourceError>;
}

/// Rows in a block of a scan.
const BLOCK: usize = 4096;

/// A matrix in memory, in a seeded order that is new for every epoch.
pub struct InMemory<'a> {
    x: &'a Mat,
    batches: Batches,
}

impl<'a> InMemory<'a> {
    /// Batches of `batch` rows, or of all where there are fewer. Panics without rows.
    pub fn new(x: &'a Mat, batch: usize, rng: &Rng) -> Self {
        Self { x, batches: Batches::new(x.rows(), batch, rng) }
    }
}

impl Source for InMemory<'_> {
    fn d_in(&self) -> usize {
        self.x.cols()
    }

    fn rows(&self) -> Option<usize> {
        Some(self.x.rows())
    }

    fn batch_rows(&self) -> usize {
        self.batches.size()
    }

    fn batch(&mut self, step: u64) -> Result<Batch, SourceError> {
        Ok(self.x.select_rows(&self.batches.rows_of(step)).into())
    }

    fn scan(&mut self, rows: usize, visit: &mut dyn FnMut(Batch)) -> Result<(), SourceError> {
        let every = (self.x.rows() / rows.max(1)).max(1);
        let all: Vec<usize> = (0..self.x.rows()).step_by(every).collect();
        all.chunks(BLOCK).for_each(|block| visit(self.x.select_rows(block).into()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_spread_over_all_rows() {
        let x = Mat::from_fn(10_000, 1, |i, _| i as f32);
        let mut source = InMemory::new(&x, 64, &Rng::new(0));
        for (wanted, least) in [(100, 100), (6000, 6000), (20_000, 10_000)] {
            let mut seen = Vec::new();
            source.scan(wanted, &mut |batch| seen.extend_from_slice(batch.x.data())).unwrap();
            assert!(seen.len() >= least && seen.len() < 2 * wanted, "{} for {wanted}", seen.len());
            assert!(seen[0] == 0.0 && seen.windows(2).all(|w| w[0] < w[1]) && seen[seen.len() - 1] > 9800.0);
        }
    }
}
