//! Dense matrix products on all threads, the same bytes for any number of them.
//!
//! The output is cut into row panels of about equal heights and every panel is one single-threaded call of
//! the `gemm` crate; a product with few output rows and a long inner dimension is cut along the inner
//! dimension instead and the partial products are added in order. Neither cut looks at the number of threads.
//! Work that is spread over threads by itself says so ([`alone`]): every cut costs another rearranging of the right-hand side.

use crate::{Mat, Real, View};
use rayon::prelude::*;
use std::cell::Cell;

/// Output rows per panel, at most.
const PANEL_ROWS: usize = 256;
/// Inner-dimension length per partial product when the output is small.
const PANEL_DEPTH: usize = 4096;

thread_local! {
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`, in which every product of this thread is computed on it alone and in one piece (but for long inner dimensions): to the
/// same bytes, without the cuts that are there for other threads.
pub fn alone<R>(f: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _before = Before(ALONE.replace(true));
    f()
}

/// `a · b`, shape `[a.rows, b.cols]`. Panics with both shapes when the inner dimensions differ.
pub fn matmul<'a, 'b>(a: impl Into<View<'a>>, b: impl Into<View<'b>>) -> Mat {
    let (a, b) = (a.into(), b.into());
    let mut out = Mat::zeros(a.rows, b.cols);
    gemm(1.0, a, b, 0.0, &mut out);
    out
}

/// `out ← alpha · a · b + beta · out`. Panics with the shapes when they don't fit.
pub fn gemm(alpha: f32, a: View, b: View, beta: f32, out: &mut Mat) {
    assert_eq!(
        out.shape(),
        (a.rows, b.cols),
        "product of [{}, {}] and [{}, {}] into {:?}",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
        out.shape()
    );
    gemm_into(alpha, a, b, beta, out.data_mut());
}

/// [`gemm()`] in `f32` or `f64` into a row-major slice of `a.rows * b.cols` numbers.
pub fn gemm_into<R: Real>(alpha: R, a: View<R>, b: View<R>, beta: R, out: &mut [R]) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!(k, b.rows, "product of [{m}, {k}] and [{}, {n}]", b.rows);
    assert_eq!(out.len(), m * n, "product of [{m}, {k}] and [{k}, {n}] into {} numbers", out.len());
    check_bounds(&a);
    check_bounds(&b);
    if m == 0 || n == 0 {
        return;
    }
    if m <= 4 * PANEL_ROWS && k >= 2 * PANEL_DEPTH {
        let pieces: Vec<Vec<R>> = (0..k.div_ceil(PANEL_DEPTH))
            .into_par_iter()
            .map(|p| {
                let (from, to) = (p * PANEL_DEPTH, ((p + 1) * PANEL_DEPTH).min(k));
                let mut part = vec![R::ZERO; m * n];
                product(alpha, cols(a, from, to), rows(b, from, to), R::ZERO, &mut part, n);
                part
            })
            .collect();
        // Like the other path, `beta = 0` overwrites whatever `out` held, NaN included.
        for x in out.iter_mut() {
            *x = if beta == R::ZERO { R::ZERO } else { *x * beta };
        }
        for part in pieces {
            for (o, &p) in out.iter_mut().zip(&part) {
                *o += p;
            }
        }
        return;
    }
    let panels = m.div_ceil(PANEL_ROWS);
    // Of vectors and outer products `gemm` sums up in an order that depends on the height.
    let plain = n > 1 && k > 2;
    if panels == 1 || plain && ALONE.get() {
        return product(alpha, a, b, beta, out, n);
    }
    // Of about equal heights: `gemm` sums up otherwise for a single row, which the last would be at times.
    let mut rest = out;
    let mut pieces = Vec::with_capacity(panels);
    for p in 0..panels {
        let (from, to) = (p * m / panels, (p + 1) * m / panels);
        let (panel, after) = std::mem::take(&mut rest).split_at_mut((to - from) * n);
        pieces.push((rows(a, from, to), panel));
        rest = after;
    }
    pieces.into_par_iter().for_each(|(a, panel)| product(alpha, a, b, beta, panel, n));
}

fn rows<R>(v: View<R>, from: usize, to: usize) -> View<R> {
    View { data: &v.data[(from * v.row_stride).min(v.data.len())..], rows: to - from, ..v }
}

fn cols<R>(v: View<R>, from: usize, to: usize) -> View<R> {
    View { data: &v.data[(from * v.col_stride).min(v.data.len())..], cols: to - from, ..v }
}

fn check_bounds<R>(v: &View<R>) {
    if v.rows > 0 && v.cols > 0 {
        let last = (v.rows - 1) * v.row_stride + (v.cols - 1) * v.col_stride;
        assert!(last < v.data.len(), "a [{}, {}] view reaches entry {last} of {}", v.rows, v.cols, v.data.len());
    }
}

/// One single-threaded product into the contiguous row-major `out` of row length `n`.
fn product<R: Real>(alpha: R, a: View<R>, b: View<R>, beta: R, out: &mut [R], n: usize) {
    debug_assert_eq!(out.len(), a.rows * n);
    // SAFETY: `check_bounds` has shown that every entry of both views lies inside their slices, `out` holds
    // `a.rows * n` numbers that nobody else can see, and the strides given are the views' own.
    unsafe {
        gemm::gemm(
            a.rows,
            n,
            a.cols,
            out.as_mut_ptr(),
            1,
            n as isize,
            beta != R::ZERO,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            beta,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn reference(a: View, b: View) -> Mat {
        Mat::from_fn(a.rows, b.cols, |i, j| {
            (0..a.cols).map(|k| a.at(i, k) as f64 * b.at(k, j) as f64).sum::<f64>() as f32
        })
    }

    #[test]
    fn every_transpose_agrees_with_the_definition() {
        let mut rng = Rng::new(0).fork("gemm");
        for (m, k, n) in [(1, 1, 1), (3, 5, 2), (130, 70, 33), (40, 9000, 17), (600, 3, 5)] {
            let a = Mat::from_fn(m, k, |_, _| rng.normal());
            let b = Mat::from_fn(k, n, |_, _| rng.normal());
            let (at, bt) = (a.transposed(), b.transposed());
            let want = reference(a.view(), b.view());
            for got in [matmul(&a, &b), matmul(at.t(), &b), matmul(&a, bt.t()), matmul(at.t(), bt.t())] {
                for (g, w) in got.data().iter().zip(want.data()) {
                    assert!((g - w).abs() < 2e-5 * (k as f32).sqrt() * 4.0, "{g} {w} at {m} {k} {n}");
                }
            }
        }
    }

    #[test]
    fn products_alone_are_the_same_and_end_with_their_work() {
        let mut rng = Rng::new(2).fork("gemm");
        for (m, k, n) in [(257, 70, 33), (600, 384, 50), (769, 3, 1), (700, 2, 9), (1025, 600, 7)] {
            let (a, b) = (Mat::from_fn(m, k, |_, _| rng.normal()), Mat::from_fn(k, n, |_, _| rng.normal()));
            assert!(alone(|| matmul(&a, &b)) == matmul(&a, &b), "{m} {k} {n}");
        }
        let told = std::panic::catch_unwind(|| alone(|| assert!(!ALONE.get(), "it is")));
        assert!(told.is_err() && !ALONE.get());
    }

    #[test]
    fn beta_keeps_or_overwrites() {
        for k in [3, 9000] {
            let (a, b) = (Mat::from_fn(2, k, |_, _| 1.0), Mat::from_fn(k, 2, |_, _| 1.0));
            let mut out = Mat::from_vec(2, 2, vec![f32::NAN; 4]);
            gemm(1.0, a.view(), b.view(), 0.0, &mut out);
            gemm(2.0, a.view(), b.view(), -1.0, &mut out);
            assert_eq!(out.data(), [k as f32; 4]);
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let mut rng = Rng::new(1).fork("gemm");
        for (m, k, n) in [(700, 65, 40), (64, 20000, 64)] {
            let a = Mat::from_fn(m, k, |_, _| rng.normal());
            let b = Mat::from_fn(k, n, |_, _| rng.normal());
            let run = |threads| {
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| matmul(&a, &b))
            };
            let one = run(1);
            for threads in [2, 3, 7] {
                assert_eq!(one, run(threads), "{m}x{k}x{n} on {threads} threads");
            }
        }
    }
}
