//! [`Rows`]: the rows of one hook, given out as `f32` from mapped shards; and [`verify`], which reads everything.

use std::ops::Range;
use std::path::Path;

use superlens_tensor::io::spread_runs;
use superlens_tensor::{Mat, Rng};

use super::StoreError;
use super::dtype::DType;
use super::error::Problem;
use super::hash;
use super::manifest::{Manifest, Stored, TOKENS};
use super::shard::{Mapped, check_length};

/// The rows of one hook of a store. Cheap to open: sizes and headers are looked at, no hash is computed.
#[derive(Debug)]
pub struct Rows {
    /// The hook.
    pub name: String,
    pub dtype: DType,
    /// SHA-256 of the store's manifest, which holds those of all shards.
    pub sha256: String,
    width: usize,
    shards: Vec<Mapped>,
    /// The first row of each shard, and the number of all rows.
    starts: Vec<u64>,
}

impl Rows {
    /// The rows of `hook` in the store `dir`; the hook may be left out where there is only one.
    ///
    /// # Errors
    /// No store there, no such hook, and files that are missing, have other lengths, types or shapes than the manifest says.
    pub fn open(dir: &Path, hook: Option<&str>) -> Result<Rows, StoreError> {
        let (manifest, sha256) = Manifest::read(dir)?;
        let hook = manifest.hook(dir, hook)?;
        let shards = (0..hook.shards.len()).map(|i| Mapped::open(dir, hook, i)).collect::<Result<Vec<_>, _>>()?;
        let mut starts = vec![0];
        shards.iter().for_each(|shard| starts.push(starts[starts.len() - 1] + shard.rows));
        Ok(Rows { name: hook.name.clone(), dtype: hook.dtype, sha256, width: hook.width, shards, starts })
    }

    pub fn len(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Bytes of a row as stored.
    pub fn row_bytes(&self) -> usize {
        self.width * self.dtype.bytes()
    }

    /// Rows of each shard.
    pub fn shard_rows(&self) -> Vec<u64> {
        self.shards.iter().map(|shard| shard.rows).collect()
    }

    /// The bytes of rows that lie in one shard.
    pub(super) fn bytes(&self, rows: Range<u64>) -> &[u8] {
        let (shard, first) = self.locate(rows.start);
        self.shards[shard].bytes(first, (rows.end - rows.start) as usize, self.row_bytes())
    }

    /// Lets the system read rows ahead that lie in one shard.
    pub(super) fn soon(&self, rows: Range<u64>) {
        let (shard, first) = self.locate(rows.start);
        self.shards[shard].soon(first, (rows.end - rows.start) as usize, self.row_bytes());
    }

    fn locate(&self, row: u64) -> (usize, u64) {
        let shard = self.starts.partition_point(|&start| start <= row) - 1;
        (shard, row - self.starts[shard])
    }

    /// Rows in the order of the store, `[rows.len(), width]`. Panics beyond the end.
    pub fn range(&self, rows: Range<u64>) -> Mat {
        let mut mat = Mat::zeros((rows.end - rows.start) as usize, self.width);
        let (mut row, mut out) = (rows.start, mat.data_mut());
        while row < rows.end {
            let (shard, _) = self.locate(row);
            let end = rows.end.min(self.starts[shard + 1]);
            let (now, rest) = out.split_at_mut((end - row) as usize * self.width);
            self.dtype.decode(self.bytes(row..end), now);
            (row, out) = (end, rest);
        }
        mat
    }

    /// Any rows, in the order given. Panics beyond the end.
    pub fn select(&self, rows: &[u64]) -> Mat {
        let mut mat = Mat::zeros(rows.len(), self.width);
        for (i, &row) in rows.iter().enumerate() {
            self.dtype.decode(self.bytes(row..row + 1), mat.row_mut(i));
        }
        mat
    }

    /// One column of rows in the order of the store. Panics beyond the end.
    pub fn column(&self, rows: Range<u64>, column: usize) -> Vec<f32> {
        assert!(column < self.width, "column {column} of {}", self.width);
        let size = self.dtype.bytes();
        let mut out = vec![0.0; (rows.end - rows.start) as usize];
        for (row, out) in rows.zip(&mut out) {
            let bytes = &self.bytes(row..row + 1)[column * size..(column + 1) * size];
            self.dtype.decode(bytes, std::slice::from_mut(out));
        }
        out
    }

    /// Row numbers in ascending order, at most `count` of them: all, or a seeded draw of runs of `run` rows that are spread over the whole
    /// store, one in each of as many equal stretches. Runs keep neighbours together and read few pages.
    pub fn sample(&self, count: u64, run: u64, rng: &Rng) -> Vec<Range<u64>> {
        spread_runs(self.len(), count, run, &mut rng.fork("store sample"))
    }
}

/// Reads all files of the store in `dir` and holds them against their hashes; `watch` hears the share that is done.
///
/// # Errors
/// The first file that is not what the manifest says.
pub fn verify(dir: &Path, watch: &mut dyn FnMut(f64)) -> Result<Manifest, StoreError> {
    let (manifest, _) = Manifest::read(dir)?;
    let shards = manifest.hooks.iter().map(|hook| hook.shards.len()).sum::<usize>().max(1);
    let mut done = 0;
    for hook in &manifest.hooks {
        // Headers first: they tell more than a hash does.
        Rows::open(dir, Some(&hook.name))?;
        for (index, shard) in hook.shards.iter().enumerate() {
            check_hash(&hook.shard_path(dir, index), &shard.stored)?;
            done += 1;
            watch(done as f64 / shards as f64);
        }
    }
    if let Some(stored) = &manifest.tokens {
        check_hash(&dir.join(TOKENS), stored)?;
    }
    Ok(manifest)
}

fn check_hash(path: &Path, stored: &Stored) -> Result<(), StoreError> {
    check_length(path, stored)?;
    let found = hash::of_file(path).map_err(StoreError::reading(path))?;
    if found != stored.sha256 {
        return Err(StoreError::new(path, Problem::Hash { expected: stored.sha256.clone(), found }));
    }
    Ok(())
}
