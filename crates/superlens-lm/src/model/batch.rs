//! [`Batch`]: sequences of different lengths, one after the other, without padding; and [`Memory`] of what came before them.

use superlens_tensor::Mat;

use super::config::Config;

/// Sequences of tokens that are computed together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    ids: Vec<u32>,
    /// Where each sequence begins, and the end.
    starts: Vec<usize>,
    /// Tokens of each sequence that are in the memory already.
    past: Vec<usize>,
    types: Vec<u32>,
    /// Position and length of the sequence, for each token.
    places: Vec<(usize, usize)>,
}

impl Batch {
    /// An empty one.
    pub fn new() -> Batch {
        Batch { starts: vec![0], ..Batch::default() }
    }

    /// One sequence.
    pub fn one(ids: &[u32]) -> Batch {
        let mut batch = Batch::new();
        batch.push(ids);
        batch
    }

    /// Adds a sequence; empty ones are kept, as no rows.
    pub fn push(&mut self, ids: &[u32]) {
        self.push_after(0, ids);
    }

    /// Adds what follows `past` tokens that the memory holds.
    pub fn push_after(&mut self, past: usize, ids: &[u32]) {
        self.ids.extend(ids);
        self.types.resize(self.ids.len(), 0);
        self.starts.push(self.ids.len());
        self.past.push(past);
        self.places.extend((0..ids.len()).map(|i| (past + i, past + ids.len())));
    }

    /// Segments of each token, for models that tell first from second sentences. Panics on another number of tokens.
    pub fn with_types(mut self, types: &[u32]) -> Batch {
        assert_eq!(types.len(), self.ids.len(), "a type for each token");
        self.types = types.to_vec();
        self
    }

    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    pub(super) fn types(&self) -> &[u32] {
        &self.types
    }

    /// Tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    pub fn sequences(&self) -> usize {
        self.past.len()
    }

    /// First row of sequence `s`, and the row after its last.
    pub fn rows(&self, s: usize) -> (usize, usize) {
        (self.starts[s], self.starts[s + 1])
    }

    pub(crate) fn past(&self, s: usize) -> usize {
        self.past[s]
    }

    pub(super) fn places(&self) -> &[(usize, usize)] {
        &self.places
    }
}

/// Keys and values of the tokens so far, so that each further token costs one row. Of one model and a fixed number of sequences.
#[derive(Clone, Debug)]
pub struct Memory {
    /// By layer and sequence: `[length, d_keys]`.
    keys: Vec<Vec<Mat>>,
    values: Vec<Vec<Mat>>,
}

impl Memory {
    /// Room for so many sequences of up to `length` tokens.
    pub fn new(config: &Config, sequences: usize, length: usize) -> Memory {
        let room = || vec![vec![Mat::zeros(length, config.d_keys()); sequences]; config.layers.len()];
        Memory { keys: room(), values: room() }
    }

    /// Stores the keys and values of a batch, which stand in `qkv` from column `first` on, at their positions.
    pub(super) fn append(&mut self, layer: usize, batch: &Batch, qkv: &Mat, first: usize) {
        for s in 0..batch.sequences() {
            let (keys, values) = (&mut self.keys[layer][s], &mut self.values[layer][s]);
            let width = keys.cols();
            let (from, to) = batch.rows(s);
            for row in from..to {
                let at = batch.past(s) + row - from;
                keys.row_mut(at).copy_from_slice(&qkv.row(row)[first..first + width]);
                values.row_mut(at).copy_from_slice(&qkv.row(row)[first + width..first + 2 * width]);
            }
        }
    }

    pub(super) fn of(&self, layer: usize, sequence: usize) -> (&Mat, &Mat) {
        (&self.keys[layer][sequence], &self.values[layer][sequence])
    }
}
