//! `superlens run`: an experiment and its claims.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::json;
use superlens::report;
use superlens::toy::lab::experiment::{Experiment, ExperimentError, Judged};

use super::{settings, table};
use crate::args::{Global, Run};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// Text files longer than this are no experiments.
const LONGEST: u64 = 1 << 20;

pub fn run(args: &Run, global: Global) -> Result<(), Failure> {
    let start = Instant::now();
    let file = args.file.display().to_string();
    let experiment = Experiment::parse(&file, &read(args)?).map_err(Failure::input)?;
    let mut config = toml::Table::new();
    config.insert("command".into(), "run".into());
    config.insert("file".into(), file.clone().into());
    let run = args.out.as_deref().map(|out| interrupt::create_run(out, settings(global, Vec::new(), config)));
    let run = run.transpose().map_err(Failure::input)?;

    let judged = judge(&experiment, &file, global)?;
    let document = json!({
        "schema": 1,
        "title": experiment.title,
        "source": experiment.source,
        "toy": experiment.toy,
        "takes": experiment.takes,
        "claims": judged,
    });
    let text = serde_json::to_string_pretty(&document).map_err(io::Error::from)? + "\n";
    if let Some(run) = run {
        run.write("report.json", text.as_bytes())?;
        run.finish()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if global.json {
        out.write_all(text.as_bytes())?;
    } else {
        writeln!(out, "{}: {}", experiment.title, experiment.source)?;
        writeln!(out)?;
        for line in table::wide(&rows(&judged)) {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "\n{seconds:.1} s over {} seeds from {}", experiment.seeds, global.seed)?;
    }
    out.flush()?;
    let missed = judged.iter().filter(|j| j.surprises()).count();
    match missed {
        0 => Ok(()),
        n => Err(Failure::Other(anyhow::anyhow!("{file}: {n} of {} claims not met", judged.len()))),
    }
}

fn read(args: &Run) -> Result<String, Failure> {
    let wrong = |what: String| Failure::Input(format!("{}: {what}", args.file.display()));
    let size = std::fs::metadata(&args.file).map_err(|e| wrong(format!("can't be read: {e}")))?;
    if !size.is_file() || size.len() > LONGEST {
        return Err(wrong("expected an experiment, a text file of at most 1 MB".into()));
    }
    std::fs::read_to_string(&args.file).map_err(|e| wrong(format!("can't be read: {e}")))
}

fn judge(experiment: &Experiment, file: &str, global: Global) -> Result<Vec<Judged>, Failure> {
    let progress = Mutex::new(Progress::new(global.quiet));
    let watch = |share: f64, stage: &str| {
        if let Ok(progress) = progress.try_lock() {
            progress.at(share, stage);
        }
        ControlFlow::Continue(())
    };
    experiment.run(global.seed, &watch).map_err(|error| match error {
        ExperimentError::Stopped => Failure::Interrupted,
        ExperimentError::Wrong(what) => Failure::Input(format!("{file}: {what}")),
    })
}

fn rows(judged: &[Judged]) -> Vec<Vec<String>> {
    let number = |v: f64| report::words::number(v);
    let range = |j: &Judged| match (j.low, j.high) {
        (Some(low), Some(high)) => format!("{} to {}", number(low), number(high)),
        (Some(low), None) => format!("at least {}", number(low)),
        (None, Some(high)) => format!("at most {}", number(high)),
        (None, None) => "any".into(),
    };
    let spread = |j: &Judged| {
        let least = j.seeds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = j.seeds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{} to {}", number(least), number(most))
    };
    let mut rows = vec![["claim", "value", "asked for", "median", "spread", "met"].map(String::from).to_vec()];
    rows.extend(judged.iter().map(|j| {
        let met = match j.met {
            Some(true) => "yes",
            Some(false) if j.miss.is_some() => "no, as known",
            Some(false) => "NO",
            None => "reported",
        };
        vec![j.claim.clone(), j.value.clone(), range(j), number(j.median), spread(j), met.into()]
    }));
    rows
}
