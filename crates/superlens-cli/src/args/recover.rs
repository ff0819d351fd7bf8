//! What can be typed after `superlens recover`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use superlens::geometry::recover::methods::METHODS;
use superlens::geometry::recover::planted::Amplitudes;

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
    /// Read arrays of more than two dimensions: all axes but the last become rows
    #[arg(long)]
    pub flatten: bool,
    /// The directions are the columns of the file
    #[arg(long)]
    pub transpose: bool,
    /// Random directions instead: N atoms in D dimensions
    #[arg(long, value_name = "N,D", allow_hyphen_values = true)]
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
    /// Sizes of planted coefficients: uniform (1 to 2), constant or gaussian [default: uniform]
    #[arg(long, value_name = "LAW")]
    pub amplitudes: Option<String>,
    /// How to find them, see below
    #[arg(long, value_name = "NAME", default_value = METHODS[0].name)]
    pub method: String,
    /// Weight of the absolute coefficients of unit atoms, whatever lengths the directions have: a number, "universal" for SIGMA √(2 ln N), or a path HI..LO [default: universal with noise]
    #[arg(long, value_name = "LAMBDA", allow_hyphen_values = true)]
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
    #[arg(long, value_name = "LIST", default_value = "0.1,0.25,0.5", allow_hyphen_values = true)]
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
success, precision, recall, error, squared_error, objective, gap, largest_gap, largest_violation, unconverged, seconds,
rows_per_s}, …], …}, one entry a λ, or one. active counts every coefficient that is not zero, however small. objective is
½ ‖x − s D‖² + λ ‖s‖₁ with s the coefficients of unit atoms, before --debias; coefficients that are written belong to the
directions as they were given. unconverged rows break an optimality condition by more than λ / 1000.

Methods:
",
    );
    let widest = METHODS.iter().map(|m| m.name.len()).max().unwrap_or(0);
    METHODS.iter().for_each(|m| help.push_str(&format!("  {:widest$}  {}\n", m.name, m.about)));
    help
}
