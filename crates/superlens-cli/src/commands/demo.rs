//! `superlens demo`: layers with known truth, diagnosed as if unknown.

use std::cell::Cell;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use serde::Serialize;
use superlens::diagnose::{self, Options};
use superlens::report::{self, Case, CaseRow, RunFolder, Source};
use superlens::toy::demo::{DemoCase, each_demo_case};

use super::{label, settings, table};
use crate::args::{Demo, Global};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// Layers in the demo, for the progress bar.
const CASES: f64 = 5.0;
/// Share of the time of a case that its training takes.
const TRAINING: f64 = 0.5;
/// Widths of the table, which is printed while it grows.
const WIDTHS: [usize; 4] = [24, 20, 20, 10];

/// The contract of `--json`.
#[derive(Serialize)]
struct Output {
    cases: Vec<CaseRow>,
    seconds: f64,
}

pub fn run(args: &Demo, global: Global) -> Result<(), Failure> {
    let start = Instant::now();
    let mut config = toml::Table::new();
    config.insert("command".into(), "demo".into());
    // Before the work, not after it: a destination that can't be used is told at once.
    let run = interrupt::create_run(&args.out, settings(global, Vec::new(), config)).map_err(Failure::input)?;
    let cases = diagnose_all(global)?;
    finish(run, global, &cases)?;

    let seconds = start.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if global.json {
        let output = Output { cases: cases.iter().map(Case::row).collect(), seconds };
        serde_json::to_writer_pretty(&mut out, &output).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let right = cases.iter().filter(|case| case.is_right()).count();
        writeln!(out, "\n{right} of {} right, {seconds:.1} s", cases.len())?;
        writeln!(out, "report: {}", args.out.join("report.html").display())?;
    }
    Ok(out.flush()?)
}

/// Trains and diagnoses one case after the other; prints each one's row as soon as it is known.
fn diagnose_all(global: Global) -> Result<Vec<Case>, Failure> {
    let progress = Progress::new(global.quiet);
    let mut out = io::stdout();
    if !global.json {
        print_row(&mut out, &progress, ["case", "truth", "verdict", "confidence"].map(str::to_string))?;
    }
    let done = Cell::new(0.0);
    let mut cases = Vec::new();
    let mut failure = None;
    let mut training = |name: &str, fraction: f64| {
        progress.at((done.get() + TRAINING * fraction) / CASES, &format!("training: {name}"));
        ControlFlow::Continue(())
    };
    let mut visit = |made: DemoCase| {
        let at = |fraction: f64, stage: &str| {
            let whole = (done.get() + TRAINING + (1.0 - TRAINING) * fraction) / CASES;
            progress.at(whole, &format!("{stage}: {}", made.name));
        };
        let outcome = diagnose_one(&made, global, &at).and_then(|case| {
            if !global.json {
                print_row(&mut out, &progress, row(&case))?;
            }
            cases.push(case);
            Ok(())
        });
        done.set(done.get() + 1.0);
        failure = outcome.err();
        if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    // Only `visit` breaks, and it leaves the reason.
    let _ = each_demo_case(global.seed, &mut training, &mut visit);
    failure.map_or(Ok(cases), Err)
}

fn diagnose_one(made: &DemoCase, global: Global, at: &dyn Fn(f64, &str)) -> Result<Case, Failure> {
    let options = Options { basis: made.basis, seed: global.seed, ..Options::default() };
    let mut watch = |progress: diagnose::Progress| {
        at(progress.fraction, progress.stage);
        ControlFlow::Continue(())
    };
    // What is wrong with a layer that we made is not the input of whoever called.
    let diagnosis = diagnose::diagnose(&made.activations, &options, &mut watch)
        .map_err(|error| Failure::Other(anyhow::Error::new(error).context(made.name)))?;
    Ok(Case {
        name: made.name.to_string(),
        about: made.facts.clone(),
        truth: made.truth.verdict,
        truth_mechanism: made.truth.mechanism,
        diagnosis,
    })
}

fn row(case: &Case) -> [String; 4] {
    let layer = &case.diagnosis.layer;
    [
        case.name.clone(),
        label(case.truth, case.truth_mechanism),
        label(layer.verdict, layer.mechanism),
        format!("{:.2}", layer.confidence),
    ]
}

fn print_row(out: &mut io::Stdout, progress: &Progress, cells: [String; 4]) -> io::Result<()> {
    progress.aside(|| {
        writeln!(out, "{}", table::line(&cells, &WIDTHS))?;
        out.flush()
    })
}

/// Writes the report and puts the folder in place.
fn finish(run: RunFolder, global: Global, cases: &[Case]) -> Result<(), Failure> {
    let source = Source { name: "demo".to_string(), seed: global.seed, settings: Vec::new() };
    report::write_demo(&run, cases, &source)?;
    run.finish()?;
    Ok(())
}
