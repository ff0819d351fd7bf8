//! What can be typed. The help texts are part of the product: each command shows an example that works.

mod attribute;
mod basis;
mod explain;
mod export;
mod feeds;
mod geometry;
mod intervene;
mod lens;
mod model;
mod neurons;
mod onnx;
mod probe;
mod recover;
mod sae;
mod store;
mod tuning;
mod units;
mod zoo;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use superlens::diagnose::Basis;
use superlens::toy::lab::TOYS;

pub use attribute::{Attribute, Method};
pub use basis::BasisAgainstRandom;
pub use explain::{Compositional, Explain, ExplainCommand, Parameter, ScoreArg, Server, Simulate};
pub use export::{Export, Form};
pub use feeds::Feeds;
pub use geometry::{Coherence, Geometry, GeometryCommand, Pack, Readout, Room, Table};
pub use intervene::{ChangeArg, ChangeArgs, Intervene};
pub use lens::{Attention, Lens, Promotes};
pub use model::{
    Fetch, Generate, Harvest, ModelAbout, ModelFiles, Prediction, Prompt, Reading, RunModel, Sample, SplitArg, Texts,
};
pub use neurons::Neurons;
pub use onnx::HarvestOnnx;
pub use probe::Probe;
pub use recover::{Recover, RecoverPhase, RecoverRows, RecoverWhat};
pub use sae::{Convert, Eval, Synth, Train};
pub use store::{Store, StoreCommand};
pub use tuning::Tuning;
pub use units::{LabelsOf, UnitsOf};
pub use zoo::{
    SplitOf, Written, Zoo, ZooAlarms, ZooCalibrate, ZooCommand, ZooCounts, ZooExam, ZooMake, ZooNeurons, ZooTrained,
};

/// Why are the neurons of a layer polysemantic?
///
/// superlens takes the activations of a layer apart into features, and says which explanation of its polysemantic
/// neurons holds: more features than dimensions (superposition), features that miss the neurons (orthogonal), or
/// nothing that these inputs can show (inconclusive). Every claim comes with the null that it was held against.
#[derive(Debug, Parser)]
#[command(
    name = "superlens",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  superlens demo
  superlens diagnose activations.npy --basis privileged --out runs/mlp3
  superlens toy relu_output --out runs/superposition
  superlens geometry pack --dims 3 --points 8 --signed

Exit codes: 0 done; 2 bad usage or bad input; 130 interrupted; 1 anything else."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Seed of every random choice: the same seed gives the same answer
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Threads to work with; the answer does not depend on it [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print one JSON document on standard output, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress
    #[arg(long, global = true)]
    pub quiet: bool,
}

/// How many to show: one at least.
fn one_at_least(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a whole number from 1 on".into()),
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(Demo),
    Diagnose(Diagnose),
    Probe(Box<Probe>),
    Toy(Toy),
    Zoo(Zoo),
    Neurons(Box<Neurons>),
    Export(Box<Export>),
    Basis(BasisAgainstRandom),
    Feeds(Feeds),
    Run(Run),
    Recover(Box<Recover>),
    Train(Box<Train>),
    Eval(Box<Eval>),
    Explain(Explain),
    Synth(Synth),
    Geometry(Geometry),
    Convert(Convert),
    Store(Store),
    Fetch(Fetch),
    Model(ModelAbout),
    Harvest(Box<Harvest>),
    HarvestOnnx(HarvestOnnx),
    RunModel(Box<RunModel>),
    Generate(Box<Generate>),
    Intervene(Box<Intervene>),
    Attention(Attention),
    Attribute(Box<Attribute>),
    Lens(Lens),
    Promotes(Promotes),
}

/// Train small models whose truth is known, and diagnose each as if it were not
///
/// Needs no input and takes about a minute. Prints a table of truth against verdict, and writes a report.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens demo
  superlens demo --seed 7 --out runs/demo7
  superlens demo --json > demo.json")]
pub struct Demo {
    /// Folder for the report
    #[arg(long, default_value = "superlens-demo", value_name = "DIR")]
    pub out: PathBuf,
}

/// Say why the neurons of an activation matrix are polysemantic
///
/// INPUT is a .npy, .npz or .safetensors file with one sample a row and one neuron a column, or a store of activations.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens diagnose mlp.npy --basis privileged --out runs/mlp
  superlens diagnose model.safetensors --key layers.0.mlp_hidden --json
  superlens diagnose resid.npz --key resid --flatten --basis none
  superlens diagnose mlp.npy --labels concepts.npy --basis privileged
  superlens diagnose store --sae runs/sae --model stories260K.bin

Labels tell what activations alone can't: concepts that share a neuron, that no direction reads, or that are only looked up.")]
pub struct Diagnose {
    /// The activation matrix
    pub input: PathBuf,
    #[command(flatten)]
    pub part: Part,
    /// Whether the columns mean something by themselves [default: as the name of the hook says, else unknown]
    #[arg(long, value_enum, value_name = "KIND")]
    pub basis: Option<BasisArg>,
    /// What the rows are about: rows × concepts of zeros and ones, of whole or real numbers; a .npy, .npz or .safetensors file
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Which array of the labels' file, where it holds several
    #[arg(long, value_name = "NAME", requires = "labels")]
    pub labels_key: Option<String>,
    /// A dictionary for these activations, in any format that `superlens eval` reads: its directions are put to the rows beside those found
    #[arg(long, value_name = "DIR")]
    pub sae: Option<PathBuf>,
    /// So many attention heads, whose columns lie side by side: features within and across them, and each head by itself
    #[arg(long, value_name = "N", value_parser = one_at_least)]
    pub heads: Option<usize>,
    #[command(flatten)]
    pub asked: Asked,
    /// Folder for report.html, report.json and the figures; without it nothing is written
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A model that is asked what it makes of the activations.
#[derive(Args, Debug)]
pub struct Asked {
    /// The model that the activations are of: does its output follow their direction or their size, and the directions found or neurons? Where
    /// they were read is the store's hook, or --hook
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// The model's tokenizer, where it isn't beside it
    #[arg(long, value_name = "FILE", requires = "model")]
    pub tokenizer: Option<PathBuf>,
    /// Text for the model, a document a line [default: the model makes its own]
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "model")]
    pub text: Vec<PathBuf>,
}

/// Train a toy model whose features are known, and print what it learned beside what theory says
///
/// NAME is a toy, or "list" to see them all. "superlens toy NAME --help" shows the settings of one.
#[derive(Args, Debug)]
#[command(disable_help_flag = true, after_help = toys())]
pub struct Toy {
    /// The toy, or "list"
    #[arg(required_unless_present = "help")]
    pub name: Option<String>,
    /// Print help: with NAME the settings of that toy and the keys of its JSON
    #[arg(short, long)]
    pub help: bool,
    /// Change a setting; may be given many times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Models trained side by side, over which some settings may vary
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub instances: u32,
    /// Folder for report.html, report.json and the figures; without it nothing is written
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Run an experiment and judge what it must show
///
/// FILE is a TOML file like those in experiments/: a toy with its settings, and claims with the range in which the median
/// over the seeds must lie. --seed is the first of the seeds. The exit code is 0 if all claims are met, but for those that the file says are not, else 1.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens run experiments/headline.toml
  superlens run experiments/headline.toml --out runs/headline --json")]
pub struct Run {
    /// The experiment
    pub file: PathBuf,
    /// Folder for report.json; without it nothing is written
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Which part of a file or a store holds the activations.
#[derive(Args, Debug)]
pub struct Part {
    /// Which array of an .npz or .safetensors file to read
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Read an array of more than two dimensions: all axes but the last become rows
    #[arg(long)]
    pub flatten: bool,
    /// Which hook of a store to read, where it has several; for a crosscoder several, with commas between them
    #[arg(long, value_name = "NAME")]
    pub hook: Option<String>,
}

/// Examples, and a line on every toy.
fn toys() -> String {
    let mut help = String::from(
        "Examples:
  superlens toy list
  superlens toy relu_output --help
  superlens toy relu_output --out runs/superposition
  superlens toy relu_output --set n_features=20 --set d_hidden=5 --set importance=0.7 --instances 8
  superlens toy relu_output --set density=0.05 --set restarts=8 --instances 1 --json

--json prints {model, seconds, instance_steps_per_s, instances: [{density, seed, loss, n_represented,
feature_dimensionality, W, b, …}]}; loss is the mean over batch and features on fresh rows. Each toy has keys of its
own: see its help.

Toys:
",
    );
    let widest = TOYS.iter().map(|toy| toy.name.len()).max().unwrap_or(0);
    TOYS.iter().for_each(|toy| help.push_str(&format!("  {:widest$}  {}\n", toy.name, toy.about)));
    help
}

/// The long help of a subcommand, as clap prints it.
pub fn command_help(name: &str) -> String {
    let mut cli = Cli::command();
    cli.build();
    let help = cli.find_subcommand_mut(name).map(|command| command.render_long_help().to_string());
    help.unwrap_or_else(|| panic!("no command called {name}"))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum BasisArg {
    /// Yes, they are neurons: read after a non-linearity
    Privileged,
    /// No: a residual stream or a linear bottleneck
    None,
    /// Not known: looked at as if they were neurons, and told so
    Unknown,
}

impl BasisArg {
    pub fn basis(self) -> Basis {
        match self {
            BasisArg::Privileged => Basis::Privileged,
            BasisArg::None => Basis::None,
            BasisArg::Unknown => Basis::Unknown,
        }
    }

    /// The word as it is typed.
    pub fn of(basis: Basis) -> &'static str {
        match basis {
            Basis::Privileged => "privileged",
            Basis::None => "none",
            Basis::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(|text| text.to_string()).unwrap_or_default();
            assert!(help.contains(&format!("  superlens {}", command.get_name())), "{}", command.get_name());
        }
    }

    #[test]
    fn global_flags_stand_before_and_after_the_command() {
        for line in ["superlens --seed 3 --json demo", "superlens demo --json --seed 3"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!((cli.global.seed, cli.global.json), (3, true));
        }
        assert!(Cli::try_parse_from(["superlens", "demo", "--threads", "0"]).is_err());
    }
}
