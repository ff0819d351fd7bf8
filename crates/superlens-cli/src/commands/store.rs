//! `superlens store`: stores of activations made, shown and checked.

use std::io::{self, Write};
use std::time::Instant;

use superlens_lm::store::import::{self, import};
use superlens_lm::store::{Hook, Manifest, Rows, StoreError, verify};

use super::table;
use crate::args::{Global, Store, StoreCommand};
use crate::failure::Failure;
use crate::progress::Progress;

pub fn run(args: &Store, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    let start = Instant::now();
    let (manifest, dir, said) = match &args.command {
        StoreCommand::Import(args) => {
            progress.at(0.0, "reading");
            let options = import::Options {
                hook: args.hook.clone(),
                key: args.key.clone(),
                flatten: args.flatten,
                dtype: args.dtype.map(|dtype| dtype.dtype()),
                shard_rows: args.shard_rows,
            };
            let mut watch = |rows: u64| progress.at(0.5, &format!("{rows} rows stored"));
            (import(&args.src, &args.out, &options, &mut watch)?, &args.out, "stored")
        }
        StoreCommand::Show(args) => {
            let (manifest, _) = Manifest::read(&args.store)?;
            for hook in &manifest.hooks {
                Rows::open(&args.store, Some(&hook.name))?;
            }
            (manifest, &args.store, "sizes and headers agree; superlens store verify reads every byte")
        }
        StoreCommand::Verify(args) => {
            progress.at(0.0, "reading");
            let mut watch = |share: f64| progress.at(share, "hashing");
            (verify(&args.store, &mut watch)?, &args.store, "every byte is as it was written")
        }
    };
    // Its hash is that of the file in its place.
    let (_, sha256) = Manifest::read(dir)?;
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        let mut document = serde_json::to_value(&manifest).map_err(io::Error::from)?;
        document["sha256"] = sha256.into();
        document["seconds"] = start.elapsed().as_secs_f64().into();
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let head = ["hook", "width", "type", "shards", "bytes"].map(String::from);
        let row = |hook: &Hook| {
            let bytes: u64 = hook.shards.iter().map(|shard| shard.stored.bytes).sum();
            let numbers = [hook.width as u64, hook.shards.len() as u64, bytes].map(|n| n.to_string());
            let [width, shards, bytes] = numbers;
            [hook.name.clone(), width, hook.dtype.to_string(), shards, bytes]
        };
        let rows: Vec<[String; 5]> = std::iter::once(head).chain(manifest.hooks.iter().map(row)).collect();
        for line in table::lines(&rows) {
            writeln!(out, "{line}")?;
        }
        let tokens = if manifest.tokens.is_some() { ", with tokens" } else { "" };
        writeln!(out, "\n{} rows{tokens}; {said}", manifest.rows)?;
        writeln!(out, "manifest: {sha256}")?;
    }
    Ok(out.flush()?)
}

/// What is wrong with files is bad input; a disk that is full or fails is not.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.is_input() { Failure::input(error) } else { Failure::Other(anyhow::Error::msg(error)) }
    }
}
