//! Which neurons of one layer's MLP feed which of a later one's: by weights, on the straight way through the residual stream, and by every way.
//!
//! The straight way of a neuron is what it writes into the stream, as the later MLP reads it (the virtual weights of Elhage et al. 2021, *A
//! mathematical framework for transformer circuits*); on text, times the neuron's activation and the later neuron's slope. The norm's scale is taken
//! as it is at each token.

use std::collections::BTreeMap;

use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::matmul;

use super::batch::Batch;
use super::config::{NormKind, Wiring};
use super::hook::{Point, Site, Sites};
use super::transformer::Transformer;
use super::weights::{Linear, NormWeights};

/// Between the neurons of two MLPs, `[neurons of the earlier, neurons of the later]`.
#[derive(Clone, Debug)]
pub struct Feeds {
    /// What one unit of a neuron adds to another's input, before it is divided by the stream's scale: to the gate, where there is one.
    pub into: Mat,
    /// The same for the other branch of a gated MLP.
    pub linear: Option<Mat>,
    /// On text, the mean over tokens of activation × slope × weight: what the earlier neuron adds to the later one's activation, to first order.
    pub straight: Mat,
    /// Tokens that this is the mean of.
    pub tokens: usize,
}

impl Transformer {
    /// Feeds from the MLP of layer `from` to that of layer `to`, over the tokens of `batch`.
    ///
    /// # Errors
    /// Layers that aren't there or not in this order, and models with a norm behind the MLP, where no weights describe the way.
    pub fn feeds(&self, from: usize, to: usize, batch: &Batch) -> Result<Feeds, String> {
        let (config, layers) = (&self.config, self.config.layers.len());
        if from >= to || to >= layers {
            return Err(format!("expected two of the {layers} layers, the earlier first, found {from} and {to}"));
        }
        if matches!(config.wiring, Wiring::Post | Wiring::Sandwich) {
            let family = &config.family;
            return Err(format!(
                "in a model of family {family} a norm stands behind the MLP: there is no straight way that weights describe"
            ));
        }
        let (w, later) = (&self.weights.blocks[from].mlp.out.w, &self.weights.blocks[to]);
        let written = self.as_read(w, &later.ln2);
        let into = matmul(&written, &later.mlp.into.w);
        let linear = later.mlp.linear.as_ref().map(|l: &Linear| matmul(&written, &l.w));
        let read = Site::Block(to, if config.wiring == Wiring::Parallel { Point::ResidPre } else { Point::ResidMid });
        let at = |point| Site::Block(to, point);
        let mut wanted = vec![Site::Block(from, Point::Post), read, at(Point::Pre)];
        if linear.is_some() {
            wanted.push(at(Point::PreLinear));
        }
        let mut kept: BTreeMap<Site, Mat> = BTreeMap::new();
        self.forward(batch, &Sites::new(wanted, config), None, &mut |site, x| {
            kept.insert(site, x.clone());
        });
        let scales: Vec<f32> = (0..kept[&read].rows()).map(|i| self.norm_scale(kept[&read].row(i))).collect();
        let slopes = self.slopes(&kept[&at(Point::Pre)], kept.get(&at(Point::PreLinear)));
        let mut straight = Mat::zeros(into.rows(), into.cols());
        let tokens = scales.len();
        for (slope, weights) in slopes.into_iter().zip([Some(&into), linear.as_ref()]) {
            let Some(weights) = weights else { continue };
            let scaled =
                Mat::from_fn(slope.rows(), slope.cols(), |i, j| slope[(i, j)] * scales[i] / tokens.max(1) as f32);
            let product = matmul(kept[&Site::Block(from, Point::Post)].t(), &scaled);
            let both = straight.data_mut().iter_mut().zip(product.data().iter().zip(weights.data()));
            both.for_each(|(s, (p, w))| *s += p * w);
        }
        Ok(Feeds { into, linear, straight, tokens })
    }

    /// Rows that are written into the stream as a norm hands them on, but for its scale.
    fn as_read(&self, rows: &Mat, norm: &NormWeights) -> Mat {
        let mut read = rows.clone();
        for row in read.data_mut().chunks_mut(rows.cols().max(1)) {
            if self.config.norm == NormKind::Layer {
                let mean = row.iter().sum::<f32>() / row.len() as f32;
                row.iter_mut().for_each(|x| *x -= mean);
            }
            if let Some(gain) = &norm.gain {
                row.iter_mut().zip(gain).for_each(|(x, g)| *x *= g);
            }
        }
        read
    }

    /// What the norm multiplies a row of the stream by.
    fn norm_scale(&self, row: &[f32]) -> f32 {
        let n = row.len() as f64;
        let mean =
            if self.config.norm == NormKind::Layer { row.iter().map(|&x| f64::from(x)).sum::<f64>() / n } else { 0.0 };
        let square = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        (1.0 / (square + self.config.eps).sqrt()) as f32
    }

    /// How a neuron's activation changes with its input, and with that of the other branch where there is one.
    fn slopes(&self, pre: &Mat, linear: Option<&Mat>) -> Vec<Mat> {
        let f = self.config.activation;
        let mut by_pre = Mat::from_fn(pre.rows(), pre.cols(), |_, _| 1.0);
        f.backprop(pre.data(), by_pre.data_mut());
        let Some(linear) = linear else { return vec![by_pre] };
        by_pre.data_mut().iter_mut().zip(linear.data()).for_each(|(s, l)| *s *= l);
        let mut active = pre.clone();
        f.apply(active.data_mut());
        vec![by_pre, active]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::family_tests::fixtures;
    use crate::model::load;

    #[test]
    fn the_straight_way_to_the_next_layer_is_what_the_gradient_says_without_attention() {
        for family in ["gpt2-published", "llama-gqa-published", "neox-parallel-published"] {
            let mut model = load(&fixtures().join(family)).unwrap();
            // Without attention the stream is the only way, and with a norm that hardly divides its scale, which is left out, doesn't change.
            model.weights.blocks[1].attn.out.w.data_mut().fill(0.0);
            model.config.eps = 1e3;
            let batch = Batch::one(&[3, 41, 7, 9, 55, 20]);
            let feeds = model.feeds(0, 1, &batch).unwrap();
            let target = 2;
            let weights =
                |post: &Mat| vec![Mat::from_fn(post.rows(), post.cols(), |_, j| f32::from(u8::from(j == target)))];
            let site = Site::Block(0, Point::Post);
            let found = &model.gradients_of_neurons(&batch, 1, &weights, &[site]).unwrap()[0];
            let by = found.times_activation(site);
            let (mut agree, mut size) = (0.0, 0.0);
            for i in 0..feeds.straight.rows() {
                let all: f32 = (0..by.rows()).map(|t| by[(t, i)]).sum::<f32>() / by.rows() as f32;
                agree += (all - feeds.straight[(i, target)]).powi(2);
                size += feeds.straight[(i, target)].powi(2);
            }
            assert!(agree < 1e-4 * size, "{family}: {agree} of {size}");
        }
    }

    #[test]
    fn what_has_no_straight_way_is_told() {
        let model = load(&fixtures().join("gpt2-published")).unwrap();
        let batch = Batch::one(&[1, 2]);
        assert!(model.feeds(1, 0, &batch).unwrap_err().contains("earlier first"));
        let bert = load(&fixtures().join("bert-published")).unwrap();
        assert!(bert.feeds(0, 1, &batch).unwrap_err().contains("norm"));
    }
}
