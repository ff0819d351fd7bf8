//! From a stream of stored elements to a row-major [`Mat`], in bounded pieces.

use std::io::Read;

use super::element::Element;
use super::error::shape_text;
use super::sampled::fill_kept;
use super::source::Hashing;
use super::{Problem, Sample, Shape};
use crate::Mat;

/// What is read and converted at a time.
const CHUNK: u64 = 8 << 20;
/// Fortran order takes more at a time: the more columns a piece holds, the longer the runs that are written.
const COLUMN_CHUNK: u64 = 32 << 20;
/// Edge of the square tiles of the transposition: source and target of a tile stay in the L1 cache.
const TILE: usize = 64;

/// Which index of an array runs fastest in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The last: rows lie together.
    C,
    /// The first: columns lie together.
    Fortran,
}

/// An array as its header describes it, its elements known to be readable.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub shape: Vec<u64>,
    pub element: Element,
    pub order: Order,
}

impl Layout {
    /// Bytes of all elements; an error if no machine could hold them.
    pub fn bytes(&self) -> Result<u64, Problem> {
        let product = self.shape.iter().try_fold(self.element.bytes() as u64, |bytes, &n| bytes.checked_mul(n));
        product.ok_or_else(|| Problem::BadHeader(format!("shape {} is larger than any file", shape_text(&self.shape))))
    }

    /// `(rows, columns)` once leading axes are run together, if `wanted` allows it.
    /// At least two of each, or one where any shape or directions are wanted.
    pub fn rows_and_columns(&self, wanted: Shape) -> Result<(u64, u64), Problem> {
        if wanted == Shape::Any {
            let bytes = self.bytes()?;
            return match self.shape.split_last() {
                _ if bytes == 0 => Err(Problem::Dimensions { shape: self.shape.clone(), advice: "this one is empty" }),
                None => Ok((1, 1)),
                Some((&columns, leading)) => Ok((leading.iter().product(), columns)),
            };
        }
        let advice = match self.shape.len() {
            0 => "this is a single number",
            // A vector is a direction; of samples it could be one or many.
            1 if wanted == (Shape::Directions { flatten: false }) => "",
            1 => "this is a single vector; stack one row per sample",
            2 => "",
            _ if wanted == Shape::Flattened || wanted == (Shape::Directions { flatten: true }) => "",
            _ => "pass --flatten to run the leading axes together as rows",
        };
        if !advice.is_empty() {
            return Err(Problem::Dimensions { shape: self.shape.clone(), advice });
        }
        let (&columns, leading) = self.shape.split_last().expect("an axis at least");
        let rows = leading.iter().try_fold(1_u64, |rows, &n| rows.checked_mul(n));
        let rows = rows
            .ok_or_else(|| Problem::BadHeader(format!("shape {} is larger than any file", shape_text(&self.shape))))?;
        if let Shape::Directions { .. } = wanted {
            let empty = Problem::Dimensions { shape: self.shape.clone(), advice: "this one is empty" };
            return if rows == 0 || columns == 0 { Err(empty) } else { Ok((rows, columns)) };
        }
        if rows < 2 {
            return Err(Problem::TooFewRows { rows, columns });
        }
        if columns < 2 {
            return Err(Problem::TooFewVarying { varying: columns, columns, rows });
        }
        Ok((rows, columns))
    }
}

/// What was read.
pub(super) struct Filled {
    pub mat: Mat,
    /// Finite 64-bit values beyond the range of f32.
    pub too_large: u64,
    /// Which rows were kept; `None` for all. Of those that were not, none held anything but finite numbers.
    pub rows: Option<Vec<u64>>,
}

/// Reads all elements of `layout` from `stream` into a `[rows, columns]` matrix, or as many rows as the `sample` allows.
///
/// The caller has made sure that the file is large enough to justify the allocation.
pub(super) fn fill<R: Read>(
    stream: &mut Hashing<R>,
    layout: &Layout,
    (rows, columns): (u64, u64),
    sample: Option<Sample>,
) -> Result<Filled, Problem> {
    if let Some(kept) = sample.and_then(|sample| sample.rows(rows, columns)) {
        let mat = fill_kept(stream, layout, (rows, columns), &kept)?;
        return Ok(Filled { mat, too_large: 0, rows: Some(kept) });
    }
    let expected = u128::from(stream.count()) + u128::from(layout.bytes()?);
    let mut data = reserve(u128::from(rows) * u128::from(columns))?;
    // Neither is zero and their product fits, so both fit.
    let (rows, columns) = (rows as usize, columns as usize);
    let too_large = match layout.order {
        Order::C => fill_rows(stream, layout, expected, &mut data)?,
        Order::Fortran => {
            data.resize(rows * columns, 0.0);
            fill_columns(stream, layout, expected, (rows, columns), &mut data)?
        }
    };
    Ok(Filled { mat: Mat::from_vec(rows, columns, data), too_large, rows: None })
}

/// An empty vector with room for `len` numbers, or an error where the allocator would abort the process.
fn reserve(len: u128) -> Result<Vec<f32>, Problem> {
    let too_large = Problem::TooLarge { bytes: len * size_of::<f32>() as u128 };
    let mut data = Vec::new();
    match usize::try_from(len).map(|len| data.try_reserve_exact(len)) {
        Ok(Ok(())) => Ok(data),
        _ => Err(too_large),
    }
}

fn fill_rows<R: Read>(
    stream: &mut Hashing<R>,
    layout: &Layout,
    expected: u128,
    data: &mut Vec<f32>,
) -> Result<u64, Problem> {
    let mut left = layout.bytes()?;
    let mut buffer = vec![0; left.min(CHUNK) as usize];
    let mut too_large = 0;
    while left > 0 {
        let piece = &mut buffer[..left.min(CHUNK) as usize];
        stream.fill(piece, expected)?;
        too_large += layout.element.decode(piece, data);
        left -= piece.len() as u64;
    }
    Ok(too_large)
}

/// As many whole columns at a time as [`COLUMN_CHUNK`] holds, at least one.
fn fill_columns<R: Read>(
    stream: &mut Hashing<R>,
    layout: &Layout,
    expected: u128,
    (rows, columns): (usize, usize),
    data: &mut [f32],
) -> Result<u64, Problem> {
    let leading = &layout.shape[..layout.shape.len() - 1];
    let column_bytes = rows * layout.element.bytes();
    let width = (COLUMN_CHUNK as usize / column_bytes).clamp(1, columns);
    let mut buffer = vec![0; width * column_bytes];
    let mut piece = Vec::with_capacity(width * rows);
    let mut too_large = 0;
    for from in (0..columns).step_by(width) {
        let width = width.min(columns - from);
        let bytes = &mut buffer[..width * column_bytes];
        stream.fill(bytes, expected)?;
        piece.clear();
        too_large += layout.element.decode(bytes, &mut piece);
        for p0 in (0..rows).step_by(TILE) {
            for c0 in (0..width).step_by(TILE) {
                for p in p0..rows.min(p0 + TILE) {
                    let to = row_of(p, leading) * columns + from;
                    for c in c0..width.min(c0 + TILE) {
                        data[to + c] = piece[c * rows + p];
                    }
                }
            }
        }
    }
    Ok(too_large)
}

/// The flattened row (last axis fastest) of the element at place `p` of a column in Fortran order (first axis
/// fastest). For a matrix that is `p` itself.
pub(super) fn row_of(mut p: usize, leading: &[u64]) -> usize {
    let mut row = 0;
    for &n in leading {
        let n = n as usize;
        row = row * n + p % n;
        p /= n;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_in_memory_is_an_error() {
        for len in [1 << 61, u128::from(u64::MAX), u128::MAX / 8] {
            let problem = reserve(len).unwrap_err();
            assert!(matches!(problem, Problem::TooLarge { bytes } if bytes == 4 * len), "{problem}");
        }
        let says = Problem::TooLarge { bytes: 4 }.to_string();
        assert_eq!(says, "needs 4 bytes of memory as f32, which this machine won't give; read fewer rows");
    }

    #[test]
    fn places_in_fortran_columns() {
        // Axes of 2 and 3: the first runs fastest in the file, the last in the rows.
        assert_eq!((0..6).map(|p| row_of(p, &[2, 3])).collect::<Vec<_>>(), [0, 3, 1, 4, 2, 5]);
        assert_eq!((0..4).map(|p| row_of(p, &[4])).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
