//! What sparse recovery spends its time on: a row plus multiples of a few others, the largest entry of a row, and the inner products
//! of one row with many.

use super::pointwise;
use crate::Mat;
use pulp::{Simd, WithSimd};

/// Vectors that stay in registers while the terms go by.
const TILE: usize = 8;

/// `out ← start + Σ c · row` over `terms`, added in their order and each rounded, as repeated [`axpy`](pointwise::axpy) does: the same
/// bytes, without writing `out` between. Panics where lengths differ.
pub fn combine(start: &[f32], terms: &[(f32, &[f32])], out: &mut [f32]) {
    assert_eq!(start.len(), out.len(), "a sum of {} numbers into {}", start.len(), out.len());
    assert!(terms.iter().all(|t| t.1.len() == out.len()), "terms of another length than {}", out.len());
    pulp::Arch::new().dispatch(Combine { start, terms, out });
}

struct Combine<'a> {
    start: &'a [f32],
    terms: &'a [(f32, &'a [f32])],
    out: &'a mut [f32],
}

impl WithSimd for Combine<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let vectors = self.out.len() / S::F32_LANES;
        let mut v = 0;
        while v + TILE <= vectors {
            self.tile::<S, TILE>(simd, v);
            v += TILE;
        }
        while v < vectors {
            self.tile::<S, 1>(simd, v);
            v += 1;
        }
        for i in vectors * S::F32_LANES..self.out.len() {
            self.out[i] = self.terms.iter().fold(self.start[i], |sum, (c, row)| sum + c * row[i]);
        }
    }
}

impl Combine<'_> {
    /// `T` vectors from the `v`-th on.
    #[inline(always)]
    fn tile<S: Simd, const T: usize>(&mut self, simd: S, v: usize) {
        let mut sums: [S::f32s; T] = vectors::<S, T>(self.start, v);
        for (c, row) in self.terms {
            let c = simd.splat_f32s(*c);
            let row = vectors::<S, T>(row, v);
            for t in 0..T {
                sums[t] = simd.add_f32s(sums[t], simd.mul_f32s(c, row[t]));
            }
        }
        S::as_mut_simd_f32s(self.out).0[v..v + T].copy_from_slice(&sums);
    }
}

/// The place and size of the largest entry, by size or (`positive`) as it stands, and the first of equals; `None` where no entry is above
/// zero.
pub fn largest(values: &[f32], positive: bool) -> Option<(usize, f32)> {
    pulp::Arch::new().dispatch(Largest { values, positive })
}

struct Largest<'a> {
    values: &'a [f32],
    positive: bool,
}

impl WithSimd for Largest<'_> {
    type Output = Option<(usize, f32)>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let tile = TILE * S::F32_LANES;
        let (mut height, mut from) = (0.0f32, None);
        let whole = self.values.len() / tile;
        for t in 0..whole {
            let v = vectors::<S, TILE>(self.values, t * TILE);
            let mut top = simd.splat_f32s(0.0);
            for v in v {
                top = simd.max_f32s(if self.positive { v } else { simd.abs_f32s(v) }, top);
            }
            let top = simd.reduce_max_f32s(top);
            if top > height {
                (height, from) = (top, Some(t * tile));
            }
        }
        // The first of the best tile that is as large, unless the rest holds a larger one.
        let size = |v: f32| if self.positive { v } else { v.abs() };
        let mut best = from.and_then(|from| {
            let inside = self.values[from..from + tile].iter().position(|&v| size(v) == height);
            inside.map(|i| (from + i, height))
        });
        for (i, &v) in self.values.iter().enumerate().skip(whole * tile) {
            if size(v) > best.map_or(0.0, |b| b.1) {
                best = Some((i, size(v)));
            }
        }
        best
    }
}

/// `out[i] ← rows[i] · x`. Panics where lengths differ.
pub fn dots(rows: &Mat, x: &[f32], out: &mut [f32]) {
    assert_eq!((rows.rows(), rows.cols()), (out.len(), x.len()), "rows {:?}, x, and room for products", rows.shape());
    pulp::Arch::new().dispatch(Dots { rows, x, out });
}

struct Dots<'a> {
    rows: &'a Mat,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut i = 0;
        while i + 4 <= self.out.len() {
            let got = several::<S, 4>(simd, self.rows, i, self.x);
            self.out[i..i + 4].copy_from_slice(&got);
            i += 4;
        }
        for i in i..self.out.len() {
            self.out[i] = several::<S, 1>(simd, self.rows, i, self.x)[0];
        }
    }
}

/// The products of `x` with `R` rows from the `i`-th on, so that each part of `x` is loaded once for all of them.
#[inline(always)]
fn several<S: Simd, const R: usize>(simd: S, rows: &Mat, i: usize, x: &[f32]) -> [f32; R] {
    let (head, tail) = S::as_simd_f32s(x);
    let rows: [&[f32]; R] = std::array::from_fn(|r| rows.row(i + r));
    let heads: [&[S::f32s]; R] = rows.map(|row| &S::as_simd_f32s(row).0[..head.len()]);
    let mut sums = [simd.splat_f32s(0.0); R];
    for (v, &x) in head.iter().enumerate() {
        for r in 0..R {
            sums[r] = simd.mul_add_e_f32s(heads[r][v], x, sums[r]);
        }
    }
    let done = x.len() - tail.len();
    std::array::from_fn(|r| simd.reduce_sum_f32s(sums[r]) + pointwise::dot(&rows[r][done..], tail))
}

/// `T` vectors of a row from the `v`-th on.
#[inline(always)]
fn vectors<S: Simd, const T: usize>(row: &[f32], v: usize) -> [S::f32s; T] {
    let row = &S::as_simd_f32s(row).0[v..v + T];
    std::array::from_fn(|t| row[t])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn random(n: usize, rng: &mut Rng) -> Vec<f32> {
        (0..n).map(|_| rng.normal()).collect()
    }

    #[test]
    fn a_combination_has_the_bytes_of_repeated_axpy() {
        let mut rng = Rng::new(0).fork("pursuit");
        for n in [0, 1, 15, 16, 17, 64, 129, 300, 1000] {
            let start = random(n, &mut rng);
            let rows: Vec<Vec<f32>> = (0..7).map(|_| random(n, &mut rng)).collect();
            let terms: Vec<(f32, &[f32])> = rows.iter().map(|r| (rng.normal(), r.as_slice())).collect();
            let mut want = start.clone();
            terms.iter().for_each(|(c, row)| pointwise::axpy(*c, row, &mut want));
            let mut got = vec![f32::NAN; n];
            combine(&start, &terms, &mut got);
            assert_eq!(got, want, "{n}");
        }
    }

    #[test]
    fn the_largest_is_the_first_of_equals() {
        let mut rng = Rng::new(1).fork("pursuit");
        for n in [0, 1, 5, 127, 128, 129, 500] {
            for positive in [false, true] {
                // Few values, so that there are equals.
                let values: Vec<f32> = (0..n).map(|_| rng.below(9) as f32 - 4.0).collect();
                let mut want = None;
                for (i, &v) in values.iter().enumerate() {
                    let h = if positive { v } else { v.abs() };
                    if h > want.map_or(0.0, |w: (usize, f32)| w.1) {
                        want = Some((i, h));
                    }
                }
                assert_eq!(largest(&values, positive), want, "{n}");
            }
        }
        assert_eq!((largest(&[-1.0; 200], true), largest(&[0.0; 200], false)), (None, None));
    }

    #[test]
    fn inner_products_are_those_of_the_definition() {
        let mut rng = Rng::new(2).fork("pursuit");
        for (n, d) in [(1, 1), (5, 33), (9, 256), (3, 0)] {
            let rows = Mat::from_vec(n, d, random(n * d, &mut rng));
            let x = random(d, &mut rng);
            let mut got = vec![0.0; n];
            dots(&rows, &x, &mut got);
            assert!((0..n).all(|i| (got[i] - pointwise::dot(rows.row(i), &x)).abs() < 1e-4));
        }
    }
}
