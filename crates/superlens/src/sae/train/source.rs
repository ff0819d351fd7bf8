//! [`Source`]: where the rows of a training come from.

use super::super::arch::{FitError, check_input};
use super::super::batches::Batches;
use super::InputScale;
use std::borrow::Cow;
use superlens_tensor::{Mat, Rng};

/// Rows to learn from. What a step sees follows from the source and the step's number alone.
pub trait Source {
    /// Width of a row.
    fn dims(&self) -> usize;

    /// The raw rows of step `step` (from 0), `[batch, dims]`.
    fn batch(&mut self, step: u64) -> Mat;

    /// Raw rows that stand for all, `rows` of them about: to measure the input's scale and thresholds on.
    fn sample(&self, rows: usize) -> Cow<'_, Mat>;

    /// The factor that rows are multiplied by. Default: by a sample.
    ///
    /// # Errors
    /// [`FitError::NotFinite`].
    fn scale(&self) -> Result<InputScale, FitError> {
        InputScale::of(&self.sample(SCALE_ROWS))
    }
}

/// Rows that the scale of a source without end is measured on.
const SCALE_ROWS: usize = 1 << 16;

/// A matrix in memory, in a new order every epoch.
pub(super) struct InMemory<'a> {
    x: &'a Mat,
    batches: Batches,
}

impl<'a> InMemory<'a> {
    /// Batches of `size` rows.
    ///
    /// # Errors
    /// [`FitError::Empty`].
    pub fn new(x: &'a Mat, size: usize, rng: &Rng) -> Result<Self, FitError> {
        check_input(x)?;
        Ok(InMemory { x, batches: Batches::new(x.rows(), size, rng) })
    }
}

impl Source for InMemory<'_> {
    fn dims(&self) -> usize {
        self.x.cols()
    }

    fn batch(&mut self, step: u64) -> Mat {
        self.x.select_rows(&self.batches.rows_of(step))
    }

    fn sample(&self, rows: usize) -> Cow<'_, Mat> {
        let step = self.x.rows().div_ceil(rows).max(1);
        let rows: Vec<usize> = (0..self.x.rows()).step_by(step).collect();
        Cow::Owned(self.x.select_rows(&rows))
    }

    fn scale(&self) -> Result<InputScale, FitError> {
        InputScale::of(self.x)
    }
}
