//! What can be typed. The help texts are part of the product: each command shows an example that works.

mod geometry;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use superlens::diagnose::Basis;
use superlens::geometry::recover::methods::METHODS;
use superlens::geometry::recover::planted::Amplitudes;
use superlens::sae::ARCHES;
use superlens::toy::lab::TOYS;

pub use geometry::{Coherence, Geometry, GeometryCommand, Pack, Readout, Room, Table};

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

#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(Demo),
    Diagnose(Diagnose),
    Toy(Toy),
    Run(Run),
    Recover(Box<Recover>),
    Train(Box<Train>),
    Eval(Eval),
    Geometry(Geometry),
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
/// INPUT is a .npy, .npz or .safetensors file with one sample a row and one neuron a column.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens diagnose mlp.npy --basis privileged --out runs/mlp
  superlens diagnose model.safetensors --key layers.0.mlp_hidden --json
  superlens diagnose resid.npz --key resid --flatten --basis none")]
pub struct Diagnose {
    /// The activation matrix
    pub input: PathBuf,
    /// Which array of an .npz or .safetensors file to read
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Read an array of more than two dimensions: all axes but the last become rows
    #[arg(long)]
    pub flatten: bool,
    /// Whether the columns mean something by themselves
    #[arg(long, value_enum, default_value_t = BasisArg::Unknown, value_name = "KIND")]
    pub basis: BasisArg,
    /// Folder for report.html, report.json and the figures; without it nothing is written
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
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

/// Train a sparse autoencoder, or another dictionary, on activations
///
/// Writes a run folder with the dictionary in the layout of SAELens, the metrics of every look, and checkpoints: whatever ends
/// the training, --resume goes on from the last one with the same bytes.
#[derive(Args, Debug)]
#[command(after_help = arches())]
pub struct Train {
    /// A config.toml like those in run folders, for settings that no flag gives
    pub config: Option<PathBuf>,
    /// The activation matrix: .npy, .npz or .safetensors
    #[arg(long, value_name = "FILE", required_unless_present_any = ["config", "resume"])]
    pub activations: Option<PathBuf>,
    /// Which array of an .npz or .safetensors file to read
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Read an array of more than two dimensions: all axes but the last become rows
    #[arg(long)]
    pub flatten: bool,
    /// The architecture [default: topk]
    #[arg(long, value_name = "NAME")]
    pub arch: Option<String>,
    /// Latents [default: 8 times the columns]
    #[arg(long, value_name = "N")]
    pub d_sae: Option<usize>,
    /// Active latents a row, for topk, abs_topk, batch_topk and matryoshka [default: 32]
    #[arg(long, value_name = "N")]
    pub k: Option<usize>,
    /// Active latents a row that jumprelu aims at [default: 32]
    #[arg(long, value_name = "X")]
    pub target_l0: Option<f64>,
    /// Weight of the penalty of relu, p_anneal and gated, on inputs whose mean square is 1 a column [default: 0.1]
    #[arg(long, value_name = "X")]
    pub l1: Option<f64>,
    /// Widths of the prefixes of matryoshka, like 512,2048 [default: halves of halves]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub widths: Option<Vec<usize>>,
    /// Rows a step [default: 2048]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Peak learning rate [default: 2e-4 / sqrt(d_sae / 16384)]
    #[arg(long, value_name = "X")]
    pub lr: Option<f64>,
    /// Training steps [default: one pass over the rows, 1000 at least]
    #[arg(long, value_name = "N", conflicts_with = "tokens")]
    pub steps: Option<u64>,
    /// Rows to train on, instead of --steps
    #[arg(long, value_name = "N")]
    pub tokens: Option<u64>,
    /// Steps over which learning rate and penalties rise [default: a twentieth of the steps, 1000 at most]
    #[arg(long, value_name = "N")]
    pub warmup: Option<u64>,
    /// Rows without firing after which a latent is dead [default: 10 million, or a fifth of the training if that is less]
    #[arg(long, value_name = "N")]
    pub dead_after: Option<u64>,
    /// Steps between checkpoints [default: 500]
    #[arg(long, value_name = "N")]
    pub checkpoint_every: Option<u64>,
    /// The run folder to make
    #[arg(long, value_name = "DIR", required_unless_present = "resume")]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "activations", "out", "arch", "d_sae", "k", "target_l0", "l1",
        "widths", "batch", "lr", "steps", "tokens", "warmup", "dead_after", "checkpoint_every", "key", "flatten"])]
    pub resume: Option<PathBuf>,
}

/// Measure a dictionary on activations
///
/// The best reconstruction is often not the best dictionary: with --truth it is held against directions that are known.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens eval --sae runs/mlp3/sae --activations held_out.npy
  superlens eval --sae runs/toy/sae --activations toy.npy --truth directions.npy --json")]
pub struct Eval {
    /// The dictionary: a folder in the layout of SAELens, or a run folder
    #[arg(long, value_name = "DIR")]
    pub sae: PathBuf,
    /// The activation matrix: .npy, .npz or .safetensors
    #[arg(long, value_name = "FILE")]
    pub activations: PathBuf,
    /// Which array of an .npz or .safetensors file to read
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Read an array of more than two dimensions: all axes but the last become rows
    #[arg(long)]
    pub flatten: bool,
    /// True directions, one a row
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// True activations, rows x directions
    #[arg(long, value_name = "FILE", requires = "truth")]
    pub truth_acts: Option<PathBuf>,
}

/// Examples, and a line on every architecture.
fn arches() -> String {
    let mut help = String::from(
        "Examples:
  superlens train --activations mlp3.npy --arch batch_topk --d-sae 4608 --k 32 --out runs/mlp3
  superlens train --activations mlp3.npy --d-sae 4608 --k 32 --batch 2048 --lr 3e-4 --steps 40 --out runs/short --json
  superlens train --resume runs/mlp3

--json prints {arch, steps, tokens, seconds, tokens_per_s, peak_anon_mb, fvu, l0, dead_fraction}; seconds and tokens_per_s are over
the training steps after the first two.

Architectures:
",
    );
    let widest = ARCHES.iter().map(|arch| arch.id.len()).max().unwrap_or(0);
    ARCHES.iter().for_each(|arch| help.push_str(&format!("  {:widest$}  {}\n", arch.id, arch.about)));
    help
}

/// Run an experiment and judge what it must show
///
/// FILE is a TOML file like those in experiments/: a toy with its settings, and claims with the range in which the median
/// over the seeds must lie. The exit code is 0 if all claims are met, but for those that the file says are not, else 1.
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

/// Find which few of many directions make up each row
///
/// The directions are the rows of DICTIONARY, a .npy, .npz or .safetensors file, or random ones (--random). The rows come from a
/// file (--signals), or are planted, so that the answer is known: --rows N of them with --k active atoms each.
/// "superlens recover phase" measures how many active atoms are too many.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true, after_help = methods())]
pub struct Recover {
    #[command(subcommand)]
    pub phase: Option<RecoverWhat>,
    #[command(flatten)]
    pub solve: RecoverRows,
}

#[derive(Debug, Subcommand)]
pub enum RecoverWhat {
    Phase(RecoverPhase),
}

#[derive(Args, Debug)]
pub struct RecoverRows {
    /// The directions, one a row
    pub dictionary: Option<PathBuf>,
    /// Which array of the dictionary's file to read
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// The directions are the columns of the file
    #[arg(long)]
    pub transpose: bool,
    /// Random directions instead: N atoms in D dimensions
    #[arg(long, value_name = "N,D")]
    pub random: Option<String>,
    /// The rows to take apart, as wide as the dictionary
    #[arg(long, value_name = "FILE")]
    pub signals: Option<PathBuf>,
    /// Which array of the signals' file to read
    #[arg(long, value_name = "NAME")]
    pub signals_key: Option<String>,
    /// Rows to plant [default: 1000]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub rows: Option<String>,
    /// Active atoms of a planted row, and at most of what omp and cosamp find
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub k: Option<String>,
    /// Standard deviation of the noise that planted rows get; with --signals, of the noise that they have [default: 0]
    #[arg(long, value_name = "SIGMA", allow_negative_numbers = true)]
    pub noise: Option<String>,
    /// Sizes of planted coefficients: uniform (1 to 2), constant or gaussian
    #[arg(long, value_name = "LAW", default_value = Amplitudes::Uniform.id())]
    pub amplitudes: String,
    /// How to find them, see below
    #[arg(long, value_name = "NAME", default_value = METHODS[0].name)]
    pub method: String,
    /// Weight of the absolute coefficients: a number, "universal" for SIGMA √(2 ln N), or a path HI..LO [default: universal with noise]
    #[arg(long, value_name = "LAMBDA", allow_negative_numbers = true)]
    pub lambda: Option<String>,
    /// Values of λ on a path [default: 10]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub steps: Option<String>,
    /// No coefficient is negative
    #[arg(long)]
    pub non_negative: bool,
    /// Fit what lasso and fista found again without the penalty, which shrinks it
    #[arg(long)]
    pub debias: bool,
    /// Folder for coefficients.safetensors, report.json and the figures; without it nothing is written
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Measure how many active atoms are too many, beside Donoho and Tanner's weak threshold
///
/// At each δ (dimensions over atoms) rows with k planted atoms are recovered, each from a random dictionary of its own; ρ = k over
/// dimensions at which half succeed is held against the formula.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens recover phase --atoms 300 --trials 20
  superlens recover phase --deltas 0.1,0.25,0.5 --non-negative --out runs/phase
  superlens recover phase --method omp --amplitudes gaussian --json

--json prints {delta, rho_half, rho_theory, tried: [[[rho, share], …], …], …}.")]
pub struct RecoverPhase {
    /// Atoms of each random dictionary
    #[arg(long, value_name = "N", default_value = "1000", allow_negative_numbers = true)]
    pub atoms: String,
    /// Dimensions over atoms, each between 0 and 1
    #[arg(long, value_name = "LIST", default_value = "0.1,0.25,0.5", allow_negative_numbers = true)]
    pub deltas: String,
    /// Rows at each k that is tried
    #[arg(long, value_name = "N", default_value = "50", allow_negative_numbers = true)]
    pub trials: String,
    /// How to find them, as for recover
    #[arg(long, value_name = "NAME", default_value = "amp")]
    pub method: String,
    /// Sizes of planted coefficients: uniform (1 to 2), constant or gaussian
    #[arg(long, value_name = "LAW", default_value = Amplitudes::Uniform.id())]
    pub amplitudes: String,
    /// No coefficient is negative
    #[arg(long)]
    pub non_negative: bool,
    /// Folder for report.json and the figure; without it nothing is written
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Examples, and a line on every method of recovery.
fn methods() -> String {
    let mut help = String::from(
        "Examples:
  superlens recover --random 512,128 --k 6 --method omp
  superlens recover --random 512,128 --k 6 --noise 0.05 --method lasso --debias
  superlens recover --random 512,128 --k 6 --noise 0.05 --method lasso --lambda 1..0.01 --steps 12 --out runs/path
  superlens recover sae_weights.safetensors --key W_dec --signals resid.npy --k 32 --non-negative --json
  superlens recover phase --atoms 300 --trials 20

--json prints {method, atoms, dims, rows, coherence, guaranteed_k, gram_seconds, path: [{lambda, active, residual,
success, precision, recall, error, squared_error, objective, gap, seconds, rows_per_s}, …], …}, one entry a λ, or one.

Methods:
",
    );
    let widest = METHODS.iter().map(|m| m.name.len()).max().unwrap_or(0);
    METHODS.iter().for_each(|m| help.push_str(&format!("  {:widest$}  {}\n", m.name, m.about)));
    help
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
    pub fn id(self) -> &'static str {
        match self {
            BasisArg::Privileged => "privileged",
            BasisArg::None => "none",
            BasisArg::Unknown => "unknown",
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
