//! How well a set of directions explains held-out rows when only a few of them may be on at once.

use crate::sae::Sae;
use superlens_tensor::Mat;

/// Held-out fraction of variance unexplained with at most `k` directions a row (non-negative orthogonal matching pursuit),
/// in white coordinates, where every dimension counts alike.
pub(super) fn fvu(directions: &Mat, z: &Mat, k: usize) -> f64 {
    let (left, total) = energies(&residual(directions, z, k), z);
    if total > 0.0 { left / total } else { 1.0 }
}

/// What `k` directions leave of each row, `[rows, rank]`.
pub(super) fn residual(directions: &Mat, z: &Mat, k: usize) -> Mat {
    let recon = reconstruct(directions, z, k);
    let mut out = z.clone();
    out.data_mut().iter_mut().zip(recon.data()).for_each(|(a, b)| *a -= b);
    out
}

fn reconstruct(directions: &Mat, z: &Mat, k: usize) -> Mat {
    let sae = pursuit(directions, k);
    sae.decode(&sae.encode(z))
}

/// The directions as a matching-pursuit code with `k` active a row.
pub(super) fn pursuit(directions: &Mat, k: usize) -> Sae {
    Sae::from_dictionary(directions.clone(), vec![0.0; directions.cols()], k.min(directions.rows()), true)
}

fn energies(left: &Mat, z: &Mat) -> (f64, f64) {
    let sum = |m: &Mat| m.data().iter().map(|v| f64::from(*v).powi(2)).sum();
    (sum(left), sum(z))
}
