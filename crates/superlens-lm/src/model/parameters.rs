//! The parameters of a transformer as a list of named tensors, which is what an optimiser, a fresh start and a file need.

use superlens_tensor::Mat;
use superlens_tensor::train::Params;

use super::config::{Config, Positions};
use super::weights::{BlockWeights, Linear, NormWeights, Weights};

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Of a layer, `[in, out]`, or a table with a row for each token or position.
    Matrix,
    /// As `Matrix`, of a layer that adds to the residual stream.
    Output,
    /// Factors of a norm, one row.
    Gain,
    /// What is added, one row.
    Bias,
}

/// One tensor of [`Weights`].
#[derive(Debug)]
pub struct Tensor<'a> {
    /// As the fields of [`Weights`] lead to it: `blocks.0.attn.qkv.w`, `final_norm.gain`, `embed`.
    pub name: String,
    pub role: Role,
    /// Rows and columns.
    pub shape: (usize, usize),
    /// Row after row.
    pub data: &'a mut [f32],
}

struct List<'a>(Vec<Tensor<'a>>);

impl<'a> List<'a> {
    fn mat(&mut self, name: &str, role: Role, m: Option<&'a mut Mat>) {
        if let Some(m) = m {
            self.0.push(Tensor { name: name.to_owned(), role, shape: m.shape(), data: m.data_mut() });
        }
    }

    fn vec(&mut self, name: String, role: Role, v: Option<&'a mut Vec<f32>>) {
        if let Some(v) = v {
            self.0.push(Tensor { name, role, shape: (1, v.len()), data: v });
        }
    }

    fn linear(&mut self, name: &str, role: Role, linear: Option<&'a mut Linear>) {
        if let Some(Linear { w, b }) = linear {
            self.mat(&format!("{name}.w"), role, Some(w));
            self.vec(format!("{name}.b"), Role::Bias, b.as_mut());
        }
    }

    fn norm(&mut self, name: &str, norm: Option<&'a mut NormWeights>) {
        if let Some(NormWeights { gain, bias }) = norm {
            self.vec(format!("{name}.gain"), Role::Gain, gain.as_mut());
            self.vec(format!("{name}.bias"), Role::Bias, bias.as_mut());
        }
    }

    fn block(&mut self, i: usize, block: &'a mut BlockWeights) {
        let name = |part: &str| format!("blocks.{i}.{part}");
        self.norm(&name("ln1"), Some(&mut block.ln1));
        self.linear(&name("attn.qkv"), Role::Matrix, Some(&mut block.attn.qkv));
        self.vec(name("attn.q_norm"), Role::Gain, block.attn.q_norm.as_mut());
        self.vec(name("attn.k_norm"), Role::Gain, block.attn.k_norm.as_mut());
        self.linear(&name("attn.out"), Role::Output, Some(&mut block.attn.out));
        self.norm(&name("post_attn"), block.post_attn.as_mut());
        self.norm(&name("ln2"), Some(&mut block.ln2));
        self.linear(&name("mlp.into"), Role::Matrix, Some(&mut block.mlp.into));
        self.linear(&name("mlp.linear"), Role::Matrix, block.mlp.linear.as_mut());
        self.linear(&name("mlp.out"), Role::Output, Some(&mut block.mlp.out));
        self.norm(&name("post_mlp"), block.post_mlp.as_mut());
    }
}

impl Weights {
    /// All tensors that can be learned, in a fixed order: a tied output is there once, computed positions are not.
    pub fn tensors_mut(&mut self, config: &Config) -> Vec<Tensor<'_>> {
        let mut list = List(Vec::new());
        list.mat("embed", Role::Matrix, Some(&mut self.embed));
        list.linear("project_in", Role::Matrix, self.project_in.as_mut());
        list.mat("types", Role::Matrix, self.types.as_mut());
        let learned = config.positions == Positions::Learned;
        list.mat("positions", Role::Matrix, self.positions.as_mut().filter(|_| learned));
        list.norm("embed_norm", self.embed_norm.as_mut());
        for (i, block) in self.blocks.iter_mut().enumerate() {
            list.block(i, block);
        }
        list.norm("final_norm", self.final_norm.as_mut());
        if let Some(head) = &mut self.head {
            if let Some((linear, norm)) = &mut head.transform {
                list.linear("head.transform", Role::Matrix, Some(linear));
                list.norm("head.norm", Some(norm));
            }
            list.linear("head.project", Role::Matrix, head.project.as_mut());
            list.mat("head.w", Role::Matrix, head.own.as_mut());
            list.vec("head.b".to_owned(), Role::Bias, head.bias.as_mut());
        }
        list.0
    }

    /// Zeros of the same shapes, for gradients; without computed positions.
    pub(super) fn zeros(&self, config: &Config) -> Weights {
        let mut zeros = self.clone();
        if config.positions != Positions::Learned {
            zeros.positions = None;
        }
        zeros.tensors_mut(config).into_iter().for_each(|t| t.data.fill(0.0));
        zeros
    }

    /// Copies them for an optimiser, a block a tensor.
    pub fn to_params(&mut self, config: &Config) -> Params {
        let block = |t: Tensor| (t.name, Mat::from_vec(t.shape.0, t.shape.1, t.data.to_vec()));
        Params { blocks: self.tensors_mut(config).into_iter().map(block).collect() }
    }

    /// Takes what [`to_params`](Self::to_params) gave. Panics on blocks of another model.
    pub fn set(&mut self, config: &Config, params: &Params) {
        let tensors = self.tensors_mut(config);
        assert_eq!(tensors.len(), params.blocks.len(), "a block for each tensor");
        tensors.into_iter().zip(&params.blocks).for_each(|(t, (_, block))| t.data.copy_from_slice(block.data()));
    }
}
