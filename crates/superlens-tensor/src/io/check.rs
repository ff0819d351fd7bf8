//! What a matrix must be before anything is concluded from it: finite, and varying.

use super::Problem;
use crate::Mat;

/// Refuses NaN and infinity, counting them all and naming the first. `too_large` of the infinities were
/// finite 64-bit values in the file.
pub(super) fn finite(mat: &Mat, too_large: u64) -> Result<(), Problem> {
    let Some(first) = mat.data().iter().position(|x| !x.is_finite()) else { return Ok(()) };
    let rest = &mat.data()[first..];
    let nan = rest.iter().filter(|x| x.is_nan()).count() as u64;
    let infinite = rest.iter().filter(|x| x.is_infinite()).count() as u64 - too_large;
    let (row, column) = ((first / mat.cols()) as u64, (first % mat.cols()) as u64);
    Err(Problem::NonFinite { nan, infinite, too_large, row, column })
}

/// The columns whose rows all hold the same number, ascending; refuses a matrix with fewer than two others.
///
/// Numbers are compared, not bits: a column of 0 and −0 has no variance.
pub(super) fn constant_columns(mat: &Mat) -> Result<Vec<usize>, Problem> {
    let first = mat.row(0);
    let mut varies = vec![false; mat.cols()];
    for i in 1..mat.rows() {
        for ((varies, x), x0) in varies.iter_mut().zip(mat.row(i)).zip(first) {
            *varies |= x != x0;
        }
    }
    let constant: Vec<usize> = (0..mat.cols()).filter(|&j| !varies[j]).collect();
    let varying = mat.cols() - constant.len();
    if varying < 2 {
        let (rows, columns) = (mat.rows() as u64, mat.cols() as u64);
        return Err(Problem::TooFewVarying { varying: varying as u64, columns, rows });
    }
    Ok(constant)
}
