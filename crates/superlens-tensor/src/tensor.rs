//! [`Tensor`]: numbers with a shape, the values of a [`Tape`](crate::Tape).

use crate::{Mat, Real, View};
use rayon::prelude::*;

/// Numbers per piece of parallel work.
const CHUNK: usize = 1 << 12;
/// Fewest rows per piece of parallel work.
const MIN_ROWS: usize = 32;

/// A dense row-major tensor of any number of axes; a scalar has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<R> {
    shape: Vec<usize>,
    data: Vec<R>,
}

impl<R: Real> Tensor<R> {
    /// Takes `data` in row-major order. Panics unless it has as many numbers as `shape`.
    pub fn new(shape: &[usize], data: Vec<R>) -> Self {
        assert_eq!(data.len(), count(shape), "a {shape:?} tensor from {} numbers", data.len());
        Self { shape: shape.to_vec(), data }
    }

    pub fn zeros(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), data: vec![R::ZERO; count(shape)] }
    }

    /// `f(i)` for entry `i` in row-major order.
    pub fn from_fn(shape: &[usize], f: impl FnMut(usize) -> R) -> Self {
        Self { shape: shape.to_vec(), data: (0..count(shape)).map(f).collect() }
    }

    /// A tensor of no axes.
    pub fn scalar(x: R) -> Self {
        Self { shape: Vec::new(), data: vec![x] }
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All entries in row-major order.
    pub fn data(&self) -> &[R] {
        &self.data
    }

    pub fn data_mut(&mut self) -> &mut [R] {
        &mut self.data
    }

    pub fn into_data(self) -> Vec<R> {
        self.data
    }

    /// The only entry. Panics with the shape if there is not exactly one.
    pub fn item(&self) -> R {
        assert_eq!(self.data.len(), 1, "the only entry of a {:?} tensor", self.shape);
        self.data[0]
    }

    /// The same numbers in another shape. Panics with both shapes if their counts differ.
    pub fn reshaped(self, shape: &[usize]) -> Self {
        assert_eq!(self.data.len(), count(shape), "a {:?} tensor as {shape:?}", self.shape);
        Self { shape: shape.to_vec(), data: self.data }
    }

    /// `f` of every entry.
    pub fn map(&self, f: impl Fn(R) -> R + Sync) -> Self {
        let mut out = self.clone();
        out.data.par_chunks_mut(CHUNK).for_each(|c| c.iter_mut().for_each(|x| *x = f(*x)));
        out
    }

    /// `self ← f(self, other)`, entry by entry. Panics with both shapes when they differ.
    pub fn zip_mut(&mut self, other: &Self, f: impl Fn(R, R) -> R + Sync) {
        assert_eq!(self.shape, other.shape, "entries of {:?} with those of {:?}", self.shape, other.shape);
        (self.data.par_chunks_mut(CHUNK).zip(other.data.par_chunks(CHUNK)))
            .for_each(|(a, b)| a.iter_mut().zip(b).for_each(|(a, &b)| *a = f(*a, b)));
    }

    /// Every entry as the nearest number of another kind.
    pub fn cast<S: Real>(&self) -> Tensor<S> {
        Tensor { shape: self.shape.clone(), data: self.data.iter().map(|x| S::of(x.to_f64())).collect() }
    }

    /// The length of the last axis; 1 for a scalar.
    pub(crate) fn width(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The rows along the last axis, one after the other.
    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'_, R> {
        self.data.chunks_exact(self.width().max(1))
    }

    /// `f(i, row)` for every row `i` along the last axis, in parallel.
    pub(crate) fn for_each_row(&mut self, f: impl Fn(usize, &mut [R]) + Sync) {
        let width = self.width().max(1);
        let rows = self.data.par_chunks_exact_mut(width).with_min_len(MIN_ROWS).enumerate();
        rows.for_each(|(i, row)| f(i, row));
    }

    /// All axes but the last taken as rows.
    pub(crate) fn as_rows(&self) -> View<'_, R> {
        let lead = self.shape.len().saturating_sub(1);
        View::contiguous(count(&self.shape[..lead]), self.width(), &self.data)
    }
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

impl From<&Mat> for Tensor<f32> {
    fn from(m: &Mat) -> Self {
        Tensor::new(&[m.rows(), m.cols()], m.data().to_vec())
    }
}
