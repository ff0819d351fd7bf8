//! `superlens zoo list|make|exam|neurons|counts|alarms|trained|calibrate`: cases of known cause, and the diagnosis put to them.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::synth::write_matrix;
use clap::ValueEnum;
use serde::Serialize;
use superlens::diagnose::zoo::calibrate::calibrate;
use superlens::diagnose::zoo::exam::{Outcome, cases_each, exam};
use superlens::diagnose::zoo::score::{markdown, scores, word};
use superlens::diagnose::zoo::{Family, alarms, counts, families, mixed, second, trained};
use superlens_tensor::io::write_atomic;

use crate::args::{
    Global, SplitOf, Written, Zoo, ZooAlarms, ZooCalibrate, ZooCommand, ZooCounts, ZooExam, ZooMake, ZooNeurons,
    ZooTrained,
};
use crate::failure::Failure;
use crate::progress::Progress;

pub fn run(args: &Zoo, global: Global) -> Result<(), Failure> {
    match &args.command {
        ZooCommand::List => list(global),
        ZooCommand::Make(make) => write_cases(make, global),
        ZooCommand::Exam(args) => put_to(args, global),
        ZooCommand::Neurons(args) => neurons(args, global),
        ZooCommand::Counts(args) => count(args, global),
        ZooCommand::Alarms(args) => alarm(args, global),
        ZooCommand::Trained(args) => train(args, global),
        ZooCommand::Calibrate(args) => learn(args),
    }
}

#[derive(Serialize)]
struct Listed {
    id: &'static str,
    truth: String,
    split: &'static str,
    about: &'static str,
}

fn list(global: Global) -> Result<(), Failure> {
    let listed: Vec<Listed> = families()
        .iter()
        .chain(&second::families())
        .map(|f| Listed { id: f.id, truth: word(f.truth), split: f.split.id(), about: f.about })
        .collect();
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &listed).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    for f in listed {
        writeln!(out, "{:22} {:26} {:10} {}", f.id, f.truth, f.split, f.about)?;
    }
    Ok(out.flush()?)
}

#[derive(Serialize)]
struct Made<'a> {
    file: String,
    labels: Option<String>,
    family: &'a str,
    number: u64,
    seed: u64,
    truth: String,
    defended: Vec<String>,
    basis: superlens::diagnose::Basis,
    n_features: Option<usize>,
    about: String,
}

fn write_cases(args: &ZooMake, global: Global) -> Result<(), Failure> {
    let all = [families(), second::families()].concat();
    let Some(family) = all.iter().find(|f| f.id == args.family) else {
        return Err(Failure::Input(format!(
            "zoo make: {:?} is no family of the zoo; \"superlens zoo list\" prints their names",
            args.family
        )));
    };
    fs::create_dir(&args.out).map_err(|error| {
        Failure::Input(format!("{}: {error}; --out takes the name of a folder to make", args.out.display()))
    })?;
    let progress = Progress::new(global.quiet);
    let mut truths = String::new();
    for number in 0..args.cases {
        progress.at(number as f64 / args.cases as f64, "making cases");
        let case = family.case(global.seed, number);
        let file = format!("{}-{number}.npy", family.id);
        write_matrix(&args.out.join(&file), &case.x)?;
        let labels = case.labels.as_ref().map(|labels| (format!("{}-{number}-labels.npy", family.id), labels));
        if let Some((name, labels)) = &labels {
            write_matrix(&args.out.join(name), labels)?;
        }
        let made = Made {
            file,
            labels: labels.map(|(name, _)| name),
            family: family.id,
            number,
            seed: global.seed,
            truth: word(family.truth),
            defended: case.defended.iter().map(|a| word(*a)).collect(),
            basis: case.basis,
            n_features: case.n_features,
            about: case.about,
        };
        truths += &serde_json::to_string(&made).map_err(io::Error::from)?;
        truths.push('\n');
    }
    drop(progress);
    write_atomic(&args.out.join("truth.jsonl"), truths.as_bytes())?;
    let mut out = io::stdout().lock();
    write!(out, "{truths}")?;
    Ok(out.flush()?)
}

fn put_to(args: &ZooExam, global: Global) -> Result<(), Failure> {
    let of_split = |f: &Family| args.split.holds(f.split);
    let first = families().into_iter().filter(of_split);
    let all = if args.split == SplitOf::Second { second::families() } else { first.collect() };
    let chosen: Vec<Family> =
        all.into_iter().filter(|f| args.only.as_ref().is_none_or(|prefix| f.id.starts_with(prefix.as_str()))).collect();
    if chosen.is_empty() {
        return Err(Failure::Input("zoo exam: no family has such a name; see \"superlens zoo list\"".into()));
    }
    writable("zoo exam", [&args.out, &args.markdown])?;
    let cases = cases_each(&chosen, args.cases, args.of_cause);
    let total: u64 = cases.iter().sum();
    let progress = Progress::new(global.quiet);
    let outcomes = exam(&chosen, global.seed, &cases, &|done| {
        progress.at(done as f64 / total as f64, "diagnosing");
    });
    drop(progress);
    if let Some(path) = &args.out {
        write_lines(path, &outcomes)?;
    }
    let scores = scores(&outcomes);
    if let Some(path) = &args.markdown {
        let only = args.only.as_ref().map(|prefix| format!(" --only {prefix}")).unwrap_or_default();
        let split = args.split.to_possible_value().map(|v| v.get_name().to_string()).unwrap_or_default();
        let of_cause = if args.of_cause > 0 { format!(" --of-cause {}", args.of_cause) } else { String::new() };
        let command = format!(
            "superlens zoo exam --split {split}{only} --cases {}{of_cause} --seed {} --markdown {}",
            args.cases,
            global.seed,
            path.display()
        );
        write_atomic(path, markdown(&scores, &command).as_bytes())?;
    }
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &scores).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "{:26} {:>6} {:>6} {:>8}", "truth", "cases", "right", "verdict")?;
    for cause in &scores.causes {
        writeln!(out, "{:26} {:>6} {:>6} {:>8}", cause.truth, cause.cases, cause.right, cause.right_verdict)?;
    }
    for family in scores.families.iter().filter(|f| !f.instead.is_empty()) {
        let instead: Vec<String> = family.instead.iter().map(|(said, n)| format!("{n} {said}")).collect();
        writeln!(out, "    {}: of {} {}", family.family, family.cases, instead.join(", "))?;
    }
    let (low, high) = scores.calibration_interval;
    writeln!(
        out,
        "right {} of {}, verdict {}; superposition said of {} of {} others; calibration error {:.3} [{low:.3}, {high:.3}], Brier {:.3}",
        scores.right,
        scores.cases,
        scores.right_verdict,
        scores.false_superposition,
        scores.not_superposition,
        scores.calibration_error,
        scores.brier
    )?;
    Ok(out.flush()?)
}

fn neurons(args: &ZooNeurons, global: Global) -> Result<(), Failure> {
    writable("zoo neurons", [&args.to.out, &args.to.markdown])?;
    let progress = Progress::new(global.quiet);
    let outcomes = mixed::exam(global.seed, args.cases, &|done| {
        progress.at(done as f64 / args.cases as f64, "diagnosing");
    });
    drop(progress);
    if let Some(path) = &args.to.out {
        write_lines(path, &outcomes)?;
    }
    let scores = mixed::scores(&outcomes);
    if let Some(path) = &args.to.markdown {
        let command = format!(
            "superlens zoo neurons --cases {} --seed {} --markdown {}",
            args.cases,
            global.seed,
            path.display()
        );
        write_atomic(path, mixed::markdown(&scores, &command).as_bytes())?;
    }
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &scores).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "{:22} {:>12} {:>6}", "family", "polysemantic", "right")?;
    for f in &scores.families {
        let instead: Vec<String> = f.instead.iter().map(|(said, n)| format!("{n} {said}")).collect();
        writeln!(out, "{:22} {:>12} {:>6}  {}", f.family, f.polysemantic, f.right, instead.join(", "))?;
    }
    let [few, some, many] = scores.counts.map(|(all, counted)| format!("{counted} of {all}"));
    writeln!(
        out,
        "causes right {} of {}; features within one: {few} with 2 to 4, {some} with 5 to 9, {many} with more; {} of {} neurons with one feature \
         taken for polysemantic",
        scores.right, scores.polysemantic, scores.false_alarms, scores.monosemantic
    )?;
    Ok(out.flush()?)
}

fn count(args: &ZooCounts, global: Global) -> Result<(), Failure> {
    writable("zoo counts", [&args.to.out, &args.to.markdown])?;
    let [kept, beyond] = [counts::kept_to(), counts::beyond()];
    let total = (kept.len() + beyond.len()) * args.cases as usize;
    let progress = Progress::new(global.quiet);
    let mut before = 0;
    let mut of = |settings: &[counts::Setting]| {
        let found = counts::exam(settings, global.seed, args.cases, &|done| {
            progress.at((before + done) as f64 / total as f64, "counting");
        });
        before += found.len();
        found
    };
    let [kept, beyond] = [of(&kept), of(&beyond)];
    drop(progress);
    let all = [kept.as_slice(), beyond.as_slice()].concat();
    let write = |command: &str| counts::markdown(&kept, &beyond, command);
    tell(&format!("counts --cases {}", args.cases), global, &args.to, &all, write)
}

fn alarm(args: &ZooAlarms, global: Global) -> Result<(), Failure> {
    writable("zoo alarms", [&args.to.out, &args.to.markdown])?;
    let total = alarms::count() * args.cases as usize;
    let progress = Progress::new(global.quiet);
    let found = alarms::exam(global.seed, args.cases, &|done| {
        progress.at(done as f64 / total as f64, "testing");
    });
    drop(progress);
    let how = format!("alarms --cases {}", args.cases);
    tell(&how, global, &args.to, &found, |command| alarms::markdown(&found, command))
}

fn train(args: &ZooTrained, global: Global) -> Result<(), Failure> {
    writable("zoo trained", [&args.to.out, &args.to.markdown])?;
    let total = trained::count() * args.seeds as usize;
    let progress = Progress::new(global.quiet);
    let found = trained::exam(global.seed, args.seeds, &|done| {
        progress.at(done as f64 / total as f64, "training and diagnosing");
    });
    drop(progress);
    let how = format!("trained --seeds {}", args.seeds);
    tell(&how, global, &args.to, &found, |command| trained::markdown(&found, command))
}

/// Outcomes and page to their files, where they are wanted, and one of them to standard output.
fn tell<T: Serialize>(
    what: &str,
    global: Global,
    to: &Written,
    outcomes: &[T],
    page: impl Fn(&str) -> String,
) -> Result<(), Failure> {
    if let Some(path) = &to.out {
        write_lines(path, outcomes)?;
    }
    let again = to.markdown.as_ref().map(|path| format!(" --markdown {}", path.display())).unwrap_or_default();
    let page = page(&format!("superlens zoo {what} --seed {}{again}", global.seed));
    if let Some(path) = &to.markdown {
        write_atomic(path, page.as_bytes())?;
    }
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, outcomes).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{page}")?;
    }
    Ok(out.flush()?)
}

/// A place that can't be written to is told before the work, not after it.
fn writable(command: &str, paths: [&Option<PathBuf>; 2]) -> Result<(), Failure> {
    for path in paths.into_iter().flatten() {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.is_dir()) {
            return Err(Failure::Input(format!(
                "{command}: {}: there is no such folder to write to",
                folder.display()
            )));
        }
    }
    Ok(())
}

fn write_lines<T: Serialize>(path: &Path, all: &[T]) -> Result<(), Failure> {
    let mut lines = String::new();
    for one in all {
        lines += &serde_json::to_string(one).map_err(io::Error::from)?;
        lines.push('\n');
    }
    Ok(write_atomic(path, lines.as_bytes())?)
}

fn learn(args: &ZooCalibrate) -> Result<(), Failure> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for path in &args.outcomes {
        let text = fs::read_to_string(path).map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
        for (line, text) in text.lines().enumerate() {
            outcomes.push(serde_json::from_str(text).map_err(|error| {
                Failure::Input(format!(
                    "{}: line {}: {error}; \"superlens zoo exam --out FILE\" writes what is wanted here",
                    path.display(),
                    line + 1
                ))
            })?);
        }
    }
    let made_by = "superlens zoo exam --split calibrate --cases N --seed S --out FILE; superlens zoo calibrate FILE --out calibration.json";
    let text = calibrate(&outcomes, made_by).map_err(|error| Failure::Input(format!("zoo calibrate: {error}")))?;
    write_atomic(&args.out, text.as_bytes())?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: from {} outcomes", args.out.display(), outcomes.len())?;
    Ok(out.flush()?)
}
