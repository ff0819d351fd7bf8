//! `superlens toy`: small models with known features, trained on the spot.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Map, Value};
use superlens::report::{self, RunFolder, Source};
use superlens::toy::lab::{self, Lab, Outcome, Settings, TOYS, ToyError};
use superlens_tensor::Rng;

use super::toy_help::toy_help;
use super::{settings, table};
use crate::args::{Global, Toy, command_help};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

pub fn run(args: &Toy, global: Global) -> Result<(), Failure> {
    let name = args.name.as_deref().unwrap_or_default();
    if args.help {
        return help(name);
    }
    if name == "list" {
        return list(args, global);
    }
    let start = Instant::now();
    let toy = lab::Toy::find(name).map_err(|e| Failure::Input(format!("{e}; see superlens toy list")))?;
    let given = Settings::parse(toy.name, toy.settings, &args.set).map_err(Failure::input)?;
    let run = args
        .out
        .as_deref()
        .map(|out| interrupt::create_run(out, settings(global, Vec::new(), config(toy, args, &given))));
    let run = run.transpose().map_err(Failure::input)?;
    let outcome = train(toy, &given, args, global)?;
    if let Some(run) = run {
        write(run, toy, &outcome, &given, global)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &document(toy, outcome, seconds)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        for line in table::wide(&outcome.table) {
            writeln!(out, "{line}")?;
        }
        writeln!(out)?;
        for line in &outcome.says {
            writeln!(out, "{line}")?;
        }
        let rate = report::words::number(rate(&outcome));
        let rate = if outcome.steps > 0 { format!(", {rate} training steps a second") } else { String::new() };
        writeln!(out, "\n{seconds:.1} s{rate}")?;
        if let Some(dir) = &args.out {
            writeln!(out, "report: {}", dir.join("report.html").display())?;
        }
    }
    Ok(out.flush()?)
}

/// The help of the toy called `name`, or of the command where there is none.
fn help(name: &str) -> Result<(), Failure> {
    let text = match lab::Toy::find(name) {
        Ok(toy) => toy_help(toy),
        Err(_) if name.is_empty() || name == "list" => command_help("toy"),
        Err(e) => return Err(Failure::Input(format!("{e}; see superlens toy list"))),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// The toys, one line each and where it comes from.
fn list(args: &Toy, global: Global) -> Result<(), Failure> {
    if !args.set.is_empty() || args.out.is_some() {
        return Err(Failure::Input("toy list: takes neither --set nor --out; name a toy to train it".into()));
    }
    let mut out = io::stdout().lock();
    if global.json {
        let toy = |t: &lab::Toy| serde_json::json!({"name": t.name, "about": t.about, "source": t.source});
        let all: Vec<Value> = TOYS.iter().map(toy).collect();
        serde_json::to_writer_pretty(&mut out, &serde_json::json!({ "toys": all })).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let widest = TOYS.iter().map(|t| t.name.len()).max().unwrap_or(0);
        for toy in TOYS {
            writeln!(out, "{:widest$}  {}", toy.name, toy.about)?;
            writeln!(out, "{:widest$}  {}", "", toy.source)?;
        }
        writeln!(out, "\nsuperlens toy NAME --help lists the settings of each.")?;
    }
    Ok(out.flush()?)
}

fn config(toy: &lab::Toy, args: &Toy, given: &Settings) -> toml::Table {
    let mut config = toml::Table::new();
    config.insert("command".into(), "toy".into());
    config.insert("toy".into(), toy.name.into());
    config.insert("instances".into(), i64::from(args.instances).into());
    let set = given.all().map(|(key, value)| (key.to_string(), toml::Value::String(value.to_string()))).collect();
    config.insert("set".into(), toml::Value::Table(set));
    config
}

fn train(toy: &lab::Toy, given: &Settings, args: &Toy, global: Global) -> Result<Outcome, Failure> {
    let progress = Mutex::new(Progress::new(global.quiet));
    let watch = |share: f64, stage: &str| {
        // Whoever finds another thread drawing leaves it to that.
        if let Ok(progress) = progress.try_lock() {
            progress.at(share, stage);
        }
        ControlFlow::Continue(())
    };
    let lab = Lab {
        instances: args.instances as usize,
        rng: Rng::new(global.seed).fork("toy").fork(toy.name),
        watch: &watch,
    };
    toy.work(given, &lab).map_err(|error| match error {
        ToyError::Stopped => Failure::Interrupted,
        error => Failure::Input(format!("toy {}: {error}", toy.name)),
    })
}

fn write(run: RunFolder, toy: &lab::Toy, outcome: &Outcome, given: &Settings, global: Global) -> Result<(), Failure> {
    let source = Source {
        name: format!("toy {}", toy.name),
        seed: global.seed,
        settings: given.all().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    };
    report::write_toy(&run, toy, outcome, &source)?;
    run.finish()?;
    Ok(())
}

/// Training steps a second, over all instances and restarts.
fn rate(outcome: &Outcome) -> f64 {
    outcome.steps as f64 / outcome.training.as_secs_f64().max(1e-9)
}

/// The contract of `--json`.
fn document(toy: &lab::Toy, outcome: Outcome, seconds: f64) -> Map<String, Value> {
    let rate = rate(&outcome);
    let mut document = Map::new();
    document.insert("model".into(), toy.name.into());
    document.insert("seconds".into(), seconds.into());
    document.insert("instance_steps_per_s".into(), rate.into());
    document.extend(outcome.keys);
    document.insert("instances".into(), outcome.instances.into_iter().map(Value::Object).collect());
    document
}
