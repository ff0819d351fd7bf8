//! `superlens train`: a dictionary of activations, with checkpoints.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use superlens::sae::files::{FileError, write_native, write_saelens};
use superlens::sae::train::{self, Step, Trainer};
use superlens::sae::{FitError, Sae, Size, find, metrics};
use superlens_tensor::{Mat, Rng};

use super::train_folder::Folder;
use super::train_plan::Plan;
use super::train_rows::{Rows, spread};
use crate::args::{Global, Train};
use crate::failure::Failure;
use crate::progress::Progress;

/// Rows that the finished dictionary is measured on, spread over all.
const MEASURED: usize = 8192;
/// Looks that are noted in the metrics over the whole run, about.
const LOOKS: u64 = 200;
/// Steps that are not timed.
const UNTIMED: u64 = 2;

/// The contract of `--json`.
#[derive(Serialize)]
struct Report {
    arch: String,
    steps: u64,
    tokens: u64,
    seconds: f64,
    tokens_per_s: f64,
    peak_anon_mb: Option<f64>,
    fvu: f64,
    l0: f64,
    dead_fraction: f64,
}

pub fn run(args: &Train, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let (plan, rows, mut folder) = match &args.resume {
        Some(dir) => {
            let (folder, plan) = Folder::open(dir)?;
            let rows = Rows::open(&plan, &progress)?;
            (plan, rows, folder)
        }
        None => {
            let plan = Plan::new(args, global)?;
            let rows = Rows::open(&plan, &progress)?;
            let (many, dims) = rows.shape();
            let (sha256, targets_sha256) = rows.sha256();
            let plan = Plan { sha256, targets_sha256, ..plan }.resolve(many, dims)?;
            check_arch(&plan)?;
            let out = args.out.as_deref().unwrap_or(Path::new("."));
            let folder = Folder::create(out, &plan)?;
            (plan, rows, folder)
        }
    };
    let rng = Rng::new(plan.seed).fork("train");
    let (sae, report) = match (train::find(&plan.arch), &rows) {
        (Some(_), _) => descend(&plan, &rows, &mut folder, &rng, &progress)?,
        (None, Rows::Matrix { x, .. }) => fit(&plan, &x.mat, &rng, &progress)?,
        (None, Rows::Model(_)) => {
            return Err(Failure::Input(format!(
                "--synthetic: expected an architecture that is trained step by step, found `{}`; write rows with superlens synth",
                plan.arch
            )));
        }
    };
    write(&folder, &plan, &sae, &report)?;
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{}: {} latents on {}", plan.arch, sae.d_sae(), rows.describe())?;
        writeln!(
            out,
            "FVU {:.4} · L0 {:.1} · {:.1} % of the latents dead",
            report.fvu,
            report.l0,
            100.0 * report.dead_fraction
        )?;
        writeln!(
            out,
            "{} rows in {:.1} s, {:.0} a second, without the first {UNTIMED} steps",
            report.tokens, report.seconds, report.tokens_per_s
        )?;
        writeln!(out, "dictionary: {}", folder.path.join("sae").display())?;
    }
    Ok(out.flush()?)
}

/// Before anything is written: is there such an architecture, and do its settings make sense?
fn check_arch(plan: &Plan) -> Result<(), Failure> {
    let crosses = plan.arch == "crosscoder";
    if crosses != plan.layers.is_some() || plan.layers.is_some_and(|layers| layers < 2) {
        let found = plan.layers.map_or("none".to_string(), |layers| layers.to_string());
        let expected = if crosses { "2 at least for a crosscoder" } else { "--arch crosscoder with it" };
        return Err(Failure::Input(format!("--layers: expected {expected}, found {found}")));
    }
    let transcodes = |entry: &train::ObjectiveEntry| (entry.build)(&plan.options()).target() != train::Target::Input;
    match (train::find(&plan.arch).is_some_and(transcodes), &plan.targets) {
        (true, None) => {
            let arch = &plan.arch;
            return Err(Failure::Input(format!("--targets: expected what {arch} is to rebuild, found none")));
        }
        (false, Some(file)) => {
            let arch = &plan.arch;
            let expected = "--arch transcoder or skip_transcoder with it";
            return Err(Failure::Input(format!("--targets {file}: expected {expected}, found {arch}")));
        }
        _ => {}
    }
    if let Some(entry) = train::find(&plan.arch) {
        return plan.recipe().check((entry.build)(&plan.options()).as_ref()).map_err(Failure::input);
    }
    if find(&plan.arch).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = superlens::sae::ARCHES.iter().map(|a| a.id).collect();
    Err(Failure::Input(format!("--arch: expected one of {}, found `{}`", known.join(", "), plan.arch)))
}

/// Trains, from the last checkpoint if there is one.
fn descend(
    plan: &Plan,
    rows: &Rows,
    folder: &mut Folder,
    rng: &Rng,
    progress: &Progress,
) -> Result<(Sae, Report), Failure> {
    let build = || {
        let entry = train::find(&plan.arch);
        entry.map(|entry| (entry.build)(&plan.options())).ok_or_else(|| Failure::Input(plan.arch.clone()))
    };
    let (recipe, rng) = (plan.recipe(), rng.fork(&plan.arch));
    let failed = |error: FitError| match error {
        FitError::NotFinite { .. } => Failure::Input(format!("{}: {error}", rows.name(plan))),
        other => Failure::input(other),
    };
    let mut source = rows.source(plan.seed, recipe.batch, &rng);
    let mut trainer = match folder.last_state()? {
        Some(state) => Trainer::resume(recipe, build()?, source.as_mut(), &rng, state),
        None => Trainer::new(recipe, build()?, source.as_mut(), &rng),
    }
    .map_err(failed)?;
    let (steps, every) = (plan.steps.unwrap_or(1), plan.checkpoint_every.unwrap_or(1));
    let look = (steps / LOOKS).max(1);
    let at_once = source.batch_rows() as u64;
    let (mut peak, mut timed, mut seconds) = (anonymous_mb(), 0u64, 0.0);
    let first = trainer.state().step;
    if first == 0 {
        folder.checkpoint(trainer.state())?;
    }
    let mut last: Option<Step> = None;
    while !trainer.done() {
        let start = Instant::now();
        let batch = source.batch(trainer.state().step).map_err(Failure::input)?;
        let told = trainer.step(&batch).map_err(failed)?;
        if told.step >= first + UNTIMED {
            seconds += start.elapsed().as_secs_f64();
            timed += at_once;
        }
        if told.step % look == 0 || trainer.done() {
            folder.note(&serde_json::json!({
                "step": told.step, "loss": told.loss, "fvu": told.fvu, "l0": told.l0, "dead_fraction": told.dead,
            }));
            peak = larger(peak, anonymous_mb());
        }
        let rate = if seconds > 0.0 { format!(", {:.0} rows a second", timed as f64 / seconds) } else { String::new() };
        let stage = format!("FVU {:.3}, L0 {:.1}, {:.0} % dead{rate}", told.fvu, told.l0, 100.0 * told.dead);
        progress.at((told.step + 1) as f64 / steps as f64, &stage);
        if (told.step + 1) % every == 0 || trainer.done() {
            folder.checkpoint(trainer.state())?;
        }
        last = Some(told);
    }
    let sae = trainer.finish(source.as_mut()).map_err(failed)?;
    let (x, y) = rows.spread(plan.seed, MEASURED);
    let measured = metrics::evaluate_against(&sae, &x, y.as_ref().unwrap_or(&x));
    let dead_after = plan.dead_after.unwrap_or(1);
    let silent = &trainer.state().silent;
    let dead = silent.iter().filter(|s| **s >= dead_after).count() as f64 / silent.len() as f64;
    let report = Report {
        arch: plan.arch.clone(),
        steps,
        tokens: steps * at_once,
        seconds,
        tokens_per_s: if seconds > 0.0 { timed as f64 / seconds } else { 0.0 },
        peak_anon_mb: larger(peak, anonymous_mb()),
        fvu: measured.fvu,
        l0: measured.l0,
        dead_fraction: last.map_or(dead, |told| told.dead),
    };
    Ok((sae, report))
}

/// What is found in one go.
fn fit(plan: &Plan, x: &Mat, rng: &Rng, progress: &Progress) -> Result<(Sae, Report), Failure> {
    let entry = find(&plan.arch).ok_or_else(|| Failure::Input(plan.arch.clone()))?;
    let size = Size { d_sae: plan.d_sae.unwrap_or(x.cols()), k: plan.options().k };
    let start = Instant::now();
    let mut watch = |share: f64| {
        progress.at(share, "decomposing");
        ControlFlow::Continue(())
    };
    let sae = (entry.build)(size).fit(x, rng, &mut watch).map_err(Failure::input)?;
    let seconds = start.elapsed().as_secs_f64();
    let measured = metrics::evaluate(&sae, &spread(x, MEASURED));
    let report = Report {
        arch: plan.arch.clone(),
        steps: 1,
        tokens: x.rows() as u64,
        seconds,
        tokens_per_s: x.rows() as f64 / seconds.max(1e-9),
        peak_anon_mb: anonymous_mb(),
        fvu: measured.fvu,
        l0: measured.l0,
        dead_fraction: measured.dead as f64 / sae.d_sae().max(1) as f64,
    };
    Ok((sae, report))
}

fn write(folder: &Folder, plan: &Plan, sae: &Sae, report: &Report) -> Result<(), Failure> {
    let mut metadata = serde_json::Map::new();
    metadata.insert("trained_by".into(), format!("superlens {}", env!("CARGO_PKG_VERSION")).into());
    let source = plan.synthetic.as_ref().map_or_else(|| plan.activations.clone(), |id| format!("synthetic {id}"));
    metadata.insert("activations".into(), source.into());
    metadata.insert("seed".into(), plan.seed.into());
    if let Some(targets) = &plan.targets {
        metadata.insert("targets".into(), targets.clone().into());
        metadata.insert("transcode".into(), true.into());
    }
    if let Some(layers) = plan.layers {
        metadata.insert("layers".into(), layers.into());
    }
    let dir = folder.path.join("sae");
    let written = match write_saelens(&dir, sae, &metadata) {
        // What SAELens has no form for is kept in our own.
        Err(FileError::NoForm { .. }) => write_native(&dir, sae, &metadata),
        written => written,
    };
    written.map_err(|error| Failure::Other(anyhow::Error::msg(error)))?;
    let text = serde_json::to_string_pretty(report).map_err(io::Error::from)?;
    folder.write("report.json", text.as_bytes())
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.zip(b).map(|(a, b)| a.max(b))
}

/// Memory of this process that no file backs, in MiB; `None` where the system does not say.
fn anonymous_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
