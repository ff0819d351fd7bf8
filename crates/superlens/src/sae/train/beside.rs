//! [`Beside`]: several hooks of stores, row for row, as a source of training: the layers of a crosscoder, or what a transcoder reads and what
//! it is to rebuild.

use std::ops::Range;

use superlens_lm::store::{Order, Rows};
use superlens_tensor::{Mat, Rng};

use super::source::{Batch, Source, SourceError};

/// Rows in a block of a scan, and rows that a scan of some reads at one place.
const BLOCK: usize = 4096;
const RUN: u64 = 16;
/// Rows that stay together on disk: a few dozen to hundreds of kilobytes.
const NEIGHBOURS: usize = 64;

/// Rows of hooks of equal length, in the order of an [`Order`] that all share. What a shuffle of one hook holds as it is stored, this holds
/// in 32 bits.
pub struct Beside {
    layers: Vec<Rows>,
    targets: Option<Rows>,
    batch: usize,
    order: Order,
    /// The present window's epoch and number, its rows, and the order in which they are seen.
    at: Option<(u64, usize)>,
    window: Batch,
    seen: Vec<usize>,
    rng: Rng,
}

impl Beside {
    /// Batches of `batch` rows of `layers` side by side, or of all where there are fewer, out of a buffer of about `buffer` bytes. Panics
    /// without layers or rows, and where the hooks are of different lengths.
    pub fn new(layers: Vec<Rows>, targets: Option<Rows>, batch: usize, buffer: usize, rng: &Rng) -> Beside {
        let len = layers[0].len();
        assert!(layers.iter().chain(&targets).all(|rows| rows.len() == len), "hooks of different lengths");
        let row: usize = layers.iter().chain(&targets).map(|rows| 4 * rows.width()).sum();
        let order = Order::new(&layers[0].shard_rows(), NEIGHBOURS, (buffer / row).max(1), rng);
        let batch = batch.min(usize::try_from(len).unwrap_or(usize::MAX));
        assert!(batch > 0, "batches without rows");
        let window = Mat::zeros(0, 0).into();
        Beside { layers, targets, batch, order, at: None, window, seen: Vec::new(), rng: rng.fork("scan") }
    }

    fn read(&self, ranges: &[Range<u64>]) -> Batch {
        let all = |hooks: &[&Rows]| {
            let rows: usize = ranges.iter().map(|range| (range.end - range.start) as usize).sum();
            let mut mat = Mat::zeros(rows, hooks.iter().map(|hook| hook.width()).sum());
            let mut left = 0;
            for hook in hooks {
                let mut first = 0;
                for range in ranges {
                    let part = hook.range(range.clone());
                    for i in 0..part.rows() {
                        mat.row_mut(first + i)[left..left + part.cols()].copy_from_slice(part.row(i));
                    }
                    first += part.rows();
                }
                left += hook.width();
            }
            mat
        };
        let x = all(&self.layers.iter().collect::<Vec<_>>());
        Batch { x, y: self.targets.as_ref().map(|targets| all(&[targets])) }
    }

    fn load(&mut self, epoch: u64, window: usize) {
        let (blocks, seen) = self.order.window(window);
        // The old window goes before the new one comes.
        self.window = Mat::zeros(0, 0).into();
        self.window = self.read(&blocks);
        (self.at, self.seen) = (Some((epoch, window)), seen);
    }
}

impl Source for Beside {
    fn d_in(&self) -> usize {
        self.layers.iter().map(Rows::width).sum()
    }

    fn d_out(&self) -> usize {
        self.targets.as_ref().map_or_else(|| self.d_in(), Rows::width)
    }

    fn rows(&self) -> Option<usize> {
        usize::try_from(self.order.rows()).ok()
    }

    fn batch_rows(&self) -> usize {
        self.batch
    }

    fn batch(&mut self, step: u64) -> Result<Batch, SourceError> {
        let mut x = Mat::zeros(self.batch, self.d_in());
        let mut y = self.targets.as_ref().map(|targets| Mat::zeros(self.batch, targets.width()));
        let mut done = 0;
        while done < self.batch {
            let place = self.order.place(u128::from(step) * self.batch as u128 + done as u128);
            if self.at != Some((place.epoch, place.window)) {
                self.load(place.epoch, place.window);
            }
            let count = (self.batch - done).min(self.seen.len() - place.offset);
            for (i, &row) in self.seen[place.offset..place.offset + count].iter().enumerate() {
                x.row_mut(done + i).copy_from_slice(self.window.x.row(row));
                if let (Some(y), Some(from)) = (&mut y, &self.window.y) {
                    y.row_mut(done + i).copy_from_slice(from.row(row));
                }
            }
            done += count;
        }
        Ok(Batch { x, y })
    }

    fn scan(&mut self, rows: usize, visit: &mut dyn FnMut(Batch)) -> Result<(), SourceError> {
        // Whole runs, so that there are `rows` at least.
        let wanted = (rows as u64).max(1).div_ceil(RUN).saturating_mul(RUN);
        let mut block: Vec<Range<u64>> = Vec::new();
        let mut held = 0;
        for run in self.layers[0].sample(wanted, RUN, &self.rng) {
            for first in run.clone().step_by(BLOCK) {
                let part = first..run.end.min(first + BLOCK as u64);
                held += (part.end - part.start) as usize;
                block.push(part);
                if held >= BLOCK {
                    visit(self.read(&block));
                    (held, block) = (0, Vec::new());
                }
            }
        }
        if held > 0 {
            visit(self.read(&block));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_lm::store::{DType, Plan, Writer};

    /// 900 rows in shards of 250: row i is `[i, i]` at the first hook, `[−i, i/2, 0]` at the second.
    fn store(dir: &std::path::Path) {
        let hooks = vec![("a".into(), 2, DType::F32), ("b".into(), 3, DType::F16)];
        let mut writer = Writer::create(dir, &Plan { hooks, shard_rows: Some(250), ..Plan::default() }).unwrap();
        let a = Mat::from_fn(900, 2, |i, _| i as f32);
        let b = Mat::from_fn(900, 3, |i, j| [-(i as f32), i as f32 / 2.0, 0.0][j]);
        writer.append(&[&a, &b], &[]).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn rows_stay_beside_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("store");
        store(&dir);
        let open = |hook: &str| Rows::open(&dir, Some(hook)).unwrap();
        // A buffer of some 200 rows: windows are smaller than an epoch.
        let new = || Beside::new(vec![open("a"), open("a")], Some(open("b")), 70, 200 * 28, &Rng::new(3));
        let mut source = new();
        assert_eq!((source.d_in(), source.d_out(), source.rows(), source.batch_rows()), (4, 3, Some(900), 70));
        let batches: Vec<Batch> = (0..26).map(|step| source.batch(step).unwrap()).collect();
        let mut seen = Vec::new();
        for Batch { x, y } in &batches {
            for i in 0..70 {
                let at = x[(i, 0)];
                assert_eq!(x.row(i), [at; 4]);
                assert_eq!(y.as_ref().unwrap().row(i), [-at, at / 2.0, 0.0]);
                seen.push(at as usize);
            }
        }
        let sorted = |part: &[usize]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            part
        };
        let (first, second) = (&seen[..900], &seen[900..1800]);
        assert!(sorted(first) == (0..900).collect::<Vec<_>>() && sorted(second) == sorted(first) && first != second);
        // Any step can be asked for again, and of a source that is opened anew.
        assert_eq!((source.batch(3).unwrap(), new().batch(20).unwrap()), (batches[3].clone(), batches[20].clone()));
    }

    #[test]
    fn a_scan_shows_rows_spread_over_all() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("store");
        store(&dir);
        let open = |hook: &str| Rows::open(&dir, Some(hook)).unwrap();
        let mut source = Beside::new(vec![open("a")], Some(open("b")), 70, 1 << 20, &Rng::new(3));
        for (wanted, most) in [(200, 300), (5000, 900)] {
            let mut seen = Vec::new();
            source
                .scan(wanted, &mut |Batch { x, y }| {
                    (0..x.rows()).for_each(|i| assert_eq!(-x[(i, 1)], y.as_ref().unwrap()[(i, 0)]));
                    seen.extend((0..x.rows()).map(|i| x[(i, 0)]));
                })
                .unwrap();
            assert!(seen.len() >= wanted.min(900) && seen.len() <= most, "{} for {wanted}", seen.len());
            assert!(seen.is_sorted() && seen[0] < 100.0 && seen[seen.len() - 1] > 800.0);
        }
    }
}
