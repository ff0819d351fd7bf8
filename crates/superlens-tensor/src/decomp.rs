//! SVD, symmetric eigenvalues, QR and Haar rotations, in `f64` through `faer`.

use crate::Rng;
use faer::{Mat as Faer, Side};

/// Eigenvalues in descending order and their unit eigenvectors.
#[derive(Clone, Debug)]
pub struct SymEigen {
    pub values: Vec<f64>,
    /// `vectors[k]` belongs to `values[k]`; its largest coordinate is positive.
    pub vectors: Vec<Vec<f64>>,
}

/// Eigen-decomposition of the symmetric `n × n` matrix `a` (row-major; only its lower half is read).
///
/// `None` if the iteration does not converge, which happens only with entries that are not finite.
pub fn sym_eigen(a: &[f64], n: usize) -> Option<SymEigen> {
    assert_eq!(a.len(), n * n, "a {n} × {n} matrix from {} numbers", a.len());
    let eigen = Faer::from_fn(n, n, |i, j| a[i * n + j]).self_adjoint_eigen(Side::Lower).ok()?;
    let (values, vectors) = (eigen.S(), eigen.U());
    Some(SymEigen {
        values: (0..n).rev().map(|k| values[k]).collect(),
        vectors: (0..n).rev().map(|k| fix_sign((0..n).map(|i| vectors[(i, k)]).collect())).collect(),
    })
}

fn fix_sign(mut v: Vec<f64>) -> Vec<f64> {
    let largest = v.iter().copied().fold(0.0, |m: f64, x| if x.abs() > m.abs() + 1e-12 { x } else { m });
    if largest < 0.0 {
        v.iter_mut().for_each(|x| *x = -*x);
    }
    v
}

/// A thin singular value decomposition, A = U diag(s) Vᵀ.
#[derive(Clone, Debug)]
pub struct Svd {
    /// `[rows, k]` row-major with `k = min(rows, cols)`; its columns are orthonormal.
    pub u: Vec<f64>,
    /// `k` singular values, descending, none negative.
    pub s: Vec<f64>,
    /// `[k, cols]` row-major; row `k` is a right singular vector, its largest coordinate positive.
    pub vt: Vec<f64>,
}

/// Thin singular value decomposition of the `rows × cols` matrix `a` (row-major).
///
/// `None` if the iteration does not converge, which happens only with entries that are not finite.
///
/// # Panics
/// If `a` does not hold `rows · cols` numbers.
pub fn svd(a: &[f64], rows: usize, cols: usize) -> Option<Svd> {
    assert_eq!(a.len(), rows * cols, "a {rows} × {cols} matrix from {} numbers", a.len());
    let svd = Faer::from_fn(rows, cols, |i, j| a[i * cols + j]).thin_svd().ok()?;
    let (left, values, right) = (svd.U(), svd.S(), svd.V());
    let rank = rows.min(cols);
    let mut out = Svd { u: vec![0.0; rows * rank], s: Vec::with_capacity(rank), vt: Vec::with_capacity(rank * cols) };
    for k in 0..rank {
        let raw: Vec<f64> = (0..cols).map(|j| right[(j, k)]).collect();
        let fixed = fix_sign(raw.clone());
        let sign = if fixed == raw { 1.0 } else { -1.0 };
        (0..rows).for_each(|i| out.u[i * rank + k] = sign * left[(i, k)]);
        out.s.push(values[k]);
        out.vt.extend(fixed);
    }
    Some(out)
}

/// A thin QR factorisation, A = Q R.
#[derive(Clone, Debug)]
pub struct Qr {
    /// `[rows, k]` row-major with `k = min(rows, cols)`; its columns are orthonormal.
    pub q: Vec<f64>,
    /// `[k, cols]` row-major, upper triangular, nothing negative on its diagonal.
    pub r: Vec<f64>,
}

/// Thin QR factorisation of the `rows × cols` matrix `a` (row-major). The diagonal of R is made non-negative, which makes
/// the factors unique where A has full rank.
///
/// # Panics
/// If `a` does not hold `rows · cols` numbers.
pub fn qr(a: &[f64], rows: usize, cols: usize) -> Qr {
    assert_eq!(a.len(), rows * cols, "a {rows} × {cols} matrix from {} numbers", a.len());
    let qr = Faer::from_fn(rows, cols, |i, j| a[i * cols + j]).qr();
    let (q, r) = (qr.compute_thin_Q(), qr.thin_R());
    let rank = rows.min(cols);
    let sign: Vec<f64> = (0..rank).map(|k| if r[(k, k)] < 0.0 { -1.0 } else { 1.0 }).collect();
    let entry = |ij: usize, width: usize| (ij / width, ij % width);
    Qr {
        q: (0..rows * rank).map(|ik| entry(ik, rank)).map(|(i, k)| sign[k] * q[(i, k)]).collect(),
        r: (0..rank * cols).map(|kj| entry(kj, cols)).map(|(k, j)| sign[k] * r[(k, j)]).collect(),
    }
}

/// A rotation of `n` dimensions drawn from the Haar measure, row-major.
///
/// The Q of a Gaussian matrix whose R has a positive diagonal; without that fix of signs the law is not uniform (Mezzadri
/// 2007, *How to generate random matrices from the classical compact groups*).
pub fn haar_rotation(n: usize, rng: &mut Rng) -> Vec<f64> {
    let gaussian: Vec<f64> = (0..n * n).map(|_| rng.normal_f64()).collect();
    qr(&gaussian, n, n).q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigen_rebuilds_the_matrix() {
        let n = 12;
        let mut rng = Rng::new(0).fork("eigen");
        let g: Vec<f64> = (0..n * n).map(|_| rng.normal_f64()).collect();
        let a: Vec<f64> = (0..n * n).map(|ij| g[ij] + g[(ij % n) * n + ij / n]).collect();
        let e = sym_eigen(&a, n).unwrap();
        assert!(e.values.windows(2).all(|w| w[0] >= w[1]));
        for i in 0..n {
            for j in 0..n {
                let got: f64 = (0..n).map(|k| e.values[k] * e.vectors[k][i] * e.vectors[k][j]).sum();
                assert!((got - a[i * n + j]).abs() < 1e-10);
            }
        }
    }

    /// The product of row-major `a` `[n, k]` and `b` `[k, m]`.
    fn product(a: &[f64], b: &[f64], (n, k, m): (usize, usize, usize)) -> Vec<f64> {
        (0..n * m).map(|ij| (0..k).map(|l| a[ij / m * k + l] * b[l * m + ij % m]).sum()).collect()
    }

    fn transposed(a: &[f64], rows: usize, cols: usize) -> Vec<f64> {
        (0..rows * cols).map(|ij| a[ij % rows * cols + ij / rows]).collect()
    }

    fn assert_close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).for_each(|(x, y)| assert!((x - y).abs() < 1e-10, "{x} is not {y}"));
    }

    fn identity(n: usize) -> Vec<f64> {
        (0..n * n).map(|ij| f64::from(ij / n == ij % n)).collect()
    }

    #[test]
    fn svd_and_qr_rebuild_tall_wide_and_square_matrices() {
        let mut rng = Rng::new(0).fork("svd");
        for (rows, cols) in [(9, 4), (4, 9), (6, 6), (5, 1), (1, 5)] {
            let k = rows.min(cols);
            let a: Vec<f64> = (0..rows * cols).map(|_| rng.normal_f64()).collect();

            let Svd { u, s, vt } = svd(&a, rows, cols).unwrap();
            assert!(s.windows(2).all(|w| w[0] >= w[1]) && s[k - 1] >= 0.0);
            assert_close(&product(&transposed(&u, rows, k), &u, (k, rows, k)), &identity(k));
            assert_close(&product(&vt, &transposed(&vt, k, cols), (k, cols, k)), &identity(k));
            let scaled: Vec<f64> = vt.iter().enumerate().map(|(at, v)| s[at / cols] * v).collect();
            assert_close(&product(&u, &scaled, (rows, k, cols)), &a);

            let Qr { q, r } = qr(&a, rows, cols);
            assert_close(&product(&transposed(&q, rows, k), &q, (k, rows, k)), &identity(k));
            assert_close(&product(&q, &r, (rows, k, cols)), &a);
            for i in 0..k {
                assert!(r[i * cols + i] > 0.0 && r[i * cols..i * cols + i].iter().all(|v| *v == 0.0));
            }
        }
    }

    #[test]
    fn singular_values_are_known_where_they_can_be_counted() {
        // 3 and 5 along two axes, and a third row that is twice the first.
        let a = [3.0, 0.0, 0.0, 5.0, 6.0, 0.0];
        let s = svd(&a, 3, 2).unwrap().s;
        assert_close(&s, &[45f64.sqrt(), 5.0]);
    }

    #[test]
    fn haar_is_orthogonal_and_its_diagonal_unbiased() {
        let mut rng = Rng::new(0).fork("haar");
        let mut sum = 0.0;
        for _ in 0..300 {
            let q = haar_rotation(5, &mut rng);
            for i in 0..5 {
                for j in 0..5 {
                    let dot: f64 = (0..5).map(|k| q[i * 5 + k] * q[j * 5 + k]).sum();
                    assert!((dot - f64::from(i == j)).abs() < 1e-12);
                }
            }
            sum += q[0];
        }
        // E q₀₀ = 0 with standard deviation 1/√5 a draw; without the sign fix it is near −0.4.
        assert!((sum / 300.0).abs() < 4.0 / (5.0f64 * 300.0).sqrt());
    }
}
