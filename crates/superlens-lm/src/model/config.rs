//! [`Config`]: everything about a transformer but its weights, in one form for all families.

use superlens_tensor::kernels::pointwise::Activation;

/// How a row is made level before a layer reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// Mean zero and variance one.
    Layer,
    /// Root mean square one.
    Rms,
}

/// How a block is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// A norm before attention and one before the MLP; both add to the residual stream, one after the other.
    Pre,
    /// Attention and MLP read the same residual stream, and both are added at once.
    Parallel,
    /// A norm after each sum, which becomes the residual stream (BERT, OPT-350m).
    Post,
    /// As `Pre`, and what is added passes a norm of its own (Gemma 2 and 3).
    Sandwich,
}

/// How a token's place reaches the model, apart from rotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// A learned row is added to each embedding.
    Learned,
    /// A row of sines and cosines is added to each embedding (Vaswani et al. 2017, arXiv 1706.03762).
    Sines,
    /// Scores fall with distance, by a slope of each head (Press et al. 2022, arXiv 2108.12409).
    Alibi,
    /// Rotations, or nothing.
    None,
}

/// Rotation of queries and keys by their position (Su et al. 2021, arXiv 2104.09864): numbers `i` and `i + dims/2` of a head are turned
/// together by `position · frequencies[i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Numbers of a head that are rotated, the first ones; even.
    pub dims: usize,
    /// One a pair.
    pub frequencies: Vec<f32>,
    /// Factor on what is rotated.
    pub scale: f32,
    /// Frequencies for sequences longer than so many tokens.
    pub long: Option<(usize, Vec<f32>)>,
}

/// What may differ between the layers of one model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerKind {
    /// Tokens that a query sees, its own among them; all before it where `None`.
    pub window: Option<usize>,
    /// Which of the model's rotations.
    pub rope: Option<usize>,
    /// Factor on the scores.
    pub scale: f32,
}

/// A transformer without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// As Hugging Face names the family (`model_type`).
    pub family: String,
    /// Tokens that have an embedding.
    pub vocab: usize,
    pub d_model: usize,
    /// Tokens of the longest sequence that the model was made for.
    pub n_ctx: usize,
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` heads of queries.
    pub kv_heads: usize,
    pub d_head: usize,
    pub d_mlp: usize,
    pub activation: Activation,
    /// Whether a second branch multiplies the activations (SwiGLU and its kin).
    pub gated: bool,
    pub norm: NormKind,
    pub eps: f64,
    pub wiring: Wiring,
    pub positions: Positions,
    pub ropes: Vec<Rope>,
    pub layers: Vec<LayerKind>,
    /// Whether a query sees only what comes before it.
    pub causal: bool,
    /// Soft caps on scores and logits (Gemma 2).
    pub score_cap: Option<f32>,
    pub logit_cap: Option<f32>,
    /// Factor on a token's embedding.
    pub embed_scale: f32,
}

impl Config {
    /// Width of all heads of queries together.
    pub fn d_queries(&self) -> usize {
        self.heads * self.d_head
    }

    /// Width of all heads of keys together, and of values.
    pub fn d_keys(&self) -> usize {
        self.kv_heads * self.d_head
    }
}
