//! Some rows of a matrix that need not fit into memory: all of the file is read and judged, runs of rows are kept.

use std::io::Read;
use std::ops::Range;

use super::fill::{Layout, Order, row_of};
use super::source::Hashing;
use super::{Problem, Sample};
use crate::{Mat, Rng};

/// What is read and converted at a time.
const CHUNK: usize = 8 << 20;

/// Row numbers in ascending order, at most `count` of `0..len`: all, or a seeded draw of runs of `run` rows that are spread over the whole, one
/// in each of as many equal stretches. Runs keep neighbours together and read few pages.
pub fn spread_runs(len: u64, count: u64, run: u64, rng: &mut Rng) -> Vec<Range<u64>> {
    let run = run.max(1);
    if count >= len {
        return std::iter::once(0..len).collect();
    }
    let runs = (count / run).max(1);
    let run = run.min(count.max(1));
    let stretch = |i: u64| (u128::from(len) * u128::from(i) / u128::from(runs)) as u64;
    (0..runs)
        .map(|i| {
            let room = (stretch(i + 1) - stretch(i)).saturating_sub(run) as usize;
            let first = stretch(i) + rng.below(room + 1) as u64;
            first..first + run
        })
        .collect()
}

impl Sample {
    /// Rows that are kept of a `[rows, columns]` matrix; `None` where all are.
    pub(super) fn rows(&self, rows: u64, columns: u64) -> Option<Vec<u64>> {
        let most = (self.numbers / columns.max(1)).max(2);
        let mut rng = Rng::new(self.seed).fork("rows of a file");
        (most < rows).then(|| spread_runs(rows, most, self.run, &mut rng).into_iter().flatten().collect())
    }
}

/// What is not finite in a stream of numbers.
#[derive(Default)]
struct Tally {
    nan: u64,
    infinite: u64,
    too_large: u64,
    /// Row and column of the first, by rows.
    first: Option<(u64, u64)>,
}

impl Tally {
    fn see(&mut self, value: f32, place: impl FnOnce() -> (u64, u64)) {
        if value.is_finite() {
            return;
        }
        *(if value.is_nan() { &mut self.nan } else { &mut self.infinite }) += 1;
        let place = place();
        self.first = Some(self.first.map_or(place, |first| first.min(place)));
    }

    fn judged(self) -> Result<(), Problem> {
        let Tally { nan, infinite, too_large, first } = self;
        let Some((row, column)) = first else { return Ok(()) };
        Err(Problem::NonFinite { nan, infinite: infinite - too_large, too_large, row, column })
    }
}

/// The `kept` rows of the matrix, all of which is read.
pub(super) fn fill_kept<R: Read>(
    stream: &mut Hashing<R>,
    layout: &Layout,
    (rows, columns): (u64, u64),
    kept: &[u64],
) -> Result<Mat, Problem> {
    let expected = u128::from(stream.count()) + u128::from(layout.bytes()?);
    let mut mat = Mat::zeros(kept.len(), columns as usize);
    let mut tally = Tally::default();
    let leading = &layout.shape[..layout.shape.len() - 1];
    // Row and column of the element at a place in the file.
    let place = |at: u64| match layout.order {
        Order::C => (at / columns, at % columns),
        Order::Fortran => (row_of((at % rows) as usize, leading) as u64, at / rows),
    };
    let width = layout.element.bytes();
    let mut buffer = vec![0; CHUNK / width * width];
    let mut numbers = Vec::with_capacity(buffer.len() / width);
    let (mut at, all) = (0, rows * columns);
    // Where the row at hand goes: rows come one after the other in C order only.
    let mut last = (u64::MAX, None);
    while at < all {
        let piece = ((all - at).min((buffer.len() / width) as u64)) as usize;
        let bytes = &mut buffer[..piece * width];
        stream.fill(bytes, expected)?;
        numbers.clear();
        tally.too_large += layout.element.decode(bytes, &mut numbers);
        for (i, &value) in numbers.iter().enumerate() {
            let (row, column) = place(at + i as u64);
            tally.see(value, || (row, column));
            if row != last.0 {
                last = (row, kept.binary_search(&row).ok());
            }
            if let Some(to) = last.1 {
                mat[(to, column as usize)] = value;
            }
        }
        at += piece as u64;
    }
    tally.judged()?;
    Ok(mat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{ReadOptions, npy_header, read_matrix, read_sample};

    fn npy(descr: &str, shape: &[usize], fortran: bool, number: impl Fn(usize) -> f32) -> Vec<u8> {
        let mut bytes = npy_header(descr, shape);
        if fortran {
            let text =
                String::from_utf8_lossy(&bytes[10..]).replace("'fortran_order': False", "'fortran_order': True ");
            bytes.truncate(10);
            bytes.extend(text.bytes());
        }
        bytes.extend((0..shape.iter().product()).flat_map(|i| number(i).to_le_bytes()));
        bytes
    }

    #[test]
    fn kept_rows_are_those_of_the_matrix_in_both_orders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npy");
        for (fortran, shape) in [(false, vec![5000, 7]), (true, vec![5000, 7]), (true, vec![50, 100, 7])] {
            std::fs::write(&path, npy("<f4", &shape, fortran, |i| (i as f32).sin())).unwrap();
            let options = ReadOptions { flatten: true, ..ReadOptions::default() };
            let all = read_matrix(&path, &options).unwrap();
            let sample = Sample { numbers: 700, run: 8, seed: 3 };
            let (some, rows) = read_sample(&path, &options, sample).unwrap();
            let rows = rows.expect("not all");
            assert!(rows.len() <= 100 && rows.len() >= 90 && rows.windows(2).all(|w| w[0] < w[1]), "{rows:?}");
            let want = all.mat.select_rows(&rows.iter().map(|&r| r as usize).collect::<Vec<_>>());
            assert_eq!((some.mat, some.sha256, some.shape), (want, all.sha256, all.shape), "{fortran}");
            let (whole, rows) = read_sample(&path, &options, Sample { numbers: 35_000, ..sample }).unwrap();
            assert!(rows.is_none() && whole.mat == all.mat);
        }
    }

    #[test]
    fn what_is_not_finite_is_told_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.npy");
        for fortran in [false, true] {
            let bad = |i: usize| match i {
                20_003 => f32::NAN,
                9_100 => f32::INFINITY,
                _ => i as f32,
            };
            std::fs::write(&path, npy("<f4", &[5000, 7], fortran, bad)).unwrap();
            let whole = read_matrix(&path, &ReadOptions::default()).unwrap_err().to_string();
            let sample = Sample { numbers: 700, run: 8, seed: 3 };
            assert_eq!(read_sample(&path, &ReadOptions::default(), sample).unwrap_err().to_string(), whole);
        }
    }
}
