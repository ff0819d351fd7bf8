//! What can be typed after `superlens fetch`, `harvest`, `run-model`, `generate` and `model`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use super::ChangeArgs;
use super::store::DTypeArg;

/// Which model, and its tokenizer. Commands that can't do without have a group that requires it: an argument of an optional struct that is
/// required by itself is always required.
#[derive(Args, Debug)]
pub struct ModelFiles {
    /// The model: a folder with config.json and model.safetensors (or its shards), a .bin file of llama2.c, or the name of a model in the
    /// Hugging Face cache, OWNER/NAME[@REVISION]
    #[arg(long, required = false, value_name = "DIR")]
    pub model: PathBuf,
    /// The tokenizer, where it isn't beside the model: tokenizer.json, a folder, or a tok*.bin of llama2.c
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
}

/// Get a model from the Hugging Face hub
///
/// The only command that opens a connection, and only to fetch the model that is named. The files that superlens reads go into the cache that
/// Python's tools use too; each is held against its hash. A fetch that was ended goes on if the same is typed again.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens fetch openai-community/gpt2
  superlens fetch EleutherAI/pythia-70m@step3000
  superlens model openai-community/gpt2

Reads HF_HUB_CACHE, HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE as huggingface_hub does. --json prints {id, revision, commit, dir,
files: {name: bytes}, fetched_bytes, seconds}.")]
pub struct Fetch {
    /// The model: OWNER/NAME, and @REVISION (a branch, a tag or a commit) if it isn't "main"
    #[arg(value_name = "ID")]
    pub model: String,
    /// The hub, or a mirror of it [default: HF_ENDPOINT, or https://huggingface.co]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
}

/// Store the activations of a model over texts
///
/// Reads texts document by document, cuts their tokens to windows, runs the model no further than the last hook asked for, and writes a
/// store that "superlens train" and "superlens diagnose" take. A harvest that was ended goes on if the same is typed again.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("needs_model").arg("model").required(true)))]
#[command(group(ArgGroup::new("needs_text").arg("text").required(true)))]
#[command(after_help = "\
Examples:
  superlens harvest --model gpt2 --text corpus.txt --hook blocks.3.mlp.hook_post --out mlp3
  superlens harvest --model pythia-70m --text a.jsonl b.jsonl --hook 'blocks.*.hook_resid_post' --max-tokens 2000000 --pack --out resid
  zcat corpus.txt.gz | superlens harvest --model gpt2 --text - --context 256 --hook blocks.0.hook_mlp_out --dtype f32 --out mlp0

\"superlens model DIR\" lists a model's hooks. Rows come in the order of the texts, one a token; tokens.parquet in the store tells which.

--json prints {tokens, seconds, tokens_per_s, peak_anon_mb, hooks: {name: width}, rows, out}; tokens and rows are what the store holds, those of
an ended harvest that this one went on with too; tokens_per_s is of this run, and its seconds cover tokenising, the forward pass and writing.")]
pub struct Harvest {
    #[command(flatten)]
    pub model: ModelFiles,
    #[command(flatten)]
    pub texts: Texts,
    /// The hooks, by the names of TransformerLens; * stands for anything
    #[arg(long, value_name = "NAME", num_args = 1.., required = true)]
    pub hook: Vec<String>,
    /// The store to make: a new folder
    #[arg(long, value_name = "STORE")]
    pub out: PathBuf,
    /// Compute tokens that stand for no text (BOS, [CLS], [SEP], separators), but store no row for them
    #[arg(long)]
    pub skip_special_tokens: bool,
    /// Stop at so many rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_tokens: Option<u64>,
    /// How numbers are stored
    #[arg(long, value_enum, default_value_t = DTypeArg::F16, value_name = "TYPE")]
    pub dtype: DTypeArg,
    /// Rows of a file [default: so many that the largest has 256 MB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub shard_rows: Option<u64>,
}

/// Texts, and what of them a model sees at once.
#[derive(Args, Debug)]
pub struct Texts {
    /// The texts, in their order: .txt, .jsonl or .parquet; - is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub text: Vec<PathBuf>,
    #[command(flatten)]
    pub reading: Reading,
    /// Tokens of a window, those that the tokenizer puts around it too [default: what the model was made for, 1024 at most]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Only the first window of each document
    #[arg(long)]
    pub truncate: bool,
    /// Put documents one after the other, so that all windows are full
    #[arg(long, conflicts_with = "truncate")]
    pub pack: bool,
    /// Windows without the tokens that the tokenizer puts around a text (BOS, [CLS], [SEP])
    #[arg(long)]
    pub bare: bool,
}

/// Texts that a model's predictions are measured on.
#[derive(Args, Debug)]
pub struct Sample {
    #[command(flatten)]
    pub texts: Texts,
    /// Measure on the first N tokens
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(2..))]
    pub max_tokens: u64,
    /// Change nothing at tokens that stand for no text (BOS, [CLS], [SEP], separators), and don't count their prediction
    #[arg(long)]
    pub skip_special_tokens: bool,
}

/// One text, as a file or as its tokens.
#[derive(Args, Debug)]
pub struct Prompt {
    /// The text, a whole file but for a line break at its end; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "token_ids", conflicts_with = "token_ids")]
    pub text: Option<PathBuf>,
    /// The tokens instead, as they are: nothing is put around them, and no tokenizer is needed
    #[arg(long, value_name = "LIST")]
    pub token_ids: Option<String>,
    /// The text without the tokens that the tokenizer puts around it (BOS, [CLS], [SEP])
    #[arg(long, conflicts_with = "token_ids")]
    pub bare: bool,
}

/// A next token of a text.
#[derive(Args, Debug)]
pub struct Prediction {
    /// The token after which it is predicted, counted from 0 [default: the last]
    #[arg(long, value_name = "N")]
    pub position: Option<usize>,
    /// The token whose logit it is: a text that is one token [default: the likeliest]
    #[arg(long, value_name = "TEXT")]
    pub token: Option<String>,
    /// That token by its id
    #[arg(long, value_name = "ID", conflicts_with = "token")]
    pub token_id: Option<u32>,
}

/// How texts become documents.
#[derive(Args, Debug)]
pub struct Reading {
    /// What a document of a .txt file is
    #[arg(long, value_enum, default_value_t = SplitArg::Lines, value_name = "KIND")]
    pub split: SplitArg,
    /// What stands between the documents of a .txt file, <|endoftext|> for instance
    #[arg(long, value_name = "TEXT", conflicts_with = "split")]
    pub separator: Option<String>,
    /// The key of .jsonl or column of .parquet that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub text_key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum SplitArg {
    /// The whole file
    File,
    /// Each line
    Lines,
    /// What stands between empty lines
    BlankLines,
}

/// Write what a model computes for one text: named activations and the logits
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("needs_model").arg("model").required(true)))]
#[command(after_help = "\
Examples:
  superlens run-model --model gpt2 --text hello.txt --hook blocks.3.mlp.hook_post --out hello.safetensors
  superlens run-model --model pythia-70m --token-ids \"12092, 13, 1533\" --hook 'blocks.*.attn.hook_pattern' --out patterns.safetensors

The file has a tensor for each hook, called as the hook: [tokens, width], of patterns and scores [heads, tokens, tokens]; logits
[tokens, vocab], where the model has an output; and input_ids [tokens]. The whole model is run.")]
pub struct RunModel {
    #[command(flatten)]
    pub model: ModelFiles,
    #[command(flatten)]
    pub prompt: Prompt,
    /// The hooks, by the names of TransformerLens; * stands for anything
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub hook: Vec<String>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Sample texts from a model
///
/// Writes them one a line as .jsonl, which "superlens harvest" reads, or between lines of <|endoftext|> as text; without --out they are
/// printed. A text ends where the model ends it, or at --length.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("needs_model").arg("model").required(true)))]
#[command(after_help = "\
Examples:
  superlens generate --model stories260K --tokens 200
  superlens generate --model gpt2 --prompt \"Once upon a time\" --tokens 100 --temperature 0
  superlens generate --model stories260K --tokens 2000000 --out stories.jsonl --seed 1
  superlens generate --model gpt2 --tokens 100 --hook blocks.6.hook_resid_pre --sae runs/sae --latents 41 --do steer --by 8

--hook and what follows it change activations while the model samples, as \"superlens intervene\" does.

--json prints {tokens, texts, seconds, tokens_per_s, out}.")]
pub struct Generate {
    #[command(flatten)]
    pub model: ModelFiles,
    /// Tokens to sample in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub tokens: u64,
    /// The file to write: .jsonl, or text
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What every text begins with
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Tokens of the longest text, the prompt among them [default: what the model was made for, 1024 at most]
    #[arg(long, value_name = "N")]
    pub length: Option<usize>,
    /// Logits are divided by it; at 0 always the likeliest token
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub temperature: f32,
    /// Only from the likeliest so many tokens
    #[arg(long, value_name = "N")]
    pub top_k: Option<usize>,
    /// Only from the likeliest tokens that together have this probability
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    #[command(flatten)]
    pub change: Option<ChangeArgs>,
}

/// Say what a model's folder holds: parameters, hooks and their widths, the tokenizer, what its weights look like
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens model gpt2
  superlens model gpt2 --text held_out.txt --skip-special-tokens
  superlens model stories260K --json

With --text, --json also has activations: [{neurons, stream}], a layer each, both {columns, rotated, alignment}: the mean excess kurtosis over the
columns, over random directions, and the share of the former that is gone in the latter.")]
pub struct ModelAbout {
    /// The model: a folder with config.json and model.safetensors (or its shards), a .bin file of llama2.c, or the name of a model in the
    /// Hugging Face cache, OWNER/NAME[@REVISION]
    pub dir: PathBuf,
    /// The tokenizer, where it isn't beside the model
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Also say how heavy the tails of activations are over the first 20,000 tokens of these texts: .txt, .jsonl or .parquet; - is standard input
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// Leave out tokens that stand for no text (BOS, [CLS], [SEP], separators), whose activations are often like no others
    #[arg(long, requires = "text")]
    pub skip_special_tokens: bool,
}
