//! Rotations of queries and keys by their positions.

use superlens_tensor::Mat;

use super::config::Rope;

impl Rope {
    /// Sines and cosines of position `at`, for a sequence of `len` tokens: `dims / 2` pairs.
    fn angles(&self, at: usize, len: usize, out: &mut Vec<(f32, f32)>) {
        let frequencies = match &self.long {
            Some((above, long)) if len > *above => long,
            _ => &self.frequencies,
        };
        out.clear();
        // The angle is rounded to single precision before its sine is taken, as the models were trained.
        out.extend(frequencies.iter().map(|f| {
            let (sin, cos) = f64::from(f * at as f32).sin_cos();
            (sin as f32 * self.scale, cos as f32 * self.scale)
        }));
    }

    /// Rotates the heads in columns `from..to` of each row, which stands at the position given beside the length of its sequence.
    pub(super) fn rotate(&self, x: &mut Mat, (from, to): (usize, usize), d_head: usize, places: &[(usize, usize)]) {
        let half = self.dims / 2;
        let mut angles = Vec::with_capacity(half);
        let mut known = None;
        for (row, &place) in (0..x.rows()).zip(places) {
            if known != Some(place) {
                self.angles(place.0, place.1, &mut angles);
                known = Some(place);
            }
            for head in x.row_mut(row)[from..to].chunks_exact_mut(d_head) {
                let (first, rest) = head.split_at_mut(half);
                for ((a, b), &(sin, cos)) in first.iter_mut().zip(&mut rest[..half]).zip(&angles) {
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}
