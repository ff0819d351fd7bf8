//! What can be typed after `superlens probe`.

use std::path::PathBuf;

use clap::Args;
use superlens::probes::sparse::{LARGEST, SELECTORS, exact};

use super::{LabelsOf, Part, UnitsOf, one_at_least};

/// Say from how few units each concept can be read, and whether it matters that these are the units
///
/// INPUT is a .npy, .npz or .safetensors file with one sample a row and one neuron a column, or a store of activations. A probe is fitted to
/// seven of ten blocks of rows; F1 and AUC are of the others.
#[derive(Args, Debug)]
#[command(after_help = help())]
pub struct Probe {
    /// The activations
    pub input: PathBuf,
    #[command(flatten)]
    pub part: Part,
    #[command(flatten)]
    pub about: LabelsOf,
    #[command(flatten)]
    pub of: UnitsOf,
    /// How many units a probe may use, with commas between them [default: 1,2,4,… up to the units and 256]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = size)]
    pub k: Vec<usize>,
    /// What chooses the units, or "all" to compare
    #[arg(long, value_name = "NAME", default_value = SELECTORS[0].id, value_parser = selector)]
    pub selector: String,
    /// Find the best support of each size up to N, with a proof or how much is missing to one; 0 for none
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = exactly)]
    pub exact: usize,
    /// Nodes of a search at which it stops unproven
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub nodes: u64,
    /// Draws of each null: turned bases and shifted labels; 0 for none
    #[arg(long, value_name = "N", default_value_t = 39, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub draws: u32,
    /// How many units the probes of the nulls use
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = size)]
    pub null_k: usize,
}

fn size(text: &str) -> Result<usize, String> {
    one_at_least(text).and_then(|k| if k <= LARGEST { Ok(k) } else { Err(format!("expected {LARGEST} at most")) })
}

fn exactly(text: &str) -> Result<usize, String> {
    let most = exact::MOST;
    text.parse().ok().filter(|k| *k <= most).ok_or_else(|| format!("expected a whole number from 0 to {most}"))
}

fn selector(text: &str) -> Result<String, String> {
    if text == "all" || SELECTORS.iter().any(|s| s.id == text) {
        return Ok(text.into());
    }
    let known: Vec<&str> = SELECTORS.iter().map(|s| s.id).collect();
    Err(format!("expected all or one of {}", known.join(", ")))
}

/// Examples, and a line on every selector.
fn help() -> String {
    let mut help = String::from(
        "Examples:
  superlens probe mlp.npy --labels concepts.npy --names concepts.txt
  superlens probe store --hook blocks.3.mlp.hook_post --labels concepts.npy --k 1,2,4,8,16 --json
  superlens probe mlp.npy --labels concepts.npy --selector all --exact 3
  superlens probe store --sae runs/sae --labels concepts.npy

--json prints {concepts: [{name, dense_auc, k: […], f1: […], selector, support, rotation_p, …}], …}. What each number means is told in
docs/probing.md.

Selectors:
",
    );
    let widest = SELECTORS.iter().map(|s| s.id.len()).max().unwrap_or(0);
    SELECTORS.iter().for_each(|s| help.push_str(&format!("  {:widest$}  {}\n", s.id, s.about)));
    help
}
