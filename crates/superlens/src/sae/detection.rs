//! [`Detector`]: how well latents tell when true features are on.

use super::Latents;
use super::agreement::best_features;
use superlens_tensor::Mat;

/// Precision, recall and F1, each averaged over the latents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

/// Each latent as a classifier of whether its best-matching true feature is on, counted over rows that come piece by piece.
///
/// Comparable with the published numbers of SynthSAEBench (arXiv 2602.14687): the feature of the largest |cos| with the latent's decoder
/// row among all, in use or not, several latents may have the same; a latent is on where it is not zero; the average is over *all* latents,
/// and one that never fires, or whose feature is never on, counts 0.
#[derive(Clone, Debug)]
pub struct Detector {
    best: Vec<Option<usize>>,
    /// Rows in which each feature is on, in which each latent is, and in which it is with its feature.
    on: Vec<f64>,
    fires: Vec<f64>,
    right: Vec<f64>,
    /// Which features are on in a row.
    now: Vec<bool>,
}

impl Detector {
    /// True directions `features` `[n, d]` and the latents' `dictionary` `[d_sae, d]`. Panics on different widths.
    pub fn new(features: &Mat, dictionary: &Mat) -> Detector {
        let best = best_features(features, dictionary);
        let (n, d_sae) = (features.rows(), dictionary.rows());
        Detector { best, on: vec![0.0; n], fires: vec![0.0; d_sae], right: vec![0.0; d_sae], now: vec![false; n] }
    }

    /// Counts `latents` `[rows, d_sae]` against the rows of `truth` `[…, n]` from `first` on. Panics where these are missing.
    pub fn add(&mut self, latents: &Latents, truth: &Latents, first: usize) {
        for r in 0..latents.rows() {
            let (features, values) = truth.row(first + r);
            let on = || features.iter().zip(values).filter(|(_, v)| **v != 0.0).map(|(&i, _)| i as usize);
            for i in on() {
                self.on[i] += 1.0;
                self.now[i] = true;
            }
            let (latents, values) = latents.row(r);
            for (&j, _) in latents.iter().zip(values).filter(|(_, v)| **v != 0.0) {
                let j = j as usize;
                self.fires[j] += 1.0;
                self.right[j] += f64::from(u8::from(self.best[j].is_some_and(|i| self.now[i])));
            }
            on().for_each(|i| self.now[i] = false);
        }
    }

    pub fn finish(&self) -> Detection {
        let n = self.best.len().max(1) as f64;
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        let mut sum = Detection { precision: 0.0, recall: 0.0, f1: 0.0 };
        for (j, best) in self.best.iter().enumerate() {
            let truly = best.map_or(0.0, |i| self.on[i]);
            sum.precision += ratio(self.right[j], self.fires[j]) / n;
            sum.recall += ratio(self.right[j], truly) / n;
            sum.f1 += ratio(2.0 * self.right[j], self.fires[j] + truly) / n;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_case_by_hand() {
        let features = Mat::from_vec(3, 2, vec![1.0, 0.0, 0.0, 1.0, 0.8, 0.6]);
        // The first follows feature 0, the second feature 1, the third nothing and never fires.
        let dictionary = Mat::from_vec(3, 2, vec![-2.0, 0.1, 0.0, 1.0, 0.0, 0.0]);
        let truth = Latents::new(3, vec![0, 1, 2, 3, 4], vec![0, 0, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let latents = Latents::new(3, vec![0, 1, 1, 3, 4], vec![0, 0, 1, 1], vec![1.0, 1.0, 1.0, 1.0]);
        let mut whole = Detector::new(&features, &dictionary);
        whole.add(&latents, &truth, 0);
        // Latent 0: on in rows 0 and 2, its feature in 0 and 1. Latent 1: on in 2 and 3, its feature in 2.
        let got = whole.finish();
        let want = [(0.5 + 0.5) / 3.0, (0.5 + 1.0) / 3.0, (0.5 + 2.0 / 3.0) / 3.0];
        for (got, want) in [got.precision, got.recall, got.f1].iter().zip(want) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
        // Piece by piece it is the same.
        let piece = Latents::new(3, vec![0, 2, 3], vec![0, 1, 1], vec![1.0, 1.0, 1.0]);
        let head = Latents::new(3, vec![0, 1, 1], vec![0], vec![1.0]);
        let mut parts = Detector::new(&features, &dictionary);
        parts.add(&head, &truth, 0);
        parts.add(&piece, &truth, 2);
        assert_eq!(parts.finish(), got);
    }
}
