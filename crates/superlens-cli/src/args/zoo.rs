//! What can be typed after `superlens zoo`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use superlens::diagnose::zoo::Split;

/// Made cases whose cause is known: see them, make them, put the diagnosis to them
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens zoo list
  superlens zoo make rotation --cases 3 --out cases
  superlens zoo exam --split test --cases 8 --out outcomes.jsonl

Families that calibrate the verdict and families that only test it are kept apart. Two nulls of which there is but one kind, Gaussian clouds and
slow streams, are in both, with other draws.")]
pub struct Zoo {
    #[command(subcommand)]
    pub command: ZooCommand,
}

#[derive(Subcommand, Debug)]
pub enum ZooCommand {
    /// The families, what they are made of, and what they are for
    List,
    Make(ZooMake),
    Exam(ZooExam),
    Neurons(ZooNeurons),
    Counts(ZooCounts),
    Alarms(ZooAlarms),
    Trained(ZooTrained),
    Calibrate(ZooCalibrate),
}

/// Learn the verdict's weights from outcomes of the families that calibrate
///
/// Writes the file that the program is built with, crates/superlens/src/diagnose/calibration.json.
#[derive(Args, Debug)]
pub struct ZooCalibrate {
    /// Outcomes, as "superlens zoo exam --split calibrate --out FILE" writes them
    #[arg(required = true, value_name = "FILE")]
    pub outcomes: Vec<PathBuf>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Write cases of one family: NAME-0.npy, NAME-0-labels.npy, …, and a JSON line each of what is true
#[derive(Args, Debug)]
pub struct ZooMake {
    /// The family, a name that "superlens zoo list" prints
    pub family: String,
    /// How many cases
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub cases: u64,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Diagnose cases of every family and say how often the answer was right
#[derive(Args, Debug)]
pub struct ZooExam {
    /// Which families
    #[arg(long, value_enum, default_value_t = SplitOf::Test, value_name = "SPLIT")]
    pub split: SplitOf,
    /// Only families whose names start so
    #[arg(long, value_name = "PREFIX")]
    pub only: Option<String>,
    /// Cases a family
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub cases: u64,
    /// More of the families of a cause that would have fewer cases than this
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u64).range(..=100_000))]
    pub of_cause: u64,
    /// Write a JSON line for each case: truth, answer, alternatives, and what the verdict weighed
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write the scores as a page of Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

/// Diagnose layers that mix causes and say how often the cause of a neuron was right
///
/// Each layer is two to four blocks of neurons from different test families side by side, in random order; every third comes with labels.
#[derive(Args, Debug)]
pub struct ZooNeurons {
    /// How many layers
    #[arg(long, default_value_t = 12, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub cases: u64,
    #[command(flatten)]
    pub to: Written,
}

/// Count the features of made layers and say how near the counts were
///
/// Sparse features along neurons, rotated, and up to four a dimension, where a count is held to the truth; and eight a dimension, rare features and
/// too few rows, where it can only be a lower bound.
#[derive(Args, Debug)]
pub struct ZooCounts {
    /// Layers a setting
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub cases: u64,
    #[command(flatten)]
    pub to: Written,
}

/// Put small cases without features to the tests and say how often each rejects its null where it is true
#[derive(Args, Debug)]
pub struct ZooAlarms {
    /// Cases a family
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub cases: u64,
    #[command(flatten)]
    pub to: Written,
}

/// Train toys from several seeds, diagnose their layers and say how often the answer was right
#[derive(Args, Debug)]
pub struct ZooTrained {
    /// Seeds a toy, from --seed on
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub seeds: u64,
    #[command(flatten)]
    pub to: Written,
}

/// Where what came out is written, beside standard output.
#[derive(Args, Debug)]
pub struct Written {
    /// Write a JSON line for each outcome: what is true, and what was said
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write the scores as a page of Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SplitOf {
    /// Families that calibrate
    Calibrate,
    /// Families that test
    Test,
    /// A second set that tests, written without sight of the first
    Second,
    All,
}

impl SplitOf {
    pub fn holds(self, split: Split) -> bool {
        match self {
            SplitOf::Calibrate => split == Split::Calibrate,
            SplitOf::Test => split == Split::Test,
            SplitOf::All => true,
            SplitOf::Second => false,
        }
    }
}
