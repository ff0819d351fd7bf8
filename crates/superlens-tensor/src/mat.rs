//! [`Mat`]: a dense row-major `f32` matrix, one sample per row; and [`View`], a strided window on one.

use std::ops::{Index, IndexMut};

/// A dense row-major matrix of `f32`. Rows are samples, columns are neurons, unless a name says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mat {
    rows: usize,
    cols: usize,
    data: Vec<f32>,
}

impl Mat {
    /// A `[rows, cols]` matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// Takes `data` in row-major order. Panics unless `data.len() == rows * cols`.
    pub fn from_vec(rows: usize, cols: usize, data: Vec<f32>) -> Self {
        assert_eq!(data.len(), rows * cols, "a [{rows}, {cols}] matrix from {} numbers", data.len());
        Self { rows, cols, data }
    }

    /// `f(row, col)` for every entry, in row-major order.
    pub fn from_fn(rows: usize, cols: usize, mut f: impl FnMut(usize, usize) -> f32) -> Self {
        let mut data = Vec::with_capacity(rows * cols);
        for i in 0..rows {
            for j in 0..cols {
                data.push(f(i, j));
            }
        }
        Self { rows, cols, data }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `(rows, cols)`.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// All entries, row after row.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    pub fn into_vec(self) -> Vec<f32> {
        self.data
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }

    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }

    /// A copy with rows and columns exchanged.
    pub fn transposed(&self) -> Mat {
        Mat::from_fn(self.cols, self.rows, |i, j| self[(j, i)])
    }

    /// The rows named by `indices`, in that order.
    pub fn select_rows(&self, indices: &[usize]) -> Mat {
        let mut data = Vec::with_capacity(indices.len() * self.cols);
        for &i in indices {
            data.extend_from_slice(self.row(i));
        }
        Mat::from_vec(indices.len(), self.cols, data)
    }

    /// The columns named by `indices`, in that order.
    pub fn select_cols(&self, indices: &[usize]) -> Mat {
        Mat::from_fn(self.rows, indices.len(), |i, j| self[(i, indices[j])])
    }

    /// This matrix as a strided view.
    pub fn view(&self) -> View<'_> {
        View { data: &self.data, rows: self.rows, cols: self.cols, row_stride: self.cols, col_stride: 1 }
    }

    /// The transpose as a strided view: nothing is copied.
    pub fn t(&self) -> View<'_> {
        self.view().t()
    }

    /// Rows `from..to` as a view.
    pub fn rows_view(&self, from: usize, to: usize) -> View<'_> {
        View {
            data: &self.data[from * self.cols..to * self.cols],
            rows: to - from,
            cols: self.cols,
            row_stride: self.cols,
            col_stride: 1,
        }
    }
}

impl Index<(usize, usize)> for Mat {
    type Output = f32;
    fn index(&self, (i, j): (usize, usize)) -> &f32 {
        debug_assert!(j < self.cols, "column {j} of a [{}, {}] matrix", self.rows, self.cols);
        &self.data[i * self.cols + j]
    }
}

impl IndexMut<(usize, usize)> for Mat {
    fn index_mut(&mut self, (i, j): (usize, usize)) -> &mut f32 {
        debug_assert!(j < self.cols, "column {j} of a [{}, {}] matrix", self.rows, self.cols);
        &mut self.data[i * self.cols + j]
    }
}

/// A read-only strided window: entry `(i, j)` lies at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, R = f32> {
    pub data: &'a [R],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a, R: Copy> View<'a, R> {
    /// A window on `rows` rows of `cols` entries that lie one after the other in `data`.
    ///
    /// Panics unless `data.len() == rows * cols`.
    pub fn contiguous(rows: usize, cols: usize, data: &'a [R]) -> View<'a, R> {
        assert_eq!(data.len(), rows * cols, "a [{rows}, {cols}] view of {} numbers", data.len());
        View { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose: strides exchanged, nothing copied.
    pub fn t(self) -> View<'a, R> {
        View {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    pub fn at(&self, i: usize, j: usize) -> R {
        self.data[i * self.row_stride + j * self.col_stride]
    }
}

impl<'a> From<&'a Mat> for View<'a> {
    fn from(m: &'a Mat) -> Self {
        m.view()
    }
}
