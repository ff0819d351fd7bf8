//! [`Recovered`]: how much of a model's predictions a dictionary keeps, when it stands in the place of the activations.

use superlens_lm::intervene::{Change, Changes, Columns, Intervention, Text, Turned, effects, gather};
use superlens_lm::model::{Site, Transformer};

/// Losses (cross entropy of the next token) and divergences `KL(clean ‖ changed)`, in nats a token, of a model whose activations at one site were
/// replaced: by a dictionary's, by zero, and by their mean over the texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recovered {
    /// Predictions that were counted.
    pub tokens: u64,
    pub ce_clean: f64,
    pub ce_sae: f64,
    pub ce_zero: f64,
    pub ce_mean: f64,
    pub kl_sae: f64,
    pub kl_zero: f64,
    pub kl_mean: f64,
}

impl Recovered {
    /// Runs the texts four times. `sae` is what stands in the place of the activations: a [`Splice`](super::Splice) or
    /// a [`Transcode`](super::Transcode). `watch` is told the share that
    /// is done. Panics on a model that gives no next tokens, on a site without a row for each token, and where all tokens are spared.
    pub fn measure(
        model: &Transformer,
        texts: &[Text],
        site: Site,
        sae: &dyn Intervention,
        watch: &(dyn Fn(f64) + Sync),
    ) -> Recovered {
        let all = Columns((0..site.width(&model.config).expect("a row for each token")).collect());
        let mean = Change::Fill(gather(model, texts, site, &all, 1).mean);
        let (zero, mean) = (Turned { handle: &all, change: Change::Zero }, Turned { handle: &all, change: mean });
        let changes = [sae, &zero, &mean].map(|what| Changes::new([site], what));
        let found = effects(model, texts, &changes, watch);
        let [sae, zero, mean] = found.changed[..] else { unreachable!("an effect for each change") };
        Recovered {
            tokens: found.tokens,
            ce_clean: found.loss,
            ce_sae: sae.loss,
            ce_zero: zero.loss,
            ce_mean: mean.loss,
            kl_sae: sae.kl,
            kl_zero: zero.kl,
            kl_mean: mean.kl,
        }
    }

    /// `(CE_zero − CE_sae) / (CE_zero − CE_clean)`: 1 where nothing is lost, 0 where it is as bad as zeros (SAEBench, Karvonen et al. 2025, arXiv
    /// 2503.09532).
    pub fn ce_loss_score(&self) -> f64 {
        (self.ce_zero - self.ce_sae) / (self.ce_zero - self.ce_clean)
    }

    /// The same against the mean in place of zero: the harder yardstick, for where zero is far from everything that occurs.
    pub fn ce_loss_score_mean(&self) -> f64 {
        (self.ce_mean - self.ce_sae) / (self.ce_mean - self.ce_clean)
    }

    /// `(KL_zero − KL_sae) / KL_zero`.
    pub fn kl_div_score(&self) -> f64 {
        (self.kl_zero - self.kl_sae) / self.kl_zero
    }

    /// The same against the mean.
    pub fn kl_div_score_mean(&self) -> f64 {
        (self.kl_mean - self.kl_sae) / self.kl_mean
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use superlens_lm::intervene::run;
    use superlens_lm::model::{Point, load};
    use superlens_tensor::Mat;

    use super::*;
    use crate::sae::{Activation, Encoder, Sae, Transcode};

    fn fixture(family: &str) -> Transformer {
        load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/families").join(family)).unwrap()
    }

    fn apart(a: &Mat, b: &Mat) -> f32 {
        a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    /// An MLP of ReLUs is a transcoder of itself, whose latents are its neurons; any other changes what the model predicts, unless its error is kept.
    #[test]
    fn a_transcoder_stands_in_the_place_of_an_mlp() {
        let texts = [Text::one(&[3, 41, 7, 7, 55, 20]), Text { first: 6, ..Text::one(&[9, 1, 30, 12]) }];
        for (family, layer) in
            [("opt", 0), ("opt", 1), ("gpt2-published", 1), ("neox-parallel-published", 0), ("gemma2-published", 1)]
        {
            let model = fixture(family);
            let d = model.config.d_model;
            let (from, to) = (Site::Block(layer, Point::Norm2), Site::Block(layer, Point::MlpOut));
            let wave = |rows, cols, a: f32| Mat::from_fn(rows, cols, |i, j| (a * (i * cols + j) as f32).sin());
            let encoder = Encoder::Linear { w_enc: wave(d, 9, 0.7), b_enc: vec![0.1; 9], act: Activation::Relu };
            let other = Sae::new(vec![0.0; d], encoder, wave(9, d, 1.3), vec![-0.1; d]);
            let logits = |keep_error| {
                let what = Transcode { sae: &other, from, keep_error };
                run(&model, &texts[0], &Changes::new([to], &what))
            };
            let plain = run(&model, &texts[0], &Changes::default());
            assert!(apart(&logits(true), &plain) <= 1e-5, "{family}");
            assert!(apart(&logits(false), &plain) > 1e-3, "{family}");
            if family != "opt" {
                continue;
            }
            let mlp = &model.weights.blocks[layer].mlp;
            let (b_enc, b_dec) = (mlp.into.b.clone().unwrap(), mlp.out.b.clone().unwrap());
            let encoder = Encoder::Linear { w_enc: mlp.into.w.clone(), b_enc, act: Activation::Relu };
            let itself = Sae::new(vec![0.0; d], encoder, mlp.out.w.clone(), b_dec);
            let measured = |sae: &Sae| {
                let what = Transcode { sae, from, keep_error: false };
                let r = Recovered::measure(&model, &texts, to, &what, &|_| {});
                [r.ce_loss_score(), r.ce_loss_score_mean(), r.kl_div_score(), r.kl_div_score_mean()]
            };
            assert!(measured(&itself).iter().all(|score| (score - 1.0).abs() < 1e-3), "{:?}", measured(&itself));
            assert!(measured(&other)[2] < 0.9);
        }
    }

    #[test]
    fn the_identity_recovers_all_and_ablation_nothing() {
        for family in ["gpt2-published", "llama-gqa-published", "neox-parallel-published"] {
            let model = fixture(family);
            let texts = [Text::one(&[3, 41, 7, 7, 55, 20]), Text { first: 6, ..Text::one(&[9, 1, 30, 12]) }];
            let site = Site::Block(0, Point::Post);
            let all = Columns((0..model.config.d_mlp).collect());
            let mean = gather(&model, &texts, site, &all, 1).mean;
            let measured =
                |change: Change| Recovered::measure(&model, &texts, site, &Turned { handle: &all, change }, &|_| {});
            let identity = measured(Change::Scale(1.0));
            assert_eq!(identity.tokens, 8);
            assert!(identity.kl_zero > 0.0 && identity.kl_mean > 0.0 && identity.ce_zero != identity.ce_clean);
            let scores =
                |r: Recovered| [r.ce_loss_score(), r.ce_loss_score_mean(), r.kl_div_score(), r.kl_div_score_mean()];
            assert_eq!(scores(identity), [1.0; 4], "{family}");
            let [ce, _, kl, _] = scores(measured(Change::Zero));
            assert_eq!([ce, kl], [0.0; 2], "{family}");
            let [_, ce, _, kl] = scores(measured(Change::Fill(mean.clone())));
            assert_eq!([ce, kl], [0.0; 2], "{family}");
        }
    }
}
