//! What can be typed after `superlens intervene`, and of interventions after `generate`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use super::{ModelFiles, Sample};

/// Change activations of a model, and say what that does to its predictions
///
/// Runs the texts with and without the change. What is changed are columns (neurons), heads, the component along a direction, or latents of
/// a dictionary; the rest of the activations stays as it is.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("needs_model").arg("model").required(true)))]
#[command(group(ArgGroup::new("needs_text").arg("text").required(true)))]
#[command(group(ArgGroup::new("needs_hook").arg("hook").required(true)))]
#[command(group(ArgGroup::new("needs_do").arg("do").required(true)))]
#[command(after_help = "\
Examples:
  superlens intervene --model gpt2 --text a.txt --hook blocks.3.mlp.hook_post --columns 17,512 --do mean
  superlens intervene --model gpt2 --text a.txt --hook 'blocks.*.attn.hook_z' --each --do zero
  superlens intervene --model gpt2 --text a.txt --hook blocks.6.hook_resid_pre --direction sentiment.npy --do zero
  superlens intervene --model gpt2 --text a.txt --hook blocks.6.hook_resid_pre --sae runs/sae --latents 41 --do steer --by 8 --show 10
  superlens intervene --model gpt2 --text john.txt --hook 'blocks.*.hook_resid_pre' --each --do patch --from mary.txt --positions 9 --show 5

--json prints {tokens, loss, changes: [{hooks, loss, kl, next}]}, next with --show; losses and KL(unchanged, changed) are nats a token. The first token of a
sequence is not predicted and not counted.")]
pub struct Intervene {
    #[command(flatten)]
    pub model: ModelFiles,
    #[command(flatten)]
    pub sample: Sample,
    #[command(flatten)]
    pub change: ChangeArgs,
    /// Change the hooks one at a time, in place of all at once
    #[arg(long)]
    pub each: bool,
    /// Also show the N likeliest tokens after the last text, before and after the change
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub show: usize,
}

/// What is changed, and what becomes of it.
#[derive(Args, Debug)]
pub struct ChangeArgs {
    /// Where: hooks by the names of TransformerLens; * stands for anything
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub hook: Vec<String>,
    /// What becomes of it
    #[arg(id = "do", long = "do", required = false, value_enum, value_name = "CHANGE")]
    pub change: ChangeArg,
    /// How much: the factor of "scale", what "steer" adds
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub by: Option<f32>,
    /// These columns only (neurons)
    #[arg(long, value_name = "LIST", value_delimiter = ',', group = "what")]
    pub columns: Vec<usize>,
    /// These attention heads only, at hook_z, hook_q, hook_k or hook_v
    #[arg(long, value_name = "LIST", value_delimiter = ',', group = "what")]
    pub heads: Vec<usize>,
    /// The component along a direction: a row of a .npy, .npz or .safetensors file
    #[arg(long, value_name = "FILE", group = "what")]
    pub direction: Option<PathBuf>,
    /// Which row of the file
    #[arg(long, value_name = "N", requires = "direction")]
    pub row: Option<usize>,
    /// Which array of the file, where it holds several
    #[arg(long, value_name = "NAME", requires = "direction")]
    pub key: Option<String>,
    /// A dictionary of these activations: for "splice", or with --latents
    #[arg(long, value_name = "DIR")]
    pub sae: Option<PathBuf>,
    /// These latents of it
    #[arg(long, value_name = "LIST", value_delimiter = ',', group = "what", requires = "sae")]
    pub latents: Vec<usize>,
    /// For "splice": add what the dictionary leaves unexplained
    #[arg(long, requires = "sae")]
    pub keep_error: bool,
    /// For "splice" with a transcoder, which is put at --hook: the hook that it reads [default: the one that its files say]
    #[arg(long, value_name = "NAME", requires = "sae")]
    pub reads: Option<String>,
    /// For "patch": a text whose activations are put in the place of those at the same positions
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// At these places of each sequence only, counted from 0
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub positions: Option<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChangeArg {
    /// Zero
    Zero,
    /// Its mean over the texts
    Mean,
    /// That of another token of the texts, drawn for each token
    Resample,
    /// --by times itself
    Scale,
    /// --by more: times the direction, or of each column or latent
    Steer,
    /// That at the same position of another text
    Patch,
    /// The reconstruction of a dictionary, or what a transcoder makes of an earlier hook
    Splice,
}
