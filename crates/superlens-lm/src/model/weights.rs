//! [`Weights`]: the parameters of a transformer, every matrix `[in, out]`, one row a sample times the matrix.

use superlens_tensor::Mat;

use super::config::{Config, Positions};

/// `x · w + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[in, out]`.
    pub w: Mat,
    /// `[out]`.
    pub b: Option<Vec<f32>>,
}

/// Gain and shift of a norm, `[d]` each. A norm may have neither.
#[derive(Clone, Debug, Default)]
pub struct NormWeights {
    pub gain: Option<Vec<f32>>,
    pub bias: Option<Vec<f32>>,
}

#[derive(Clone, Debug)]
pub struct AttentionWeights {
    /// `[d_model, d_queries + 2 d_keys]`: queries, keys, values, head by head.
    pub qkv: Linear,
    /// `[d_queries, d_model]`.
    pub out: Linear,
    /// Gains of the norms of each head's queries and keys, `[d_head]`.
    pub q_norm: Option<Vec<f32>>,
    pub k_norm: Option<Vec<f32>>,
}

#[derive(Clone, Debug)]
pub struct MlpWeights {
    /// `[d_model, d_mlp]`: into the activation.
    pub into: Linear,
    /// The other branch of a gated MLP.
    pub linear: Option<Linear>,
    /// `[d_mlp, d_model]`.
    pub out: Linear,
}

#[derive(Clone, Debug)]
pub struct BlockWeights {
    /// Before attention, or after it in post-norm blocks.
    pub ln1: NormWeights,
    pub attn: AttentionWeights,
    /// On what attention adds, in sandwich blocks.
    pub post_attn: Option<NormWeights>,
    /// Before the MLP, or after it in post-norm blocks.
    pub ln2: NormWeights,
    pub mlp: MlpWeights,
    pub post_mlp: Option<NormWeights>,
}

/// From the last residual stream to logits.
#[derive(Clone, Debug)]
pub struct Head {
    /// A hidden layer with an activation and a norm (BERT's masked language model).
    pub transform: Option<(Linear, NormWeights)>,
    /// `[d_model, d_embed]` (OPT-350m).
    pub project: Option<Linear>,
    /// `[d_embed, vocab]`; the embedding itself, turned, where `None`.
    pub own: Option<Mat>,
    pub bias: Option<Vec<f32>>,
}

impl Head {
    /// Logits of one token; `embed` is the model's embedding.
    pub(super) fn width(&self, embed: &Mat) -> usize {
        self.own.as_ref().map_or(embed.rows(), Mat::cols)
    }

    /// Whether it is one product, with what is added to it.
    pub(super) fn is_plain(&self) -> bool {
        self.transform.is_none() && self.project.is_none()
    }
}

/// All parameters.
#[derive(Clone, Debug)]
pub struct Weights {
    /// `[vocab, d_embed]`.
    pub embed: Mat,
    /// `[d_embed, d_model]` (OPT-350m).
    pub project_in: Option<Linear>,
    /// `[types, d_model]` (BERT).
    pub types: Option<Mat>,
    /// `[n_ctx, d_model]`, learned or computed.
    pub positions: Option<Mat>,
    pub embed_norm: Option<NormWeights>,
    pub blocks: Vec<BlockWeights>,
    pub final_norm: Option<NormWeights>,
    /// None for encoders without an output.
    pub head: Option<Head>,
}

impl NormWeights {
    fn count(&self) -> usize {
        self.gain.as_ref().map_or(0, Vec::len) + self.bias.as_ref().map_or(0, Vec::len)
    }
}

impl Linear {
    fn count(&self) -> usize {
        self.w.data().len() + self.b.as_ref().map_or(0, Vec::len)
    }

    /// `[in, out]`.
    pub fn shape(&self) -> (usize, usize) {
        self.w.shape()
    }
}

impl Weights {
    /// Numbers in all parameters; a tied output counts once, computed positions don't count.
    pub fn count(&self, config: &Config) -> usize {
        let norm = |n: &Option<NormWeights>| n.as_ref().map_or(0, NormWeights::count);
        let linear = |l: &Option<Linear>| l.as_ref().map_or(0, Linear::count);
        let mat = |m: &Option<Mat>| m.as_ref().map_or(0, |m| m.data().len());
        let vec = |v: &Option<Vec<f32>>| v.as_ref().map_or(0, Vec::len);
        let block = |b: &BlockWeights| {
            b.ln1.count()
                + b.ln2.count()
                + norm(&b.post_attn)
                + norm(&b.post_mlp)
                + b.attn.qkv.count()
                + b.attn.out.count()
                + vec(&b.attn.q_norm)
                + vec(&b.attn.k_norm)
                + b.mlp.into.count()
                + linear(&b.mlp.linear)
                + b.mlp.out.count()
        };
        let head = |h: &Head| {
            h.transform.as_ref().map_or(0, |(l, n)| l.count() + n.count())
                + linear(&h.project)
                + mat(&h.own)
                + vec(&h.bias)
        };
        let positions = if config.positions == Positions::Learned { mat(&self.positions) } else { 0 };
        self.embed.data().len()
            + linear(&self.project_in)
            + mat(&self.types)
            + positions
            + norm(&self.embed_norm)
            + self.blocks.iter().map(block).sum::<usize>()
            + norm(&self.final_norm)
            + self.head.as_ref().map_or(0, head)
    }
}
