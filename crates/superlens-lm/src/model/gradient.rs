//! The backward pass: how a number that is made of the logits changes with the activations at any site.
//!
//! Gradient × activation says how much each activation counts to first order; [`Transformer::integrated_gradients`] follows it along the way from a
//! baseline (Sundararajan, Taly and Yan 2017, arXiv 1703.01365).

use std::collections::BTreeMap;

use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::{gemm, matmul};

use super::batch::Batch;
use super::config::{NormKind, Wiring};
use super::hook::{Point, Site, Sites};
use super::transformer::{Hooks, Transformer, add};
use super::weights::{BlockWeights, Linear, NormWeights};

/// Gradients of one number by activations.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Of the run that they are of, `[tokens, vocab]`.
    pub logits: Mat,
    /// The activations of that run at the sites that were asked for.
    pub at: BTreeMap<Site, Mat>,
    /// The gradient by them, of the same shape.
    pub by: BTreeMap<Site, Mat>,
}

impl Gradients {
    /// Gradient × activation at a site. Panics on one that was not asked for.
    pub fn times_activation(&self, site: Site) -> Mat {
        let (by, at) = (&self.by[&site], &self.at[&site]);
        Mat::from_fn(by.rows(), by.cols(), |i, j| by[(i, j)] * at[(i, j)])
    }
}

/// What the backward pass needs of a run, and what it finds.
struct Run<'a> {
    model: &'a Transformer,
    batch: &'a Batch,
    kept: BTreeMap<Site, Mat>,
    /// Patterns and capped scores by layer, one for each sequence: `[heads · queries, keys]`.
    patterns: BTreeMap<Site, Vec<Mat>>,
    found: BTreeMap<Site, Mat>,
}

impl Site {
    /// Whether gradients by its activations are computed.
    pub fn has_gradient(self) -> bool {
        !matches!(self, Site::Logits | Site::Block(_, Point::Scores | Point::Pattern | Point::Result))
    }
}

impl Transformer {
    /// Runs the batch, `change` seeing and changing every site as in [`forward`](Self::forward), and goes back from the logits: `seed(logits)` is the
    /// gradient of the number by them. Sites are those of rows a token each, but for heads' results and the logits.
    ///
    /// # Errors
    /// Models without an output, or with a hidden layer in it, and sites that have no gradient here. Panics on a seed of another shape.
    pub fn gradients(
        &self,
        batch: &Batch,
        sites: &[Site],
        change: Hooks,
        seed: &dyn Fn(&Mat) -> Mat,
    ) -> Result<Gradients, String> {
        if self.weights.head.as_ref().is_none_or(|head| head.transform.is_some()) {
            return Err(format!(
                "a model of family {} has no output that gradients go through here",
                self.config.family
            ));
        }
        for site in sites {
            if !site.has_gradient() {
                return Err(format!("{site}: no gradient is computed by it"));
            }
        }
        let mut run =
            Run { model: self, batch, kept: BTreeMap::new(), patterns: BTreeMap::new(), found: BTreeMap::new() };
        // Without a cap scores are not needed; heads' results are never.
        let needed = |site: &Site| match site {
            Site::Block(_, Point::Scores) => self.config.score_cap.is_some(),
            Site::Block(_, Point::Result) => false,
            _ => true,
        };
        let all = Sites::new(Site::all(&self.config).into_iter().filter(needed), &self.config);
        let logits = self.forward(batch, &all, None, &mut |site, x| {
            change(site, x);
            match site {
                Site::Block(_, Point::Scores | Point::Pattern) => run.patterns.entry(site).or_default().push(x.clone()),
                Site::Logits => {}
                _ => _ = run.kept.insert(site, x.clone()),
            }
        });
        let logits = logits.expect("checked: it has an output");
        let d = seed(&logits);
        assert_eq!(d.shape(), logits.shape(), "a gradient for each logit");
        run.backward(d, &logits);
        let of = |all: &mut BTreeMap<Site, Mat>| -> Result<BTreeMap<Site, Mat>, String> {
            let one =
                |site: &Site| Ok((*site, all.get(site).ok_or_else(|| format!("{site}: the model has none"))?.clone()));
            sites.iter().map(one).collect()
        };
        Ok(Gradients { at: of(&mut run.kept)?, by: of(&mut run.found)?, logits })
    }

    /// Integrated gradients at a site: (activations − baseline) × the mean gradient over `steps` midpoints between the two. They add up to the
    /// difference that the number makes, the better the more steps. `baseline` is of the shape of the activations.
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients). Panics on a baseline of another shape.
    pub fn integrated_gradients(
        &self,
        batch: &Batch,
        site: Site,
        baseline: &Mat,
        steps: usize,
        seed: &dyn Fn(&Mat) -> Mat,
    ) -> Result<Mat, String> {
        let plain = self.gradients(batch, &[site], &mut |_, _| {}, seed)?;
        let end = &plain.at[&site];
        assert_eq!(end.shape(), baseline.shape(), "a baseline for the activations");
        let mut sum = Mat::zeros(end.rows(), end.cols());
        for step in 0..steps.max(1) {
            let share = (step as f32 + 0.5) / steps.max(1) as f32;
            let between = Mat::from_fn(end.rows(), end.cols(), |i, j| {
                baseline[(i, j)] + share * (end[(i, j)] - baseline[(i, j)])
            });
            let mut set = |at: Site, x: &mut Mat| {
                if at == site {
                    x.data_mut().copy_from_slice(between.data());
                }
            };
            add(&self.gradients(batch, &[site], &mut set, seed)?.by[&site], &mut sum);
        }
        let share = 1.0 / steps.max(1) as f32;
        Ok(Mat::from_fn(end.rows(), end.cols(), |i, j| share * sum[(i, j)] * (end[(i, j)] - baseline[(i, j)])))
    }
}

impl Run<'_> {
    fn at(&self, layer: usize, point: Point) -> &Mat {
        &self.kept[&Site::Block(layer, point)]
    }

    fn found(&mut self, layer: usize, point: Point, d: &Mat) {
        self.found.insert(Site::Block(layer, point), d.clone());
    }

    fn backward(&mut self, mut d: Mat, logits: &Mat) {
        let (config, weights) = (&self.model.config, &self.model.weights);
        if let Some(cap) = config.logit_cap {
            d.data_mut().iter_mut().zip(logits.data()).for_each(|(d, y)| *d *= 1.0 - (y / cap) * (y / cap));
        }
        let head = weights.head.as_ref().expect("checked: it has an output");
        d = match &head.own {
            Some(w) => matmul(&d, w.t()),
            None => matmul(&d, &weights.embed),
        };
        if let Some(project) = &head.project {
            d = back(project, &d);
        }
        if config.wiring != Wiring::Post {
            self.found.insert(Site::FinalNorm, d.clone());
        }
        let last = config.layers.len() - 1;
        if let Some(norm) = &weights.final_norm {
            d = self.through_norm(norm, self.at(last, Point::ResidPost), d);
        }
        for layer in (0..=last).rev() {
            d = self.block(layer, d);
        }
        // The embeddings' own sites: what is added to them has the same gradient, unless a norm stands between.
        if weights.embed_norm.is_none() {
            self.found.insert(Site::Embed, d.clone());
            if self.kept.contains_key(&Site::PosEmbed) {
                self.found.insert(Site::PosEmbed, d);
            }
        }
    }

    /// From the gradient by the stream after a block to that by the stream before it.
    fn block(&mut self, layer: usize, mut d: Mat) -> Mat {
        let (w, wiring) = (&self.model.weights.blocks[layer], self.model.config.wiring);
        self.found(layer, Point::ResidPost, &d);
        let before = self.at(layer, Point::ResidPre).clone();
        match wiring {
            Wiring::Pre | Wiring::Sandwich => {
                let read = self.mlp(layer, w, d.clone());
                self.found(layer, Point::Norm2, &read);
                add(&self.through_norm(&w.ln2, self.at(layer, Point::ResidMid), read), &mut d);
                self.found(layer, Point::ResidMid, &d);
                let read = self.attention(layer, w, d.clone());
                self.found(layer, Point::Norm1, &read);
                add(&self.through_norm(&w.ln1, &before, read), &mut d);
            }
            Wiring::Parallel => {
                let of_mlp = self.mlp(layer, w, d.clone());
                self.found(layer, Point::Norm2, &of_mlp);
                let of_attention = self.attention(layer, w, d.clone());
                self.found(layer, Point::Norm1, &of_attention);
                add(&self.through_norm(&w.ln2, &before, of_mlp), &mut d);
                add(&self.through_norm(&w.ln1, &before, of_attention), &mut d);
            }
            Wiring::Post => {
                self.found(layer, Point::Norm2, &d);
                d = self.through_norm(&w.ln2, &sum(self.at(layer, Point::ResidMid), self.at(layer, Point::MlpOut)), d);
                let read = self.mlp(layer, w, d.clone());
                add(&read, &mut d);
                self.found(layer, Point::ResidMid, &d);
                self.found(layer, Point::Norm1, &d);
                d = self.through_norm(&w.ln1, &sum(&before, self.at(layer, Point::AttnOut)), d);
                let read = self.attention(layer, w, d.clone());
                add(&read, &mut d);
            }
        }
        self.found(layer, Point::ResidPre, &d);
        d
    }

    /// From the gradient by what the MLP adds to that by what it reads.
    fn mlp(&mut self, layer: usize, w: &BlockWeights, mut d: Mat) -> Mat {
        self.found(layer, Point::MlpOut, &d);
        if let Some(norm) = &w.post_mlp {
            d = self.through_norm(norm, &w.mlp.out.apply(self.at(layer, Point::Post)), d);
        }
        let mut d = back(&w.mlp.out, &d);
        self.found(layer, Point::Post, &d);
        let f = self.model.config.activation;
        let pre = self.at(layer, Point::Pre).clone();
        let Some(linear) = &w.mlp.linear else {
            f.backprop(pre.data(), d.data_mut());
            self.found(layer, Point::Pre, &d);
            return back(&w.mlp.into, &d);
        };
        let mut active = pre.clone();
        f.apply(active.data_mut());
        let of_linear = Mat::from_fn(d.rows(), d.cols(), |i, j| d[(i, j)] * active[(i, j)]);
        let by = self.at(layer, Point::PreLinear);
        d.data_mut().iter_mut().zip(by.data()).for_each(|(d, l)| *d *= l);
        f.backprop(pre.data(), d.data_mut());
        self.found(layer, Point::Pre, &d);
        self.found(layer, Point::PreLinear, &of_linear);
        let mut read = back(&w.mlp.into, &d);
        add(&back(linear, &of_linear), &mut read);
        read
    }

    /// From the gradient by what attention adds to that by what it reads.
    fn attention(&mut self, layer: usize, w: &BlockWeights, mut d: Mat) -> Mat {
        self.found(layer, Point::AttnOut, &d);
        if let Some(norm) = &w.post_attn {
            d = self.through_norm(norm, &w.attn.out.apply(self.at(layer, Point::Z)), d);
        }
        let d = back(&w.attn.out, &d);
        self.found(layer, Point::Z, &d);
        let config = &self.model.config;
        let (q, k) = (config.d_queries(), config.d_keys());
        let mut of_qkv = self.heads(layer, &d);
        let columns = |m: &Mat, from: usize, to: usize| m.select_cols(&(from..to).collect::<Vec<_>>());
        self.found(layer, Point::V, &columns(&of_qkv, q + k, q + 2 * k));
        if let Some(rope) = config.layers[layer].rope.map(|r| &config.ropes[r]) {
            self.found(layer, Point::RotQ, &columns(&of_qkv, 0, q));
            self.found(layer, Point::RotK, &columns(&of_qkv, q, q + k));
            rope.rotate_back(&mut of_qkv, (0, q + k), config.d_head, self.batch.places());
        }
        for (gain, point, from) in [(&w.attn.q_norm, Point::Q, 0), (&w.attn.k_norm, Point::K, q)] {
            let Some(gain) = gain else { continue };
            let input = self.at(layer, point);
            for row in 0..of_qkv.rows() {
                let heads = of_qkv.row_mut(row)[from..from + input.cols()].chunks_exact_mut(config.d_head);
                for (d, x) in heads.zip(input.row(row).chunks_exact(config.d_head)) {
                    norm_row(NormKind::Rms, config.eps, Some(gain), x, d);
                }
            }
        }
        self.found(layer, Point::Q, &columns(&of_qkv, 0, q));
        self.found(layer, Point::K, &columns(&of_qkv, q, q + k));
        back(&w.attn.qkv, &of_qkv)
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
    fn through_norm(&self, w: &NormWeights, x: &Mat, mut d: Mat) -> Mat {
        let config = &self.model.config;
        for i in 0..d.rows() {
            norm_row(config.norm, config.eps, w.gain.as_deref(), x.row(i), d.row_mut(i));
        }
        d
    }
}

/// `d ← s (g d − mean(g d) − x̂ mean(g d x̂))`, the gradient through `y = x̂ g + b` with `x̂ = s (x − mean)`; without the means of `x` for a root mean
/// square.
fn norm_row(kind: NormKind, eps: f64, gain: Option<&[f32]>, x: &[f32], d: &mut [f32]) {
    let n = x.len() as f64;
    let mean = if kind == NormKind::Layer { x.iter().map(|&x| f64::from(x)).sum::<f64>() / n } else { 0.0 };
    let square = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let scale = 1.0 / (square + eps).sqrt();
    if let Some(gain) = gain {
        d.iter_mut().zip(gain).for_each(|(d, g)| *d *= g);
    }
    let normed = |x: f32| (f64::from(x) - mean) * scale;
    let along = d.iter().zip(x).map(|(&d, &x)| f64::from(d) * normed(x)).sum::<f64>() / n;
    let shift = if kind == NormKind::Layer { d.iter().map(|&d| f64::from(d)).sum::<f64>() / n } else { 0.0 };
    d.iter_mut().zip(x).for_each(|(d, &x)| *d = (scale * (f64::from(*d) - shift - normed(x) * along)) as f32);
}

/// `d · wᵀ`.
fn back(linear: &Linear, d: &Mat) -> Mat {
    let mut out = Mat::zeros(d.rows(), linear.w.rows());
    gemm(1.0, d.view(), linear.w.t(), 0.0, &mut out);
    out
}

fn sum(a: &Mat, b: &Mat) -> Mat {
    let mut out = a.clone();
    add(b, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::family_tests::fixtures;
    use crate::model::load;

    fn batch() -> Batch {
        let mut batch = Batch::one(&[3, 41, 7, 7, 55, 20, 9]);
        batch.push(&[9, 1, 30]);
        batch
    }

    /// A number that all logits take part in.
    fn number(logits: &Mat) -> f64 {
        let term = |(i, &x): (usize, &f32)| f64::from(x) * ((7 * i + 3) as f64).sin();
        logits.data().iter().enumerate().map(term).sum::<f64>() / 20.0
    }

    fn seed(logits: &Mat) -> Mat {
        let cols = logits.cols();
        Mat::from_fn(logits.rows(), cols, |i, j| (((7 * (i * cols + j) + 3) as f64).sin() / 20.0) as f32)
    }

    /// The change of the number when all activations at `site` move by `h` along a direction.
    fn moved(model: &Transformer, site: Site, direction: &dyn Fn(usize, usize) -> f32, h: f32) -> f64 {
        let sites = Sites::and_logits([site], &model.config);
        let shift = |by: f32| {
            let logits = model.forward(&batch(), &sites, None, &mut |at, x| {
                if at == site {
                    for i in 0..x.rows() {
                        x.row_mut(i).iter_mut().enumerate().for_each(|(j, x)| *x += by * direction(i, j));
                    }
                }
            });
            number(&logits.unwrap())
        };
        (shift(h) - shift(-h)) / f64::from(2.0 * h)
    }

    #[test]
    fn gradients_are_those_of_finite_differences_at_every_site_of_every_family() {
        let folders = std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
        let mut families = 0;
        for path in folders {
            let family = path.file_name().unwrap().to_string_lossy().into_owned();
            let model = load(&path).unwrap();
            let skipped =
                |s: &Site| matches!(s, Site::Logits | Site::Block(_, Point::Scores | Point::Pattern | Point::Result));
            let sites: Vec<Site> = Site::all(&model.config).into_iter().filter(|s| !skipped(s)).collect();
            let embeds = |s: &Site| !(model.weights.embed_norm.is_some() && matches!(s, Site::Embed | Site::PosEmbed));
            let sites: Vec<Site> = sites.into_iter().filter(embeds).collect();
            let found = match model.gradients(&batch(), &sites, &mut |_, _| {}, &seed) {
                Ok(found) => found,
                Err(why) => {
                    assert!(family.starts_with("bert"), "{family}: {why}");
                    continue;
                }
            };
            families += 1;
            for site in sites {
                let by = &found.by[&site];
                let size = found.at[&site].data().iter().map(|x| x.abs()).sum::<f32>() / by.data().len() as f32;
                let direction = |i: usize, j: usize| ((11 * i + 5 * j + 1) as f32).sin() * size.max(1e-3);
                let want: f64 = (0..by.rows())
                    .flat_map(|i| (0..by.cols()).map(move |j| (i, j)))
                    .map(|(i, j)| f64::from(by[(i, j)] * direction(i, j)))
                    .sum();
                let found = moved(&model, site, &direction, 2e-3);
                let length = by.data().iter().map(|d| f64::from(d * size.max(1e-3)).powi(2)).sum::<f64>().sqrt();
                assert!(
                    (found - want).abs() < 5e-3 * (want.abs() + length) + 2e-4,
                    "{family}, {site}: {found} and {want} of {length}"
                );
            }
        }
        assert!(families > 35, "{families}");
    }

    #[test]
    fn integrated_gradients_add_up() {
        // Not of Gemma 2: the norm behind its MLP makes the step from nothing to a little the whole way.
        for family in ["gpt2-published", "llama-gqa-published", "neox-parallel-published", "opt"] {
            let model = load(&fixtures().join(family)).unwrap();
            let site = Site::Block(0, Point::Post);
            let value = |change: Hooks| {
                number(&model.forward(&batch(), &Sites::and_logits([site], &model.config), None, change).unwrap())
            };
            let zero = Mat::zeros(10, model.config.d_mlp);
            let shares = model.integrated_gradients(&batch(), site, &zero, 40, &seed).unwrap();
            let sum: f64 = shares.data().iter().map(|&x| f64::from(x)).sum();
            let want = value(&mut |_, _| {})
                - value(&mut |at, x| {
                    if at == site {
                        x.data_mut().fill(0.0);
                    }
                });
            assert!((sum - want).abs() < 1e-2 * want.abs().max(0.05), "{family}: {sum} for {want}");
        }
    }

    #[test]
    fn what_has_no_gradient_is_told() {
        let model = load(&fixtures().join("gpt2-published")).unwrap();
        let said = |site: Site| model.gradients(&batch(), &[site], &mut |_, _| {}, &seed).unwrap_err();
        assert!(said(Site::Logits).contains("logits") && said(Site::Block(0, Point::Pattern)).contains("hook_pattern"));
        let bert = load(&fixtures().join("bert-published")).unwrap();
        assert!(bert.gradients(&batch(), &[], &mut |_, _| {}, &seed).is_err());
    }
}
