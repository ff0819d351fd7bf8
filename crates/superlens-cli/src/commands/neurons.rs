//! `superlens neurons INPUT`: what the units of a layer respond to.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use superlens::neurons::rules::{Limits, explain};
use superlens::neurons::survey::{Options, SurveyError};
use superlens::neurons::{Contexts, Pictures, Source, Study, survey};
use superlens::report::RunFolder;
use superlens_lm::store::Tokens;
use superlens_tensor::io::{ReadOptions, read_directions};

use super::activations::{Activations, not_finite};
use super::neurons_json::{Shown, counted};
use super::{neurons_page, settings, table, units};
use crate::args::{Global, Neurons};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// Units of a layer that are shown where none was asked for.
const SHOWN: usize = 20;

pub fn run(args: &Neurons, global: Global) -> Result<(), Failure> {
    let start = Instant::now();
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let options = ReadOptions { key: args.part.key.clone(), flatten: args.part.flatten };
    let activations = Activations::open(&args.input, &options, args.part.hook.as_deref())?;
    let source = source(&activations);
    let units = units::of(units::named(&args.of)?, &args.of, source.width(), global.seed)?;
    let chosen = units::chosen(args.units.as_deref(), &units)?;
    let tokens = match &activations {
        Activations::Store(_) => Tokens::open(&args.input)?,
        Activations::Matrix(_) => None,
    };
    let pictures = args.images.as_ref().map(|path| {
        let read = read_directions(path, &ReadOptions { key: None, flatten: true }).map_err(Failure::input)?;
        Pictures::new(read.mat.data(), &read.shape, source.len())
            .map_err(|what| Failure::Input(format!("--images {}: {what}", path.display())))
    });
    let pictures = pictures.transpose()?;
    let run = args.out.as_deref().map(|out| create_run(out, args, global)).transpose()?;
    let asked = Options {
        top: args.top,
        groups: usize::from(args.groups),
        apart: if tokens.is_some() { u64::from(args.after) + 1 } else { 1 },
        quick: args.quick,
        seed: global.seed,
        ..Options::default()
    };
    let mut watch = |share: f64, stage: &'static str| {
        progress.at(share, stage);
        ControlFlow::Continue(())
    };
    let studies =
        survey(source, &units, tokens.as_ref(), &asked, &mut watch).map_err(|error| told(error, &activations))?;
    let studies: Vec<&Study> = chosen.iter().map(|&u| &studies[u]).collect();
    let rules = tokens.as_ref().filter(|_| !args.quick).map(|tokens| {
        let watch = &mut |share: f64| progress.at(share, "growing rules");
        explain(source, &units, &chosen, tokens, &Limits::default(), global.seed, watch)
    });
    let contexts = tokens.as_ref().map(|t| Contexts::new(t, u64::from(args.before), u64::from(args.after)));
    let shown = Shown { source, units: &units, tokens: tokens.as_ref(), contexts, pictures: pictures.as_ref() };
    let rule = |study: &Study| rules.as_ref().and_then(|all| all.iter().find(|r| r.unit == study.profile.unit));
    let document = serde_json::json!({ "units": studies.iter().map(|s| shown.unit(s, rule(s))).collect::<Vec<_>>() });
    if let Some(run) = run {
        progress.at(0.97, "writing the report");
        let name = args.input.display().to_string();
        neurons_page::write(&run, &document, &studies, rules.as_deref(), &shown, &name, args.units.is_some())?;
        run.finish()?;
    }
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    if args.units.is_none() {
        overview(&mut out, &studies, &shown)?;
    } else {
        studies.iter().try_for_each(|study| in_full(&mut out, study, &shown))?;
    }
    writeln!(out, "\n{:.1} s", start.elapsed().as_secs_f64())?;
    match &args.out {
        Some(folder) => writeln!(out, "report: {}", folder.join("report.html").display())?,
        None => writeln!(out, "--units LIST shows some in full, --out DIR writes a page, --json prints all")?,
    }
    Ok(out.flush()?)
}

/// Rows of either kind.
pub fn source(activations: &Activations) -> Source<'_> {
    match activations {
        Activations::Matrix(loaded) => Source::Matrix(&loaded.mat),
        Activations::Store(rows) => Source::Store(rows),
    }
}

pub fn told(error: SurveyError, activations: &Activations) -> Failure {
    match (error, activations) {
        (SurveyError::Stopped, _) => Failure::Interrupted,
        (SurveyError::NotFinite { .. }, Activations::Store(rows)) => not_finite(rows),
        (error, _) => Failure::input(error),
    }
}

fn create_run(out: &std::path::Path, args: &Neurons, global: Global) -> Result<RunFolder, Failure> {
    let mut config = toml::Table::new();
    config.insert("command".into(), "neurons".into());
    config.insert("input".into(), args.input.display().to_string().into());
    for (name, path) in [("sae", &args.of.sae), ("directions", &args.of.directions), ("images", &args.images)] {
        if let Some(path) = path {
            config.insert(name.into(), path.display().to_string().into());
        }
    }
    if let Some(hook) = &args.part.hook {
        config.insert("hook".into(), hook.clone().into());
    }
    let counts = [
        ("top", args.top as i64),
        ("groups", args.groups.into()),
        ("before", args.before.into()),
        ("after", args.after.into()),
    ];
    counts.into_iter().for_each(|(name, n)| drop(config.insert(name.into(), n.into())));
    interrupt::create_run(out, settings(global, Vec::new(), config)).map_err(Failure::input)
}

/// The most polysemantic first.
pub fn ranked<'a>(studies: &[&'a Study]) -> Vec<&'a Study> {
    let mut ranked = studies.to_vec();
    let triggers = |s: &Study| s.patterns.as_ref().map_or(0, |p| p.found.len());
    ranked.sort_by_key(|s| (std::cmp::Reverse((triggers(s), s.facets, s.examples)), s.profile.unit));
    ranked
}

fn overview(out: &mut dyn Write, studies: &[&Study], shown: &Shown) -> Result<(), Failure> {
    let word = shown.units.word();
    let dead = studies.iter().filter(|s| s.profile.dead()).count();
    let dense = studies.iter().filter(|s| s.profile.dense()).count();
    let several = studies.iter().filter(|s| s.polysemantic()).count();
    writeln!(
        out,
        "{} {word}s over {} rows: {dead} never above zero, {dense} above it in more than a tenth of the rows;",
        studies.len(),
        shown.source.len()
    )?;
    writeln!(out, "{several} respond to more than one kind of row. The most polysemantic:\n")?;
    let mut lines =
        vec![[word, "mean", "density", "kurtosis", "facets", "triggers", "strongest example"].map(String::from)];
    for study in ranked(studies).into_iter().take(SHOWN) {
        let p = &study.profile;
        let example = study.top.first().map_or(String::new(), |(peak, _)| shown.short(peak.row));
        lines.push([
            p.unit.to_string(),
            format!("{:.3}", p.mean),
            format!("{:.4}", p.density),
            p.kurtosis.map_or("–".into(), |k| format!("{k:.1}")),
            study.facets.map_or("–".into(), |n| n.to_string()),
            study.patterns.as_ref().map_or("–".into(), |p| p.found.len().to_string()),
            example,
        ]);
    }
    for line in table::lines(&lines) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn in_full(out: &mut dyn Write, study: &Study, shown: &Shown) -> Result<(), Failure> {
    let p = &study.profile;
    let moment = |m: Option<f64>| m.map_or("–".into(), |m| format!("{m:.2}"));
    writeln!(out, "\n{} {}", shown.units.word(), p.unit)?;
    writeln!(
        out,
        "  mean {:.4}, variance {:.4}, skewness {}, kurtosis {}; above zero in {:.2} % of {} rows; from {:.3} to {:.3}",
        p.mean,
        p.variance,
        moment(p.skewness),
        moment(p.kurtosis),
        100.0 * p.density,
        p.rows,
        p.min,
        p.max
    )?;
    writeln!(
        out,
        "  {} on {} examples",
        study.facets.map_or("facets not looked for".into(), |n| counted(n, "facet")),
        study.examples
    )?;
    if let Some(patterns) = &study.patterns {
        let n = counted(patterns.found.len(), "trigger");
        writeln!(
            out,
            "  {n}, {:.0} % of the examples; as many in {:.0} % of draws",
            100.0 * patterns.covered,
            100.0 * patterns.stability
        )?;
        for pattern in &patterns.found {
            writeln!(
                out,
                "    {} ({} examples, found again in {:.0} %)",
                shown.trigger(&pattern.trigger),
                pattern.covers,
                100.0 * pattern.stability
            )?;
        }
    }
    for (peak, facet) in &study.top {
        let facet = facet.map_or(String::new(), |f| format!(" [{f}]"));
        writeln!(out, "  {:>9.3}{facet}  {}", peak.value, shown.short(peak.row))?;
    }
    for (g, group) in study.groups.iter().enumerate().rev() {
        let part = neurons_page::between(g, study.groups.len());
        writeln!(out, "  {:.3} to {:.3}, {part}:", study.boundaries[g], study.boundaries[g + 1])?;
        for peak in group {
            writeln!(out, "  {:>9.3}  {}", peak.value, shown.short(peak.row))?;
        }
    }
    Ok(())
}
