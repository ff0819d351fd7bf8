//! delphi's cache of latents: which latent is how active at which token, split over the latents.
//!
//! `MODULE/FIRST_LAST.safetensors` with `locations` `[n, 3]` (row, position, latent − FIRST) and `activations` `[n]` in half precision, and `tokens`
//! `[rows, length]` in each; `config.json` beside them. One pass over the rows writes every split at once, so that nothing is held but what is being
//! written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use half::f16;
use serde_json::json;
use superlens_lm::store::Tokens;
use superlens_tensor::Mat;

use super::super::{Source, Units};

/// What is not larger than this, in size, is left out.
const LEAST: f32 = 1e-5;
/// Numbers of a block of rows in memory.
const BLOCK: usize = 1 << 22;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Sequences, each a row of the cache.
    pub rows: usize,
    /// Tokens of the longest; shorter ones are filled up with 0.
    pub length: usize,
    pub tokens: u64,
    /// Files.
    pub splits: usize,
    /// Activations in all splits.
    pub entries: u64,
}

/// Writes the cache of `units` over `source` into `dir/module`, which must be there and empty, in `splits` files; `watch` hears the share done.
///
/// # Errors
/// What can't be written, and rows that aren't finite. Panics on tokens of another number than rows.
pub fn write(
    dir: &Path,
    module: &str,
    source: Source<'_>,
    units: &Units,
    tokens: &Tokens,
    splits: usize,
    watch: &mut dyn FnMut(f64),
) -> io::Result<Written> {
    assert_eq!(source.len(), tokens.len() as u64, "rows and tokens");
    let sequences = Sequences::of(tokens);
    let bounds = bounds(units.len(), splits);
    let small = sequences.starts.len() <= 1 << 16
        && sequences.length <= 1 << 16
        && bounds.windows(2).all(|b| b[1] - b[0] <= 1 << 16);
    let mut parts = bounds.windows(2).map(|_| Part::new(dir, small)).collect::<io::Result<Vec<_>>>()?;
    let each = (BLOCK / source.width().max(units.len()).max(1)).max(1) as u64;
    let mut first = 0;
    while first < source.len() {
        let last = (first + each).min(source.len());
        let block = source.range(first..last);
        if block.data().iter().any(|v| !v.is_finite()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the rows hold NaN or infinite values"));
        }
        add(&mut parts, &bounds, &sequences, first, &units.values(&block))?;
        first = last;
        watch(first as f64 / source.len() as f64);
    }
    let table = sequences.table(tokens);
    let mut entries = 0;
    for (part, b) in parts.into_iter().zip(bounds.windows(2)) {
        entries += part.entries;
        let path = dir.join(module).join(format!("{}_{}.safetensors", b[0], b[1] - 1));
        part.finish(&path, &table, [sequences.starts.len(), sequences.length])?;
    }
    let (rows, length) = (sequences.starts.len(), sequences.length);
    Ok(Written { rows, length, tokens: source.len(), splits: bounds.len() - 1, entries })
}

/// `config.json` of the cache. `model` and `dataset` are told as they are.
pub fn config(model: &str, dataset: &str, written: &Written) -> String {
    let config = json!({
        "dataset_repo": dataset, "dataset_split": "", "dataset_name": "", "dataset_column": "text",
        "cache_ctx_len": written.length, "n_tokens": written.tokens, "n_splits": written.splits, "model_name": model,
    });
    format!("{config:#}\n")
}

/// Rows that follow one another in a document are a sequence.
struct Sequences {
    /// The first row of each.
    starts: Vec<u64>,
    length: usize,
    rows: u64,
}

impl Sequences {
    fn of(tokens: &Tokens) -> Sequences {
        let rows = tokens.len() as u64;
        let starts: Vec<u64> = (0..rows).filter(|&row| tokens.around(row, 1, 0).start == row).collect();
        let ends = starts.iter().skip(1).copied().chain([rows]);
        let length = starts.iter().zip(ends).map(|(from, to)| (to - from) as usize).max().unwrap_or(0);
        Sequences { starts, length, rows }
    }

    /// Which sequence a row is of, and where in it.
    fn place(&self, row: u64) -> (usize, usize) {
        let sequence = self.starts.partition_point(|start| *start <= row) - 1;
        (sequence, (row - self.starts[sequence]) as usize)
    }

    /// Ids of all tokens, `[sequences, length]`.
    fn table(&self, tokens: &Tokens) -> Vec<i64> {
        let mut table = vec![0; self.starts.len() * self.length];
        for row in 0..self.rows {
            let (sequence, position) = self.place(row);
            table[sequence * self.length + position] = i64::from(tokens.id(row));
        }
        table
    }
}

/// Where splits begin, and the end: as evenly spaced whole numbers.
fn bounds(units: usize, splits: usize) -> Vec<usize> {
    let splits = splits.clamp(1, units.max(1));
    (0..=splits).map(|s| s * units / splits).collect()
}

fn add(parts: &mut [Part], bounds: &[usize], sequences: &Sequences, first: u64, values: &Mat) -> io::Result<()> {
    for i in 0..values.rows() {
        let (row, position) = sequences.place(first + i as u64);
        for (part, b) in parts.iter_mut().zip(bounds.windows(2)) {
            for (j, &v) in values.row(i)[b[0]..b[1]].iter().enumerate() {
                if v.abs() > LEAST {
                    part.put([row, position, j], v)?;
                }
            }
        }
    }
    Ok(())
}

/// One split while it is written.
struct Part {
    locations: BufWriter<File>,
    activations: BufWriter<File>,
    small: bool,
    entries: u64,
}

impl Part {
    fn new(dir: &Path, small: bool) -> io::Result<Part> {
        let file = || tempfile::tempfile_in(dir).map(BufWriter::new);
        Ok(Part { locations: file()?, activations: file()?, small, entries: 0 })
    }

    fn put(&mut self, place: [usize; 3], value: f32) -> io::Result<()> {
        for at in place {
            if self.small {
                self.locations.write_all(&(at as u16).to_le_bytes())?;
            } else {
                self.locations.write_all(&(at as u32).to_le_bytes())?;
            }
        }
        self.entries += 1;
        // What is larger than half precision holds is written as its largest.
        let value = value.clamp(-65504.0, 65504.0);
        self.activations.write_all(&f16::from_f32(value).to_le_bytes())
    }

    fn finish(self, path: &Path, tokens: &[i64], shape: [usize; 2]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let n = self.entries;
        let kind = if self.small { ("U16", 2) } else { ("U32", 4) };
        // The widest first, so that all are aligned.
        let ends = [tokens.len() as u64 * 8, n * 3 * kind.1, n * 2];
        let offsets = [0, ends[0], ends[0] + ends[1], ends[0] + ends[1] + ends[2]];
        let header = json!({
            "tokens": {"dtype": "I64", "shape": shape, "data_offsets": [offsets[0], offsets[1]]},
            "locations": {"dtype": kind.0, "shape": [n, 3], "data_offsets": [offsets[1], offsets[2]]},
            "activations": {"dtype": "F16", "shape": [n], "data_offsets": [offsets[2], offsets[3]]},
        });
        let mut header = header.to_string();
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        tokens.iter().try_for_each(|id| out.write_all(&id.to_le_bytes()))?;
        for part in [self.locations, self.activations] {
            let mut file = part.into_inner().map_err(|e| e.into_error())?;
            file.seek(SeekFrom::Start(0))?;
            io::copy(&mut file.take(u64::MAX), &mut out)?;
        }
        out.into_inner().map_err(|e| e.into_error())?.sync_all()
    }
}
