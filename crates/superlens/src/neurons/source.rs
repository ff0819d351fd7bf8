//! [`Source`]: rows in memory or in a store, read alike.

use std::ops::Range;

use superlens_lm::store::Rows;
use superlens_tensor::io::spread_runs;
use superlens_tensor::{Mat, Rng};

/// Where rows are read from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    Matrix(&'a Mat),
    Store(&'a Rows),
}

impl Source<'_> {
    /// Rows.
    pub fn len(&self) -> u64 {
        match self {
            Source::Matrix(mat) => mat.rows() as u64,
            Source::Store(rows) => rows.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Columns.
    pub fn width(&self) -> usize {
        match self {
            Source::Matrix(mat) => mat.cols(),
            Source::Store(rows) => rows.width(),
        }
    }

    /// Rows in order, `[rows.len(), width]`. Panics beyond the end.
    pub fn range(&self, rows: Range<u64>) -> Mat {
        match self {
            Source::Matrix(mat) => {
                let view = mat.rows_view(rows.start as usize, rows.end as usize);
                Mat::from_vec(view.rows, view.cols, view.data.to_vec())
            }
            Source::Store(store) => store.range(rows),
        }
    }

    /// Any rows, in the order given. Panics beyond the end.
    pub fn select(&self, rows: &[u64]) -> Mat {
        match self {
            Source::Matrix(mat) => mat.select_rows(&rows.iter().map(|&row| row as usize).collect::<Vec<_>>()),
            Source::Store(store) => store.select(rows),
        }
    }

    /// About `count` rows in ascending order, in runs of `run` spread over all.
    pub fn sample(&self, count: u64, run: u64, rng: &Rng) -> Vec<u64> {
        let runs = match self {
            Source::Matrix(mat) => spread_runs(mat.rows() as u64, count, run, &mut rng.fork("matrix sample")),
            Source::Store(store) => store.sample(count, run, rng),
        };
        runs.into_iter().flatten().collect()
    }
}
