//! [`Transformer`]: one forward pass for every family.

use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::kernels::smooth::{activate, activate_gated, soft_cap};

use super::abreast;
use super::attention::Attention;
use super::batch::{Batch, Memory};
use super::config::{Config, Positions, Wiring};
use super::hook::{Point, STEPS, Site, Sites};
use super::norm::normalise;
use super::weights::{BlockWeights, Linear, NormWeights, Weights};
use super::{each_piece, each_piece_of_two};

/// What sees and may change the activations at each site that was asked for, one row a token (scores and patterns: see [`Point`]), in the
/// order in which they are computed.
pub type Hooks<'a, 'b> = &'a mut (dyn FnMut(Site, &mut Mat) + 'b);

/// A model that can be run.
#[derive(Clone, Debug)]
pub struct Transformer {
    pub config: Config,
    pub weights: Weights,
}

impl Linear {
    /// `x · w + b`.
    pub fn apply(&self, x: &Mat) -> Mat {
        match &self.b {
            None => matmul(x, &self.w),
            Some(b) => {
                let mut out = Mat::zeros(x.rows(), b.len());
                out.data_mut().chunks_exact_mut(b.len().max(1)).for_each(|row| row.copy_from_slice(b));
                gemm(1.0, x.view(), self.w.view(), 1.0, &mut out);
                out
            }
        }
    }
}

impl Transformer {
    /// Computes as far as `sites` asks for, and gives the logits `[tokens, vocab]` if it asks for those.
    ///
    /// With a memory, the batch's sequences go on where its own left off; see [`Batch::push_after`]. Panics on tokens outside the vocabulary,
    /// on positions beyond a table's and on a memory without room: [`check`](Self::check) finds the first two.
    pub fn forward(&self, batch: &Batch, sites: &Sites, mut memory: Option<&mut Memory>, hooks: Hooks) -> Option<Mat> {
        let mut residual = self.embed(batch, sites, hooks);
        if sites.end_at(0) {
            return None;
        }
        let mut first = 0;
        if memory.is_none() && abreast::pays(&self.config, batch) {
            first = sites.unseen(self.config.layers.len());
            let plain = self.weights.head.as_ref().filter(|head| head.is_plain());
            let to_the_end = first == self.config.layers.len() && !sites.has(Site::FinalNorm);
            if let Some(head) = plain.filter(|_| to_the_end) {
                let mut logits = Mat::zeros(batch.tokens(), head.width(&self.weights.embed));
                abreast::run(self, batch, first, &mut residual, Some(&mut logits));
                hooks(Site::Logits, &mut logits);
                return Some(logits);
            }
            abreast::run(self, batch, first, &mut residual, None);
        }
        for layer in first..self.config.layers.len() {
            if self.block(layer, &mut residual, batch, sites, memory.as_deref_mut(), hooks) {
                return None;
            }
        }
        if let Some(norm) = &self.weights.final_norm {
            self.normalise(norm, &mut residual);
        }
        if sites.has(Site::FinalNorm) {
            hooks(Site::FinalNorm, &mut residual);
        }
        if !sites.has(Site::Logits) {
            return None;
        }
        let mut logits = self.unembed(residual)?;
        hooks(Site::Logits, &mut logits);
        Some(logits)
    }

    /// Whether these tokens can be run: all of the vocabulary, and no sequence longer than a table of positions.
    ///
    /// # Errors
    /// One line that names what is too large.
    pub fn check(&self, ids: &[u32]) -> Result<(), String> {
        let vocab = self.weights.embed.rows();
        if let Some((i, id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab) {
            return Err(format!(
                "token {i} is {id}, but the model has tokens 0 to {}; is this its tokenizer?",
                vocab - 1
            ));
        }
        match &self.weights.positions {
            Some(table) if ids.len() > table.rows() => {
                Err(format!("{} tokens, but the model has {} positions; give shorter texts", ids.len(), table.rows()))
            }
            _ => Ok(()),
        }
    }

    fn embed(&self, batch: &Batch, sites: &Sites, hooks: Hooks) -> Mat {
        let w = &self.weights;
        let ids: Vec<usize> = batch.ids().iter().map(|&id| id as usize).collect();
        let mut x = w.embed.select_rows(&ids);
        if self.config.embed_scale != 1.0 {
            x.data_mut().iter_mut().for_each(|x| *x *= self.config.embed_scale);
        }
        if let Some(project) = &w.project_in {
            x = project.apply(&x);
        }
        let bloom = self.config.positions == Positions::Alibi;
        // Without positions to add, the norm belongs to the embedding.
        if let (true, Some(norm)) = (bloom, &w.embed_norm) {
            self.normalise(norm, &mut x);
        }
        if sites.has(Site::Embed) {
            hooks(Site::Embed, &mut x);
        }
        if let Some(types) = &w.types {
            let types = types.select_rows(&batch.types().iter().map(|&t| t as usize).collect::<Vec<_>>());
            add(&types, &mut x);
        }
        if let Some(table) = &w.positions {
            let mut positions = table.select_rows(&batch.places().iter().map(|p| p.0).collect::<Vec<_>>());
            if sites.has(Site::PosEmbed) {
                hooks(Site::PosEmbed, &mut positions);
            }
            add(&positions, &mut x);
        }
        if let (false, Some(norm)) = (bloom, &w.embed_norm) {
            self.normalise(norm, &mut x);
        }
        x
    }

    /// Whether nothing more is wanted.
    fn block(
        &self,
        layer: usize,
        x: &mut Mat,
        batch: &Batch,
        sites: &Sites,
        memory: Option<&mut Memory>,
        hooks: Hooks,
    ) -> bool {
        let (w, wiring) = (&self.weights.blocks[layer], self.config.wiring);
        let mut show = |point, x: &mut Mat| {
            let site = Site::Block(layer, point);
            if sites.has(site) {
                hooks(site, x);
            }
        };
        let done = |step| sites.end_at(layer * STEPS + step);
        show(Point::ResidPre, x);
        if done(1) {
            return true;
        }
        let mut read = x.clone();
        if wiring != Wiring::Post {
            self.normalise(&w.ln1, &mut read);
            show(Point::Norm1, &mut read);
        }
        let attention = Attention { config: &self.config, layer, weights: &w.attn, sites };
        let z = attention.read(w.attn.qkv.apply(&read), batch, memory, hooks);
        if done(2) {
            return true;
        }
        let mut attn_out = self.attention_out(w, layer, &z, sites, hooks);
        let mut show = |point, x: &mut Mat| {
            let site = Site::Block(layer, point);
            if sites.has(site) {
                hooks(site, x);
            }
        };
        show(Point::AttnOut, &mut attn_out);
        let mut middle = if wiring == Wiring::Parallel { x.clone() } else { std::mem::replace(x, Mat::zeros(0, 0)) };
        if wiring == Wiring::Parallel {
            add(&attn_out, x);
        } else {
            add(&attn_out, &mut middle);
        }
        if wiring == Wiring::Post {
            self.normalise(&w.ln1, &mut middle);
            show(Point::Norm1, &mut middle);
        }
        if wiring != Wiring::Parallel {
            show(Point::ResidMid, &mut middle);
        }
        if done(3) {
            return true;
        }
        let mut read = middle.clone();
        if wiring != Wiring::Post {
            self.normalise(&w.ln2, &mut read);
            show(Point::Norm2, &mut read);
        }
        let mut post = self.neurons(w, &read, &mut show);
        show(Point::Post, &mut post);
        if done(4) {
            return true;
        }
        let mut mlp_out = w.mlp.out.apply(&post);
        if let Some(norm) = &w.post_mlp {
            self.normalise(norm, &mut mlp_out);
        }
        show(Point::MlpOut, &mut mlp_out);
        if wiring != Wiring::Parallel {
            *x = middle;
        }
        add(&mlp_out, x);
        if wiring == Wiring::Post {
            self.normalise(&w.ln2, x);
            show(Point::Norm2, x);
        }
        show(Point::ResidPost, x);
        done(5)
    }

    fn attention_out(&self, w: &BlockWeights, layer: usize, z: &Mat, sites: &Sites, hooks: Hooks) -> Mat {
        let site = Site::Block(layer, Point::Result);
        let mut out = if sites.has(site) {
            let mut results = self.results(w, z);
            hooks(site, &mut results);
            let mut out = Mat::from_fn(z.rows(), self.config.d_model, |i, j| {
                results.row(i).iter().skip(j).step_by(self.config.d_model).sum()
            });
            if let Some(b) = &w.attn.out.b {
                out.data_mut()
                    .chunks_exact_mut(b.len())
                    .for_each(|row| row.iter_mut().zip(b).for_each(|(x, b)| *x += b));
            }
            out
        } else {
            w.attn.out.apply(z)
        };
        if let Some(norm) = &w.post_attn {
            self.normalise(norm, &mut out);
        }
        out
    }

    /// What each head adds, `[tokens, heads · d_model]`, the bias left out.
    fn results(&self, w: &BlockWeights, z: &Mat) -> Mat {
        let (d, width) = (self.config.d_head, self.config.d_model);
        let mut out = Mat::zeros(z.rows(), self.config.heads * width);
        for h in 0..self.config.heads {
            let of_head: Vec<usize> = (h * d..(h + 1) * d).collect();
            let part = matmul(&z.select_cols(&of_head), w.attn.out.w.rows_view(h * d, (h + 1) * d));
            (0..z.rows()).for_each(|i| out.row_mut(i)[h * width..][..width].copy_from_slice(part.row(i)));
        }
        out
    }

    /// The MLP's neurons after their activation.
    fn neurons(&self, w: &BlockWeights, x: &Mat, show: &mut impl FnMut(Point, &mut Mat)) -> Mat {
        let f = self.config.activation;
        let mut pre = w.mlp.into.apply(x);
        show(Point::Pre, &mut pre);
        match &w.mlp.linear {
            None => each_piece(&mut pre, |piece| activate(f, piece)),
            Some(linear) => {
                let mut linear = linear.apply(x);
                show(Point::PreLinear, &mut linear);
                each_piece_of_two(&mut pre, &linear, |gate, linear| activate_gated(f, gate, linear));
            }
        }
        pre
    }

    /// Logits of final residual streams that have passed the last norm; `None` for encoders without an output.
    pub fn unembed(&self, mut x: Mat) -> Option<Mat> {
        let head = self.weights.head.as_ref()?;
        if let Some((linear, norm)) = &head.transform {
            x = linear.apply(&x);
            each_piece(&mut x, |piece| activate(self.config.activation, piece));
            self.normalise(norm, &mut x);
        }
        if let Some(project) = &head.project {
            x = project.apply(&x);
        }
        let mut logits = match &head.own {
            Some(w) => matmul(&x, w),
            None => matmul(&x, self.weights.embed.t()),
        };
        if let Some(bias) = &head.bias {
            let rows = logits.data_mut().chunks_exact_mut(bias.len());
            rows.for_each(|row| row.iter_mut().zip(bias).for_each(|(x, b)| *x += b));
        }
        if let Some(cap) = self.config.logit_cap {
            each_piece(&mut logits, |piece| soft_cap(cap, piece));
        }
        Some(logits)
    }

    pub(super) fn normalise(&self, w: &NormWeights, x: &mut Mat) {
        normalise(self.config.norm, self.config.eps, w, x);
    }
}

pub(super) fn add(x: &Mat, to: &mut Mat) {
    each_piece_of_two(to, x, |to, x| to.iter_mut().zip(x).for_each(|(to, x)| *to += x));
}
