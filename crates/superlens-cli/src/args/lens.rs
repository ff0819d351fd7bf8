//! What can be typed after `superlens lens`, `superlens attention` and `superlens promotes`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use super::{ModelFiles, Prediction, Prompt};

/// Read a text's residual streams by the model's output, and take a prediction apart
///
/// At one position: the likeliest next tokens by the stream as it enters each block (the logit lens), and how much of the logit of a token
/// comes from the embedding, each head and each MLP (direct logit attribution).
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("needs_model").arg("model").required(true)))]
#[command(after_help = "\
Examples:
  superlens lens --model gpt2 --text prompt.txt
  superlens lens --model gpt2 --text prompt.txt --position 7 --token \" Paris\" --top 3 --json
  superlens lens --model gpt2 --token-ids 464,3139,286 --token-id 6342

--json prints {tokens, position, token, lens: [{stream, next: [{token, id, probability}]}], logit, capped, parts: [{part, logit}],
bias}. The parts and the bias add up to the logit; the scale of the last norm is taken as it is. Where the model caps its logits (Gemma 2), capped
is what it makes of the logit, otherwise null.")]
pub struct Lens {
    #[command(flatten)]
    pub model: ModelFiles,
    #[command(flatten)]
    pub prompt: Prompt,
    #[command(flatten)]
    pub prediction: Prediction,
    /// How many tokens to show of each stream
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = super::one_at_least)]
    pub top: usize,
}

/// Draw where the heads of a model look in a text
///
/// Writes one page that opens offline: a picture for each layer, a square for each head, a row for each token.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("needs_model").arg("model").required(true)))]
#[command(after_help = "\
Examples:
  superlens attention --model gpt2 --text prompt.txt --out heads.html
  superlens attention --model gpt2 --text prompt.txt --layers 5,6 --out heads.html --json

--json prints {tokens, heads: [{layer, head, first, previous, itself}], out}: how much of its attention a head gives to the first token, the one
before and the token itself, on average over the tokens after the first. \"superlens run-model\" writes the patterns as numbers.")]
pub struct Attention {
    #[command(flatten)]
    pub model: ModelFiles,
    #[command(flatten)]
    pub prompt: Prompt,
    /// These layers only, counted from 0
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub layers: Vec<usize>,
    /// The page to write, a new .html file
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Say which next tokens neurons, latents or directions promote and suppress
///
/// By their output weights alone, through the model's last norm and output; the norm's scale, which differs from text to text, is left out.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("needs_model").arg("model").required(true)))]
#[command(group(ArgGroup::new("which").args(["columns", "direction", "latents"]).required(true)))]
#[command(after_help = "\
Examples:
  superlens promotes --model gpt2 --hook blocks.3.mlp.hook_post --columns 17,512
  superlens promotes --model gpt2 --hook blocks.6.hook_resid_pre --sae runs/sae --latents 41
  superlens promotes --model gpt2 --hook blocks.6.hook_resid_pre --direction sentiment.npy --json

--json prints [{what, promoted: [{token, id, logit}], suppressed: [...]}].")]
pub struct Promotes {
    #[command(flatten)]
    pub model: ModelFiles,
    /// Where the neurons, latents or directions are, by the name of TransformerLens
    #[arg(long, value_name = "NAME")]
    pub hook: String,
    /// Columns: neurons
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "sae")]
    pub columns: Vec<usize>,
    /// Rows of a .npy, .npz or .safetensors file
    #[arg(long, value_name = "FILE", conflicts_with = "sae")]
    pub direction: Option<PathBuf>,
    /// Which array of the file, where it holds several
    #[arg(long, value_name = "NAME", requires = "direction")]
    pub key: Option<String>,
    /// Latents of a dictionary
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "sae")]
    pub latents: Vec<usize>,
    #[arg(long, value_name = "DIR", help = "The dictionary")]
    pub sae: Option<PathBuf>,
    /// How many tokens to show each way
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = super::one_at_least)]
    pub top: usize,
}
