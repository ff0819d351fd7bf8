//! `superlens harvest`: activations of a model over texts.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use superlens_lm::harvest::{HarvestError, Plan, Watch, fingerprint, harvest};

use super::memory::Peak;
use super::model_files::{Model, sites};
use super::texts;
use crate::args::{Global, Harvest};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// Bytes of a file of the store, where no number of rows is given: what an ended harvest may lose.
const SHARD_BYTES: u64 = 256 << 20;

pub fn run(args: &Harvest, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.stage("loading the model");
    let (model, tokenizer) = Model::with_tokenizer(&args.model)?;
    let config = &model.transformer.config;
    let sites = sites(&args.hook, config, &|site| site.width(config).is_some())?;
    let windows = texts::windows(&args.texts, &model, &tokenizer)?;
    let dtype = args.dtype.dtype();
    let widest = sites.iter().filter_map(|site| site.width(config)).max().unwrap_or(1);
    let plan = Plan {
        sites,
        dtype,
        windows,
        max_rows: args.max_tokens,
        skip_special: args.skip_special_tokens,
        shard_rows: args.shard_rows.or(Some((SHARD_BYTES / (widest * dtype.bytes()) as u64).max(1))),
        model: model.name(),
        fingerprint: fingerprint(&model.dir).map_err(|e| Failure::Input(format!("{}: {e}", model.dir.display())))?,
    };
    let (start, mut peak) = (Instant::now(), Peak::new());
    let mut watch = |watch: Watch| {
        peak.look();
        let rate = watch.tokens as f64 / start.elapsed().as_secs_f64();
        progress.at(watch.share, &format!("{} rows, {rate:.0} tokens a second", watch.rows));
    };
    let reading = texts::reading(&args.texts.reading);
    interrupt::tell_how_to_go_on("the same command".into());
    let done = harvest(&model.transformer, &tokenizer, &args.texts.text, &reading, &args.out, &plan, &mut watch)?;
    let seconds = start.elapsed().as_secs_f64();
    drop(progress);
    let rate = done.stored as f64 / seconds;
    let tokens = done.manifest.rows;
    let hooks: BTreeMap<&str, usize> = done.manifest.hooks.iter().map(|h| (h.name.as_str(), h.width)).collect();
    let mut out = io::stdout().lock();
    if global.json {
        let document = serde_json::json!({
            "tokens": tokens, "seconds": seconds, "tokens_per_s": rate, "peak_anon_mb": peak.mb(), "hooks": hooks,
            "rows": tokens, "out": args.out,
        });
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{tokens} tokens in {seconds:.1} s, {rate:.0} a second")?;
        for (name, width) in &hooks {
            writeln!(out, "  {name}  {tokens} × {width}, {dtype}")?;
        }
        writeln!(out, "{}: the store; superlens store show tells what is in it", args.out.display())?;
    }
    Ok(out.flush()?)
}

impl From<HarvestError> for Failure {
    fn from(error: HarvestError) -> Self {
        if error.is_input() { Failure::input(error) } else { Failure::Other(anyhow::Error::msg(error)) }
    }
}
