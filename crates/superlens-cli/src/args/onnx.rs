//! What can be typed after `superlens harvest-onnx`.

use std::path::PathBuf;

use clap::Args;

use super::store::DTypeArg;

/// Store the activations of any model that is a graph of ONNX
///
/// Computes nodes of the graph over samples from a file, and writes a store that "superlens train" and "superlens diagnose" take. For vision
/// models and oddities; "superlens harvest" is for transformers and text.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens model net.onnx
  superlens harvest-onnx net.onnx --inputs images.npy --hook /layer3/Relu_output_0 --out layer3

The graph has one input of floats, whose first axis is that of the samples. Of what a node gives, [n, d] becomes a row for each sample,
[n, t, d] one for each token, and [n, c, h, w] one for each place, channels as columns. A hook's name in the store has a dot where the node's
has a sign that no folder may have. --json prints {samples, rows, seconds, samples_per_s, hooks: {name: width}, out}.")]
pub struct HarvestOnnx {
    /// The graph, a .onnx file
    pub model: PathBuf,
    /// The samples: a .npy, .npz or .safetensors file
    #[arg(long, value_name = "FILE")]
    pub inputs: PathBuf,
    /// Which array of the file, where it holds several
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// The nodes, by the names that "superlens model" lists
    #[arg(long, value_name = "NODE", num_args = 1.., required = true)]
    pub hook: Vec<String>,
    /// The store to make: a new folder
    #[arg(long, value_name = "STORE")]
    pub out: PathBuf,
    /// A row for each sample, whatever a node gives, everything else as columns
    #[arg(long)]
    pub whole: bool,
    /// How numbers are stored
    #[arg(long, value_enum, default_value_t = DTypeArg::F16, value_name = "TYPE")]
    pub dtype: DTypeArg,
}
