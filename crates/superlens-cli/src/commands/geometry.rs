//! `superlens geometry`: directions in a space, from a file or from mathematics.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use superlens::geometry::bounds::Kind;
use superlens::geometry::constructions::construction;
use superlens::geometry::pack::{self, Search, Watch};
use superlens::geometry::readout::{Readout as Tested, exact::Exact};
use superlens::geometry::{coherence, room};
use superlens::report::geometry::{self as answers, Answer, Entry};
use superlens::report::{self, InputFile, RunFolder, Source};
use superlens_tensor::Rng;

use super::geometry_files::{File, directions, input, matrix};
use super::{settings, table};
use crate::args::{Coherence, Geometry, GeometryCommand, Global, Pack, Readout, Room, Table};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

/// Memory that bit-packed corners may take.
const MOST_BYTES: u128 = 3 << 30;
/// Corners that are measured where nothing else is asked for, as far as they take no more than [`QUICK_WORDS`] of comparing.
const CORNERS: [usize; 5] = [64, 256, 1024, 4096, 16_384];
const QUICK_WORDS: f64 = 2e10;
/// Dimensions in which read-outs are fitted at most.
const MOST_DIMS: usize = 8192;
/// Starts and rows of the exact demonstrations.
const STARTS: usize = 12;
const ROWS: usize = 100_000;

pub fn run(args: &Geometry, global: Global) -> Result<(), Failure> {
    let out = args.out.as_deref();
    match &args.command {
        GeometryCommand::Coherence(args) => run_coherence(args, global, out),
        GeometryCommand::Pack(args) => run_pack(args, global, out),
        GeometryCommand::Room(args) => run_room(args, global, out),
        GeometryCommand::Readout(args) => run_readout(args, global, out),
        GeometryCommand::Table(args) => run_table(args, global, out),
    }
}

/// A run of one subcommand: where its answer goes, and since when.
struct Call<'a> {
    name: &'static str,
    global: Global,
    out: Option<&'a Path>,
    run: Option<RunFolder>,
    source: Source,
    start: Instant,
}

impl<'a> Call<'a> {
    /// Makes the run folder before the work, so that a bad destination is told at once. `set` is what was asked for.
    fn new(
        name: &'static str,
        global: Global,
        out: Option<&'a Path>,
        inputs: Vec<InputFile>,
        set: &[(&str, toml::Value)],
    ) -> Result<Self, Failure> {
        let start = Instant::now();
        let mut config = toml::Table::new();
        config.insert("command".into(), format!("geometry {name}").into());
        config.extend(set.iter().map(|(key, value)| (key.to_string(), value.clone())));
        let named = inputs.first().map_or(String::new(), |i| format!(" {}", i.path));
        let told = |v: &toml::Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
        let source = Source {
            name: format!("geometry {name}{named}"),
            seed: global.seed,
            settings: set.iter().map(|(key, value)| (key.to_string(), told(value))).collect(),
        };
        let run = out.map(|out| interrupt::create_run(out, settings(global, inputs, config)));
        let run = run.transpose().map_err(Failure::input)?;
        Ok(Call { name, global, out, run, source, start })
    }

    fn rng(&self) -> Rng {
        Rng::new(self.global.seed).fork("geometry").fork(self.name)
    }

    /// Writes the report and tells the terminal.
    fn finish(self, mut answer: Answer) -> Result<(), Failure> {
        if let Some(run) = self.run {
            report::write_geometry(&run, &answer, &self.source)?;
            run.finish()?;
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let mut out = io::stdout().lock();
        if self.global.json {
            answer.keys.insert("seconds".into(), seconds.into());
            serde_json::to_writer_pretty(&mut out, &answer.keys).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            for lines in &answer.tables {
                for line in table::wide(lines) {
                    writeln!(out, "{line}")?;
                }
                writeln!(out)?;
            }
            for line in &answer.says {
                writeln!(out, "{line}")?;
            }
            writeln!(out, "\n{seconds:.1} s")?;
            if let Some(dir) = self.out {
                writeln!(out, "report: {}", dir.join("report.html").display())?;
            }
        }
        Ok(out.flush()?)
    }
}

/// Runs `work` with a watcher that draws progress.
fn watched<T>(global: Global, stage: &str, work: impl FnOnce(Watch) -> Option<T>) -> Result<T, Failure> {
    let progress = Mutex::new(Progress::new(global.quiet));
    let watch = |share: f64| {
        // Whoever finds another thread drawing leaves it to that.
        if let Ok(progress) = progress.try_lock() {
            progress.at(share, stage);
        }
        ControlFlow::Continue(())
    };
    work(&watch).ok_or(Failure::Interrupted)
}

fn run_coherence(args: &Coherence, global: Global, out: Option<&Path>) -> Result<(), Failure> {
    let file = File { path: &args.file, key: args.key.as_deref(), flag: "--key", flatten: args.flatten };
    let read = directions(file, args.transpose)?;
    if read.mat.rows().min(read.mat.cols()) > coherence::LARGEST {
        let (n, d) = read.mat.shape();
        let file = args.file.display();
        return Err(Failure::Input(format!(
            "{file}: {n} directions of {d} dimensions: at most {} of one or the other are compared; take fewer rows",
            coherence::LARGEST
        )));
    }
    let mut set = vec![("transpose", toml::Value::from(args.transpose)), ("flatten", args.flatten.into())];
    set.extend(args.key.iter().map(|key| ("key", key.clone().into())));
    let call = Call::new("coherence", global, out, vec![read.input], &set)?;
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "comparing directions");
    let found = coherence::Coherence::of(&read.mat, &call.rng()).ok_or_else(|| {
        let file = args.file.display();
        Failure::Input(format!(
            "{file}: fewer than 2 directions are not zero; give at least 2, or the other orientation with --transpose"
        ))
    })?;
    drop(progress);
    call.finish(answers::coherence(&found, &read.orientation))
}

fn run_pack(args: &Pack, global: Global, out: Option<&Path>) -> Result<(), Failure> {
    let (d, n) = (args.dims as usize, args.points as usize);
    let kind = if args.signed { Kind::Signed } else { Kind::Lines };
    let search = Search { kind, d, n, starts: args.starts as usize };
    if !search.possible() && (args.search || construction(kind, d, n).is_none()) {
        let none = if args.search { "" } else { "no construction of so many is known here, and " };
        return Err(Failure::Input(format!(
            "--points {n}: {none}a search in {d} dimensions takes at most {} directions and {} coordinates",
            pack::SEARCHED,
            pack::COORDINATES
        )));
    }
    let set = [
        ("dims", i64::from(args.dims).into()),
        ("points", i64::from(args.points).into()),
        ("kind", kind.id().into()),
        ("search", args.search.into()),
        ("starts", i64::from(args.starts).into()),
    ];
    let call = Call::new("pack", global, out, Vec::new(), &set)?;
    let find = if args.search { Search::searched } else { Search::best };
    let best = watched(global, "packing", |watch| find(&search, &call.rng(), watch))?;
    call.finish(answers::pack(&best))
}

fn run_room(args: &Room, global: Global, out: Option<&Path>) -> Result<(), Failure> {
    let d = args.dims as usize;
    let words = |n: usize| 0.5 * (n as f64).powi(2) * d as f64 / 64.0;
    let mut ns: Vec<usize> = args.points.iter().map(|n| *n as usize).collect();
    if ns.is_empty() {
        ns = CORNERS.into_iter().filter(|n| *n == CORNERS[0] || words(*n) <= QUICK_WORDS).collect();
    }
    ns.sort_unstable();
    ns.dedup();
    let most = ns[ns.len() - 1];
    if room::bytes(d, most) > MOST_BYTES {
        return Err(Failure::Input(format!(
            "--points {most}: {} GiB of corners in {} dimensions, at most {} GiB are kept; ask for fewer",
            room::bytes(d, most).div_ceil(1 << 30),
            report::words::count(d),
            MOST_BYTES >> 30
        )));
    }
    let listed = ns.iter().map(|n| toml::Value::from(*n as i64)).collect::<Vec<_>>();
    let pairs = i64::try_from(args.pairs).unwrap_or(i64::MAX);
    let set = [
        ("dims", i64::from(args.dims).into()),
        ("epsilon", args.epsilon.into()),
        ("points", listed.into()),
        ("pairs", pairs.into()),
    ];
    let call = Call::new("room", global, out, Vec::new(), &set)?;
    let points = watched(global, "comparing corners", |watch| room::measure(d, &ns, args.pairs, &call.rng(), watch))?;
    call.finish(answers::room(d, args.epsilon, &points))
}

fn run_readout(args: &Readout, global: Global, out: Option<&Path>) -> Result<(), Failure> {
    let (Some(file), Some(activations)) = (&args.directions, &args.activations) else {
        let set = [("dims", i64::from(args.dims).into())];
        let call = Call::new("readout", global, out, Vec::new(), &set)?;
        let shown = |watch: Watch| Exact::of(args.dims as usize, STARTS, ROWS, &call.rng(), watch);
        let exact = watched(global, "searching", shown)?;
        return call.finish(answers::exact(&exact));
    };
    let named = |path, key, flag| File { path, key, flag, flatten: args.flatten };
    let read = directions(named(file, args.directions_key.as_deref(), "--directions-key"), args.transpose)?;
    let x = matrix(named(activations, args.activations_key.as_deref(), "--activations-key"))?;
    let of_features = |path| matrix(named(path, args.features_key.as_deref(), "--features-key"));
    let values = args.features.as_deref().map(of_features).transpose()?;
    let (n, d) = read.mat.shape();
    if d > MOST_DIMS {
        let file = file.display();
        return Err(Failure::Input(format!(
            "{file}: {n} directions of {d} dimensions: at most {MOST_DIMS} are read; if it is [dimensions, directions], say --transpose"
        )));
    }
    if x.mat.cols() != d {
        return Err(Failure::Input(format!(
            "{}: has {} columns, but the directions of {} have {d} dimensions{}",
            activations.display(),
            x.mat.cols(),
            file.display(),
            if x.mat.cols() == n { "; turn them with --transpose" } else { "" }
        )));
    }
    if let (Some(path), Some(values)) = (&args.features, &values)
        && values.mat.shape() != (x.mat.rows(), n)
    {
        let (rows, columns) = values.mat.shape();
        return Err(Failure::Input(format!(
            "{}: has shape [{rows}, {columns}], but {} rows of activations and {n} directions need [{}, {n}]",
            path.display(),
            x.mat.rows(),
            x.mat.rows()
        )));
    }
    let mut inputs = vec![read.input, input(activations, &x)];
    inputs.extend(args.features.as_deref().zip(values.as_ref()).map(|(path, loaded)| input(path, loaded)));
    let mut set = vec![("transpose", toml::Value::from(args.transpose)), ("flatten", args.flatten.into())];
    let keys = [
        ("directions_key", &args.directions_key),
        ("activations_key", &args.activations_key),
        ("features_key", &args.features_key),
    ];
    set.extend(keys.iter().filter_map(|(name, key)| Some((*name, key.as_ref()?.clone().into()))));
    let call = Call::new("readout", global, out, inputs, &set)?;
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading features");
    let tested = Tested::of_directions(&read.mat)
        .ok_or_else(|| Failure::Input(format!("{}: fewer than 2 directions are not zero", file.display())))?
        .tested(&read.mat, &x.mat, values.as_ref().map(|v| &v.mat));
    drop(progress);
    call.finish(answers::readout(&tested, &read.orientation))
}

fn run_table(args: &Table, global: Global, out: Option<&Path>) -> Result<(), Failure> {
    let set = [
        ("dims", i64::from(args.dims).into()),
        ("points", i64::from(args.points).into()),
        ("starts", i64::from(args.starts).into()),
    ];
    let call = Call::new("table", global, out, Vec::new(), &set)?;
    let cells: Vec<(Kind, usize, usize)> = [Kind::Lines, Kind::Signed]
        .into_iter()
        .flat_map(|kind| (2..=args.dims as usize).map(move |d| (kind, d)))
        .flat_map(|(kind, d)| (2..=args.points as usize).map(move |n| (kind, d, n)))
        .collect();
    let rng = call.rng();
    let entries = watched(global, "packing", |watch| {
        let one = |(k, &(kind, d, n)): (usize, &(Kind, usize, usize))| {
            let tell = |share: f64| watch((k as f64 + share) / cells.len() as f64);
            let stream = rng.fork(kind.id()).fork_index((d * 1000 + n) as u64);
            let best = Search { kind, d, n, starts: args.starts as usize }.best(&stream, &tell)?;
            Some(Entry { kind, d, n, cosine: best.cosine, method: best.method, exact: best.exact })
        };
        cells.iter().enumerate().map(one).collect::<Option<Vec<_>>>()
    })?;
    let answer = answers::table(&with_one_left_out(entries));
    if global.json || out.is_some() {
        return call.finish(answer);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "# Best packings found\n\n{}\n", answer.says.join("\n"))?;
    for lines in &answer.tables {
        write_markdown(&mut out, lines)?;
    }
    Ok(out.flush()?)
}

/// A packing without one of its directions is one of fewer: where a search missed what that gives, it is taken.
fn with_one_left_out(mut entries: Vec<Entry>) -> Vec<Entry> {
    for k in (1..entries.len()).rev() {
        let more = entries[k].clone();
        let fewer = &mut entries[k - 1];
        if (fewer.kind, fewer.d, fewer.n + 1) == (more.kind, more.d, more.n) && more.cosine < fewer.cosine - 1e-9 {
            *fewer =
                Entry { n: fewer.n, method: format!("{} directions, one left out: {}", more.n, more.method), ..more };
        }
    }
    entries
}

/// A table as Markdown has it.
fn write_markdown(out: &mut impl Write, table: &[Vec<String>]) -> io::Result<()> {
    for (k, line) in table.iter().enumerate() {
        writeln!(out, "| {} |", line.join(" | "))?;
        if k == 0 {
            writeln!(out, "|{}", "---|".repeat(line.len()))?;
        }
    }
    writeln!(out)
}
