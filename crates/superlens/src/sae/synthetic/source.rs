//! Training straight from a model: no row is seen twice, and none is stored.

use super::{Stream, Synthetic};
use crate::sae::train::Source;
use std::borrow::Cow;
use superlens_tensor::Mat;

/// Rows of a model for a training with one seed.
pub struct Fresh<'a> {
    pub model: &'a Synthetic,
    pub seed: u64,
    /// Rows a step.
    pub batch: usize,
}

impl Source for Fresh<'_> {
    fn dims(&self) -> usize {
        self.model.preset.dims
    }

    fn batch(&mut self, step: u64) -> Mat {
        let first = step.saturating_mul(self.batch as u64);
        let rows = first..first.saturating_add(self.batch as u64);
        self.model.rows(&self.model.activations(self.seed, Stream::Train, rows))
    }

    fn sample(&self, rows: usize) -> Cow<'_, Mat> {
        Cow::Owned(self.model.rows(&self.model.activations(self.seed, Stream::Train, 0..rows as u64)))
    }
}
