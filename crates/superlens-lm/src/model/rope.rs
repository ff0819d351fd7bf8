//! Rotations of queries and keys by their positions.

use superlens_tensor::Mat;

use super::config::Rope;

impl Rope {
    /// Sines and cosines of position `at`, for a sequence of `len` tokens: `dims / 2` pairs.
    pub(super) fn angles(&self, at: usize, len: usize, out: &mut Vec<(f32, f32)>) {
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

    /// The other way round, for gradients: the transpose of the rotation, its scale with it.
    pub(super) fn rotate_back(&self, x: &mut Mat, part: (usize, usize), d_head: usize, places: &[(usize, usize)]) {
        self.turn(x, part, d_head, places, -1.0);
    }

    /// Rotates the heads in columns `from..to` of each row, which stands at the position given beside the length of its sequence.
    pub(super) fn rotate(&self, x: &mut Mat, part: (usize, usize), d_head: usize, places: &[(usize, usize)]) {
        self.turn(x, part, d_head, places, 1.0);
    }

    fn turn(&self, x: &mut Mat, (from, to): (usize, usize), d_head: usize, places: &[(usize, usize)], sign: f32) {
        let half = self.dims / 2;
        let Some(lowest) = places.iter().map(|place| place.0).min() else { return };
        let highest = places.iter().map(|place| place.0).max().unwrap_or(lowest);
        // Sequences side by side stand at the same positions.
        let mut known: Vec<Option<usize>> = vec![None; highest - lowest + 1];
        let mut length = None;
        let (mut table, mut angles) = (Vec::new(), Vec::with_capacity(half));
        for (row, &(at, len)) in (0..x.rows()).zip(places) {
            if self.long.is_some() && length != Some(len) {
                length = Some(len);
                known.fill(None);
            }
            let first = *known[at - lowest].get_or_insert_with(|| {
                self.angles(at, len, &mut angles);
                table.extend_from_slice(&angles);
                table.len() - half
            });
            let angles = &table[first..first + half];
            for head in x.row_mut(row)[from..to].chunks_exact_mut(d_head) {
                let (first, rest) = head.split_at_mut(half);
                for ((a, b), &(sin, cos)) in first.iter_mut().zip(&mut rest[..half]).zip(angles) {
                    let sin = sign * sin;
                    (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                }
            }
        }
    }
}
