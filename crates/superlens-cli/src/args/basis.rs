//! What can be typed after `superlens basis`.

use std::path::PathBuf;

use clap::Args;

use super::Part;

/// Say whether neurons are easier to interpret than random directions
///
/// Scores every neuron and as many random directions of the layer: by the tails of their values, by labels, and by tokens where the input has them. A
/// layer whose features lie along neurons scores far above its random directions, a rotated one does not.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens basis store --hook blocks.1.mlp.hook_post
  superlens basis mlp.npy --labels concepts.npy --json

--json prints {rows, scores: [{id, about, effect, low, high, neurons: [...], random: [...]}]}. effect is Cliff's delta: the probability that a neuron
scores above a random direction, less that of the opposite; low and high are its 90 % interval.")]
pub struct BasisAgainstRandom {
    /// The activations
    pub input: PathBuf,
    #[command(flatten)]
    pub part: Part,
    /// What the rows are about: rows × concepts of zeros and ones
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Which array of the labels' file, where it holds several
    #[arg(long, value_name = "NAME", requires = "labels")]
    pub labels_key: Option<String>,
    /// Random directions [default: as many as neurons, 100 at least and 1000 at most]
    #[arg(long, value_name = "N", value_parser = super::one_at_least)]
    pub random: Option<usize>,
}
