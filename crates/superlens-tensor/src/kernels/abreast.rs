//! Products for [`WIDTH`] samples side by side: a sample in each lane, the weights one number at a time.
//!
//! Where a layer is narrower than a few vectors, the products of a general kernel are all edges. With a row `[WIDTH]` for each feature in
//! place of a row for each sample, every number that is computed fills a lane whatever the layer's width, and weights need no packing.

use super::lanes::{GROUP, Group};
use super::vectors::by_vectors;
use crate::View;
use pulp::{Simd, WithSimd};

/// Samples side by side.
pub const WIDTH: usize = 2 * GROUP;

/// One feature of [`WIDTH`] samples.
pub type Row = [Group; WIDTH / GROUP];

/// A row of zeros.
pub const ZERO: Row = [Group::ZERO; WIDTH / GROUP];

/// The numbers of neighbouring rows.
#[inline(always)]
pub fn flat(rows: &[Row]) -> &[f32] {
    Group::flat(rows.as_flattened())
}

/// The same, to write.
#[inline(always)]
pub fn flat_mut(rows: &mut [Row]) -> &mut [f32] {
    Group::flat_mut(rows.as_flattened_mut())
}

/// Each row as an array.
#[inline(always)]
pub fn each(rows: &[Row]) -> &[[f32; WIDTH]] {
    flat(rows).as_chunks().0
}

/// The same, to write.
#[inline(always)]
pub fn each_mut(rows: &mut [Row]) -> &mut [[f32; WIDTH]] {
    flat_mut(rows).as_chunks_mut().0
}

/// `out[j] ← out[j] + Σ_k w[k, j] x[k]`: `x` has a row for each of `w`'s rows, `out` one for each of its columns.
///
/// Panics with the numbers of rows where they don't fit, and where the view reaches beyond its numbers.
pub fn add_product(w: View, x: &[Row], out: &mut [Row]) {
    assert!(
        w.rows == x.len() && w.cols == out.len(),
        "weights [{}, {}] from {} rows to {}",
        w.rows,
        w.cols,
        x.len(),
        out.len()
    );
    if x.is_empty() || out.is_empty() {
        return;
    }
    let last = (w.rows - 1) * w.row_stride + (w.cols - 1) * w.col_stride;
    assert!(last < w.data.len(), "a [{}, {}] view reaches entry {last} of {}", w.rows, w.cols, w.data.len());
    pulp::Arch::new().dispatch(Product { w, x: flat(x), out: flat_mut(out) });
}

struct Product<'a> {
    w: View<'a>,
    x: &'a [f32],
    out: &'a mut [f32],
}

/// Vectors of a row that are computed together: each weight is spread over a vector once for both.
const PAIR: usize = 2;

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = WIDTH / S::F32_LANES;
        let (x, out) = (S::as_simd_f32s(self.x).0, S::as_mut_simd_f32s(self.out).0);
        // As many columns at once as leave sums, a pair of `x` and a weight in the registers.
        let many = S::F32_LANES >= 16;
        for from in (0..vectors).step_by(PAIR) {
            let tile = Tile { w: self.w, x, vectors, from };
            let mut j = 0;
            while many && j + 12 <= self.w.cols {
                tile.run::<S, 12>(simd, j, out);
                j += 12;
            }
            while j + 4 <= self.w.cols {
                tile.run::<S, 4>(simd, j, out);
                j += 4;
            }
            while j < self.w.cols {
                tile.run::<S, 1>(simd, j, out);
                j += 1;
            }
        }
    }
}

struct Tile<'a, V> {
    w: View<'a>,
    x: &'a [V],
    vectors: usize,
    from: usize,
}

impl<V: Copy> Tile<'_, V> {
    /// Columns `j..j + C`.
    #[inline(always)]
    fn run<S: Simd<f32s = V>, const C: usize>(&self, simd: S, j: usize, out: &mut [V]) {
        let (w, vectors) = (self.w, self.vectors);
        let mut sums = [[simd.splat_f32s(0.0); PAIR]; C];
        for c in 0..C {
            for p in 0..PAIR {
                sums[c][p] = out[(j + c) * vectors + self.from + p];
            }
        }
        for (k, x) in self.x.chunks_exact(vectors).enumerate() {
            let x: [V; PAIR] = std::array::from_fn(|p| x[self.from + p]);
            let at = k * w.row_stride + j * w.col_stride;
            for c in 0..C {
                // SAFETY: `add_product` has shown that the view's last entry lies inside its numbers, and this one does not come after it:
                // `k` is below its rows (as many as `x` has) and `j + c` below its columns.
                let weight = simd.splat_f32s(unsafe { *w.data.get_unchecked(at + c * w.col_stride) });
                for p in 0..PAIR {
                    sums[c][p] = simd.mul_add_e_f32s(weight, x[p], sums[c][p]);
                }
            }
        }
        for c in 0..C {
            for p in 0..PAIR {
                out[(j + c) * vectors + self.from + p] = sums[c][p];
            }
        }
    }
}

/// Scores become their softmax over the rows, for each sample on its own, but for a factor: that of each sample is returned.
///
/// A sample with −∞ alone is given NaN. Errors are below 3e-7 of the largest.
pub fn softmax(scores: &mut [Row]) -> [f32; WIDTH] {
    let mut sums = [0.0; WIDTH];
    by_vectors(
        #[inline(always)]
        || {
            let rows = each_mut(scores);
            let mut tops = [f32::NEG_INFINITY; WIDTH];
            for row in rows.iter() {
                for l in 0..WIDTH {
                    tops[l] = if row[l] > tops[l] { row[l] } else { tops[l] };
                }
            }
            for top in &mut tops {
                *top *= std::f32::consts::LOG2_E;
            }
            for row in rows.iter_mut() {
                for l in 0..WIDTH {
                    row[l] = power_of_two(row[l].mul_add(std::f32::consts::LOG2_E, -tops[l]));
                    sums[l] += row[l];
                }
            }
            for sum in &mut sums {
                *sum = 1.0 / *sum;
            }
        },
    );
    sums
}

/// `2ˣ` of an `x` that is at most about 0, and 2⁻¹²⁶ of any below −126: the polynomial is the one of least error, fitted at Chebyshev points.
#[inline(always)]
fn power_of_two(x: f32) -> f32 {
    // Adding this rounds to whole numbers, and leaves them in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const P: [f32; 7] =
        [1.534_581_2e-4, 1.339_993_1e-3, 9.618_489e-3, 5.550_328_6e-2, 0.240_226_46, std::f32::consts::LN_2, 1.0];
    let x = if x < -126.0 { -126.0 } else { x };
    let shifted = x + ROUND;
    let r = x - (shifted - ROUND);
    let mut p = P[0];
    for c in &P[1..] {
        p = p.mul_add(r, *c);
    }
    // The whole number is added to the exponent; what else is in its bits is shifted out.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `rows[i] ← rows[i] · by`, for each sample its own factor.
pub fn scale(rows: &mut [Row], by: &[f32; WIDTH]) {
    by_vectors(
        #[inline(always)]
        || {
            for row in each_mut(rows) {
                for l in 0..WIDTH {
                    row[l] *= by[l];
                }
            }
        },
    );
}

/// A row for each sample, `[WIDTH]` or fewer of them of so many features each, as rows for the features; samples that are not there become zeros.
///
/// Panics where the samples don't come out even.
pub fn from_samples(samples: &[f32], out: &mut [Row]) {
    let features = out.len();
    let rows = each_mut(out);
    rows.iter_mut().for_each(|row| row.fill(0.0));
    assert!(samples.len().is_multiple_of(features.max(1)), "{} numbers of {features} features", samples.len());
    for (l, sample) in samples.chunks_exact(features.max(1)).enumerate() {
        for (row, x) in rows.iter_mut().zip(sample) {
            row[l] = *x;
        }
    }
}

/// The way back: columns `first..` of a row `[stride]` for each sample.
pub fn to_samples(rows: &[Row], samples: &mut [f32], stride: usize, first: usize) {
    let rows = each(rows);
    for (l, sample) in samples.chunks_exact_mut(stride).enumerate() {
        for (x, row) in sample[first..].iter_mut().zip(rows) {
            *x = row[l];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::gemm::matmul;
    use crate::{Mat, Rng};

    fn rows(samples: &Mat) -> Vec<Row> {
        let mut rows = vec![ZERO; samples.cols()];
        from_samples(samples.data(), &mut rows);
        rows
    }

    fn samples(rows: &[Row], n: usize) -> Mat {
        let mut out = Mat::zeros(n, rows.len());
        to_samples(rows, out.data_mut(), rows.len(), 0);
        out
    }

    fn close(a: &Mat, b: &Mat) -> bool {
        a.shape() == b.shape() && a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() < 1e-4)
    }

    #[test]
    fn products_are_those_of_matrices() {
        let mut rng = Rng::new(3).fork("abreast");
        for (n, k, j) in [(32, 64, 128), (32, 7, 31), (5, 1, 1), (31, 172, 12), (1, 8, 3)] {
            let (x, w) = (Mat::from_fn(n, k, |_, _| rng.normal()), Mat::from_fn(k, j, |_, _| rng.normal()));
            let bias = Mat::from_fn(1, j, |_, _| rng.normal());
            let want = {
                let mut want = matmul(&x, &w);
                (0..n).for_each(|i| want.row_mut(i).iter_mut().zip(bias.row(0)).for_each(|(x, b)| *x += b));
                want
            };
            let turned = w.transposed();
            for view in [w.view(), turned.t()] {
                let mut out: Vec<Row> = bias.row(0).iter().map(|&b| [Group([b; GROUP]); WIDTH / GROUP]).collect();
                add_product(view, &rows(&x), &mut out);
                assert!(close(&samples(&out, n), &want), "{n} {k} {j}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "weights [3, 4] from 2 rows to 4")]
    fn rows_that_do_not_fit_are_told() {
        add_product(Mat::zeros(3, 4).view(), &[ZERO; 2], &mut [ZERO; 4]);
    }

    #[test]
    fn powers_of_two_to_the_last_places() {
        for i in 0..1_000_000 {
            let x = -126.0 * i as f32 / 1e6;
            let want = f64::from(x).exp2();
            assert!((f64::from(power_of_two(x)) - want).abs() < 2e-7 * want, "2^{x}");
        }
        assert_eq!((power_of_two(0.0), power_of_two(f32::NEG_INFINITY)), (1.0, f32::MIN_POSITIVE));
        assert!(power_of_two(f32::NAN).is_nan());
    }

    #[test]
    fn probabilities_of_each_sample() {
        let mut rng = Rng::new(4).fork("abreast");
        let mut scores = Mat::from_fn(WIDTH, 19, |_, j| if j == 7 { f32::NEG_INFINITY } else { 9.0 * rng.normal() });
        let mut got = rows(&scores);
        let factors = softmax(&mut got);
        scale(&mut got, &factors);
        crate::kernels::smooth::softmax(scores.data_mut(), 19);
        assert!(close(&samples(&got, WIDTH), &scores));
    }
}
