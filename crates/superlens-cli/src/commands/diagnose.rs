//! `superlens diagnose INPUT`: the verdict for an activation matrix.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use superlens::diagnose::{self, Basis, Diagnosis, Options};
use superlens::report::{self, InputFile, RunFolder, Source};
use superlens::sae::Sae;
use superlens_tensor::io::{Loaded, ReadOptions};

use super::activations::Held;
use super::changes::is_transcoder;
use super::diagnose_model::{WithModel, basis_of};
use super::eval::dictionary;
use super::labels::{self, Labels};
use super::{settings, summary};
use crate::args::{BasisArg, Diagnose, Global};
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
    // Of a file, a hook says where in the model its activations were read.
    let hook = args.part.hook.as_deref().filter(|_| args.asked.model.is_none() || args.input.is_dir());
    let held = Held::read(&args.input, &options, hook, "diagnose", global.seed)?;
    let hook = args.part.hook.clone().or(held.loaded.key.clone().filter(|_| args.input.is_dir()));
    let labels = args
        .labels
        .as_deref()
        .map(|path| labels::read(path, args.labels_key.as_deref(), &args.input, &held))
        .transpose()?;
    let loaded = held.loaded;
    let basis = args.basis.map_or_else(|| hook.as_deref().map_or(Basis::Unknown, basis_of), BasisArg::basis);
    let sae = args.sae.as_deref().map(|path| read_dictionary(path, &loaded)).transpose()?;
    if args.asked.model.is_some() {
        progress.at(0.0, "opening the model");
    }
    let with_model = WithModel::open(&args.asked, hook.as_deref(), loaded.mat.cols(), global.seed)?;
    // Before the work, not after it: a destination that can't be used is told at once.
    let run =
        args.out.as_deref().map(|out| create_run(out, args, global, basis, &loaded, labels.as_ref())).transpose()?;

    let labels = labels.map(|labels| labels.mat);
    let (seed, of_rows) = (global.seed, Some(held.of));
    let options = Options { basis, seed, labels, of_rows, sae, heads: args.heads, ..Options::default() };
    let mut watch = |at: diagnose::Progress| {
        progress.at(at.fraction, at.stage);
        ControlFlow::Continue(())
    };
    let mut diagnosis = diagnose::diagnose(&loaded.mat, &options, &mut watch)
        .map_err(|error| Failure::Input(format!("{}: {error}", args.input.display())))?;
    if let Some(with_model) = &with_model {
        let watch = |share: f64| progress.at(share, "asking the model");
        diagnosis.hypotheses.extend(with_model.hypotheses(&diagnosis, global.seed, &watch)?);
    }
    if let Some(run) = run {
        finish(run, args, global, &diagnosis)?;
    }
    drop(progress);

    let seconds = start.elapsed().as_secs_f64();
    let mut out = std::io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &Output { diagnosis: &diagnosis, seconds })
            .map_err(std::io::Error::from)?;
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

/// A dictionary that rebuilds what it reads, as wide as the activations.
fn read_dictionary(path: &Path, loaded: &Loaded) -> Result<Sae, Failure> {
    let read = dictionary(path)?;
    let told = |what: String| Err(Failure::Input(format!("--sae {}: {what}", path.display())));
    if is_transcoder(&read.sae, &read.metadata) {
        return told("rebuilds other activations than it reads (a transcoder); name one that rebuilds these".into());
    }
    match (read.sae.d_in(), loaded.mat.cols()) {
        (wide, columns) if wide == columns => Ok(read.sae),
        (wide, columns) => told(format!("is of activations of width {wide}, but these have {columns} columns")),
    }
}

fn create_run(
    out: &Path,
    args: &Diagnose,
    global: Global,
    basis: Basis,
    loaded: &Loaded,
    labels: Option<&Labels>,
) -> Result<RunFolder, Failure> {
    let path = args.input.display().to_string();
    let mut config = toml::Table::new();
    config.insert("command".into(), "diagnose".into());
    config.insert("input".into(), path.clone().into());
    if let Some(key) = &loaded.key {
        config.insert("key".into(), key.clone().into());
    }
    config.insert("flatten".into(), args.part.flatten.into());
    config.insert("basis".into(), BasisArg::of(basis).into());
    for (name, path) in [("sae", &args.sae), ("model", &args.asked.model)] {
        if let Some(path) = path {
            config.insert(name.into(), path.display().to_string().into());
        }
    }
    if let Some(hook) = &args.part.hook {
        config.insert("hook".into(), hook.clone().into());
    }
    let mut inputs = vec![InputFile { path, bytes: loaded.bytes, sha256: loaded.sha256.clone() }];
    if let Some(labels) = labels {
        config.insert("labels".into(), labels.path.clone().into());
        inputs.push(InputFile { path: labels.path.clone(), bytes: labels.bytes, sha256: labels.sha256.clone() });
    }
    interrupt::create_run(out, settings(global, inputs, config)).map_err(Failure::input)
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
