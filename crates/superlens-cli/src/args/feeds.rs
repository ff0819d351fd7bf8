//! What can be typed after `superlens feeds`.

use std::path::PathBuf;

use clap::Args;

use super::ModelFiles;

/// Say which neurons of one layer feed which of a later one
///
/// By weights: what a neuron writes into the residual stream, as the later layer reads it. On text: what that adds to the later neuron's activation,
/// on the straight way, and for neurons that are asked for by every way through the model.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens feeds --model stories260K.bin --to 2
  superlens feeds --model gpt2 --from 4 --to 6 --units 17,80 --text texts.txt --json

--json prints {from, to, tokens, pairs: [{from, to, weight, weight_linear, straight}], sources: [{unit, size, targets, to}], units: [{unit, total, from:
[{unit, weight, straight, every_way}]}]}. targets is the effective number of later neurons that a neuron feeds, (Σ|s|)² / Σ s²: how far it is
spread. every_way is activation × gradient, attention and layers between included; a mean over tokens, as straight is. weight_linear is the weight into
the other branch of a gated MLP.")]
pub struct Feeds {
    #[command(flatten)]
    pub model: ModelFiles,
    /// The later layer, counted from 0
    #[arg(long, value_name = "LAYER")]
    pub to: usize,
    /// The earlier layer [default: the one before]
    #[arg(long, value_name = "LAYER")]
    pub from: Option<usize>,
    /// Neurons of the later layer to ask in full, as in 0,5,10-19
    #[arg(long, value_name = "LIST")]
    pub units: Option<String>,
    /// How many to show of everything
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = super::one_at_least)]
    pub top: usize,
    /// Text, a document a line [default: the model makes its own]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// Tokens of text
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub tokens: u64,
}
