//! Activations whose features are known: a generator with the specification of SynthSAEBench (Chanin et al. 2026, arXiv 2602.14687), and
//! the toy set of the literature before it.
//!
//! The model (directions, frequencies, trees, correlations) is fixed by its name; the seed chooses the rows. Any range of rows is drawn by
//! itself: the same bytes for any number of threads, and wherever a stream is taken up.

mod directions;
mod draw;
mod law;
mod presets;
mod source;
mod tail;
#[cfg(test)]
mod tests;

pub use directions::Apart;
pub use law::Law;
pub use presets::{Correlation, Frequencies, PRESETS, Preset, Strengths, Trees, find};
pub use source::Fresh;

use super::Latents;
use draw::Sampler;
use rayon::prelude::*;
use std::ops::Range;
use superlens_tensor::kernels::pursuit::combine;
use superlens_tensor::{Mat, Rng};

/// The models' own seed, that of the published one; its random streams are others, so the models are alike in law only.
const MODEL_SEED: u64 = 42;

/// Rows that one thread adds up at a time, at least.
const PIECE: usize = 16;

/// Which of two disjoint streams of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// To learn from.
    Train,
    /// To measure on.
    HeldOut,
}

/// A [`Preset`] that stands: its directions and its law.
pub struct Synthetic {
    pub preset: &'static Preset,
    pub law: Law,
    /// One feature a row, `[features, dims]`, of unit length.
    pub directions: Mat,
    pub bias: Vec<f32>,
    sampler: Sampler,
}

impl Synthetic {
    /// `watch` is told the share of the directions' making that is done; the large model takes many seconds.
    pub fn new(preset: &'static Preset, watch: &mut dyn FnMut(f64)) -> Synthetic {
        let rng = Rng::new(MODEL_SEED).fork("synthetic").fork(preset.id);
        let law = Law::new(preset, &rng);
        let apart = preset.apart;
        let directions =
            directions::directions(preset.features, preset.dims, apart, &mut rng.fork("directions"), watch);
        let mut bias: Vec<f32> = {
            let mut rng = rng.fork("bias");
            (0..preset.dims).map(|_| rng.normal()).collect()
        };
        let norm = bias.iter().map(|b| b * b).sum::<f32>().sqrt();
        bias.iter_mut().for_each(|b| *b *= preset.bias / norm);
        let sampler = Sampler::new(&law);
        Synthetic { preset, law, directions, bias, sampler }
    }

    /// True activations of some rows, `[rows, features]`.
    pub fn activations(&self, seed: u64, stream: Stream, rows: Range<u64>) -> Latents {
        let stream = match stream {
            Stream::Train => "train",
            Stream::HeldOut => "held out",
        };
        let rng = Rng::new(seed).fork("synthetic rows").fork(self.preset.id).fork(stream);
        self.sampler.draw(&self.law, &rng, rows)
    }

    /// What a model with such true activations shows, `[rows, dims]`: their directions added up, and the bias.
    pub fn rows(&self, activations: &Latents) -> Mat {
        let dims = self.preset.dims;
        let mut x = Mat::zeros(activations.rows(), dims);
        x.data_mut().par_chunks_mut(dims).with_min_len(PIECE).enumerate().for_each(|(r, out)| {
            let (indices, values) = activations.row(r);
            let terms: Vec<(f32, &[f32])> =
                indices.iter().zip(values).map(|(&i, &v)| (v, self.directions.row(i as usize))).collect();
            combine(&self.bias, &terms, out);
        });
        x
    }
}
