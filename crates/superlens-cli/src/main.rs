//! The `superlens` command: reads the command line, calls the libraries, prints.

mod args;
mod commands;
mod failure;
mod interrupt;
mod progress;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Once;

use anyhow::Context;
use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Command};
use failure::{Failure, say};

/// Work in blocks makes and drops buffers of tens of megabytes at every step. The system's allocator gives each back to the kernel at
/// once, which then clears its pages anew: half of the time of a dense training step and more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MISSING_COMMAND: ErrorKind = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version, asked for or because nothing was.
        Err(error) if !error.use_stderr() || error.kind() == MISSING_COMMAND => error.exit(),
        Err(error) => return failure::usage(&error).report(),
    };
    panic::set_hook(Box::new(|info| on_panic(&info.to_string())));
    // A panic unwinds to here so that what was being written is cleared away.
    match panic::catch_unwind(AssertUnwindSafe(|| run(cli))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.report(),
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    interrupt::install()?;
    show_warnings();
    // The libraries work on the pool that they are called from. 0 means one thread per core.
    let threads = usize::from(cli.global.threads.unwrap_or(0));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.context("the worker threads can't be started; fewer may work: --threads 1")?;
    pool.install(|| match &cli.command {
        Command::Demo(demo) => commands::demo::run(demo, cli.global),
        Command::Diagnose(diagnose) => commands::diagnose::run(diagnose, cli.global),
        Command::Probe(probe) => commands::probe::run(probe, cli.global),
        Command::Toy(toy) => commands::toy::run(toy, cli.global),
        Command::Zoo(zoo) => commands::zoo::run(zoo, cli.global),
        Command::Neurons(neurons) => commands::neurons::run(neurons, cli.global),
        Command::Export(export) => commands::export::run(export, cli.global),
        Command::Feeds(feeds) => commands::feeds::run(feeds, cli.global),
        Command::Basis(basis) => commands::basis::run(basis, cli.global),
        Command::Train(train) => commands::train::run(train, cli.global),
        Command::Eval(eval) => commands::eval::run(eval, cli.global),
        Command::Explain(explain) => commands::explain::run(explain, cli.global),
        Command::Synth(synth) => commands::synth::run(synth, cli.global),
        Command::Recover(recover) => commands::recover::run(recover, cli.global),
        Command::Run(run) => commands::run::run(run, cli.global),
        Command::Geometry(geometry) => commands::geometry::run(geometry, cli.global),
        Command::Convert(convert) => commands::convert::run(convert, cli.global),
        Command::Store(store) => commands::store::run(store, cli.global),
        Command::Model(model) => commands::model_about::run(model, cli.global),
        Command::Fetch(fetch) => commands::fetch::run(fetch, cli.global),
        Command::Harvest(harvest) => commands::harvest::run(harvest, cli.global),
        Command::HarvestOnnx(harvest) => commands::harvest_onnx::run(harvest, cli.global),
        Command::RunModel(run) => commands::run_model::run(run, cli.global),
        Command::Attention(attention) => commands::attention::run(attention, cli.global),
        Command::Attribute(attribute) => commands::attribute::run(attribute, cli.global),
        Command::Lens(lens) => commands::lens::run(lens, cli.global),
        Command::Promotes(promotes) => commands::promotes::run(promotes, cli.global),
        Command::Intervene(intervene) => commands::intervene::run(intervene, cli.global),
        Command::Generate(generate) => commands::generate::run(generate, cli.global),
    })
}

/// What the libraries warn of goes to standard error, one line each.
fn show_warnings() {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
}

/// A bug of ours: says so in one line, once, however many threads stumble over it.
fn on_panic(what: &str) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let what = what.lines().collect::<Vec<_>>().join(" ");
        say(&format!("error: internal error, please report it: {what}"));
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            say(&trace.to_string());
        }
    });
}
