//! What can be typed after `superlens neurons`.

use std::path::PathBuf;

use clap::Args;

use super::{Part, UnitsOf};

/// What the units of a layer respond to: their examples, facets and triggers
///
/// One pass over all rows keeps for every unit its moments, a histogram, its largest values and rows from every part of its range. INPUT is a
/// store of activations, or a file with one sample a row; of a store with tokens, texts are shown.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens neurons store --hook blocks.1.mlp.hook_post
  superlens neurons store --hook blocks.1.mlp.hook_post --units 12,80 --out runs/neurons
  superlens neurons store --sae runs/sae --json > latents.json
  superlens neurons pixels.npy --images digits.npy --out runs/digits

--json prints {units: [{index, mean, variance, skewness, kurtosis, density, facets, top: [{row, value, context, token, document, position, facet}],
min, max, dead, dense, examples, groups: [{low, high, examples}], histogram: [[low, high, rows]], patterns, rule}]}. A unit is dense if it is
above zero in more than a tenth of the rows. facets counts the kinds of rows, by the rest of the layer, on which it responds.")]
pub struct Neurons {
    /// The activations
    pub input: PathBuf,
    #[command(flatten)]
    pub part: Part,
    #[command(flatten)]
    pub of: UnitsOf,
    /// Only these units, as in 0,5,10-19, with all of their examples [default: all, the most polysemantic shown]
    #[arg(long, value_name = "LIST")]
    pub units: Option<String>,
    /// Examples around the largest values of a unit
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = super::one_at_least)]
    pub top: usize,
    /// Groups from which examples are drawn: of the rows above zero up to the median, 90 %, 99 % and so on
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=12))]
    pub groups: u16,
    /// Tokens of context before an example
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub before: u16,
    /// Tokens of context after it
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub after: u16,
    /// Only what one pass over the rows keeps: no facets, no triggers, no rules
    #[arg(long)]
    pub quick: bool,
    /// The images that the rows are of: samples × height × width, perhaps with channels; a .npy, .npz or .safetensors file
    #[arg(long, value_name = "FILE")]
    pub images: Option<PathBuf>,
    /// Folder for report.html and report.json; without it nothing is written
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
