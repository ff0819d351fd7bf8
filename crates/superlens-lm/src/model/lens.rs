//! Reading the residual stream by the output layer: the logit lens (nostalgebraist 2020), what directions promote, and which parts of a model a
//! logit comes from (direct logit attribution: Elhage et al. 2021, A Mathematical Framework for Transformer Circuits).
//!
//! Parts add up to the stream that the last norm reads. With the scale of that norm taken as it is, the norm is linear, and so is each part's share of
//! a logit; what is added to the shares is the norm's and the output's own bias. A cap on the logits comes after all that and is left out.

use std::fmt;

use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::matmul;

use super::batch::Batch;
use super::config::{NormKind, Wiring};
use super::hook::{Point, Site, Sites};
use super::transformer::Transformer;
use super::weights::{Head, NormWeights};

/// A part of the final residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What enters the first block.
    Embedding,
    /// One head.
    Head {
        layer: usize,
        head: usize,
    },
    /// What attention adds whichever the heads do, or all of it where a norm comes after the heads.
    Attention {
        layer: usize,
    },
    Mlp {
        layer: usize,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Part::Embedding => write!(f, "embedding"),
            Part::Head { layer, head } => write!(f, "blocks.{layer} head {head}"),
            Part::Attention { layer } => write!(f, "blocks.{layer} attention"),
            Part::Mlp { layer } => write!(f, "blocks.{layer} mlp"),
        }
    }
}

/// Where a logit comes from.
#[derive(Clone, Debug)]
pub struct Attribution {
    /// Each part's share, in the order in which they are computed.
    pub parts: Vec<(Part, f64)>,
    /// The biases of the last norm and the output.
    pub bias: f64,
}

impl Attribution {
    /// The logit before any cap.
    pub fn logit(&self) -> f64 {
        self.bias + self.parts.iter().map(|part| part.1).sum::<f64>()
    }
}

impl Transformer {
    /// The output of a model whose residual stream can be read by it.
    fn readable(&self) -> Result<&Head, String> {
        let family = &self.config.family;
        let Some(head) = &self.weights.head else { return Err(format!("a model of family {family} has no output")) };
        if self.config.wiring == Wiring::Post || head.transform.is_some() {
            return Err(format!(
                "a model of family {family} norms its residual stream at every block, so its parts don't add up"
            ));
        }
        Ok(head)
    }

    /// Logits of the residual stream as it enters each block, and of the last, of some rows of a batch: `layers + 1` matrices `[rows, vocab]`.
    ///
    /// # Errors
    /// Models without an output, and encoders that norm their stream.
    pub fn logit_lens(&self, batch: &Batch, rows: &[usize]) -> Result<Vec<Mat>, String> {
        self.readable()?;
        let last = self.config.layers.len() - 1;
        let sites =
            (0..=last).map(|layer| Site::Block(layer, Point::ResidPre)).chain([Site::Block(last, Point::ResidPost)]);
        let mut streams = Vec::new();
        let sites = Sites::new(sites, &self.config);
        self.forward(batch, &sites, None, &mut |_, x| streams.push(x.select_rows(rows)));
        let logits = |mut x: Mat| {
            if let Some(norm) = &self.weights.final_norm {
                self.normalise(norm, &mut x);
            }
            self.unembed(x).expect("checked: it has an output")
        };
        Ok(streams.into_iter().map(logits).collect())
    }

    /// What activations of a site, a row each, write into the residual stream, `[rows, d_model]`: neurons and heads by their output weights (of a norm
    /// behind them the gain, its scale being known of texts alone), streams and what is added to them as they are.
    ///
    /// # Errors
    /// Sites that write through something else than weights.
    pub fn written(&self, site: Site, rows: &Mat) -> Result<Mat, String> {
        let through = |w: &Mat, norm: Option<&NormWeights>| {
            let mut out = matmul(rows, w);
            if let Some(gain) = norm.and_then(|norm| norm.gain.as_ref()) {
                let width = gain.len();
                out.data_mut()
                    .chunks_exact_mut(width)
                    .for_each(|row| row.iter_mut().zip(gain).for_each(|(x, g)| *x *= g));
            }
            out
        };
        match site {
            Site::Block(l, Point::Post) => {
                let block = &self.weights.blocks[l];
                Ok(through(&block.mlp.out.w, block.post_mlp.as_ref()))
            }
            Site::Block(l, Point::Z) => {
                let block = &self.weights.blocks[l];
                Ok(through(&block.attn.out.w, block.post_attn.as_ref()))
            }
            Site::Embed | Site::PosEmbed => Ok(rows.clone()),
            Site::Block(_, Point::ResidPre | Point::ResidMid | Point::ResidPost | Point::AttnOut | Point::MlpOut) => {
                Ok(rows.clone())
            }
            _ => Err(format!(
                "{site} does not write into the residual stream by weights alone; name hook_post, hook_z, or the stream"
            )),
        }
    }

    /// What each row of `directions` `[rows, d_model]`, added to the last residual stream, adds to each logit: `[rows, vocab]`, but for the scale of the
    /// last norm, which only texts tell.
    ///
    /// # Errors
    /// As [`logit_lens`](Self::logit_lens).
    pub fn promoted(&self, directions: &Mat) -> Result<Mat, String> {
        let head = self.readable()?;
        let mut x = directions.clone();
        let width = x.cols().max(1);
        for row in x.data_mut().chunks_exact_mut(width) {
            self.centre(row);
            if let Some(gain) = self.weights.final_norm.as_ref().and_then(|norm| norm.gain.as_ref()) {
                row.iter_mut().zip(gain).for_each(|(x, g)| *x *= g);
            }
        }
        if let Some(project) = &head.project {
            x = matmul(&x, &project.w);
        }
        Ok(match &head.own {
            Some(w) => matmul(&x, w),
            None => matmul(&x, self.weights.embed.t()),
        })
    }

    fn centre(&self, row: &mut [f32]) {
        if self.weights.final_norm.is_some() && self.config.norm == NormKind::Layer {
            let mean = row.iter().sum::<f32>() / row.len() as f32;
            row.iter_mut().for_each(|x| *x -= mean);
        }
    }

    /// Which parts the logit of `token` comes from, at `row` of a batch.
    ///
    /// # Errors
    /// As [`logit_lens`](Self::logit_lens). Panics on a row or a token that is not there.
    pub fn attribution(&self, batch: &Batch, row: usize, token: u32) -> Result<Attribution, String> {
        let head = self.readable()?;
        let (direction, mut bias) = self.reads(head, token);
        let mut shares: Vec<(Part, Vec<f32>)> = Vec::new();
        let mut stream = Vec::new();
        let width = self.config.d_model;
        let sites = (0..self.config.layers.len()).flat_map(|layer| {
            // A norm behind the heads mixes them.
            let of_heads = self.weights.blocks[layer].post_attn.is_none();
            let points = [Some(Point::MlpOut), Some(Point::AttnOut), of_heads.then_some(Point::Result)];
            points.into_iter().flatten().map(move |point| Site::Block(layer, point))
        });
        let last = self.config.layers.len() - 1;
        let ends = [Site::Block(0, Point::ResidPre), Site::Block(last, Point::ResidPost)];
        let sites = Sites::new(sites.chain(ends), &self.config);
        self.forward(batch, &sites, None, &mut |site, x| {
            let Site::Block(layer, point) = site else { return };
            let here = x.row(row);
            match point {
                Point::ResidPre => shares.push((Part::Embedding, here.to_vec())),
                Point::Result => {
                    let heads = here.chunks_exact(width).enumerate();
                    shares.extend(heads.map(|(head, x)| (Part::Head { layer, head }, x.to_vec())));
                }
                Point::AttnOut => {
                    // What its heads don't account for: the bias, or everything.
                    let mut rest = here.to_vec();
                    let heads =
                        shares.iter().filter(|(part, _)| matches!(part, Part::Head { layer: l, .. } if *l == layer));
                    heads.for_each(|(_, x)| rest.iter_mut().zip(x).for_each(|(r, x)| *r -= x));
                    let of_heads = self.weights.blocks[layer].post_attn.is_none();
                    if !of_heads || self.weights.blocks[layer].attn.out.b.is_some() {
                        shares.push((Part::Attention { layer }, rest));
                    }
                }
                Point::MlpOut => shares.push((Part::Mlp { layer }, here.to_vec())),
                _ => stream = here.to_vec(),
            }
        });
        let scale = self.scale(&stream);
        if let Some(shift) = self.weights.final_norm.as_ref().and_then(|norm| norm.bias.as_ref()) {
            bias += dot(shift, &self.output_column(head, token).0);
        }
        let share = |mut x: Vec<f32>| {
            self.centre(&mut x);
            scale * dot(&x, &direction)
        };
        Ok(Attribution { parts: shares.into_iter().map(|(part, x)| (part, share(x))).collect(), bias })
    }

    /// What the last norm multiplies a stream by, gains aside.
    fn scale(&self, stream: &[f32]) -> f64 {
        if self.weights.final_norm.is_none() {
            return 1.0;
        }
        let mut x = stream.to_vec();
        self.centre(&mut x);
        1.0 / (dot(&x, &x) / x.len() as f64 + self.config.eps).sqrt()
    }

    /// The direction of the scaled stream that the logit of a token reads, gains included, and the bias of that logit.
    fn reads(&self, head: &Head, token: u32) -> (Vec<f32>, f64) {
        let (mut direction, bias) = self.output_column(head, token);
        if let Some(gain) = self.weights.final_norm.as_ref().and_then(|norm| norm.gain.as_ref()) {
            direction.iter_mut().zip(gain).for_each(|(d, g)| *d *= g);
        }
        (direction, bias)
    }

    /// The column of the output's weights, `[d_model]`, and its bias.
    fn output_column(&self, head: &Head, token: u32) -> (Vec<f32>, f64) {
        let t = token as usize;
        let mut column: Vec<f32> = match &head.own {
            Some(w) => (0..w.rows()).map(|i| w[(i, t)]).collect(),
            None => self.weights.embed.row(t).to_vec(),
        };
        let mut bias = head.bias.as_ref().map_or(0.0, |bias| f64::from(bias[t]));
        if let Some(project) = &head.project {
            bias += project.b.as_ref().map_or(0.0, |b| dot(b, &column));
            column = (0..project.w.rows()).map(|i| dot(project.w.row(i), &column) as f32).collect();
        }
        (column, bias)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::family_tests::fixtures;
    use crate::model::load;

    fn batch() -> Batch {
        let mut batch = Batch::one(&[3, 41, 7, 7, 55, 20]);
        batch.push(&[9, 1, 30]);
        batch
    }

    fn causal() -> Vec<(String, Transformer)> {
        let folders = std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
        let named = |p: std::path::PathBuf| (p.file_name().unwrap().to_string_lossy().into_owned(), load(&p).unwrap());
        let mut all: Vec<_> = folders.map(named).filter(|(_, model)| model.readable().is_ok()).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    #[test]
    fn the_last_stream_gives_the_logits() {
        for (family, model) in causal() {
            let rows = [0, 5, 8];
            let lens = model.logit_lens(&batch(), &rows).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(lens.len(), model.config.layers.len() + 1);
            let logits = model.forward(&batch(), &Sites::and_logits([], &model.config), None, &mut |_, _| {}).unwrap();
            let last = lens.last().unwrap();
            for (i, &row) in rows.iter().enumerate() {
                let worst = last.row(i).iter().zip(logits.row(row)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-5, "{family}: {worst}");
            }
        }
    }

    #[test]
    fn parts_add_up_to_the_logit() {
        let all = causal();
        assert!(all.len() > 30, "{} families", all.len());
        for (family, mut model) in all {
            model.config.logit_cap = None;
            let logits = model.forward(&batch(), &Sites::and_logits([], &model.config), None, &mut |_, _| {}).unwrap();
            for (row, token) in [(0, 5), (5, 60), (8, 0)] {
                let found = model.attribution(&batch(), row, token).unwrap();
                let want = f64::from(logits[(row, token as usize)]);
                assert!(
                    (found.logit() - want).abs() < 1e-4 * want.abs().max(1.0),
                    "{family}: {} for {want}",
                    found.logit()
                );
            }
        }
    }

    /// A head of which nothing is left has no share; the others keep theirs, with the scale as it was.
    #[test]
    fn a_head_has_the_share_of_what_it_adds() {
        let model = load(&fixtures().join("gpt2-published")).unwrap();
        let share = |model: &Transformer| {
            let found = model.attribution(&batch(), 4, 11).unwrap();
            found.parts.iter().find(|(part, _)| *part == Part::Head { layer: 1, head: 1 }).unwrap().1
        };
        let mut without = model.clone();
        let d = model.config.d_head;
        (d..2 * d).for_each(|j| without.weights.blocks[1].attn.out.w.row_mut(j).fill(0.0));
        assert!(share(&model).abs() > 1e-6 && share(&without) == 0.0);
    }

    /// Adding a direction to the last stream moves the logits along what it promotes, as far as the norm's scale stays.
    #[test]
    fn what_is_promoted_is_what_is_added() {
        for (family, mut model) in causal() {
            model.config.logit_cap = None;
            let last = Site::Block(model.config.layers.len() - 1, Point::ResidPost);
            let sites = Sites::and_logits([last], &model.config);
            let direction = Mat::from_fn(1, model.config.d_model, |_, j| ((3 * j + 1) as f32).sin());
            let promoted = model.promoted(&direction).unwrap();
            let (mut stream, step) = (Vec::new(), 1e-3f32);
            let mut logits = |by: f32| {
                model
                    .forward(&batch(), &sites, None, &mut |site, x| {
                        if site == last {
                            stream = x.row(3).to_vec();
                            x.row_mut(3).iter_mut().zip(direction.row(0)).for_each(|(x, d)| *x += by * d);
                        }
                    })
                    .unwrap()
            };
            let (more, less) = (logits(step), logits(-step));
            let scale = model.scale(&stream);
            // The part of the direction along the stream changes the scale too: f(x + εd) = scale · (d − x (x·d)/(x·x)) to first order.
            let mut x = stream.clone();
            model.centre(&mut x);
            let mut d = direction.row(0).to_vec();
            model.centre(&mut d);
            let along = if model.weights.final_norm.is_some() { dot(&x, &d) / dot(&x, &x) } else { 0.0 };
            let of_stream = model.promoted(&Mat::from_vec(1, x.len(), x.clone())).unwrap();
            for t in [0, 17, 60] {
                let found = f64::from(more[(3, t)] - less[(3, t)]) / f64::from(2.0 * step);
                let want = scale * (f64::from(promoted[(0, t)]) - along * f64::from(of_stream[(0, t)]));
                assert!((found - want).abs() < 2e-2 * want.abs().max(0.1), "{family}: {found} for {want}");
            }
        }
    }

    #[test]
    fn encoders_are_refused() {
        let bert = load(&fixtures().join("bert-published")).unwrap();
        assert!(bert.logit_lens(&batch(), &[0]).is_err() && bert.attribution(&batch(), 0, 1).is_err());
    }
}
