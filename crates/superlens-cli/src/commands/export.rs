//! `superlens export INPUT --to FORM`: what units respond to, in the files of other tools.

use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value};
use superlens::neurons::files::dashboard::{self, Batch, Feature};
use superlens::neurons::files::openai::{self, Moments, NeuronRecord};
use superlens::neurons::files::{delphi, neuronpedia};
use superlens::neurons::survey::Options;
use superlens::neurons::{Contexts, Source, Units, features, survey};
use superlens_lm::store::{Manifest, Rows, Tokens};
use superlens_tensor::Rng;

use super::neurons::{source, told};
use super::{activations::Activations, units};
use crate::args::{Export, Form, Global};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// What is exported, wherever it is from.
struct Content {
    model_id: String,
    source_id: String,
    hook: String,
    features: Vec<Feature>,
    /// The same as records of OpenAI, if that is the form.
    records: Vec<NeuronRecord>,
    /// Directions of units that have one.
    units: Option<Units>,
}

pub fn run(args: &Export, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let folder = interrupt::create_folder(&args.out).map_err(Failure::input)?;
    let is_batch = args.input.extension().is_some_and(|e| e == "json");
    let written = if args.to == Form::Delphi {
        if is_batch {
            return Err(Failure::Input(
                "--to delphi: a cache holds every activation, a batch only examples; name a store".into(),
            ));
        }
        cache(args, global, folder.path(), &progress)?
    } else {
        let content = if is_batch { from_batch(args)? } else { from_store(args, global, &progress)? };
        for record in &content.records {
            let path = folder.path().join(format!("{}.json", record.examples.unit));
            openai::write(&path, record).map_err(|e| Failure::Other(e.into()))?;
        }
        let files = files(args, &content)?;
        for (name, bytes) in &files {
            let path = folder.path().join(name);
            let write = || path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, bytes));
            write().map_err(|e| Failure::Other(anyhow::anyhow!("{}: can't be written: {e}", path.display())))?;
        }
        (content.features.len(), content.records.len() + files.len())
    };
    folder.finish()?;
    drop(progress);
    let (units, files) = written;
    let mut out = io::stdout().lock();
    if global.json {
        let document = serde_json::json!({"to": format!("{:?}", args.to).to_lowercase(), "units": units, "files": files, "out": args.out});
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}: {units} units in {files} files", args.out.display())?;
    }
    Ok(out.flush()?)
}

/// A store with tokens.
fn open(args: &Export) -> Result<(Activations, Tokens), Failure> {
    let path = args.input.display();
    if !args.input.is_dir() {
        return Err(Failure::Input(format!(
            "{path}: expected a store of activations or a batch-N.json; other files have no texts"
        )));
    }
    let activations = Activations::open(&args.input, &Default::default(), args.part.hook.as_deref())?;
    let tokens = Tokens::open(&args.input)?;
    let tokens = tokens.ok_or_else(|| {
        Failure::Input(format!(
            "{path}: the store has no tokens, and examples are texts; harvest one with superlens harvest"
        ))
    })?;
    Ok((activations, tokens))
}

fn from_store(args: &Export, global: Global, progress: &Progress) -> Result<Content, Failure> {
    let (activations, tokens) = open(args)?;
    let source = source(&activations);
    let units = units::of(units::named(&args.of)?, &args.of, source.width(), global.seed)?;
    let chosen = units::chosen(args.units.as_deref(), &units)?;
    let options = Options {
        top: args.top,
        groups: usize::from(args.groups),
        each: args.each,
        apart: u64::from(args.after) + 1,
        quick: true,
        seed: global.seed,
    };
    let mut watch = |share: f64, stage: &'static str| {
        progress.at(share, stage);
        ControlFlow::Continue(())
    };
    let studies = survey(source, &units, Some(&tokens), &options, &mut watch).map_err(|e| told(e, &activations))?;
    let contexts = Contexts::new(&tokens, args.before.into(), args.after.into());
    let texts = tokens.document(tokens.len() as u64 - 1) as usize + 1;
    progress.at(0.95, "reading examples");
    let features =
        chosen.iter().map(|&u| features::feature(&studies[u], source, &units, &contexts, texts, &args.dataset));
    let features: Vec<Feature> = features.collect();
    let (hook, model_id) = names(args, source)?;
    let layer = hook.split('.').nth(1).filter(|l| l.parse::<usize>().is_ok()).unwrap_or("0");
    let source_id = args.source_id.clone().unwrap_or_else(|| format!("{layer}-own"));
    let random = source.sample(args.top as u64, 1, &Rng::new(global.seed).fork("random examples"));
    let record = |feature: &Feature| {
        let mut examples = feature.examples();
        let record = |row: &u64| contexts.record(source, &units, examples.unit, *row);
        examples.random = random.iter().map(record).collect();
        let p = &studies[examples.unit].profile;
        let moments =
            Moments { mean: Some(p.mean), variance: Some(p.variance), skewness: p.skewness, kurtosis: p.kurtosis };
        NeuronRecord { layer: layer.parse().unwrap_or(0), examples, moments }
    };
    let records = if args.to == Form::Openai { features.iter().map(record).collect() } else { Vec::new() };
    Ok(Content { records, model_id, source_id, hook, features, units: Some(units) })
}

/// The hook, and the model's name.
fn names(args: &Export, source: Source<'_>) -> Result<(String, String), Failure> {
    let hook = if let Source::Store(rows) = source { rows.name.clone() } else { String::new() };
    let (manifest, _) = Manifest::read(&args.input)?;
    let known =
        manifest.model.as_deref().and_then(|m| Path::new(m).file_stem()).map(|m| m.to_string_lossy().into_owned());
    let model_id = args.model_id.clone().or(known).unwrap_or_else(|| "unknown".into());
    for (flag, name) in [("--model-id", &model_id), ("--source-id", args.source_id.as_ref().unwrap_or(&model_id))] {
        if name.is_empty()
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            || name.starts_with('.')
        {
            return Err(Failure::Input(format!(
                "{flag} {name:?}: becomes the name of a folder: letters, digits, dashes, dots"
            )));
        }
    }
    Ok((hook, model_id))
}

fn from_batch(args: &Export) -> Result<Content, Failure> {
    let mut batch = dashboard::read(&args.input).map_err(Failure::input)?;
    if let Some(list) = &args.units {
        let most = batch.features.iter().map(|f| f.feature_index as usize + 1).max().unwrap_or(0);
        let asked = units::numbers(list, most, "feature")?;
        batch.features.retain(|f| asked.contains(&(f.feature_index as usize)));
    }
    let layer = batch.layer.as_str().map_or_else(|| batch.layer.to_string(), str::to_string);
    let record = |f: &Feature| NeuronRecord {
        layer: layer.parse().unwrap_or(0),
        examples: f.examples(),
        moments: Moments::default(),
    };
    Ok(Content {
        records: if args.to == Form::Openai { batch.features.iter().map(record).collect() } else { Vec::new() },
        model_id: args.model_id.clone().unwrap_or(batch.model_id),
        source_id: args.source_id.clone().unwrap_or_else(|| format!("{layer}-{}", batch.sae_set)),
        hook: String::new(),
        features: batch.features,
        units: None,
    })
}

/// Names and bytes of all files.
fn files(args: &Export, content: &Content) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let set = content.source_id.split_once('-');
    Ok(match args.to {
        Form::Saedashboard => {
            let batches = content.features.chunks(args.batch).enumerate().map(|(b, features)| {
                let (layer, set) = set.unwrap_or(("0", &content.source_id));
                let layer = layer.parse::<u64>().map_or_else(|_| Value::from(layer), Value::from);
                let batch = Batch {
                    model_id: content.model_id.clone(),
                    layer,
                    sae_set: set.into(),
                    features: features.to_vec(),
                    rest: Map::new(),
                };
                (format!("batch-{b}.json"), dashboard::to_json(&batch).into_bytes())
            });
            batches.collect()
        }
        Form::Neuronpedia => {
            let place = neuronpedia::Place {
                model_id: content.model_id.clone(),
                source_id: content.source_id.clone(),
                hook: content.hook.clone(),
                creator: args.creator.clone(),
                created: args.created.clone().unwrap_or_else(now),
                dataset: args.dataset.clone(),
            };
            let vector = |u: usize| match &content.units {
                Some(Units::Latents(sae)) => sae.w_dec.row(u).to_vec(),
                Some(Units::Directions(directions)) => directions.row(u).to_vec(),
                _ => Vec::new(),
            };
            let files = neuronpedia::files(&place, &content.features, &vector, args.batch);
            files.into_iter().map(|(name, bytes)| (format!("{}/{name}", place.folder()), bytes)).collect()
        }
        Form::Openai | Form::Delphi => Vec::new(),
    })
}

/// This second, in the form of RFC 3339.
fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

fn cache(args: &Export, global: Global, dir: &Path, progress: &Progress) -> Result<(usize, usize), Failure> {
    let (activations, tokens) = open(args)?;
    let Activations::Store(rows) = &activations else {
        return Err(Failure::Input("--to delphi: goes with a store".into()));
    };
    let units = units::of(units::named(&args.of)?, &args.of, rows.width(), global.seed)?;
    if args.units.is_some() {
        return Err(Failure::Input("--units: a cache of delphi holds all; leave it out".into()));
    }
    let source = Source::Store(rows);
    let (hook, model) = names(args, source)?;
    let mut watch = |share: f64| progress.at(share, "writing the cache");
    let written =
        delphi::write(dir, &hook, source, &units, &tokens, args.splits, &mut watch).map_err(|e| failed(e, rows))?;
    let config = dir.join("config.json");
    fs::write(&config, delphi::config(&model, &args.dataset, &written)).map_err(|e| failed(e, rows))?;
    Ok((units.len(), args.splits.min(units.len()) + 1))
}

fn failed(error: io::Error, rows: &Rows) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidData => super::activations::not_finite(rows),
        _ => Failure::Other(anyhow::anyhow!("the cache can't be written: {error}")),
    }
}
