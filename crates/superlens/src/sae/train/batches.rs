//! [`Batches`]: which rows each training step sees.

use superlens_tensor::Rng;

/// A seeded shuffle of all rows, a new one for every epoch, cut into batches that run across the ends of epochs.
/// What a step sees depends on the seed and the step's number alone.
#[derive(Clone, Debug)]
pub(super) struct Batches {
    rows: usize,
    size: usize,
    rng: Rng,
    epoch: u64,
    order: Vec<usize>,
}

impl Batches {
    /// Batches of `size` of `rows` rows, or of all rows where there are fewer. Panics without rows.
    pub(super) fn new(rows: usize, size: usize, rng: &Rng) -> Self {
        assert!(rows > 0 && size > 0, "batches of {size} of {rows} rows");
        let rng = rng.fork("batches");
        let order = rng.fork_index(0).permutation(rows);
        Self { rows, size: size.min(rows), rng, epoch: 0, order }
    }

    /// Rows in a batch.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The rows of step `step` (from 0).
    pub(super) fn rows_of(&mut self, step: u64) -> Vec<usize> {
        let first = step * self.size as u64;
        (first..first + self.size as u64)
            .map(|position| {
                let epoch = position / self.rows as u64;
                if epoch != self.epoch {
                    self.epoch = epoch;
                    self.order = self.rng.fork_index(epoch).permutation(self.rows);
                }
                self.order[(position % self.rows as u64) as usize]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_sees_every_row_once_and_in_another_order() {
        let mut batches = Batches::new(10, 4, &Rng::new(0));
        let seen: Vec<usize> = (0..5).flat_map(|step| batches.rows_of(step)).collect();
        let mut epochs: Vec<Vec<usize>> = seen.chunks(10).map(<[usize]>::to_vec).collect();
        assert_ne!(epochs[0], epochs[1]);
        for epoch in &mut epochs {
            epoch.sort_unstable();
            assert_eq!(*epoch, (0..10).collect::<Vec<_>>());
        }
        // Any step can be asked for again.
        assert_eq!(batches.rows_of(2), seen[8..12]);
        assert_eq!(Batches::new(3, 100, &Rng::new(0)).rows_of(0).len(), 3);
    }
}
