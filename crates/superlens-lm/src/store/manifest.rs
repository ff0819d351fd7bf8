//! `manifest.json`: what a store holds. Written last, so that a folder with a manifest is a whole store.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use superlens_tensor::io::write_atomic;

use super::StoreError;
use super::dtype::DType;
use super::error::Problem;
use super::hash::hex;

pub(super) const MANIFEST: &str = "manifest.json";
/// The manifest of the shards so far, while a store is written.
pub(super) const UNFINISHED: &str = "manifest.partial.json";
/// The table of tokens.
pub(super) const TOKENS: &str = "tokens.parquet";
const SCHEMA: u32 = 1;
/// Wider rows, longer manifests and more hooks than any model gives are lies.
const MAX_WIDTH: usize = 1 << 24;
const MAX_MANIFEST: u64 = 1 << 28;

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: u32,
    /// The model that gave the activations, where it is known.
    pub model: Option<String>,
    pub tokenizer_sha256: Option<String>,
    /// What the rows came from, as a hash; a store is only gone on with from the same.
    pub origin: Option<String>,
    /// Rows of every hook.
    pub rows: u64,
    /// Rows of every shard but the last.
    pub shard_rows: u64,
    pub hooks: Vec<Hook>,
    /// The table of tokens, if there is one.
    pub tokens: Option<Stored>,
}

/// The activations of one hook, in the folder of its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// As TransformerLens has it: `blocks.3.hook_resid_post`.
    pub name: String,
    /// Columns.
    pub width: usize,
    pub dtype: DType,
    pub shards: Vec<Shard>,
}

/// One file of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    pub rows: u64,
    #[serde(flatten)]
    pub stored: Stored,
}

/// A file, as it must be found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub bytes: u64,
    /// Of the whole file, in hex: what `sha256sum` prints.
    pub sha256: String,
}

impl Manifest {
    /// Of a store that is to be written.
    pub(super) fn empty(hooks: Vec<Hook>, shard_rows: u64) -> Manifest {
        Manifest {
            schema: SCHEMA,
            model: None,
            tokenizer_sha256: None,
            origin: None,
            rows: 0,
            shard_rows,
            hooks,
            tokens: None,
        }
    }

    /// The manifest of the store in `dir`, and its SHA-256. Nothing else is opened.
    pub fn read(dir: &Path) -> Result<(Manifest, String), StoreError> {
        let file = dir.join(MANIFEST);
        match Self::read_file(&file)? {
            Some(found) => Ok(found),
            None => match Self::read_file(&dir.join(UNFINISHED))? {
                Some((part, _)) => Err(StoreError::new(dir, Problem::Unfinished { rows: part.rows })),
                None => Err(StoreError::new(dir, Problem::NoStore)),
            },
        }
    }

    /// `None` where there is no such file.
    pub(super) fn read_file(file: &Path) -> Result<Option<(Manifest, String)>, StoreError> {
        let len = match fs::metadata(file) {
            Ok(found) => found.len(),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(StoreError::reading(file)(e)),
        };
        let wrong = |what: String| StoreError::new(file, Problem::Manifest(what));
        if len > MAX_MANIFEST {
            return Err(wrong(format!("holds {len} bytes, where at most {MAX_MANIFEST} are read")));
        }
        let bytes = fs::read(file).map_err(StoreError::reading(file))?;
        // Other versions may have other keys: the number is looked at first.
        let schema =
            serde_json::from_slice::<serde_json::Value>(&bytes).map_err(|e| wrong(format!("is no JSON: {e}")))?;
        match schema["schema"].as_u64() {
            Some(n) if n == u64::from(SCHEMA) => {}
            _ => return Err(wrong(format!("key `schema`: expected {SCHEMA}, found {}", schema["schema"]))),
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| wrong(format!("is no manifest: {e}")))?;
        manifest.check().map_err(wrong)?;
        Ok(Some((manifest, hex(&bytes))))
    }

    /// Puts it in its place, whole or not at all.
    pub(super) fn write(&self, file: &Path) -> Result<(), StoreError> {
        let told = StoreError::writing(file);
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| told(e.into()))?;
        text.push(b'\n');
        write_atomic(file, &text).map_err(told)
    }

    /// Do its numbers agree with one another? What is on disk is another question.
    fn check(&self) -> Result<(), String> {
        if self.hooks.is_empty() {
            return Err("key `hooks`: expected one at least, found none".into());
        }
        for (i, hook) in self.hooks.iter().enumerate() {
            let name = &hook.name;
            check_name(name)?;
            if self.hooks[..i].iter().any(|other| other.name == *name) {
                return Err(format!("hook `{name}` occurs twice"));
            }
            if !(1..=MAX_WIDTH).contains(&hook.width) {
                return Err(format!("hook `{name}`: width: expected 1 to {MAX_WIDTH}, found {}", hook.width));
            }
            let mut rows = 0u64;
            for (j, shard) in hook.shards.iter().enumerate() {
                let row_bytes = (hook.width * hook.dtype.bytes()) as u64;
                let least = shard.rows.checked_mul(row_bytes);
                if shard.rows == 0 || least.is_none_or(|least| least > shard.stored.bytes) {
                    let bytes = shard.stored.bytes;
                    return Err(format!("hook `{name}`, shard {j}: {bytes} bytes can't hold {} rows", shard.rows));
                }
                if self.hooks[0].shards.get(j).is_none_or(|first| first.rows != shard.rows) {
                    return Err(format!("hook `{name}`, shard {j}: other rows than `{}` has", self.hooks[0].name));
                }
                rows = rows.saturating_add(shard.rows);
            }
            if rows != self.rows {
                return Err(format!("hook `{name}`: expected {} rows as key `rows` says, found {rows}", self.rows));
            }
        }
        Ok(())
    }

    /// The hook called `wanted`, or the only one.
    pub fn hook(&self, dir: &Path, wanted: Option<&str>) -> Result<&Hook, StoreError> {
        let has = || self.hooks.iter().map(|hook| hook.name.clone()).collect::<Vec<_>>();
        match (wanted, &self.hooks[..]) {
            (None, [only]) => Ok(only),
            (None, _) => Err(StoreError::new(dir, Problem::WhichHook { has: has() })),
            (Some(wanted), hooks) => hooks
                .iter()
                .find(|hook| hook.name == wanted)
                .ok_or_else(|| StoreError::new(dir, Problem::NoHook { wanted: wanted.into(), has: has() })),
        }
    }
}

impl Hook {
    /// Where shard number `index` lies.
    pub fn shard_path(&self, dir: &Path, index: usize) -> PathBuf {
        dir.join(&self.name).join(format!("shard-{index:05}.safetensors"))
    }
}

/// A hook's name is that of a folder: it must not lead anywhere else.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let reserved = [MANIFEST, UNFINISHED, TOKENS].contains(&name);
    if !name.is_empty() && name.len() <= 200 && name.chars().all(fits) && !name.starts_with('.') && !reserved {
        return Ok(());
    }
    Err(format!(
        "hook `{}`: expected a name of letters, digits, `.`, `_` and `-`, like blocks.3.hook_resid_post",
        name.escape_debug()
    ))
}
