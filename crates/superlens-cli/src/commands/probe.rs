//! `superlens probe INPUT --labels FILE`: from how few units each concept can be read.

use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;
use superlens::neurons::Units;
use superlens::probes::sparse::{self, Options, SELECTORS, Study, default_ks};
use superlens_tensor::Mat;
use superlens_tensor::io::ReadOptions;

use super::activations::Held;
use super::{labels, probe_table, units};
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
    let named = units::named(&args.of)?;
    // A row of a wide dictionary's latents may be longer than the row that it is made of.
    let memory = named.as_ref().map_or(MEMORY, |units| {
        let (wide, long) = (units.d_in().max(1) as u128, units.len().max(units.d_in()).max(1) as u128);
        (MEMORY as u128 * wide / long) as usize
    });
    let options = ReadOptions { key: args.part.key.clone(), flatten: args.part.flatten };
    let held = Held::read_within(&args.input, &options, args.part.hook.as_deref(), "probe", (global.seed, memory))?;
    let units = units::of(named, &args.of, held.loaded.mat.cols(), global.seed)?;
    let options = asked(args, global, &units)?;
    let (labels, names) = labels::concepts(&args.about, &args.input, &held, "concept ")?;
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
