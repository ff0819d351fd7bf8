//! Bounds on many inner products at once: the largest of each tile of vectors.

use pulp::{Simd, WithSimd};

/// Vectors in a tile.
pub const TILE: usize = 64;
/// Registers that hold products while the coordinates go by.
const HELD: usize = 4;

/// Vectors, laid out coordinate by coordinate in tiles of [`TILE`]; the last is filled up with copies of the last vector.
#[derive(Clone, Debug, Default)]
pub struct Tiles {
    dims: usize,
    data: Vec<f32>,
}

impl Tiles {
    /// Of the rows `vectors`, each of `dims` numbers. Panics if they don't come out even.
    pub fn new(vectors: &[f32], dims: usize) -> Tiles {
        if dims == 0 {
            return Tiles::default();
        }
        assert_eq!(vectors.len() % dims, 0, "{} numbers for vectors of {dims}", vectors.len());
        let n = vectors.len() / dims;
        let mut data = Vec::with_capacity(n.div_ceil(TILE) * TILE * dims);
        for first in (0..n).step_by(TILE) {
            for c in 0..dims {
                data.extend((first..first + TILE).map(|i| vectors[i.min(n - 1) * dims + c]));
            }
        }
        Tiles { dims, data }
    }

    /// The number of tiles; 0 for vectors without coordinates.
    pub fn len(&self) -> usize {
        self.data.len() / (TILE * self.dims).max(1)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `out[r, t] ←` the largest inner product of the `r`-th of the `xs` `[rows, dims]` with a vector of tile `t`.
    ///
    /// Rounded otherwise than [`dot`](super::pointwise::dot): leave room where it is to be a bound. Panics where lengths differ.
    pub fn maxima(&self, xs: &[f32], out: &mut [f32]) {
        assert_eq!(xs.len() * self.len(), out.len() * self.dims, "{} numbers, {} maxima", xs.len(), out.len());
        if self.dims > 0 {
            pulp::Arch::new().dispatch(Maxima { tiles: self, xs, out });
        }
    }
}

struct Maxima<'a> {
    tiles: &'a Tiles,
    xs: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Maxima<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Maxima { tiles, xs, out } = self;
        let (dims, n) = (tiles.dims, tiles.len());
        // A tile stays in the nearest cache while the rows go by.
        for (t, tile) in tiles.data.chunks_exact(TILE * dims).enumerate() {
            for (r, x) in xs.chunks_exact(dims).enumerate() {
                let mut top = simd.splat_f32s(f32::NEG_INFINITY);
                for part in (0..TILE).step_by(HELD * S::F32_LANES) {
                    let mut sums = [simd.splat_f32s(0.0); HELD];
                    for (&x, lanes) in x.iter().zip(tile.chunks_exact(TILE)) {
                        let x = simd.splat_f32s(x);
                        let lanes = &S::as_simd_f32s(&lanes[part..]).0[..HELD];
                        for (sum, &v) in sums.iter_mut().zip(lanes) {
                            *sum = simd.mul_add_e_f32s(v, x, *sum);
                        }
                    }
                    for sum in sums {
                        top = simd.max_f32s(top, sum);
                    }
                }
                out[r * n + t] = simd.reduce_max_f32s(top);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn the_largest_product_of_every_tile() {
        let mut rng = Rng::new(0).fork("tiles");
        for (n, dims, rows) in [(150, 25, 3), (64, 1, 2), (1, 7, 1)] {
            let vectors: Vec<f32> = (0..n * dims).map(|_| rng.normal()).collect();
            let xs: Vec<f32> = (0..rows * dims).map(|_| rng.normal()).collect();
            let tiles = Tiles::new(&vectors, dims);
            assert_eq!(tiles.len(), n.div_ceil(TILE));
            let mut got = vec![0.0; rows * tiles.len()];
            tiles.maxima(&xs, &mut got);
            for r in 0..rows {
                for t in 0..tiles.len() {
                    let product = |i: usize| (0..dims).map(|c| vectors[i * dims + c] * xs[r * dims + c]).sum::<f32>();
                    let want = (t * TILE..n.min((t + 1) * TILE)).map(product).fold(f32::MIN, f32::max);
                    assert!((got[r * tiles.len() + t] - want).abs() < 1e-4, "{n} {dims}: row {r}, tile {t}");
                }
            }
        }
        assert!(Tiles::new(&[], 0).is_empty() && Tiles::new(&[], 5).is_empty());
    }
}
