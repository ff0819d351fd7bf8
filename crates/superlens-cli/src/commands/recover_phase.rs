//! `superlens recover phase`: how many active atoms are too many, beside the formula.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};
use superlens::geometry::recover::methods::Method;
use superlens::geometry::recover::phase::{Point, Transition};
use superlens::report;
use superlens_tensor::Rng;

use super::recover::{amplitudes, bad, whole};
use super::{settings, table};
use crate::args::{Global, RecoverPhase};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// Atoms at most: a trial's dictionary then fills up to 100 MB, and each thread has one.
const MOST_ATOMS: usize = 5000;
/// A trial on fewer atoms shows no transition.
const FEWEST_ATOMS: usize = 10;

pub fn run(args: &RecoverPhase, global: Global) -> Result<(), Failure> {
    let start = Instant::now();
    let transition = transition(args)?;
    let mut config = toml::Table::new();
    for (name, value) in [
        ("command", "recover phase"),
        ("atoms", &args.atoms),
        ("deltas", &args.deltas),
        ("trials", &args.trials),
        ("method", &args.method),
        ("amplitudes", &args.amplitudes),
    ] {
        config.insert(name.into(), value.into());
    }
    config.insert("non_negative".into(), args.non_negative.into());
    let run = args.out.as_deref().map(|out| interrupt::create_run(out, settings(global, Vec::new(), config)));
    let run = run.transpose().map_err(Failure::input)?;

    let progress = Mutex::new(Progress::new(global.quiet));
    let watch = |share: f64| {
        if let Ok(progress) = progress.try_lock() {
            progress.at(share, "recovering");
        }
        ControlFlow::Continue(())
    };
    let rng = Rng::new(global.seed).fork("recover phase");
    let points = transition.measure(&rng, &watch).ok_or(Failure::Interrupted)?;
    if let Some(run) = run {
        let how = format!("{}, {} atoms, {} trials", args.method, transition.atoms, transition.trials);
        let figure = report::transition_figure(&points, args.non_negative, &how);
        report::write_document(&run, &document(args, &transition, &points), &[figure])?;
        run.finish()?;
    }
    drop(progress);
    let seconds = start.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if global.json {
        let mut document = document(args, &transition, &points);
        document["seconds"] = seconds.into();
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write_table(&mut out, &points)?;
        writeln!(out, "\n{seconds:.1} s")?;
        match &args.out {
            Some(folder) => writeln!(out, "figure: {}", folder.join("figures/phase.svg").display())?,
            None => writeln!(out, "for the phase diagram: the same with --out DIR")?,
        }
    }
    Ok(out.flush()?)
}

/// What was asked for, checked.
fn transition(args: &RecoverPhase) -> Result<Transition, Failure> {
    let method = Method::find(&args.method).map_err(|e| bad(&format!("--method: {e}")))?;
    let atoms = whole("--atoms", &args.atoms, FEWEST_ATOMS, MOST_ATOMS)?;
    let delta = |text: &str| text.trim().parse().ok().filter(|d: &f64| *d > 0.0 && *d < 1.0);
    let deltas: Option<Vec<f64>> = args.deltas.split(',').map(delta).collect();
    let Some(deltas) = deltas.filter(|d| d.len() <= 100) else {
        let found = &args.deltas;
        return Err(bad(&format!("--deltas: expected numbers between 0 and 1 like 0.1,0.25,0.5, found `{found}`")));
    };
    if let Some(delta) = deltas.iter().find(|d| **d * (atoms as f64) < 1.0 || (1.0 - **d) * (atoms as f64) < 1.0) {
        return Err(bad(&format!(
            "--deltas: {delta} of {atoms} atoms is less than one dimension, or as many as atoms; expected {} to {}, or more --atoms",
            1.0 / atoms as f64,
            1.0 - 1.0 / atoms as f64
        )));
    }
    Ok(Transition {
        atoms,
        deltas,
        trials: whole("--trials", &args.trials, 1, 100_000)?,
        method,
        amplitudes: amplitudes(&args.amplitudes)?,
        non_negative: args.non_negative,
    })
}

/// The contract of `--json`.
fn document(args: &RecoverPhase, transition: &Transition, points: &[Point]) -> Value {
    json!({
        "delta": points.iter().map(|p| p.delta).collect::<Vec<f64>>(),
        "rho_half": points.iter().map(|p| p.half).collect::<Vec<Option<f64>>>(),
        "rho_theory": points.iter().map(|p| p.theory).collect::<Vec<f64>>(),
        "tried": points.iter().map(|p| &p.tried).collect::<Vec<_>>(),
        "atoms": transition.atoms,
        "trials": transition.trials,
        "method": transition.method.name,
        "amplitudes": args.amplitudes,
        "non_negative": args.non_negative,
    })
}

fn write_table(out: &mut impl Write, points: &[Point]) -> io::Result<()> {
    let mut rows = vec![["δ = dims/atoms", "half succeed at ρ = k/dims", "theory", "apart"].map(str::to_string)];
    for p in points {
        let apart = p.half.map_or("–".into(), |half| format!("{:+.4}", half - p.theory).replace('-', "−"));
        let half = p.half.map_or("not seen".into(), |half| format!("{half:.4}"));
        rows.push([format!("{:.3}", p.delta), half, format!("{:.4}", p.theory), apart]);
    }
    for line in table::lines(&rows) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "\nshares recovered:")?;
    for p in points {
        let shares: Vec<String> = p.tried.iter().map(|(rho, share)| format!("{rho:.3}: {share:.2}")).collect();
        writeln!(out, "  δ = {:.3}  {}", p.delta, shares.join("  "))?;
    }
    Ok(())
}
