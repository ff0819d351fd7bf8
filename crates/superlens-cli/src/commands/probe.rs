//! `superlens probe INPUT --labels FILE`: from how few units each concept can be read.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use superlens::neurons::Units;
use superlens::probes::sparse::{self, Options, SELECTORS, Study, default_ks};
use superlens_tensor::Mat;
use superlens_tensor::io::{ReadOptions, read_directions, read_labels};

use super::activations::Held;
use super::eval::dictionary;
use super::probe_table;
use crate::args::{Global, Probe};
use crate::failure::Failure;
use crate::progress::Progress;

/// Bytes of the activations, and of the units' values, that are in memory at once.
const MEMORY: usize = 1 << 30;
/// Rows whose units are computed at once.
const AT_ONCE: usize = 4096;

/// The contract of `--json`: what was found, of what units, and how long it took.
#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    study: &'a Study,
    unit: &'static str,
    seconds: f64,
}

pub fn run(args: &Probe, global: Global) -> Result<(), Failure> {
    let start = Instant::now();
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let named = units(args)?;
    // A row of a wide dictionary's latents may be longer than the row that it is made of.
    let memory = named.as_ref().map_or(MEMORY, |units| {
        let (wide, long) = (units.d_in().max(1) as u128, units.len().max(units.d_in()).max(1) as u128);
        (MEMORY as u128 * wide / long) as usize
    });
    let options = ReadOptions { key: args.part.key.clone(), flatten: args.part.flatten };
    let held = Held::read_within(&args.input, &options, args.part.hook.as_deref(), "probe", (global.seed, memory))?;
    let units = named.unwrap_or(Units::Neurons(held.loaded.mat.cols()));
    if units.d_in() != held.loaded.mat.cols() {
        let (flag, path) = match &args.sae {
            Some(path) => ("--sae", path.display()),
            None => ("--directions", args.directions.as_deref().unwrap_or(Path::new("")).display()),
        };
        return Err(Failure::Input(format!(
            "{flag} {path}: is of activations of width {}, but {} has {} columns",
            units.d_in(),
            args.input.display(),
            held.loaded.mat.cols()
        )));
    }
    let options = asked(args, global, &units)?;
    let labels = labels(args, &held)?;
    let names = names(args, labels.cols())?;
    progress.at(0.0, "computing units");
    let word = units.word();
    let x = values(&units, held.loaded.mat);
    let mut watch = |share: f64, stage: &'static str| progress.at(share, stage);
    let study = sparse::study(&x, &labels, &names, &options, &mut watch);
    drop(progress);

    let seconds = start.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &Output { study: &study, unit: word, seconds })
            .map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        probe_table::write(&mut out, &study, word, seconds)?;
    }
    Ok(out.flush()?)
}

/// Latents or directions, where they were named.
fn units(args: &Probe) -> Result<Option<Units>, Failure> {
    if let Some(path) = &args.sae {
        return Ok(Some(Units::Latents(Box::new(dictionary(path)?.sae))));
    }
    let read = |path: &Path| read_directions(path, &ReadOptions::default()).map_err(Failure::input);
    Ok(args.directions.as_deref().map(read).transpose()?.map(|loaded| Units::Directions(loaded.mat)))
}

/// `[rows, units]`, without a second copy where the rows are the units.
fn values(units: &Units, x: Mat) -> Mat {
    if matches!(units, Units::Neurons(_)) {
        return x;
    }
    let mut out = Vec::with_capacity(x.rows() * units.len());
    for from in (0..x.rows()).step_by(AT_ONCE) {
        let to = (from + AT_ONCE).min(x.rows());
        let piece = Mat::from_vec(to - from, x.cols(), x.data()[from * x.cols()..to * x.cols()].to_vec());
        out.extend_from_slice(units.values(&piece).data());
    }
    Mat::from_vec(x.rows(), units.len(), out)
}

fn asked(args: &Probe, global: Global, units: &Units) -> Result<Options, Failure> {
    let (n, word) = (units.len(), units.word());
    if let Some(k) = args.k.iter().chain([&args.null_k]).find(|k| **k > n) {
        let flag = if args.k.contains(k) { "--k" } else { "--null-k" };
        return Err(Failure::Input(format!(
            "{flag}: expected sizes from 1 to {n}, since there are {n} {word}s, found {k}"
        )));
    }
    let mut ks = if args.k.is_empty() { default_ks(n) } else { args.k.clone() };
    ks.sort_unstable();
    ks.dedup();
    let compare = args.selector == "all";
    let rotate = match units {
        Units::Neurons(_) => Ok(()),
        _ => Err(format!("{word}s are no axes of a space that could be turned: made for neurons only")),
    };
    Ok(Options {
        ks,
        selector: SELECTORS.iter().find(|s| s.id == args.selector).unwrap_or(&SELECTORS[0]),
        compare,
        exact: args.exact,
        nodes: args.nodes,
        draws: args.draws as usize,
        null_k: args.null_k,
        rotate,
        seed: global.seed,
    })
}

/// Zeros and ones for the rows that are held, out of a row for each row there is. A single vector is one concept.
fn labels(args: &Probe, held: &Held) -> Result<Mat, Failure> {
    let path = args.labels.display();
    let options = ReadOptions { key: args.labels_key.clone(), flatten: false };
    let read = read_labels(&args.labels, &options).map_err(Failure::input)?;
    let mat = if read.shape.len() == 1 { read.mat.transposed() } else { read.mat };
    if mat.rows() != held.of {
        return Err(Failure::Input(format!(
            "{path}: labels for {} rows, but {} has {}; one row of labels is needed for each row of activations, in the same order",
            mat.rows(),
            args.input.display(),
            held.of
        )));
    }
    if let Some(at) = mat.data().iter().position(|l| *l != 0.0 && *l != 1.0) {
        let (row, column, found) = (at / mat.cols(), at % mat.cols(), mat.data()[at]);
        return Err(Failure::Input(format!(
            "{path}: row {row}, column {column}: expected 0 or 1, found {found}; of classes make a column of zeros and ones each, of a number \
             whether it is above a limit"
        )));
    }
    Ok(match &held.rows {
        Some(rows) => mat.select_rows(&rows.iter().map(|&row| row as usize).collect::<Vec<_>>()),
        None => mat,
    })
}

fn names(args: &Probe, concepts: usize) -> Result<Vec<String>, Failure> {
    let Some(path) = &args.names else { return Ok((0..concepts).map(|c| format!("concept {c}")).collect()) };
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::Input(format!("--names {}: {error}; expected text with a name a line", path.display()))
    })?;
    let names: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
    if names.len() != concepts {
        return Err(Failure::Input(format!(
            "--names {}: expected {concepts} lines, a name for each column of {}, found {}",
            path.display(),
            args.labels.display(),
            names.len()
        )));
    }
    Ok(names)
}
