//! The objectives, one file each, and their list.

mod annealed;
mod batch_top_k;
mod crosscoder;
mod gated;
mod group_max;
mod jump_relu;
mod matching_pursuit;
mod relu;
mod top_k;

use super::objective::Objective;
pub use jump_relu::Sparsity;

/// What the command line says of an objective. Each uses what concerns it.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Active latents a row, where the objective fixes them.
    pub k: usize,
    /// What `k` falls from over the first [`anneal`](Self::anneal) of the training, where it does.
    pub k_start: Option<usize>,
    pub anneal: f64,
    /// Weight of the penalty on the sum of the latents.
    pub l1: f64,
    /// Mean active latents a row that JumpReLU aims at.
    pub target_l0: f64,
    /// What JumpReLU is penalised for; the width ε of its straight-through rule, `None` for the usual one; and whether that reaches the
    /// pre-activations too.
    pub sparsity: Sparsity,
    pub bandwidth: Option<f64>,
    pub ste_to_input: bool,
    /// Prefix widths of Matryoshka; empty for halves of halves.
    pub widths: Vec<usize>,
    /// Layers that lie side by side in a row, for a crosscoder.
    pub layers: usize,
    /// Exponent that the penalty of `p_anneal` ends at.
    pub p_end: f64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            k: 32,
            k_start: None,
            anneal: 0.25,
            l1: 0.1,
            target_l0: 32.0,
            sparsity: Sparsity::default(),
            bandwidth: None,
            ste_to_input: false,
            widths: Vec::new(),
            layers: 1,
            p_end: 0.2,
        }
    }
}

/// One objective: its name, what it does, and how to make it.
pub struct ObjectiveEntry {
    pub id: &'static str,
    pub about: &'static str,
    pub build: fn(&Options) -> Box<dyn Objective>,
}

/// Every objective.
pub const OBJECTIVES: [ObjectiveEntry; 16] = [
    top_k::ENTRY,
    top_k::BY_SIZE,
    batch_top_k::ENTRY,
    batch_top_k::MATRYOSHKA,
    relu::ENTRY,
    relu::P_ANNEAL,
    jump_relu::ENTRY,
    gated::ENTRY,
    group_max::ENTRY,
    matching_pursuit::ENTRY,
    crosscoder::ENTRY,
    top_k::TRANSCODER,
    top_k::SKIP_TRANSCODER,
    relu::TRANSCODER,
    relu::SKIP_TRANSCODER,
    crosscoder::BATCH_TOP_K,
];

/// The objective called `id`, if there is one.
pub fn find(id: &str) -> Option<&'static ObjectiveEntry> {
    OBJECTIVES.iter().find(|entry| entry.id == id)
}
