//! [`Shuffle`]: batches of a store in the order of [`Order`], in bounded memory.
//!
//! What a step sees depends on the seed, the sizes and the step's number alone, so there is no state to keep: a run that goes on asks for the
//! batch of its next step. Only the present window is in memory, as stored; the blocks of the next are announced to the system
//! while this one is used up.

use std::ops::Range;

use superlens_tensor::{Mat, Rng};

use super::order::Order;
use super::reader::Rows;

/// Bytes of a block: enough that a disk is read at its full rate, few enough that a window holds many.
const BLOCK_BYTES: usize = 128 << 10;
/// Bytes of a window, where nothing else is asked for.
pub const BUFFER_BYTES: usize = 256 << 20;

/// Shuffled batches of a store.
#[derive(Debug)]
pub struct Shuffle {
    rows: Rows,
    batch: usize,
    order: Order,
    /// The present window's epoch and number.
    at: Option<(u64, usize)>,
    /// Its rows as stored.
    buffer: Vec<u8>,
    /// The order in which they are seen.
    seen: Vec<usize>,
    /// Blocks of the next window, and how many of them are announced.
    next: Vec<Range<u64>>,
    announced: usize,
}

impl Shuffle {
    /// Batches of `batch` rows, or of all where there are fewer, with a buffer of about `buffer` bytes. Panics where a number is 0.
    pub fn new(rows: Rows, batch: usize, buffer: usize, rng: &Rng) -> Shuffle {
        let row = rows.row_bytes();
        let order = Order::new(&rows.shard_rows(), (BLOCK_BYTES / row).max(1), (buffer / row).max(1), rng);
        let batch = batch.min(usize::try_from(rows.len()).unwrap_or(usize::MAX));
        assert!(batch > 0, "batches without rows");
        let (at, buffer, seen, next) = (None, Vec::new(), Vec::new(), Vec::new());
        Shuffle { rows, batch, order, at, buffer, seen, next, announced: 0 }
    }

    /// What is shuffled.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Rows of a batch.
    pub fn batch_rows(&self) -> usize {
        self.batch
    }

    /// Bytes of rows that are held in memory.
    pub fn held(&self) -> usize {
        self.buffer.capacity()
    }

    /// The batch of step `step` (from 0), `[batch, width]`; batches run across the ends of epochs.
    pub fn batch(&mut self, step: u64) -> Mat {
        let mut mat = Mat::zeros(self.batch, self.rows.width());
        let row_bytes = self.rows.row_bytes();
        let mut done = 0;
        while done < self.batch {
            let place = self.order.place(u128::from(step) * self.batch as u128 + done as u128);
            if self.at != Some((place.epoch, place.window)) {
                self.load(place.epoch, place.window);
            }
            let count = (self.batch - done).min(self.seen.len() - place.offset);
            for (i, &row) in self.seen[place.offset..place.offset + count].iter().enumerate() {
                let bytes = &self.buffer[row * row_bytes..(row + 1) * row_bytes];
                self.rows.dtype.decode(bytes, mat.row_mut(done + i));
            }
            done += count;
            self.announce(place.offset + count);
        }
        mat
    }

    fn load(&mut self, epoch: u64, window: usize) {
        let (blocks, seen) = self.order.window(window);
        let missing = if self.announced < self.next.len() || self.at.is_none() { &blocks[..] } else { &[] };
        missing.iter().for_each(|block| self.rows.soon(block.clone()));
        // The old window goes before the new one comes, and nothing is kept beyond what the largest takes.
        self.buffer.clear();
        self.buffer.reserve_exact(seen.len() * self.rows.row_bytes());
        blocks.into_iter().for_each(|block| self.buffer.extend_from_slice(self.rows.bytes(block)));
        (self.at, self.seen) = (Some((epoch, window)), seen);
        (self.next, self.announced) = (self.order.next_window(window), 0);
    }

    /// Announces as large a part of the next window as was used of this one.
    fn announce(&mut self, used: usize) {
        let due = self.next.len() * used / self.seen.len().max(1);
        for block in self.next.get(self.announced..due).unwrap_or_default() {
            self.rows.soon(block.clone());
        }
        self.announced = self.announced.max(due);
    }
}
