//! `superlens diagnose INPUT`: the verdict for an activation matrix.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use superlens::diagnose::{self, Diagnosis, Options};
use superlens::report::{self, InputFile, RunFolder, Source};
use superlens_tensor::Rng;
use superlens_tensor::io::{Loaded, ReadOptions};

use super::activations::Activations;
use super::{settings, summary};
use crate::args::{Diagnose, Global};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// The contract of `--json`: the diagnosis, and how long it took.
#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
    seconds: f64,
}

pub fn run(args: &Diagnose, global: Global) -> Result<(), Failure> {
    let start = Instant::now();
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let options = ReadOptions { key: args.part.key.clone(), flatten: args.part.flatten };
    let input = Activations::open(&args.input, &options, args.part.hook.as_deref())?;
    let loaded = input.in_memory("diagnose", &Rng::new(global.seed))?;
    // Before the work, not after it: a destination that can't be used is told at once.
    let run = args.out.as_deref().map(|out| create_run(out, args, global, &loaded)).transpose()?;

    let options = Options { basis: args.basis.basis(), seed: global.seed, ..Options::default() };
    let mut watch = |at: diagnose::Progress| {
        progress.at(at.fraction, at.stage);
        ControlFlow::Continue(())
    };
    let diagnosis = diagnose::diagnose(&loaded.mat, &options, &mut watch)
        .map_err(|error| Failure::Input(format!("{}: {error}", args.input.display())))?;
    if let Some(run) = run {
        finish(run, args, global, &diagnosis)?;
    }
    drop(progress);

    let seconds = start.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &Output { diagnosis: &diagnosis, seconds }).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        summary::write(&mut out, &args.input, &loaded, &diagnosis)?;
        writeln!(out, "\n{seconds:.1} s")?;
        match &args.out {
            Some(folder) => writeln!(out, "report: {}", folder.join("report.html").display())?,
            None => writeln!(out, "for pictures and the numbers behind them: the same with --out DIR")?,
        }
    }
    Ok(out.flush()?)
}

fn create_run(out: &Path, args: &Diagnose, global: Global, loaded: &Loaded) -> Result<RunFolder, Failure> {
    let path = args.input.display().to_string();
    let mut config = toml::Table::new();
    config.insert("command".into(), "diagnose".into());
    config.insert("input".into(), path.clone().into());
    if let Some(key) = &loaded.key {
        config.insert("key".into(), key.clone().into());
    }
    config.insert("flatten".into(), args.part.flatten.into());
    config.insert("basis".into(), args.basis.id().into());
    let input = InputFile { path, bytes: loaded.bytes, sha256: loaded.sha256.clone() };
    interrupt::create_run(out, settings(global, vec![input], config)).map_err(Failure::input)
}

/// Writes the report and puts the folder in place.
fn finish(run: RunFolder, args: &Diagnose, global: Global, diagnosis: &Diagnosis) -> Result<(), Failure> {
    let name = args.input.file_name().unwrap_or(args.input.as_os_str()).to_string_lossy();
    let key = args.part.key.as_ref().map(|key| ("key".to_string(), key.clone()));
    let source = Source { name: name.into_owned(), seed: global.seed, settings: key.into_iter().collect() };
    report::write_diagnosis(&run, diagnosis, &source)?;
    run.finish()?;
    Ok(())
}
