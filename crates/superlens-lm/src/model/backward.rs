//! The backward pass itself: from the gradient by the logits to that by every site and, where it is asked for, by every weight.
//!
//! A weight's gradient is made of what its layer read and the gradient by what it gave, both of which are at hand where the pass goes by.

use std::collections::{BTreeMap, BTreeSet};

use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::kernels::pointwise::axpy;

use super::batch::Batch;
use super::config::{NormKind, Positions, Wiring};
use super::hook::{Point, Site, Sites};
use super::transformer::{Hooks, Transformer, add};
use super::weights::{BlockWeights, Linear, NormWeights, Weights};

/// A run that has been made, with all that its backward pass needs.
pub(super) struct Run<'a> {
    model: &'a Transformer,
    batch: &'a Batch,
    pub logits: Mat,
    /// Activations, one row a token.
    pub kept: BTreeMap<Site, Mat>,
    /// Patterns and capped scores by layer, one for each sequence: `[heads · queries, keys]`.
    patterns: BTreeMap<Site, Vec<Mat>>,
}

/// What the pass finds on its way.
pub(super) struct Found {
    wanted: BTreeSet<Site>,
    /// Gradients by the sites that are wanted.
    pub sites: BTreeMap<Site, Mat>,
    /// Gradients by the weights are added to these, if there are any.
    pub weights: Option<Weights>,
}

impl Found {
    pub fn new(wanted: &[Site], weights: Option<Weights>) -> Found {
        Found { wanted: wanted.iter().copied().collect(), sites: BTreeMap::new(), weights }
    }

    fn see(&mut self, site: Site, d: &Mat) {
        if self.wanted.contains(&site) {
            self.sites.insert(site, d.clone());
        }
    }

    fn at(&mut self, layer: usize, point: Point, d: &Mat) {
        self.see(Site::Block(layer, point), d);
    }

    fn block(&mut self, layer: usize) -> Option<&mut BlockWeights> {
        self.weights.as_mut().map(|w| &mut w.blocks[layer])
    }
}

impl<'a> Run<'a> {
    /// Runs the batch; `change` sees and changes every site. The model must have an output.
    pub fn new(model: &'a Transformer, batch: &'a Batch, change: Hooks) -> Run<'a> {
        let (mut kept, mut patterns) = (BTreeMap::new(), BTreeMap::<Site, Vec<Mat>>::new());
        // Without a cap scores are not needed; heads' results are never.
        let needed = |site: &Site| match site {
            Site::Block(_, Point::Scores) => model.config.score_cap.is_some(),
            Site::Block(_, Point::Result) => false,
            _ => true,
        };
        let all = Sites::new(Site::all(&model.config).into_iter().filter(needed), &model.config);
        let logits = model.forward(batch, &all, None, &mut |site, x| {
            change(site, x);
            match site {
                Site::Block(_, Point::Scores | Point::Pattern) => patterns.entry(site).or_default().push(x.clone()),
                Site::Logits => {}
                _ => _ = kept.insert(site, x.clone()),
            }
        });
        let logits = logits.expect("checked: it has an output");
        Run { model, batch, logits, kept, patterns }
    }

    fn at(&self, layer: usize, point: Point) -> &Mat {
        &self.kept[&Site::Block(layer, point)]
    }

    /// Goes back from `d`, the gradient by the logits.
    pub fn backward(&self, mut d: Mat, found: &mut Found) {
        let (config, weights) = (&self.model.config, &self.model.weights);
        if let Some(cap) = config.logit_cap {
            d.data_mut().iter_mut().zip(self.logits.data()).for_each(|(d, y)| *d *= 1.0 - (y / cap) * (y / cap));
        }
        let last = config.layers.len() - 1;
        // Models that norm after each sum have no site behind the last.
        let read = self.kept.get(&Site::FinalNorm).unwrap_or_else(|| self.at(last, Point::ResidPost));
        d = self.head(read, d, found);
        if config.wiring != Wiring::Post {
            found.see(Site::FinalNorm, &d);
        }
        if let Some(norm) = &weights.final_norm {
            let grad = found.weights.as_mut().and_then(|w| w.final_norm.as_mut());
            d = self.through_norm(norm, grad, self.at(last, Point::ResidPost), d);
        }
        for layer in (0..=last).rev() {
            d = self.block(layer, d, found);
        }
        self.embed(d, found);
    }

    /// From the gradient by the logits, before their cap, to that by what the output layer reads.
    fn head(&self, read: &Mat, mut d: Mat, found: &mut Found) -> Mat {
        let weights = &self.model.weights;
        let head = weights.head.as_ref().expect("checked: it has an output");
        if let Some(g) = &mut found.weights {
            let projected = head.project.as_ref().map(|project| project.apply(read));
            let x = projected.as_ref().unwrap_or(read);
            let of_head = g.head.as_mut().expect("gradients have the shape of the weights");
            match &mut of_head.own {
                Some(own) => gemm(1.0, x.t(), d.view(), 1.0, own),
                None => gemm(1.0, d.t(), x.view(), 1.0, &mut g.embed),
            }
            if let Some(bias) = &mut of_head.bias {
                add_rows(&d, bias);
            }
        }
        d = match &head.own {
            Some(w) => matmul(&d, w.t()),
            None => matmul(&d, &weights.embed),
        };
        match &head.project {
            Some(project) => {
                let grad = found.weights.as_mut().and_then(|w| w.head.as_mut()?.project.as_mut());
                back(project, grad, read, &d)
            }
            None => d,
        }
    }

    /// From the gradient by the first residual stream to those by the embeddings.
    fn embed(&self, mut d: Mat, found: &mut Found) {
        let (config, w) = (&self.model.config, &self.model.weights);
        // Without positions to add, the norm belongs to the embedding.
        let within = config.positions == Positions::Alibi;
        if let (false, Some(norm)) = (within, &w.embed_norm) {
            let mut x = self.kept[&Site::Embed].clone();
            if let Some(types) = &w.types {
                add(&types.select_rows(&self.types()), &mut x);
            }
            if let Some(positions) = self.kept.get(&Site::PosEmbed) {
                add(positions, &mut x);
            }
            d = self.through_norm(norm, found.weights.as_mut().and_then(|g| g.embed_norm.as_mut()), &x, d);
        }
        found.see(Site::Embed, &d);
        if self.kept.contains_key(&Site::PosEmbed) {
            found.see(Site::PosEmbed, &d);
        }
        let Some(g) = &mut found.weights else { return };
        let scatter = |d: &Mat, rows: &[usize], scale: f32, to: &mut Mat| {
            rows.iter().enumerate().for_each(|(i, &row)| axpy(scale, d.row(i), to.row_mut(row)));
        };
        if let Some(types) = &mut g.types {
            scatter(&d, &self.types(), 1.0, types);
        }
        if let Some(positions) = &mut g.positions {
            let places: Vec<usize> = self.batch.places().iter().map(|p| p.0).collect();
            scatter(&d, &places, 1.0, positions);
        }
        let ids: Vec<usize> = self.batch.ids().iter().map(|&id| id as usize).collect();
        let mut raw = w.embed.select_rows(&ids);
        raw.data_mut().iter_mut().for_each(|x| *x *= config.embed_scale);
        if let (true, Some(norm)) = (within, &w.embed_norm) {
            let projected = w.project_in.as_ref().map(|project| project.apply(&raw));
            d = self.through_norm(norm, g.embed_norm.as_mut(), projected.as_ref().unwrap_or(&raw), d);
        }
        if let Some(project) = &w.project_in {
            d = back(project, g.project_in.as_mut(), &raw, &d);
        }
        scatter(&d, &ids, config.embed_scale, &mut g.embed);
    }

    fn types(&self) -> Vec<usize> {
        self.batch.types().iter().map(|&t| t as usize).collect()
    }

    /// Goes back from `d`, the gradient by the MLP's neurons (`hook_post`) of `layer`, as if nothing behind them counted.
    pub fn backward_from_neurons(&self, layer: usize, d: Mat, found: &mut Found) {
        let w = &self.model.weights.blocks[layer];
        let zero = Mat::zeros(d.rows(), self.model.config.d_model);
        let mut d = self.below_mlp(layer, w, zero, |read, found| self.below_neurons(layer, w, d, read, found), found);
        for layer in (0..layer).rev() {
            d = self.block(layer, d, found);
        }
        self.embed(d, found);
    }

    /// From the gradient by the stream after a block to that by the stream before it.
    fn block(&self, layer: usize, mut d: Mat, found: &mut Found) -> Mat {
        let (w, wiring) = (&self.model.weights.blocks[layer], self.model.config.wiring);
        found.at(layer, Point::ResidPost, &d);
        if wiring == Wiring::Post {
            found.at(layer, Point::Norm2, &d);
            let middle = self.at(layer, Point::ResidMid);
            let x = sum(middle, self.at(layer, Point::MlpOut));
            d = self.through_norm(&w.ln2, found.block(layer).map(|g| &mut g.ln2), &x, d);
        }
        let of_mlp = d.clone();
        self.below_mlp(layer, w, d, |read, found| self.mlp(layer, w, of_mlp, read, found), found)
    }

    /// What is below a block's MLP: `d` is the gradient by the stream around it, `mlp` gives that by what it reads.
    fn below_mlp(
        &self,
        layer: usize,
        w: &BlockWeights,
        mut d: Mat,
        mlp: impl FnOnce(&Mat, &mut Found) -> Mat,
        found: &mut Found,
    ) -> Mat {
        let before = self.at(layer, Point::ResidPre);
        let norm1 =
            |found: &mut Found, x: &Mat, d| self.through_norm(&w.ln1, found.block(layer).map(|g| &mut g.ln1), x, d);
        let norm2 =
            |found: &mut Found, x: &Mat, d| self.through_norm(&w.ln2, found.block(layer).map(|g| &mut g.ln2), x, d);
        match self.model.config.wiring {
            Wiring::Pre | Wiring::Sandwich => {
                let middle = self.at(layer, Point::ResidMid);
                let read = mlp(self.at(layer, Point::Norm2), found);
                found.at(layer, Point::Norm2, &read);
                add(&norm2(found, middle, read), &mut d);
                found.at(layer, Point::ResidMid, &d);
                let read = self.attention(layer, w, d.clone(), self.at(layer, Point::Norm1), found);
                found.at(layer, Point::Norm1, &read);
                add(&norm1(found, before, read), &mut d);
            }
            Wiring::Parallel => {
                let of_mlp = mlp(self.at(layer, Point::Norm2), found);
                found.at(layer, Point::Norm2, &of_mlp);
                let of_attention = self.attention(layer, w, d.clone(), self.at(layer, Point::Norm1), found);
                found.at(layer, Point::Norm1, &of_attention);
                add(&norm2(found, before, of_mlp), &mut d);
                add(&norm1(found, before, of_attention), &mut d);
            }
            Wiring::Post => {
                let read = mlp(self.at(layer, Point::ResidMid), found);
                add(&read, &mut d);
                found.at(layer, Point::ResidMid, &d);
                found.at(layer, Point::Norm1, &d);
                d = norm1(found, &sum(before, self.at(layer, Point::AttnOut)), d);
                let read = self.attention(layer, w, d.clone(), before, found);
                add(&read, &mut d);
            }
        }
        found.at(layer, Point::ResidPre, &d);
        d
    }

    /// From the gradient by what the MLP adds to that by what it reads, `read`.
    fn mlp(&self, layer: usize, w: &BlockWeights, mut d: Mat, read: &Mat, found: &mut Found) -> Mat {
        found.at(layer, Point::MlpOut, &d);
        let post = self.at(layer, Point::Post);
        if let Some(norm) = &w.post_mlp {
            let grad = found.block(layer).and_then(|g| g.post_mlp.as_mut());
            d = self.through_norm(norm, grad, &w.mlp.out.apply(post), d);
        }
        let d = back(&w.mlp.out, found.block(layer).map(|g| &mut g.mlp.out), post, &d);
        self.below_neurons(layer, w, d, read, found)
    }

    /// From the gradient by the MLP's neurons to that by what it reads, `read`.
    fn below_neurons(&self, layer: usize, w: &BlockWeights, mut d: Mat, read: &Mat, found: &mut Found) -> Mat {
        found.at(layer, Point::Post, &d);
        let f = self.model.config.activation;
        let pre = self.at(layer, Point::Pre);
        let Some(linear) = &w.mlp.linear else {
            f.backprop(pre.data(), d.data_mut());
            found.at(layer, Point::Pre, &d);
            return back(&w.mlp.into, found.block(layer).map(|g| &mut g.mlp.into), read, &d);
        };
        let mut active = pre.clone();
        f.apply(active.data_mut());
        let of_linear = Mat::from_fn(d.rows(), d.cols(), |i, j| d[(i, j)] * active[(i, j)]);
        let by = self.at(layer, Point::PreLinear);
        d.data_mut().iter_mut().zip(by.data()).for_each(|(d, l)| *d *= l);
        f.backprop(pre.data(), d.data_mut());
        found.at(layer, Point::Pre, &d);
        found.at(layer, Point::PreLinear, &of_linear);
        let mut out = back(&w.mlp.into, found.block(layer).map(|g| &mut g.mlp.into), read, &d);
        let grad = found.block(layer).and_then(|g| g.mlp.linear.as_mut());
        add(&back(linear, grad, read, &of_linear), &mut out);
        out
    }

    /// From the gradient by what attention adds to that by what it reads, `read`.
    fn attention(&self, layer: usize, w: &BlockWeights, mut d: Mat, read: &Mat, found: &mut Found) -> Mat {
        found.at(layer, Point::AttnOut, &d);
        let z = self.at(layer, Point::Z);
        if let Some(norm) = &w.post_attn {
            let grad = found.block(layer).and_then(|g| g.post_attn.as_mut());
            d = self.through_norm(norm, grad, &w.attn.out.apply(z), d);
        }
        let d = back(&w.attn.out, found.block(layer).map(|g| &mut g.attn.out), z, &d);
        found.at(layer, Point::Z, &d);
        let config = &self.model.config;
        let (q, k) = (config.d_queries(), config.d_keys());
        let mut of_qkv = self.heads(layer, &d);
        let columns = |m: &Mat, from: usize, to: usize| m.select_cols(&(from..to).collect::<Vec<_>>());
        found.at(layer, Point::V, &columns(&of_qkv, q + k, q + 2 * k));
        if let Some(rope) = config.layers[layer].rope.map(|r| &config.ropes[r]) {
            found.at(layer, Point::RotQ, &columns(&of_qkv, 0, q));
            found.at(layer, Point::RotK, &columns(&of_qkv, q, q + k));
            rope.rotate_back(&mut of_qkv, (0, q + k), config.d_head, self.batch.places());
        }
        for (gain, point, from) in [(&w.attn.q_norm, Point::Q, 0), (&w.attn.k_norm, Point::K, q)] {
            let Some(gain) = gain else { continue };
            let input = self.at(layer, point);
            let grad = found.block(layer).map(|g| &mut g.attn);
            let mut grad = grad.and_then(|g| if from == 0 { g.q_norm.as_mut() } else { g.k_norm.as_mut() });
            for row in 0..of_qkv.rows() {
                let heads = of_qkv.row_mut(row)[from..from + input.cols()].chunks_exact_mut(config.d_head);
                for (d, x) in heads.zip(input.row(row).chunks_exact(config.d_head)) {
                    let grad = (grad.as_mut().map(|g| &mut g[..]), None);
                    norm_row(NormKind::Rms, config.eps, Some(gain), grad, x, d);
                }
            }
        }
        found.at(layer, Point::Q, &columns(&of_qkv, 0, q));
        found.at(layer, Point::K, &columns(&of_qkv, q, q + k));
        back(&w.attn.qkv, found.block(layer).map(|g| &mut g.attn.qkv), read, &of_qkv)
    }

    /// From the gradient by what the heads have read to that by queries, keys (both after rotation) and values, side by side.
    fn heads(&self, layer: usize, d: &Mat) -> Mat {
        let config = &self.model.config;
        let (width, q, k) = (config.d_head, config.d_queries(), config.d_keys());
        let kind = &config.layers[layer];
        let turned = kind.rope.is_some();
        let (queries, keys) = if turned { (Point::RotQ, Point::RotK) } else { (Point::Q, Point::K) };
        let (queries, keys, values) = (self.at(layer, queries), self.at(layer, keys), self.at(layer, Point::V));
        let patterns = &self.patterns[&Site::Block(layer, Point::Pattern)];
        let capped = self.patterns.get(&Site::Block(layer, Point::Scores));
        let mut out = Mat::zeros(d.rows(), q + 2 * k);
        for s in 0..self.batch.sequences() {
            let (from, to) = self.batch.rows(s);
            if from == to {
                continue;
            }
            let rows = to - from;
            let part = |m: &Mat, first: usize| Mat::from_fn(rows, width, |i, j| m[(from + i, first + j)]);
            for h in 0..config.heads {
                let kv = h / (config.heads / config.kv_heads) * width;
                let (dz, query, key, value) =
                    (part(d, h * width), part(queries, h * width), part(keys, kv), part(values, kv));
                let pattern = Mat::from_fn(rows, rows, |i, j| patterns[s][(h * rows + i, j)]);
                let of_values = matmul(pattern.t(), &dz);
                let mut ds = matmul(&dz, value.t());
                for i in 0..rows {
                    let mean: f32 = ds.row(i).iter().zip(pattern.row(i)).map(|(d, p)| d * p).sum();
                    let row = ds.row_mut(i);
                    row.iter_mut().zip(pattern.row(i)).for_each(|(d, p)| *d = p * (*d - mean) * kind.scale);
                    if let (Some(cap), Some(capped)) = (config.score_cap, capped) {
                        let scores = capped[s].row(h * rows + i);
                        // Where nothing is seen the score is −∞, and the pattern has made the gradient zero already.
                        let slope = |y: f32| if y.is_finite() { 1.0 - (y / cap) * (y / cap) } else { 0.0 };
                        row.iter_mut().zip(scores).for_each(|(d, y)| *d *= slope(*y));
                    }
                }
                let (of_queries, of_keys) = (matmul(&ds, &key), matmul(ds.t(), &query));
                for i in 0..rows {
                    let row = out.row_mut(from + i);
                    let mut put = |first: usize, of: &Mat| {
                        row[first..first + width].iter_mut().zip(of.row(i)).for_each(|(o, x)| *o += x)
                    };
                    put(h * width, &of_queries);
                    put(q + kv, &of_keys);
                    put(q + k + kv, &of_values);
                }
            }
        }
        out
    }

    /// From the gradient by what a norm gives to that by what it reads, `x`.
    fn through_norm(&self, w: &NormWeights, mut grad: Option<&mut NormWeights>, x: &Mat, mut d: Mat) -> Mat {
        let config = &self.model.config;
        for i in 0..d.rows() {
            let grad = match &mut grad {
                Some(g) => (g.gain.as_deref_mut(), g.bias.as_deref_mut()),
                None => (None, None),
            };
            norm_row(config.norm, config.eps, w.gain.as_deref(), grad, x.row(i), d.row_mut(i));
        }
        d
    }
}

/// `d ← s (g d − mean(g d) − x̂ mean(g d x̂))`, the gradient through `y = x̂ g + b` with `x̂ = s (x − mean)`; without the means of `x` for a root mean
/// square. The gradients by gain and bias, `d x̂` and `d`, are added to `grad`.
fn norm_row(
    kind: NormKind,
    eps: f64,
    gain: Option<&[f32]>,
    grad: (Option<&mut [f32]>, Option<&mut [f32]>),
    x: &[f32],
    d: &mut [f32],
) {
    let n = x.len() as f64;
    let mean = if kind == NormKind::Layer { x.iter().map(|&x| f64::from(x)).sum::<f64>() / n } else { 0.0 };
    let square = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let scale = 1.0 / (square + eps).sqrt();
    let normed = |x: f32| (f64::from(x) - mean) * scale;
    if let Some(grad) = grad.0 {
        grad.iter_mut().zip(&*d).zip(x).for_each(|((g, d), x)| *g += d * normed(*x) as f32);
    }
    if let Some(grad) = grad.1 {
        axpy(1.0, d, grad);
    }
    if let Some(gain) = gain {
        d.iter_mut().zip(gain).for_each(|(d, g)| *d *= g);
    }
    let along = d.iter().zip(x).map(|(&d, &x)| f64::from(d) * normed(x)).sum::<f64>() / n;
    let shift = if kind == NormKind::Layer { d.iter().map(|&d| f64::from(d)).sum::<f64>() / n } else { 0.0 };
    d.iter_mut().zip(x).for_each(|(d, &x)| *d = (scale * (f64::from(*d) - shift - normed(x) * along)) as f32);
}

/// `d · wᵀ`; `xᵀ · d` and the sum of `d`'s rows are added to the gradient.
fn back(linear: &Linear, grad: Option<&mut Linear>, x: &Mat, d: &Mat) -> Mat {
    if let Some(grad) = grad {
        gemm(1.0, x.t(), d.view(), 1.0, &mut grad.w);
        if let Some(b) = &mut grad.b {
            add_rows(d, b);
        }
    }
    matmul(d, linear.w.t())
}

fn add_rows(d: &Mat, to: &mut [f32]) {
    (0..d.rows()).for_each(|i| axpy(1.0, d.row(i), to));
}

fn sum(a: &Mat, b: &Mat) -> Mat {
    let mut out = a.clone();
    add(b, &mut out);
    out
}
