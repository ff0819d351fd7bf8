//! [`Writer`]: rows of several hooks in one pass, into shards of bounded size. A shard is in its place whole or not at all; after each, the
//! manifest so far is written, so that whatever ends the writing costs no more than the shard that was open.

use std::fs;
use std::path::{Path, PathBuf};

use superlens_tensor::Mat;
use superlens_tensor::io::{is_part, remove_parts};

use super::StoreError;
use super::dtype::DType;
use super::error::Problem;
use super::manifest::{Hook, MANIFEST, Manifest, Stored, UNFINISHED, check_name};
use super::shard::{Growing, PART, check_length};
use super::tokens::{TokenRow, TokenTable};

/// Bytes of a shard, where no number of rows is given.
const SHARD_BYTES: u64 = 1 << 30;

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub model: Option<String>,
    pub tokenizer_sha256: Option<String>,
    /// What the rows come from, as a hash or another word that tells it from others.
    pub origin: Option<String>,
    /// Name, width and element type of each hook.
    pub hooks: Vec<(String, usize, DType)>,
    /// Rows of a shard; so many that the largest is a gigabyte, where not given.
    pub shard_rows: Option<u64>,
    /// Whether each row comes with its token.
    pub tokens: bool,
}

/// A store that is being written.
pub struct Writer {
    dir: PathBuf,
    manifest: Manifest,
    open: Vec<Growing>,
    open_rows: u64,
    tokens: Option<TokenTable>,
}

impl Writer {
    /// A new store in `dir`, or the rest of one that was not written to its end: then [`rows`](Self::rows) says how many rows are there.
    ///
    /// # Errors
    /// Hooks that make no sense, a folder with something else in it, and what the system refuses.
    pub fn create(dir: &Path, plan: &Plan) -> Result<Writer, StoreError> {
        let wrong = |what: String| StoreError::new(dir, Problem::Manifest(what));
        for (i, (name, width, _)) in plan.hooks.iter().enumerate() {
            check_name(name).map_err(wrong)?;
            if plan.hooks[..i].iter().any(|(other, ..)| other == name) {
                return Err(wrong(format!("hook `{name}` occurs twice")));
            }
            if *width == 0 {
                return Err(wrong(format!("hook `{name}`: expected one column at least, found none")));
            }
        }
        let widest = plan.hooks.iter().map(|(_, width, dtype)| (width * dtype.bytes()) as u64).max().unwrap_or(1);
        let shard_rows = plan.shard_rows.unwrap_or(SHARD_BYTES / widest).max(1);
        let hook = |(name, width, dtype): &(String, usize, DType)| Hook {
            name: name.clone(),
            width: *width,
            dtype: *dtype,
            shards: Vec::new(),
        };
        let mut manifest = Manifest::empty(plan.hooks.iter().map(hook).collect(), shard_rows);
        manifest.model.clone_from(&plan.model);
        manifest.tokenizer_sha256.clone_from(&plan.tokenizer_sha256);
        manifest.origin.clone_from(&plan.origin);
        if dir.exists() && !dir.is_dir() {
            return Err(wrong("is a file; name a new folder".into()));
        }
        match Manifest::read_file(&dir.join(UNFINISHED))? {
            Some((before, _)) => go_on(dir, &mut manifest, before)?,
            None if fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|e| !is_part(&e.file_name()))) => {
                return Err(StoreError::new(dir, Problem::Taken));
            }
            None => {
                fs::create_dir_all(dir).map_err(StoreError::writing(dir))?;
                // Of a writer that was killed over the first of its files.
                remove_parts(dir);
                manifest.write(&dir.join(UNFINISHED))?;
            }
        }
        let shards = manifest.hooks[0].shards.len();
        let tokens = if plan.tokens { Some(TokenTable::open(dir, shards)?) } else { None };
        Ok(Writer { dir: dir.to_owned(), manifest, open: Vec::new(), open_rows: 0, tokens })
    }

    /// Rows that are there, those of the open shard too.
    pub fn rows(&self) -> u64 {
        self.manifest.rows + self.open_rows
    }

    /// Rows of complete shards: what is kept whatever ends the writing.
    pub fn closed_rows(&self) -> u64 {
        self.manifest.rows
    }

    /// Appends the same rows of every hook, in the order of the plan: one matrix `[rows, width]` each, and a token a row if the plan has them.
    /// Panics where the shapes differ from the plan's.
    ///
    /// # Errors
    /// Values that the element type can't hold, and what the system refuses.
    pub fn append(&mut self, hooks: &[&Mat], tokens: &[TokenRow]) -> Result<(), StoreError> {
        let rows = hooks[0].rows();
        assert_eq!(hooks.len(), self.manifest.hooks.len(), "a matrix for each hook");
        if self.tokens.is_some() {
            assert_eq!(tokens.len(), rows, "a token for each row");
        }
        let mut done = 0;
        while done < rows {
            let room = (self.manifest.shard_rows - self.open_rows).min((rows - done) as u64) as usize;
            self.append_within(hooks, done, room)?;
            if let Some(table) = &mut self.tokens {
                table.append(self.manifest.rows + self.open_rows, &tokens[done..done + room])?;
            }
            self.open_rows += room as u64;
            done += room;
            if self.open_rows == self.manifest.shard_rows {
                self.close_shard()?;
            }
        }
        Ok(())
    }

    /// Appends `count` rows from `first` on, which fit in the open shard.
    fn append_within(&mut self, hooks: &[&Mat], first: usize, count: usize) -> Result<(), StoreError> {
        let start = self.rows();
        let index = self.manifest.hooks[0].shards.len();
        let mut bytes = Vec::new();
        for (i, (hook, mat)) in self.manifest.hooks.iter().zip(hooks).enumerate() {
            assert_eq!((mat.cols(), mat.rows()), (hook.width, hooks[0].rows()), "hook `{}`", hook.name);
            if self.open.len() == i {
                self.open.push(Growing::new(hook.shard_path(&self.dir, index), hook.width, hook.dtype)?);
            }
            // In pieces, so that the bytes take a bounded part of the memory that the matrix takes.
            const PIECE: usize = 4096;
            for from in (first..first + count).step_by(PIECE) {
                let rows = PIECE.min(first + count - from);
                let numbers = &mat.data()[from * hook.width..(from + rows) * hook.width];
                bytes.clear();
                hook.dtype.encode(numbers, &mut bytes).map_err(|at| {
                    let row = start + (from - first + at / hook.width) as u64;
                    let advice = if numbers[at].is_finite() {
                        "does not fit in f16 or bf16; choose --dtype f32"
                    } else {
                        "is no number; remove or repair that row"
                    };
                    let (hook, column, value) = (hook.name.clone(), at % hook.width, numbers[at]);
                    StoreError::new(&self.dir, Problem::Value { hook, row, column, value, advice })
                })?;
                self.open[i].append(&bytes, rows as u64)?;
            }
        }
        Ok(())
    }

    /// The open shards are complete.
    fn close_shard(&mut self) -> Result<(), StoreError> {
        if self.open_rows == 0 {
            return Ok(());
        }
        for (hook, shard) in self.manifest.hooks.iter_mut().zip(self.open.drain(..)) {
            hook.shards.push(shard.close()?);
        }
        if let Some(table) = &mut self.tokens {
            table.close_part()?;
        }
        self.manifest.rows += self.open_rows;
        self.open_rows = 0;
        self.manifest.write(&self.dir.join(UNFINISHED))
    }

    /// Closes the last shard and puts the manifest in its place: from now on there is a store.
    ///
    /// # Errors
    /// No rows at all, and what the system refuses.
    pub fn finish(mut self) -> Result<Manifest, StoreError> {
        self.close_shard()?;
        if self.manifest.rows == 0 {
            return Err(StoreError::new(&self.dir, Problem::Source("no rows were given; nothing is stored".into())));
        }
        if let Some(table) = self.tokens.take() {
            self.manifest.tokens = Some(table.finish()?);
        }
        self.manifest.write(&self.dir.join(MANIFEST))?;
        // Both say the same now; that one is left over does no harm.
        let _ = fs::remove_file(self.dir.join(UNFINISHED));
        Ok(self.manifest)
    }
}

/// Takes over the shards that an earlier writing completed, and removes what it left half-written.
fn go_on(dir: &Path, manifest: &mut Manifest, before: Manifest) -> Result<(), StoreError> {
    let bare = |m: &Manifest| {
        let mut bare = Manifest { rows: 0, tokens: None::<Stored>, ..m.clone() };
        bare.hooks.iter_mut().for_each(|hook| hook.shards.clear());
        bare
    };
    if bare(manifest) != bare(&before) {
        let names: Vec<&str> = before.hooks.iter().map(|hook| hook.name.as_str()).collect();
        let what = format!("{} rows of {}, shards of {}", before.rows, names.join(", "), before.shard_rows);
        return Err(StoreError::new(dir, Problem::OtherStore { what }));
    }
    for hook in &before.hooks {
        for (index, shard) in hook.shards.iter().enumerate() {
            check_length(&hook.shard_path(dir, index), &shard.stored)?;
        }
        // A shard of a set that was not completed is written over by the rename of the new one.
        for entry in fs::read_dir(dir.join(&hook.name)).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().ends_with(PART) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
    remove_parts(dir);
    *manifest = before;
    Ok(())
}
