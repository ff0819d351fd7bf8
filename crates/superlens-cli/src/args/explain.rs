//! What can be typed after `superlens explain`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{LabelsOf, Part, UnitsOf, one_at_least};

/// Say what units respond to: by formulas over labels, or in words that a language model finds and is then held to
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens explain compositional mlp.npy --labels concepts.npy --names concepts.txt
  superlens explain compositional store --sae runs/sae --labels concepts.npy --units 0-99 --exhaustive --json
  superlens explain simulate records/*.json --endpoint http://localhost:8080/v1 --model NAME --no-key --dry-run")]
pub struct Explain {
    #[command(subcommand)]
    pub command: ExplainCommand,
}

#[derive(Subcommand, Debug)]
pub enum ExplainCommand {
    Compositional(Box<Compositional>),
    Simulate(Box<Simulate>),
}

/// The formula over labels (AND, OR, NOT) whose rows are most nearly those in which a unit is on
///
/// Says of each unit whether the formula is coherent or joins unrelated concepts (polysemantic), and holds it against rotated rows. INPUT is a
/// .npy, .npz or .safetensors file with one sample a row, or a store of activations.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens explain compositional mlp.npy --labels concepts.npy --names concepts.txt
  superlens explain compositional mlp.npy --labels concepts.npy --quantile 0.02 --length 5 --beam 20
  superlens explain compositional resid.npy --directions probes.npy --labels concepts.npy --exhaustive --json")]
pub struct Compositional {
    /// The activation matrix
    pub input: PathBuf,
    #[command(flatten)]
    pub part: Part,
    #[command(flatten)]
    pub about: LabelsOf,
    /// A unit is on in this share of the rows, those with its largest values
    #[arg(long, default_value_t = 0.005, value_name = "SHARE", value_parser = share)]
    pub quantile: f64,
    /// Concepts in a formula at most
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub length: u8,
    /// Formulas of each length that are grown further, for each of five aims
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub beam: u16,
    /// What the intersection over union is multiplied by for each concept after the first
    #[arg(long, default_value_t = 0.99, value_name = "P", value_parser = share)]
    pub penalty: f64,
    /// Rotations of a unit's rows that its formula is held against; 0 for none
    #[arg(long, default_value_t = 19, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub draws: u16,
    /// Which units, as in 0,5,10-19 [default: all]
    #[arg(long, value_name = "LIST")]
    pub units: Option<String>,
    #[command(flatten)]
    pub of: UnitsOf,
    /// Search the best of all formulas too, and say how often the beam found one as good; for small vocabularies
    #[arg(long)]
    pub exhaustive: bool,
}

/// Explain units in words, simulate their activations from the words, and score the words, by a model behind an OpenAI-compatible address
///
/// RECORDS are neuron records (JSON, one file a unit). What is asked, and about how many tokens that takes, is told before it starts. Answers are kept:
/// what was interrupted goes on where it was, and the same again costs nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens explain simulate records/*.json --endpoint http://localhost:8080/v1 --model NAME --no-key
  superlens explain simulate records/*.json --model NAME --price-in 0.15 --price-out 0.6 --dry-run
  superlens explain simulate records/*.json --model NAME --price-in 0.15 --price-out 0.6 --budget 2 --shuffled --json")]
pub struct Simulate {
    /// Neuron records, one file a unit
    #[arg(required = true, value_name = "RECORDS")]
    pub records: Vec<PathBuf>,
    #[command(flatten)]
    pub server: Server,
    /// Score these explanations instead of asking for some: what --json printed, or [{\"layer\": 0, \"unit\": 0, \"explanation\": \"…\"}, …]
    #[arg(long, value_name = "FILE")]
    pub explanations: Option<PathBuf>,
    /// Which scores, with commas between them
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "simulation,detection,fuzzing,intruder"
    )]
    pub scores: Vec<ScoreArg>,
    /// Score each unit with another one's explanation too: what a score is worth where the explanation is wrong
    #[arg(long)]
    pub shuffled: bool,
    /// Records of each kind that are explained from, calibrated on and scored on
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = one_at_least)]
    pub examples: usize,
    /// How often the same is asked until the answer can be read
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    pub attempts: u32,
    /// Money for a million tokens sent
    #[arg(long, value_name = "MONEY", value_parser = money, requires = "price_out")]
    pub price_in: Option<f64>,
    /// Money for a million tokens answered
    #[arg(long, value_name = "MONEY", value_parser = money, requires = "price_in")]
    pub price_out: Option<f64>,
    /// Don't begin if the estimate is above this
    #[arg(long, value_name = "MONEY", value_parser = money, requires = "price_in")]
    pub budget: Option<f64>,
    /// Begin even if the estimate is above the budget
    #[arg(long)]
    pub yes: bool,
    /// Print the estimate and end
    #[arg(long)]
    pub dry_run: bool,
}

/// Who is asked, and how.
#[derive(Args, Debug)]
#[command(next_help_heading = "The model that is asked")]
pub struct Server {
    /// The address, as in https://HOST/v1 [default: OPENAI_BASE_URL]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The model's name there
    #[arg(long, value_name = "NAME")]
    pub model: String,
    /// The environment variable that holds the key
    #[arg(long, default_value = "OPENAI_API_KEY", value_name = "NAME")]
    pub key_env: String,
    /// Send no key
    #[arg(long)]
    pub no_key: bool,
    /// Folder that keeps the answers
    #[arg(long, default_value = "superlens-answers", value_name = "DIR")]
    pub cache: PathBuf,
    /// How often a request that failed is sent again
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=20))]
    pub retries: u32,
    /// Requests a minute at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub per_minute: Option<u32>,
    /// Requests under way at once
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub parallel: u16,
    /// Seconds after which a request is given up
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Parameters that the server doesn't know and that are left out
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub omit: Vec<Parameter>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScoreArg {
    Simulation,
    Detection,
    Fuzzing,
    Intruder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Parameter {
    Temperature,
    Seed,
    MaxTokens,
}

/// Above 0, 1 at most.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v > 0.0 && v <= 1.0 => Ok(v),
        _ => Err("expected a number above 0, 1 at most".into()),
    }
}

fn money(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v >= 0.0 && v.is_finite() => Ok(v),
        _ => Err("expected a number from 0 on".into()),
    }
}
