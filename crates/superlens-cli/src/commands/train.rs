//! `superlens train`: a dictionary of activations, with checkpoints.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use superlens::sae::files::{FileError, write_native, write_saelens};
use superlens::sae::train::{self, Setting, Target};
use superlens::sae::{Sae, Size, find, metrics};
use superlens_tensor::{Mat, Rng};

use super::activations::sample;
use super::memory::anonymous_mb;
use super::side_by_side::SideBySide;
use super::train_descent::{Descent, UNTIMED};
use super::train_folder::Folder;
use super::train_plan::Plan;
use super::train_rows::{Rows, spread};
use super::train_sweep::Sweep;
use crate::args::{Global, Train};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// Rows that the finished dictionary is measured on, spread over all.
pub const MEASURED: usize = 8192;

/// The contract of `--json`.
#[derive(Clone, Serialize)]
pub struct Report {
    pub arch: String,
    pub steps: u64,
    pub tokens: u64,
    pub seconds: f64,
    pub tokens_per_s: f64,
    pub peak_anon_mb: Option<f64>,
    pub fvu: f64,
    pub l0: f64,
    pub dead_fraction: f64,
}

pub fn run(args: &Train, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let sweep = match &args.resume {
        Some(dir) => Sweep::open(dir)?,
        None => Sweep::planned(args, global)?,
    };
    let rows = Rows::open(&sweep.plans[0], &progress)?;
    rows.check()?;
    let (mut plans, (many, dims)) = (Vec::new(), rows.shape());
    for plan in &sweep.plans {
        let (sha256, targets_sha256) = rows.sha256();
        let layers = plan.layers.or((rows.layers() > 1).then_some(rows.layers()));
        let plan = Plan { sha256, targets_sha256, layers, ..plan.clone() };
        check_arch(&plan, rows.layers())?;
        let plan = plan.resolve(many, dims)?;
        check_settings(&plan)?;
        plans.push(plan);
    }
    let out = args.resume.as_deref().or(args.out.as_deref()).unwrap_or(Path::new("."));
    let mut folders = sweep.folders(out, &plans, args.resume.is_some())?;
    interrupt::tell_how_to_go_on(format!("superlens train --resume {}", out.display()));
    let trained = train_all(&plans, &rows, &mut folders, &progress);
    if let (Err(Failure::Input(_)), None) = (&trained, &args.resume) {
        folders.iter().for_each(Folder::remove_if_unused);
        sweep.remove_if_unused(out);
    }
    let trained = trained?;
    for ((plan, folder), (sae, report)) in plans.iter().zip(&folders).zip(&trained) {
        write(folder, plan, rows.hooks(), sae, report).map_err(|failure| folder.unwritten(failure))?;
    }
    let reports: Vec<Report> = trained.into_iter().map(|(_, report)| report).collect();
    drop(progress);
    if sweep.names.is_empty() {
        tell(&plans[0], &rows, &folders[0], &reports[0], global)
    } else {
        sweep.tell(out, &reports, global)
    }
}

/// Of one run.
fn tell(plan: &Plan, rows: &Rows, folder: &Folder, report: &Report, global: Global) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let latents = plan.d_sae.unwrap_or_default();
        writeln!(out, "{}: {latents} latents on {}", plan.arch, rows.describe())?;
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

/// Every run, on one pass over the rows.
fn train_all(
    plans: &[Plan],
    rows: &Rows,
    folders: &mut [Folder],
    progress: &Progress,
) -> Result<Vec<(Sae, Report)>, Failure> {
    // The same order for all: a run gives the same bytes by itself and among others.
    let rng = Rng::new(plans[0].seed).fork("train");
    let mut source = rows.source(&plans[0], &rng)?;
    let mut descents: Vec<Option<Descent>> = Vec::new();
    for (plan, folder) in plans.iter().zip(folders.iter_mut()) {
        let steps = train::find(&plan.arch).is_some();
        descents.push(if steps { Some(Descent::start(plan, rows, source.as_mut(), folder, &rng)?) } else { None });
    }
    // Those that went on from an older checkpoint first catch up.
    while let Some(step) = descents.iter().flatten().filter(|d| !d.done()).map(Descent::step_number).min() {
        let start = Instant::now();
        let batch = source.batch(step).map_err(Failure::input)?;
        let (reading, due) = (start.elapsed().as_secs_f64(), |d: &&mut Descent| !d.done() && d.step_number() == step);
        let all = folders.iter_mut().zip(&mut descents).filter_map(|(f, d)| Some((f, d.as_mut()?)));
        for (folder, descent) in all.filter(|(_, d)| due(d)) {
            descent.step(&batch, reading, folder, progress)?;
        }
    }
    let mut trained = Vec::new();
    for (plan, descent) in plans.iter().zip(descents) {
        trained.push(match (descent, rows) {
            (Some(descent), _) => descent.finish(source.as_mut(), rows)?,
            (None, Rows::Read { x: SideBySide::Matrix { mat, .. }, .. }) => fit(plan, mat, &rng, progress)?,
            (None, Rows::Read { x: SideBySide::Stores(stores), .. }) => {
                fit(plan, &sample(&stores.hooks[0], &plan.arch, &rng)?.0, &rng, progress)?
            }
            (None, Rows::Model(_)) => return Err(not_by_steps(&plan.arch)),
        });
    }
    Ok(trained)
}

/// Before anything is written: do the architecture and the `named` layers fit each other, and it and the targets?
fn check_arch(plan: &Plan, named: usize) -> Result<(), Failure> {
    let arch = &plan.arch;
    let objective = train::find(arch).map(|entry| (entry.build)(&plan.options()));
    let crosses = objective.as_ref().is_some_and(|o| o.takes().contains(&Setting::Layers));
    if named > 1 && !crosses {
        return Err(Failure::Input(format!(
            "--activations: {named} side by side: expected --arch crosscoder or batch_topk_crosscoder with them, found {arch}"
        )));
    }
    if crosses && (plan.layers.is_none_or(|layers| layers < 2) || (named > 1 && plan.layers != Some(named))) {
        let found = plan.layers.map_or("none".to_string(), |layers| layers.to_string());
        let expected = if named > 1 { format!("{named}, as were named,") } else { "2 at least".into() };
        return Err(Failure::Input(format!("--layers: expected {expected} for a crosscoder, found {found}")));
    }
    let transcodes = objective.is_some_and(|o| o.target() != Target::Input);
    match (transcodes, plan.targets.as_ref().or(plan.targets_hook.as_ref())) {
        (true, None) => Err(Failure::Input(format!("--targets: expected what {arch} is to rebuild, found none"))),
        (false, Some(file)) => {
            let expected =
                "a transcoder (--arch transcoder, skip_transcoder, relu_transcoder or relu_skip_transcoder) with it";
            Err(Failure::Input(format!("--targets {file}: expected {expected}, found {arch}")))
        }
        _ => Ok(()),
    }
}

/// Before anything is written: is there such an architecture, and do its settings make sense?
fn check_settings(plan: &Plan) -> Result<(), Failure> {
    if let Some(entry) = train::find(&plan.arch) {
        return plan.recipe().check((entry.build)(&plan.options()).as_ref()).map_err(Failure::input);
    }
    if find(&plan.arch).is_some() {
        return if plan.synthetic.is_some() { Err(not_by_steps(&plan.arch)) } else { Ok(()) };
    }
    let known: Vec<&str> = superlens::sae::ARCHES.iter().map(|a| a.id).collect();
    Err(Failure::Input(format!("--arch: expected one of {}, found `{}`", known.join(", "), plan.arch)))
}

fn not_by_steps(arch: &str) -> Failure {
    Failure::Input(format!(
        "--synthetic: expected an architecture that is trained step by step, found `{arch}`; write rows with superlens synth"
    ))
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

fn write(
    folder: &Folder,
    plan: &Plan,
    hooks: (Option<&str>, Option<&str>),
    sae: &Sae,
    report: &Report,
) -> Result<(), Failure> {
    let mut metadata = serde_json::Map::new();
    metadata.insert("trained_by".into(), format!("superlens {}", env!("CARGO_PKG_VERSION")).into());
    let source = plan.synthetic.as_ref().map_or_else(|| plan.activations.clone(), |id| format!("synthetic {id}"));
    metadata.insert("activations".into(), source.into());
    metadata.insert("seed".into(), plan.seed.into());
    for (key, hook) in [("hook_name", hooks.0), ("hook_name_out", hooks.1)] {
        if let Some(hook) = hook {
            metadata.insert(key.into(), hook.into());
        }
    }
    let named = [("targets", &plan.targets), ("targets_hook", &plan.targets_hook)];
    for (key, name) in named.into_iter().filter_map(|(key, name)| Some((key, name.as_ref()?))) {
        metadata.insert(key.into(), name.clone().into());
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
