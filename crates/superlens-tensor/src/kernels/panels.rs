//! Sums over whole matrices, a stretch of rows per piece of parallel work. The pieces don't depend on the number of threads.

use super::pointwise::axpy;
use super::vectors::by_vectors;
use crate::Mat;
use rayon::prelude::*;

/// Numbers per piece, about.
const PIECE: usize = 1 << 14;

/// Numbers in a piece of whole rows.
fn piece(m: &Mat) -> usize {
    let width = m.cols().max(1);
    (PIECE / width).max(1) * width
}

/// `y += alpha · x`. Panics with both shapes when they differ.
pub fn add_scaled(alpha: f32, x: &Mat, y: &mut Mat) {
    assert_eq!(x.shape(), y.shape(), "the sum of two matrices");
    let piece = piece(y);
    y.data_mut().par_chunks_mut(piece).zip(x.data().par_chunks(piece)).for_each(|(y, x)| {
        by_vectors(
            #[inline(always)]
            || axpy(alpha, x, y),
        );
    });
}

/// Adds `alpha · row` to every row of `m`. Panics on another width.
pub fn add_to_rows(alpha: f32, row: &[f32], m: &mut Mat) {
    assert_eq!(row.len(), m.cols(), "a row for a matrix {:?}", m.shape());
    let piece = piece(m);
    m.data_mut().par_chunks_mut(piece).for_each(|rows| {
        by_vectors(
            #[inline(always)]
            || {
                for to in rows.chunks_exact_mut(row.len().max(1)) {
                    axpy(alpha, row, to);
                }
            },
        );
    });
}

/// The sum of all rows: pieces in `f32`, their sums in `f64` and in order.
pub fn column_sums(m: &Mat) -> Vec<f64> {
    let piece = piece(m);
    let of_piece = |rows: &[f32]| {
        let mut sum = vec![0.0; m.cols()];
        by_vectors(
            #[inline(always)]
            || {
                for row in rows.chunks_exact(m.cols().max(1)) {
                    axpy(1.0, row, &mut sum);
                }
            },
        );
        sum
    };
    let sums: Vec<Vec<f32>> = m.data().par_chunks(piece).map(of_piece).collect();
    let mut total = vec![0.0; m.cols()];
    sums.iter().for_each(|sum| total.iter_mut().zip(sum).for_each(|(t, &s)| *t += f64::from(s)));
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agree_with_the_definitions_across_pieces() {
        let x = Mat::from_fn(700, 50, |i, j| ((i * 7 + j * 3) % 11) as f32 - 4.0);
        let mut y = Mat::from_fn(700, 50, |i, j| (i + j) as f32);
        add_scaled(2.0, &x, &mut y);
        add_to_rows(-1.0, &[3.0; 50], &mut y);
        assert!((0..700).all(|i| (0..50).all(|j| y[(i, j)] == (i + j) as f32 + 2.0 * x[(i, j)] - 3.0)));
        let sums = column_sums(&x);
        assert!((0..50).all(|j| sums[j] == (0..700).map(|i| f64::from(x[(i, j)])).sum::<f64>()));
        assert_eq!(column_sums(&Mat::zeros(0, 3)), [0.0; 3]);
    }
}
