//! [`SparseRows`] (compressed sparse rows) and its products with dense matrices.
//!
//! The three products are the forward and backward passes of a layer whose activations `S` are mostly zero:
//! `S·W`, the gradient `Sᵀ·G` of `W`, and the gradient of the non-zero entries of `S`, which is `G·Wᵀ` at those
//! entries alone ([`dots`]). No dense matrix of the shape of `S` is ever made.

use super::pointwise::{axpy, dot};
use super::topk::TopK;
use super::vectors::by_vectors;
use crate::Mat;
use rayon::prelude::*;

/// Output rows per piece of parallel work.
const PANEL_ROWS: usize = 16;
/// Columns of a pattern per piece of parallel work.
const PANEL_COLS: usize = 64;

/// Pieces of parallel work of a sum over all rows.
const SUM_STRETCHES: usize = 4;

/// A sparse `[rows, cols]` matrix. The entries of row `i` lie at `offsets[i]..offsets[i + 1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseRows {
    cols: usize,
    offsets: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseRows {
    /// From its parts. Panics unless `offsets` rises from 0 to the number of entries and every index is below
    /// `cols`.
    pub fn new(cols: usize, offsets: Vec<usize>, indices: Vec<u32>, values: Vec<f32>) -> Self {
        assert_eq!(indices.len(), values.len(), "{} indices for {} values", indices.len(), values.len());
        assert!(
            offsets.first() == Some(&0) && offsets.last() == Some(&indices.len()) && offsets.is_sorted(),
            "row offsets must rise from 0 to {}",
            indices.len()
        );
        if let Some(j) = indices.iter().find(|&&j| j as usize >= cols) {
            panic!("an entry in column {j} of a sparse [{}, {cols}] matrix", offsets.len() - 1);
        }
        Self { cols, offsets, indices, values }
    }

    /// `rows` rows of `cols` columns that keep the entries of `top`. Panics unless there are `top.k` for each
    /// row.
    pub fn from_top_k(rows: usize, cols: usize, top: TopK) -> Self {
        assert_eq!(top.indices.len(), rows * top.k, "{} entries for {rows} rows of {}", top.indices.len(), top.k);
        Self::new(cols, (0..=rows).map(|i| i * top.k).collect(), top.indices, top.values)
    }

    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The number of stored entries.
    pub fn nnz(&self) -> usize {
        self.values.len()
    }

    /// Column of every stored entry, row after row.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Every stored entry, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The same pattern with other entries. Panics unless there are [`nnz`](Self::nnz) of them.
    pub fn with_values(&self, values: Vec<f32>) -> SparseRows {
        assert_eq!(values.len(), self.nnz(), "{} values for {} entries", values.len(), self.nnz());
        SparseRows { values, cols: self.cols, offsets: self.offsets.clone(), indices: self.indices.clone() }
    }

    /// Columns and entries of row `i`.
    pub fn row(&self, i: usize) -> (&[u32], &[f32]) {
        let at = self.offsets[i]..self.offsets[i + 1];
        (&self.indices[at.clone()], &self.values[at])
    }

    /// The dense matrix; entries stored more than once are added.
    pub fn to_dense(&self) -> Mat {
        let mut out = Mat::zeros(self.rows(), self.cols);
        let width = self.cols.max(1);
        out.data_mut().par_chunks_mut(PANEL_ROWS * width).enumerate().for_each(|(p, panel)| {
            for (r, out) in panel.chunks_exact_mut(width).enumerate() {
                let (indices, values) = self.row(p * PANEL_ROWS + r);
                indices.iter().zip(values).for_each(|(&j, v)| out[j as usize] += v);
            }
        });
        out
    }

    /// The same pattern with entries that `of` gives for each row's columns and entries. Rows are done on all threads.
    pub fn map_rows(&self, of: impl Fn(usize, &[u32], &[f32], &mut [f32]) + Sync) -> Vec<f32> {
        let mut out = vec![0.0; self.nnz()];
        let mut left = &mut out[..];
        let mut rows = Vec::with_capacity(self.rows());
        for i in 0..self.rows() {
            let (row, rest) = left.split_at_mut(self.offsets[i + 1] - self.offsets[i]);
            rows.push(row);
            left = rest;
        }
        rows.into_par_iter().enumerate().with_min_len(PANEL_ROWS).for_each(|(i, out)| {
            let (indices, values) = self.row(i);
            of(i, indices, values, out);
        });
        out
    }

    /// The sum of every column, `[cols]`: stretches of rows in `f32`, added in order.
    pub fn column_sums(&self) -> Vec<f32> {
        // Few stretches: each holds a sum for every column.
        let height = self.rows().div_ceil(SUM_STRETCHES).max(1);
        let of = |from: usize| {
            let mut sums = vec![0.0f32; self.cols];
            for i in from..(from + height).min(self.rows()) {
                let (indices, values) = self.row(i);
                indices.iter().zip(values).for_each(|(&j, v)| sums[j as usize] += v);
            }
            sums
        };
        let starts: Vec<usize> = (0..self.rows()).step_by(height).collect();
        let parts: Vec<Vec<f32>> = starts.into_par_iter().map(of).collect();
        let mut total = vec![0.0; self.cols];
        parts.iter().for_each(|part| axpy(1.0, part, &mut total));
        total
    }

    /// The transpose, its entries in ascending order of their row here (a counting sort).
    pub fn transposed(&self) -> SparseRows {
        let ByColumn { offsets, rows, entries } = self.by_column();
        let values = entries.iter().map(|&e| self.values[e as usize]).collect();
        SparseRows { cols: self.rows(), offsets, indices: rows, values }
    }

    /// Panics with more entries than 32 bits can count.
    fn by_column(&self) -> ByColumn {
        assert!(u32::try_from(self.nnz().max(self.rows())).is_ok(), "{} entries of {} rows", self.nnz(), self.rows());
        let mut offsets = vec![0; self.cols + 1];
        for &j in &self.indices {
            offsets[j as usize + 1] += 1;
        }
        for j in 0..self.cols {
            offsets[j + 1] += offsets[j];
        }
        let mut next = offsets.clone();
        let (mut rows, mut entries) = (vec![0; self.nnz()], vec![0; self.nnz()]);
        for i in 0..self.rows() {
            for e in self.offsets[i]..self.offsets[i + 1] {
                let at = &mut next[self.indices[e] as usize];
                (rows[*at], entries[*at]) = (i as u32, e as u32);
                *at += 1;
            }
        }
        ByColumn { offsets, rows, entries }
    }
}

/// Where the entries of each column are: their rows, ascending, and their places among all entries.
struct ByColumn {
    offsets: Vec<usize>,
    rows: Vec<u32>,
    entries: Vec<u32>,
}

/// `s · d`, shape `[s.rows, d.cols]`. Panics with both shapes when the inner dimensions differ.
pub fn sparse_dense(s: &SparseRows, d: &Mat) -> Mat {
    let mut out = Mat::zeros(s.rows(), d.cols());
    add_sparse_dense(s, d, &mut out);
    out
}

/// Adds `s · d` to `out`, whose rows add their terms in the order of `s`.
fn add_sparse_dense(s: &SparseRows, d: &Mat, out: &mut Mat) {
    assert_eq!(s.cols(), d.rows(), "product of sparse [{}, {}] and {:?}", s.rows(), s.cols(), d.shape());
    assert_eq!(out.shape(), (s.rows(), d.cols()), "the sum that a product is added to");
    let width = d.cols().max(1);
    out.data_mut().par_chunks_mut(PANEL_ROWS * width).enumerate().for_each(|(p, panel)| {
        by_vectors(
            #[inline(always)]
            || {
                for (r, out) in panel.chunks_exact_mut(width).enumerate() {
                    let (indices, values) = s.row(p * PANEL_ROWS + r);
                    for (&j, &v) in indices.iter().zip(values) {
                        axpy(v, d.row(j as usize), out);
                    }
                }
            },
        );
    });
}

/// Adds `sᵀ · d` to `out` `[s.cols, d.cols]`. Every row adds its terms in ascending order of the row of `s`.
///
/// Panics with the shapes when they don't fit.
pub fn add_sparse_t_dense(s: &SparseRows, d: &Mat, out: &mut Mat) {
    assert_eq!(s.rows(), d.rows(), "product of transposed sparse [{}, {}] and {:?}", s.rows(), s.cols(), d.shape());
    add_sparse_dense(&s.transposed(), d, out);
}

/// `sᵀ · d`, shape `[s.cols, d.cols]`; see [`add_sparse_t_dense`].
pub fn sparse_t_dense(s: &SparseRows, d: &Mat) -> Mat {
    let mut out = Mat::zeros(s.cols(), d.cols());
    add_sparse_t_dense(s, d, &mut out);
    out
}

/// `dot(a.row(i), b.row(j))` for every stored entry `(i, j)` of `pattern`, in its order: `a · bᵀ` where it is
/// needed.
///
/// Panics with the shapes unless `a` has a row for every row, and `b` for every column, of `pattern`.
pub fn dots(pattern: &SparseRows, a: &Mat, b: &Mat) -> Vec<f32> {
    assert!(
        pattern.rows() == a.rows() && pattern.cols() == b.rows() && a.cols() == b.cols(),
        "products of rows of {:?} and {:?} at entries of a sparse [{}, {}]",
        a.shape(),
        b.shape(),
        pattern.rows(),
        pattern.cols()
    );
    // Column by column, so that each row of `b`, of which there are many, is read from far away once.
    let by_column = pattern.by_column();
    let mut products = vec![0.0; pattern.nnz()];
    let mut pieces: Vec<(usize, &mut [f32])> = Vec::new();
    let mut left = &mut products[..];
    for from in (0..pattern.cols()).step_by(PANEL_COLS) {
        let to = (from + PANEL_COLS).min(pattern.cols());
        let (piece, rest) = left.split_at_mut(by_column.offsets[to] - by_column.offsets[from]);
        pieces.push((from, piece));
        left = rest;
    }
    pieces.into_par_iter().for_each(|(from, piece)| {
        by_vectors(
            #[inline(always)]
            || {
                let first = by_column.offsets[from];
                for j in from..(from + PANEL_COLS).min(pattern.cols()) {
                    let at = by_column.offsets[j]..by_column.offsets[j + 1];
                    let out = &mut piece[at.start - first..at.end - first];
                    for (o, &i) in out.iter_mut().zip(&by_column.rows[at]) {
                        *o = dot(a.row(i as usize), b.row(j));
                    }
                }
            },
        );
    });
    let mut out = vec![0.0; pattern.nnz()];
    by_column.entries.iter().zip(&products).for_each(|(&e, &p)| out[e as usize] = p);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::kernels::gemm::matmul;
    use crate::kernels::topk::top_k;

    fn close(got: &[f32], want: &[f32]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-4 * w.abs().max(1.0), "{g} {w}");
        }
    }

    fn case(rows: usize, cols: usize, width: usize, k: usize) -> (SparseRows, Mat, Mat) {
        let mut rng = Rng::new(2).fork("sparse");
        let mut normal = |r, c| Mat::from_fn(r, c, |_, _| rng.normal());
        let s = SparseRows::from_top_k(rows, cols, top_k(&normal(rows, cols), k));
        (s, normal(rows, width), normal(cols, width))
    }

    #[test]
    fn products_agree_with_the_dense_ones() {
        for (rows, cols, width, k) in [(70, 40, 33, 5), (1, 3, 1, 3), (5, 9, 16, 0), (4, 2, 0, 1)] {
            let (s, a, b) = case(rows, cols, width, k);
            let dense = s.to_dense();
            close(sparse_dense(&s, &b).data(), matmul(&dense, &b).data());
            close(sparse_t_dense(&s, &a).data(), matmul(dense.t(), &a).data());
            let all = matmul(&a, b.t());
            let want: Vec<f32> =
                (0..rows).flat_map(|i| s.row(i).0.iter().map(|&j| all[(i, j as usize)]).collect::<Vec<_>>()).collect();
            close(&dots(&s, &a, &b), &want);
            assert_eq!(s.transposed().transposed(), s);
        }
    }

    #[test]
    fn empty_and_uneven_rows() {
        let s = SparseRows::new(3, vec![0, 0, 2, 2, 3], vec![0, 2, 1], vec![1.0, 2.0, 3.0]);
        let d = Mat::from_fn(3, 2, |i, j| (10 * i + j) as f32);
        assert_eq!(sparse_dense(&s, &d).data(), [0.0, 0.0, 40.0, 43.0, 0.0, 0.0, 30.0, 33.0]);
        assert_eq!(s.transposed().row(2), (&[1u32][..], &[2.0f32][..]));
    }

    #[test]
    #[should_panic(expected = "column 3 of a sparse [1, 3]")]
    fn an_index_outside_is_refused() {
        SparseRows::new(3, vec![0, 1], vec![3], vec![1.0]);
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let (s, a, b) = case(300, 50, 24, 9);
        let run = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| (sparse_dense(&s, &b), sparse_t_dense(&s, &a), dots(&s, &a, &b)))
        };
        assert_eq!(run(1), run(3));
    }
}
