//! What several commands take: which units of a layer, and labels of its rows.

use std::path::PathBuf;

use clap::Args;

/// What is looked at of a layer.
#[derive(Args, Debug)]
pub struct UnitsOf {
    /// The latents of an autoencoder in place of the neurons, in any format that "superlens eval" reads
    #[arg(long, value_name = "DIR", conflicts_with_all = ["directions", "random"])]
    pub sae: Option<PathBuf>,
    /// Directions in place of the neurons, one a row: a .npy, .npz or .safetensors file
    #[arg(long, value_name = "FILE", conflicts_with = "random")]
    pub directions: Option<PathBuf>,
    /// So many random directions in place of the neurons
    #[arg(long, value_name = "N", value_parser = super::one_at_least)]
    pub random: Option<usize>,
}

/// Concepts: a column of zeros and ones each.
#[derive(Args, Debug)]
pub struct LabelsOf {
    /// Rows × concepts of zeros and ones, a row for each row of the input; a .npy, .npz or .safetensors file
    #[arg(long, value_name = "FILE")]
    pub labels: PathBuf,
    /// Which array of the labels' file, where it holds several
    #[arg(long, value_name = "NAME")]
    pub labels_key: Option<String>,
    /// Names of the concepts, one a line [default: their numbers]
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
}
