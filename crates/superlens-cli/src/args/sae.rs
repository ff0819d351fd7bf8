//! What can be typed after `superlens train`, `eval` and `convert`.

use std::path::PathBuf;

use clap::Args;

use superlens::sae::ARCHES;
use superlens::sae::files::FORMATS;

use super::tuning::Tuning;
use super::{ModelFiles, Part, Sample};

/// Train a sparse autoencoder, or another dictionary, on activations
///
/// Writes a run folder with the dictionary in the layout of SAELens, the metrics of every look, and checkpoints: whatever ends
/// the training, --resume goes on from the last one with the same bytes.
#[derive(Args, Debug)]
#[command(after_help = arches(), allow_negative_numbers = true)]
pub struct Train {
    /// A config.toml like those in run folders, for settings that no flag gives
    pub config: Option<PathBuf>,
    /// The activations: a .npy, .npz or .safetensors file, or a store; several with commas between them are the layers of a crosscoder, and so
    /// are several hooks of a store
    #[arg(long, value_name = "PATH", required_unless_present_any = ["config", "resume", "synthetic"])]
    pub activations: Option<PathBuf>,
    /// Train on fresh rows of a synthetic model instead; "superlens synth list" shows them
    #[arg(long, value_name = "NAME", conflicts_with_all = ["activations", "Part", "buffer_mb", "targets", "targets_hook"])]
    pub synthetic: Option<String>,
    #[command(flatten)]
    pub part: Part,
    /// Memory in which the rows of a store are shuffled [default: 256]
    #[arg(long, value_name = "MB")]
    pub buffer_mb: Option<usize>,
    /// What transcoders are to rebuild, a row for each of the activations: .npy, .npz or .safetensors, or a store where those are one
    #[arg(long, value_name = "PATH")]
    pub targets: Option<PathBuf>,
    /// Which hook of a store to rebuild; of that of the activations, where no other is named
    #[arg(long, value_name = "NAME")]
    pub targets_hook: Option<String>,
    /// The architecture, or several: all are trained on one pass over the rows [default: topk]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub arch: Vec<String>,
    /// Latents [default: 8 times the columns]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub d_sae: Vec<usize>,
    /// Active latents a row, for topk, abs_topk, batch_topk, matryoshka, matching_pursuit, nmf, transcoders and batch_topk_crosscoder; runs of
    /// latents, for groupmax [default: 32]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub k: Vec<usize>,
    /// Active latents a row that jumprelu aims at [default: 32]
    #[arg(long, value_name = "X", value_delimiter = ',')]
    pub target_l0: Vec<f64>,
    /// Weight of the penalty of relu, relu transcoders, p_anneal, gated and crosscoder, and of jumprelu where it is one on each latent, on inputs whose mean square is 1 a column [default: 0.1]
    #[arg(long, value_name = "X", value_delimiter = ',')]
    pub l1: Vec<f64>,
    /// Widths of the prefixes of matryoshka, like 512,2048 [default: halves of halves]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub widths: Option<Vec<usize>>,
    /// Layers that lie side by side in a row, in equal widths, for crosscoders [default: as many as --activations or --hook name]
    #[arg(long, value_name = "N")]
    pub layers: Option<usize>,
    /// Rows a step [default: 2048]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Peak learning rate [default: 2e-4 / sqrt(d_sae / 16384)]
    #[arg(long, value_name = "X", value_delimiter = ',')]
    pub lr: Vec<f64>,
    /// Training steps [default: one pass over the rows, 1000 at least]
    #[arg(long, value_name = "N", conflicts_with = "tokens")]
    pub steps: Option<u64>,
    /// Rows to train on, instead of --steps
    #[arg(long, value_name = "N")]
    pub tokens: Option<u64>,
    /// Steps over which learning rate and penalties rise [default: a twentieth of the steps, 1000 at most]
    #[arg(long, value_name = "N")]
    pub warmup: Option<u64>,
    /// Rows without firing after which a latent is dead [default: in which it would fire 128 times if all did alike, but no more than a fortieth of the training, nor than 10 million]
    #[arg(long, value_name = "N")]
    pub dead_after: Option<u64>,
    /// Steps between checkpoints [default: 500]
    #[arg(long, value_name = "N")]
    pub checkpoint_every: Option<u64>,
    #[command(flatten)]
    pub tuning: Tuning,
    /// The run folder to make
    #[arg(long, value_name = "DIR", required_unless_present = "resume", help_heading = None::<&str>)]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "activations", "synthetic", "out", "arch", "d_sae", "k", "target_l0",
        "l1", "widths", "layers", "batch", "lr", "steps", "tokens", "warmup", "dead_after", "checkpoint_every", "key", "flatten",
        "hook", "buffer_mb", "targets", "targets_hook", "Tuning"], help_heading = None::<&str>)]
    pub resume: Option<PathBuf>,
}

/// Measure a dictionary on activations
///
/// The best reconstruction is often not the best dictionary: with --truth it is held against directions that are known.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens eval --sae runs/mlp3/sae --activations held_out.npy
  superlens eval --sae runs/toy/sae --activations toy.npy --truth directions.npy --truth-acts truth.npz --json
  superlens eval --sae runs/mlp --activations mlp_in.npy --targets mlp_out.npy
  superlens eval --sae runs/seed0 --compare runs/seed1 --activations held_out.npy
  superlens eval --sae runs/bench/sae --synthetic 16k --rows 500000 --json
  superlens eval --sae runs/mlp3 --model gpt2 --text held_out.txt --hook blocks.3.mlp.hook_post

With --model the reconstruction is also put in the place of the activations, and the loss of the model's predictions over --text told
against that of zeros and of the mean in their place; without --activations, those of these texts are measured on. Of a transcoder, which reads --hook,
that is done at --targets-hook.

What each number is: docs/metrics.md")]
pub struct Eval {
    /// The dictionary: a folder in the layout of SAELens, or a run folder
    #[arg(long, value_name = "DIR")]
    pub sae: PathBuf,
    /// The activations: a .npy, .npz or .safetensors file, or a store; for a crosscoder several, with commas between them
    #[arg(long, value_name = "PATH", required_unless_present_any = ["synthetic", "model"])]
    pub activations: Option<PathBuf>,
    #[command(flatten)]
    pub part: Part,
    /// What a transcoder is to rebuild, a row for each of the activations: .npy, .npz or .safetensors, or a store where those are one
    #[arg(long, value_name = "PATH")]
    pub targets: Option<PathBuf>,
    /// Which hook of a store to rebuild, of that of the activations, where no other is named; with --model, which hook of it a transcoder rebuilds
    #[arg(long, value_name = "NAME")]
    pub targets_hook: Option<String>,
    /// True directions, one a row
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// True activations, rows x directions: a sparse matrix as scipy.sparse.save_npz writes it, or a dense one
    #[arg(long, value_name = "FILE", requires = "truth")]
    pub truth_acts: Option<PathBuf>,
    /// Measure on held-out rows of a synthetic model, against its truth; "superlens synth list" shows them
    #[arg(long, value_name = "NAME", conflicts_with_all = ["activations", "Part", "targets", "targets_hook", "truth", "truth_acts"])]
    pub synthetic: Option<String>,
    /// Another dictionary of the same activations: which latents both have, and which of the larger are new to the smaller
    #[arg(long, value_name = "DIR")]
    pub compare: Option<PathBuf>,
    /// Also count the latents that are dead or dense in the last N rows alone
    #[arg(long, value_name = "N")]
    pub window: Option<usize>,
    /// Write the metrics as a result of SAEBench's core evaluation, a new JSON file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["targets", "targets_hook"])]
    pub saebench: Option<PathBuf>,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..), help = "Rows of the synthetic model [default: 500000]")]
    pub rows: Option<u64>,
    #[command(flatten)]
    pub model: Option<ModelFiles>,
    #[command(flatten)]
    pub sample: Sample,
}

/// Write activations whose features are known
///
/// NAME is a model, or "list" to see them all. DIR gets activations.npy, the true directions in features.npy (one a row), and the true
/// activations in truth.npz, a sparse matrix that scipy.sparse.load_npz reads. The model is fixed by its name; --seed chooses the rows.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens synth list
  superlens synth 1k --rows 100000 --out bench1k
  superlens train --synthetic 16k --arch batch_topk --d-sae 4096 --k 25 --lr 3e-4 --batch 1024 --tokens 20000000 --out runs/bench
  superlens eval --sae runs/bench/sae --synthetic 16k --rows 500000")]
pub struct Synth {
    /// The model, or "list"
    pub name: String,
    /// Rows to write
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(2..))]
    pub rows: u64,
    /// The rows that "superlens eval" measures on, instead of those that "superlens train" learns from
    #[arg(long)]
    pub held_out: bool,
    /// A new folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Examples, and a line on every architecture.
fn arches() -> String {
    let mut help = String::from(
        "Examples:
  superlens train --activations mlp3.npy --arch batch_topk --d-sae 4608 --k 32 --out runs/mlp3
  superlens train --activations mlp3.npy --d-sae 4608 --k 32 --batch 2048 --lr 3e-4 --steps 40 --out runs/short --json
  superlens train --activations mlp_in.npy --targets mlp_out.npy --arch skip_transcoder --d-sae 4608 --k 32 --out runs/mlp
  superlens train --activations layer1.npy,layer2.npy,layer3.npy --arch batch_topk_crosscoder --k 32 --out runs/cross
  superlens train --resume runs/mlp3

--json prints {arch, steps, tokens, seconds, tokens_per_s, peak_anon_mb, fvu, l0, dead_fraction}; seconds and tokens_per_s are over
the training steps after the first two; dead are latents that were silent for the last --dead-after rows of the training.

Architectures:
",
    );
    let widest = ARCHES.iter().map(|arch| arch.id.len()).max().unwrap_or(0);
    ARCHES.iter().for_each(|arch| help.push_str(&format!("  {:widest$}  {}\n", arch.id, arch.about)));
    help
}

/// Convert a sparse autoencoder between the formats of the field
///
/// SRC is a folder or a file of a format below, which is told by what lies there. DST is a new folder. Before it is put in
/// place, it is read back, and both autoencoders must give the same latents and reconstructions of random inputs. What the
/// other format can't express is refused: no threshold, norm or activation is dropped.
#[derive(Args, Debug)]
#[command(after_help = formats())]
pub struct Convert {
    /// The autoencoder
    #[arg(required_unless_present = "list")]
    pub src: Option<PathBuf>,
    /// Folder to write
    #[arg(required_unless_present = "list")]
    pub dst: Option<PathBuf>,
    /// Format to write
    #[arg(long, value_name = "FORMAT", required_unless_present = "list")]
    pub to: Option<String>,
    /// Format of SRC, where its files don't tell
    #[arg(long, value_name = "FORMAT")]
    pub from: Option<String>,
    /// Which of several autoencoders in SRC: the path below it, such as layers.3.mlp
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// What inputs are multiplied by before they are encoded, for files that say that they are but not by how much
    #[arg(long, value_name = "FACTOR")]
    pub input_scale: Option<f64>,
    /// Whether a Gemma Scope file is one of embeddings, where the name of its folder does not tell
    #[arg(long, value_name = "BOOL")]
    pub embedding: Option<bool>,
    /// Name of the model to write beside the weights
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Name of the hook to write beside the weights, such as blocks.3.hook_resid_post
    #[arg(long, value_name = "NAME")]
    pub hook: Option<String>,
    /// List the formats, and what is read and written
    #[arg(long)]
    pub list: bool,
}

/// Examples, and a line on every format.
fn formats() -> String {
    let mut help = String::from(
        "Examples:
  superlens convert downloads/ae saelens-folder --to saelens
  superlens convert run/trainer_0/ae.pt sae --to sparsify --from dictionary_learning
  superlens convert sparsify-run sae --key layers.3 --to saelens
  superlens convert --list

Formats (r read, w written):
",
    );
    let widest = FORMATS.iter().map(|format| format.id.len()).max().unwrap_or(0);
    for format in FORMATS {
        let ways = if format.writes() { "rw" } else { "r " };
        help.push_str(&format!("  {:widest$}  {ways}  {}\n", format.id, format.about));
    }
    help
}
