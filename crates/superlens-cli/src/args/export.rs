//! What can be typed after `superlens export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Part, UnitsOf};

/// Write what units respond to in the files of other tools
///
/// INPUT is a store with tokens, or a batch-N.json of SAEDashboard, which is turned into another form.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens export store --sae runs/sae --to neuronpedia --model-id gpt2-small --source-id 6-res-own --out exports
  superlens export store --hook blocks.1.mlp.hook_post --to openai --units 3,17 --out records
  superlens export store --sae runs/sae --to delphi --splits 5 --out cache
  superlens export batch-0.json --to openai --out records

Rows that follow one another in a document are a sequence. What a form asks for and isn't known (logits, correlations with other features) is left
empty. --json prints {to, units, files, out}.")]
pub struct Export {
    /// The activations, or a batch of SAEDashboard
    pub input: PathBuf,
    #[command(flatten)]
    pub part: Part,
    #[command(flatten)]
    pub of: UnitsOf,
    /// The form
    #[arg(long, value_enum, value_name = "FORM")]
    pub to: Form,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Only these units, as in 0,5,10-19 [default: all]
    #[arg(long, value_name = "LIST")]
    pub units: Option<String>,
    /// Examples around the largest values of a unit
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = super::one_at_least)]
    pub top: usize,
    /// Groups of the rows above zero, up to the median, 90 %, 99 % and so on, and examples of each
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=12))]
    pub groups: u16,
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = super::one_at_least)]
    pub each: usize,
    /// Tokens before and after an example
    #[arg(long, value_name = "N", default_value_t = 63, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub before: u16,
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub after: u16,
    /// Units of a file
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = super::one_at_least)]
    pub batch: usize,
    /// Files of a cache of delphi
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = super::one_at_least)]
    pub splits: usize,
    /// The model's name in the form [default: the store's]
    #[arg(long, value_name = "NAME")]
    pub model_id: Option<String>,
    /// Neuronpedia's source, LAYER-SET [default: the layer of the hook, and "own"]
    #[arg(long, value_name = "NAME")]
    pub source_id: Option<String>,
    /// Who is named as the creator
    #[arg(long, value_name = "NAME", default_value = "superlens")]
    pub creator: String,
    /// The time that rows are marked with, as 2026-01-31T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    pub created: Option<String>,
    /// The texts' name
    #[arg(long, value_name = "NAME", default_value = "")]
    pub dataset: String,
}

/// Forms of other tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A NeuronRecord in JSON for each unit
    Openai,
    /// The folder of a bulk import
    Neuronpedia,
    /// batch-N.json
    Saedashboard,
    /// The cache of latents
    Delphi,
}
