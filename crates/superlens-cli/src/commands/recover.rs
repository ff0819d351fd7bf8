//! `superlens recover`: which few of many directions make up each row.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use superlens::geometry::recover::measure::Measure;
use superlens::geometry::recover::methods::{Choice, Method, Needs, recover_in_blocks};
use superlens::geometry::recover::planted::{Amplitudes, noisy, planted_as};
use superlens::geometry::recover::{Dictionary, Sparse, guaranteed, refit, unit_rows};
use superlens::report::{self, Figure, InputFile, RunFolder};
use superlens_tensor::io::{ReadOptions, read_directions};
use superlens_tensor::{Mat, Rng};

use super::recover_table::{Line, Study, decimal, document, write_table};
use super::{recover_phase, settings};
use crate::args::{Global, Recover, RecoverRows, RecoverWhat};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// Numbers in a matrix that is made, at most: 1 GiB.
const LARGEST: usize = 1 << 28;
/// Atoms at most: a block of rows has a number for each of them.
const MOST_ATOMS: usize = 1 << 22;
/// Up to this many atoms all pairs are compared for the coherence.
const ALL_PAIRS: usize = 20_000;
/// Active atoms at most: matching keeps a matrix of k by k for each row at work.
const MOST_ACTIVE: usize = 4096;
/// Rows that are planted unless told otherwise.
const ROWS: usize = 1000;
/// Values of λ on a path unless told otherwise.
const STEPS: usize = 10;
/// Squares of larger or smaller numbers leave the range of f32.
const RANGE: std::ops::RangeInclusive<f32> = 1e-12..=1e12;

pub fn run(args: &Recover, global: Global) -> Result<(), Failure> {
    match &args.phase {
        Some(RecoverWhat::Phase(phase)) => recover_phase::run(phase, global),
        None => rows(&args.solve, global),
    }
}

/// What was asked for, checked.
struct Plan {
    method: &'static Method,
    choice: Choice,
    lambdas: Vec<f32>,
    noise: f32,
    /// Active atoms of planted rows; `None` where rows come from a file.
    planted: Option<usize>,
}

fn rows(args: &RecoverRows, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let rng = Rng::new(global.seed).fork("recover");
    let mut inputs = Vec::new();
    let directions = dictionary(args, &rng, &mut inputs)?;
    let plan = plan(args, directions.rows(), directions.cols())?;
    let start = Instant::now();
    let dictionary = Dictionary::new(&directions);
    let gram_seconds = start.elapsed().as_secs_f64();
    let (x, truth) = signals(args, &plan, &dictionary, &rng, &mut inputs)?;
    let out = args.out.as_deref().map(|out| create_run(out, args, global, inputs)).transpose()?;

    let mut lines = Vec::new();
    let mut found = Vec::new();
    for (i, &lambda) in plan.lambdas.iter().enumerate() {
        let choice = Choice { lambda, ..plan.choice };
        let start = Instant::now();
        let mut watch = |share: f64| {
            progress.at((i as f64 + share) / plan.lambdas.len() as f64, "recovering");
            ControlFlow::Continue(())
        };
        let solver = plan.method.build(&choice, &dictionary);
        found = recover_in_blocks(&*solver, &dictionary, &x, &mut watch).ok_or(Failure::Interrupted)?;
        let mut seconds = start.elapsed().as_secs_f64();
        let penalty = (plan.method.needs == Needs::Penalty).then_some(lambda);
        let mut measure = Measure::of(&dictionary, &x, &found, truth.as_deref(), penalty, choice.non_negative);
        if args.debias {
            // How near the optimum they came is said of the coefficients before they are fitted again.
            let start = Instant::now();
            found = refit(&dictionary, &x, &found, choice.non_negative);
            seconds += start.elapsed().as_secs_f64();
            let fitted = Measure::of(&dictionary, &x, &found, truth.as_deref(), None, choice.non_negative);
            measure = Measure { optimality: measure.optimality, ..fitted };
        }
        lines.push(Line { lambda: penalty, measure, seconds });
    }
    let coherence = (dictionary.n() <= ALL_PAIRS).then(|| dictionary.coherence());
    let study = Study {
        method: plan.method.name,
        atoms: dictionary.n(),
        dims: dictionary.d(),
        rows: x.rows(),
        coherence,
        guaranteed_k: coherence.map(|mu| guaranteed(mu, dictionary.norms().iter().filter(|n| **n > 0.0).count())),
        choice: plan.choice,
        debias: args.debias,
        planted_k: plan.planted,
        noise: plan.noise,
        gram_seconds,
        lines,
    };
    if let Some(out) = out {
        write(out, &study, &dictionary, &x, &found, truth.as_deref())?;
    }
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &document(&study, true)).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write_table(&mut out, &study)?;
        match &args.out {
            Some(folder) => writeln!(out, "figures and coefficients: {}", folder.display())?,
            None => writeln!(out, "for pictures and the coefficients: the same with --out DIR")?,
        }
    }
    Ok(out.flush()?)
}

/// The directions, read or made.
fn dictionary(args: &RecoverRows, rng: &Rng, inputs: &mut Vec<InputFile>) -> Result<Mat, Failure> {
    let directions = match (&args.dictionary, &args.random) {
        (Some(file), None) => {
            let mat = read(file, args.key.clone(), args.flatten, inputs)?;
            if args.transpose { mat.transposed() } else { mat }
        }
        (None, Some(_)) if args.key.is_some() || args.transpose || (args.flatten && args.signals.is_none()) => {
            return Err(bad(
                "--random: made directions have no --key, no --transpose and no --flatten; give a file instead",
            ));
        }
        (None, Some(sizes)) => {
            let parts: Option<Vec<usize>> = sizes.split(',').map(|part| part.trim().parse().ok()).collect();
            let sized = parts.as_deref().and_then(|p| <[usize; 2]>::try_from(p).ok());
            let fits = |[n, d]: &[usize; 2]| {
                (1..=MOST_ATOMS).contains(n) && *d >= 1 && n.checked_mul(*d).is_some_and(|all| all <= LARGEST)
            };
            let Some([n, d]) = sized.filter(fits) else {
                let most = report::words::count(LARGEST);
                return Err(bad(&format!(
                    "--random: expected atoms and dimensions like 512,128, at least 1 each and {most} numbers at most, found `{sizes}`"
                )));
            };
            unit_rows(n, d, &mut rng.fork("atoms"))
        }
        (Some(_), Some(_)) => return Err(bad("give a dictionary's file or --random N,D, not both")),
        (None, None) => return Err(bad("no directions: give a dictionary's file, or --random N,D")),
    };
    if directions.rows() > MOST_ATOMS {
        let (most, found) = (report::words::count(MOST_ATOMS), report::words::count(directions.rows()));
        return Err(bad(&format!(
            "the dictionary has {found} atoms, {most} at most{}",
            if args.transpose {
                "; leave --transpose out if they are its rows"
            } else {
                "; are they its columns? (--transpose)"
            }
        )));
    }
    Ok(directions)
}

fn read(file: &Path, key: Option<String>, flatten: bool, inputs: &mut Vec<InputFile>) -> Result<Mat, Failure> {
    let loaded = read_directions(file, &ReadOptions { key, flatten }).map_err(Failure::input)?;
    let path = file.display().to_string();
    inputs.push(InputFile { path, bytes: loaded.bytes, sha256: loaded.sha256 });
    let largest = loaded.mat.data().iter().fold(0.0f32, |a, v| a.max(v.abs()));
    if largest == 0.0 {
        return Err(Failure::Input(format!("{}: holds nothing but zeros; is this the right array?", file.display())));
    }
    if !RANGE.contains(&largest) {
        let file = file.display();
        return Err(Failure::Input(format!(
            "{file}: its largest entry is {largest:e}, expected 1e-12 to 1e12; scale the array"
        )));
    }
    Ok(loaded.mat)
}

/// Every setting that is not a file.
fn plan(args: &RecoverRows, n: usize, d: usize) -> Result<Plan, Failure> {
    let method = Method::find(&args.method).map_err(|e| bad(&format!("--method: {e}")))?;
    let planted = args.signals.is_none();
    let k = args.k.as_deref().map(|k| whole("--k", k, 1, n.min(d).min(MOST_ACTIVE))).transpose()?;
    let k = match k {
        None if planted => {
            return Err(bad("--k: how many atoms a planted row has, or --signals FILE for rows of your own"));
        }
        None if method.needs == Needs::Count => {
            return Err(bad(&format!("--k: {} needs to know how many atoms a row may have", method.name)));
        }
        k => k,
    };
    let noise = args.noise.as_deref().map_or(Ok(0.0), |v| number("--noise", v, 0.0, 1e6))?;
    if args.debias && method.needs != Needs::Penalty {
        return Err(bad(&format!("--debias: {} shrinks nothing that could be undone; leave it out", method.name)));
    }
    let lambdas = match method.needs {
        Needs::Penalty => lambdas(args, noise, n)?,
        _ if args.lambda.is_some() || args.steps.is_some() => {
            return Err(bad(&format!("--lambda, --steps: {} has no penalty; leave them out", method.name)));
        }
        _ => vec![0.0],
    };
    let choice = Choice { k: k.unwrap_or(0), lambda: 0.0, non_negative: args.non_negative };
    Ok(Plan { method, choice, lambdas, noise, planted: k.filter(|_| planted) })
}

/// One λ, or the path from high to low with equal ratios.
fn lambdas(args: &RecoverRows, noise: f32, n: usize) -> Result<Vec<f32>, Failure> {
    let one = |text: &str| number("--lambda", text, 1e-9, 1e9);
    let path = args.lambda.as_deref().and_then(|text| text.split_once(".."));
    if path.is_none() && args.steps.is_some() {
        return Err(bad("--steps: only a path --lambda HI..LO has steps"));
    }
    match (args.lambda.as_deref(), path) {
        (_, Some((high, low))) => {
            let (high, low) = (one(high)?, one(low)?);
            if high <= low {
                return Err(bad(&format!("--lambda: a path falls, HI..LO; found {high}..{low}")));
            }
            let steps = args.steps.as_deref().map_or(Ok(STEPS), |v| whole("--steps", v, 2, 1000))?;
            // In `f64`, so that a path over powers of ten has 0.001 and not a neighbour of it.
            let (high, low) = (decimal(high), decimal(low));
            let at = |i: usize| (high * (low / high).powf(i as f64 / (steps - 1) as f64)) as f32;
            Ok((0..steps).map(at).collect())
        }
        (Some("universal"), _) | (None, _) if noise > 0.0 => Ok(vec![noise * (2.0 * (n.max(2) as f32).ln()).sqrt()]),
        (Some("universal"), _) => Err(bad("--lambda universal: needs the noise, --noise SIGMA above 0")),
        (Some(text), _) => Ok(vec![one(text)?]),
        (None, _) => {
            Err(bad("--lambda: how much absolute coefficients cost; a number, a path HI..LO, or --noise SIGMA"))
        }
    }
}

/// The rows and, where they are planted, their coefficients.
fn signals(
    args: &RecoverRows,
    plan: &Plan,
    dictionary: &Dictionary,
    rng: &Rng,
    inputs: &mut Vec<InputFile>,
) -> Result<(Mat, Option<Vec<Sparse>>), Failure> {
    let amplitudes = amplitudes(args.amplitudes.as_deref().unwrap_or(Amplitudes::Uniform.id()))?;
    let Some(file) = &args.signals else {
        if args.signals_key.is_some() {
            return Err(bad("--signals-key: there is no --signals FILE to read it from"));
        }
        let rows = args.rows.as_deref().map_or(Ok(ROWS), |v| whole("--rows", v, 1, LARGEST / dictionary.d()))?;
        let (x, truth) = planted_as(
            dictionary,
            rows,
            plan.planted.unwrap_or(1),
            amplitudes,
            args.non_negative,
            &mut rng.fork("rows"),
        );
        let x = if plan.noise > 0.0 { noisy(&x, plan.noise, &mut rng.fork("noise")) } else { x };
        return Ok((x, Some(truth)));
    };
    if args.rows.is_some() {
        return Err(bad("--rows: how many rows to plant; with --signals all rows of the file are taken"));
    }
    if args.amplitudes.is_some() {
        return Err(bad(
            "--amplitudes: sizes of planted coefficients; with --signals nothing is planted, leave it out",
        ));
    }
    let x = read(file, args.signals_key.clone(), args.flatten, inputs)?;
    if x.cols() != dictionary.d() {
        let (file, found, wanted) = (file.display(), x.cols(), dictionary.d());
        let turn = match args.transpose {
            _ if args.dictionary.is_none() => "",
            true => "; leave --transpose out if the dictionary has one direction a row",
            false => "; is the dictionary to be read with --transpose?",
        };
        return Err(Failure::Input(format!(
            "{file}: its rows have {found} columns, but the atoms have {wanted}{}",
            if found == dictionary.n() { turn } else { "" }
        )));
    }
    Ok((x, None))
}

pub(super) fn amplitudes(word: &str) -> Result<Amplitudes, Failure> {
    let names = Amplitudes::ALL.map(Amplitudes::id).join(", ");
    let found = Amplitudes::ALL.into_iter().find(|a| a.id() == word);
    found.ok_or_else(|| bad(&format!("--amplitudes: expected one of {names}, found `{word}`")))
}

/// A whole number from `least` to `most`.
pub(super) fn whole(flag: &str, text: &str, least: usize, most: usize) -> Result<usize, Failure> {
    let found = text.trim().parse().ok().filter(|n| (least..=most).contains(n));
    let most = report::words::count(most);
    found.ok_or_else(|| bad(&format!("{flag}: expected a whole number from {least} to {most}, found `{text}`")))
}

/// A number from `least` to `most`.
pub(super) fn number(flag: &str, text: &str, least: f32, most: f32) -> Result<f32, Failure> {
    let found = text.trim().parse().ok().filter(|v| (least..=most).contains(v));
    let least = if least == 0.0 { "0".to_string() } else { format!("{least:e}") };
    found.ok_or_else(|| bad(&format!("{flag}: expected a number from {least} to {most:e}, found `{text}`")))
}

pub(super) fn bad(message: &str) -> Failure {
    Failure::Input(format!("recover: {message}"))
}

fn create_run(out: &Path, args: &RecoverRows, global: Global, inputs: Vec<InputFile>) -> Result<RunFolder, Failure> {
    let mut config = toml::Table::new();
    let file = |path: &Option<std::path::PathBuf>| path.as_ref().map(|p| p.display().to_string());
    let given = [
        ("dictionary", file(&args.dictionary)),
        ("key", args.key.clone()),
        ("random", args.random.clone()),
        ("signals", file(&args.signals)),
        ("signals_key", args.signals_key.clone()),
        ("rows", args.rows.clone()),
        ("k", args.k.clone()),
        ("noise", args.noise.clone()),
        ("lambda", args.lambda.clone()),
        ("steps", args.steps.clone()),
        ("amplitudes", args.amplitudes.clone()),
        ("method", Some(args.method.clone())),
    ];
    config.insert("command".into(), "recover".into());
    for (name, value) in given {
        value.map(|value| config.insert(name.into(), value.into()));
    }
    for (name, on) in [
        ("transpose", args.transpose),
        ("flatten", args.flatten),
        ("non_negative", args.non_negative),
        ("debias", args.debias),
    ] {
        config.insert(name.into(), on.into());
    }
    interrupt::create_run(out, settings(global, inputs, config)).map_err(Failure::input)
}

/// Coefficients, numbers and pictures; on a path the coefficients are those of the last λ.
fn write(
    run: RunFolder,
    study: &Study,
    dictionary: &Dictionary,
    x: &Mat,
    found: &[Sparse],
    truth: Option<&[Sparse]>,
) -> Result<(), Failure> {
    let mut figures: Vec<Figure> = Vec::new();
    let path: Vec<(f32, Measure)> = study.lines.iter().filter_map(|l| Some((l.lambda?, l.measure))).collect();
    if path.len() > 1 {
        figures.push(report::path_figure(&path));
    }
    figures.push(match truth {
        Some(truth) => report::coefficients_figure(found, truth, study.lines.last().and_then(|l| l.lambda)),
        None => report::rest_figure(&left(dictionary, x, found)),
    });
    report::write_document(&run, &document(study, false), &figures)?;
    report::write_coefficients(&run, found)?;
    run.finish()?;
    Ok(())
}

/// The share of each row that is left.
fn left(dictionary: &Dictionary, x: &Mat, found: &[Sparse]) -> Vec<f64> {
    let fit = dictionary.rebuild(found);
    let size = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let share = |i: usize| {
        let (row, fit) = (x.row(i), fit.row(i));
        let rest = size(&mut row.iter().zip(fit).map(|(a, b)| a - b));
        rest / size(&mut row.iter().copied()).max(f64::MIN_POSITIVE)
    };
    (0..x.rows()).map(share).collect()
}
