//! [`Order`]: in which order the rows of a store are seen. A function of the seed and the position alone, with a new order for each epoch.
//!
//! Two levels. Rows are cut into blocks, short runs within a shard, and the blocks of all shards are permuted. The permuted blocks are cut
//! into windows, as many blocks as the buffer holds, and the rows of a window are permuted. A row can come anywhere: its block's
//! place is uniform over the epoch, its own place uniform in the window. Two neighbours fall into the same window, and there
//! they are as far apart as two rows at random.

use std::ops::Range;

use superlens_tensor::Rng;

/// The order of the rows of a store.
#[derive(Clone, Debug)]
pub struct Order {
    /// All blocks, in the order of the store.
    blocks: Vec<Range<u64>>,
    windows: usize,
    rows: u64,
    rng: Rng,
    epoch: Epoch,
}

/// What one epoch's order of blocks is.
#[derive(Clone, Debug)]
struct Epoch {
    number: u64,
    /// A permutation of the blocks.
    order: Vec<usize>,
    /// Rows before each window, and of all.
    starts: Vec<u64>,
}

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub epoch: u64,
    pub window: usize,
    /// In the window.
    pub offset: usize,
}

impl Order {
    /// Of shards with these numbers of rows, in blocks of `block` rows and windows of at most `window` rows, or one block. Panics where a number is 0.
    pub fn new(shard_rows: &[u64], block: usize, window: usize, rng: &Rng) -> Order {
        assert!(block > 0 && window > 0 && shard_rows.iter().all(|n| *n > 0), "an order without rows");
        let mut blocks = Vec::new();
        let mut first = 0;
        for rows in shard_rows {
            let end = first + rows;
            while first < end {
                blocks.push(first..end.min(first + block as u64));
                first = blocks[blocks.len() - 1].end;
            }
        }
        // Windows of equal size rather than a small last one, in which neighbours would stay together.
        let windows = blocks.len().div_ceil((window / block).max(1)).max(1);
        let mut order = Order {
            blocks,
            windows,
            rows: first,
            rng: rng.fork("store order"),
            epoch: Epoch { number: 0, order: Vec::new(), starts: Vec::new() },
        };
        order.begin(0);
        order
    }

    /// Rows of an epoch.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn begin(&mut self, number: u64) {
        let order = self.rng.fork("blocks").fork_index(number).permutation(self.blocks.len());
        self.epoch = Epoch { number, order, starts: vec![0] };
        for window in 0..self.windows {
            let rows: u64 = self.members(window).map(|block| block.end - block.start).sum();
            self.epoch.starts.push(self.epoch.starts[window] + rows);
        }
    }

    /// The blocks of a window of the present epoch, in its order.
    fn members(&self, window: usize) -> impl Iterator<Item = Range<u64>> + '_ {
        let bound = |w: usize| w * self.blocks.len() / self.windows;
        self.epoch.order[bound(window)..bound(window + 1)].iter().map(|&block| self.blocks[block].clone())
    }

    /// Where position `position` of the stream of all epochs lies.
    pub fn place(&mut self, position: u128) -> Place {
        let epoch = (position / u128::from(self.rows)) as u64;
        let within = (position % u128::from(self.rows)) as u64;
        if epoch != self.epoch.number {
            self.begin(epoch);
        }
        let window = self.epoch.starts.partition_point(|&start| start <= within) - 1;
        Place { epoch, window, offset: (within - self.epoch.starts[window]) as usize }
    }

    /// The blocks of a window of the epoch that was last placed in, and the order in which their rows are seen.
    pub fn window(&self, window: usize) -> (Vec<Range<u64>>, Vec<usize>) {
        let rows = (self.epoch.starts[window + 1] - self.epoch.starts[window]) as usize;
        let rng = self.rng.fork("rows").fork_index(self.epoch.number);
        (self.members(window).collect(), rng.fork_index(window as u64).permutation(rows))
    }

    /// The blocks of the window after this one; none at the end of an epoch.
    pub fn next_window(&self, window: usize) -> Vec<Range<u64>> {
        if window + 1 < self.windows { self.members(window + 1).collect() } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of `epoch` in the order in which they are seen.
    fn epoch(order: &mut Order, number: u64) -> Vec<u64> {
        let rows = order.rows();
        let mut seen = Vec::new();
        while (seen.len() as u64) < rows {
            let place = order.place(u128::from(number) * u128::from(rows) + seen.len() as u128);
            assert_eq!((place.epoch, place.offset), (number, 0));
            let (blocks, permutation) = order.window(place.window);
            let window: Vec<u64> = blocks.into_iter().flatten().collect();
            seen.extend(permutation.iter().map(|&i| window[i]));
        }
        seen
    }

    fn correlation(a: &[f64], b: &[f64]) -> f64 {
        let n = a.len() as f64;
        let (ma, mb) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
        let cross =
            |x: &[f64], mx: f64, y: &[f64], my: f64| x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>();
        cross(a, ma, b, mb) / (cross(a, ma, a, ma) * cross(b, mb, b, mb)).sqrt()
    }

    /// 40 shards, 64 windows.
    fn large(seed: u64) -> Order {
        Order::new(&[5_003; 40], 64, 3_200, &Rng::new(seed))
    }

    #[test]
    fn every_epoch_sees_each_row_once_in_an_order_of_its_own() {
        for (shards, block, window) in
            [(vec![10], 4, 6), (vec![1, 1, 1], 5, 1), (vec![7, 100, 3], 1, 1), (vec![50], 100, 1000)]
        {
            let mut order = Order::new(&shards, block, window, &Rng::new(1));
            let epochs: Vec<Vec<u64>> = (0..3).map(|e| epoch(&mut order, e)).collect();
            for seen in &epochs {
                let mut sorted = seen.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..order.rows()).collect::<Vec<_>>(), "{shards:?} {block} {window}");
            }
            assert!(order.rows() < 10 || epochs[0] != epochs[1], "{shards:?}");
            // Any epoch can be asked for again.
            assert_eq!(epoch(&mut order, 1), epochs[1]);
        }
    }

    #[test]
    fn where_a_row_comes_from_says_nothing_of_where_it_goes() {
        let n = 40 * 5_003;
        for seed in 0..3 {
            let seen = epoch(&mut large(seed), seed);
            let position: Vec<f64> = (0..n).map(f64::from).collect();
            let source: Vec<f64> = seen.iter().map(|&row| row as f64).collect();
            let found = correlation(&position, &source);
            // Blocks of 64 rows are what is free: a permutation of 3,160 has a correlation of about 1/√3160 = 0.018.
            assert!(found.abs() < 4.0 * 0.018, "seed {seed}: {found}");
        }
    }

    #[test]
    fn neighbours_end_up_far_apart_and_batches_mix_documents() {
        let seen = epoch(&mut large(7), 0);
        let mut place = vec![0usize; seen.len()];
        seen.iter().enumerate().for_each(|(at, &row)| place[row as usize] = at);
        // In a window of W rows two rows at random are W/3 apart.
        let apart: Vec<usize> = place.windows(2).map(|pair| pair[0].abs_diff(pair[1])).collect();
        let mean = apart.iter().sum::<usize>() as f64 / apart.len() as f64;
        assert!(mean > 3_200.0 / 3.0 * 0.9, "neighbours are {mean} apart");
        let close = apart.iter().filter(|&&d| d < 32).count() as f64 / apart.len() as f64;
        assert!(close < 2.5 * 2.0 * 32.0 / 3_200.0, "{close} of the neighbours are within 32 rows");
        // Documents of 500 rows: a batch of 512 rows out of a window of 50 blocks holds rows of nearly that many documents.
        let documents =
            |batch: &[u64]| batch.iter().map(|row| row / 500).collect::<std::collections::BTreeSet<_>>().len();
        let fewest = seen.chunks_exact(512).map(documents).min().unwrap();
        assert!(fewest >= 35, "{fewest} documents in a batch");
        let shards =
            |batch: &[u64]| batch.iter().map(|row| row / 5_003).collect::<std::collections::BTreeSet<_>>().len();
        assert!(seen.chunks_exact(512).map(shards).min().unwrap() >= 18);
    }
}
