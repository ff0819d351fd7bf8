//! `onion`: a sequence in one vector, each position in its own order of magnitude.

use super::{Cause, Origin, Sample, ToyModel, Truth, concepts};
use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::train::Params;
use superlens_tensor::{Mat, Rng};

/// Sequences on which the truth is measured.
const SEQUENCES: usize = 4000;

/// An onion representation as Csordás et al. 2024, *Recurrent Neural Networks Learn to Store and Generate Sequences using
/// Non-Linear Representations* (arXiv 2408.10920), found it in small recurrent networks; here it is written down:
/// `h = Σ_t γ^t e(token_t)` with one orthonormal direction `e` a token, whatever its position.
///
/// Position is no direction but a scale. The outermost token outshines the others, and must be taken off before the next can be
/// read. Its layer is `h`.
///
/// Parameters: `e [vocabulary, vocabulary]`, one token a row, and `scale [1, length]`.
#[derive(Clone, Copy, Debug)]
pub struct Onion {
    pub vocabulary: usize,
    pub length: usize,
    /// `γ`, below 1: what a position is to the one before.
    pub scale: f64,
}

impl Onion {
    /// Random sequences, one a row of tokens.
    pub fn sequences(&self, rows: usize, stream: &Rng) -> Vec<Vec<usize>> {
        let mut rng = stream.clone();
        (0..rows).map(|_| (0..self.length).map(|_| rng.below(self.vocabulary)).collect()).collect()
    }

    /// `[sequences, vocabulary]`: the layer.
    pub fn store(&self, params: &Params, sequences: &[Vec<usize>]) -> Mat {
        let scale = params.get("scale").row(0);
        let mut counts = Mat::zeros(sequences.len(), self.vocabulary);
        for (r, sequence) in sequences.iter().enumerate() {
            sequence.iter().zip(scale).for_each(|(&token, s)| counts[(r, token)] += s);
        }
        matmul(&counts, params.get("e"))
    }

    /// Peels: the token that a layer of `h` shows most is read, taken off, and the next read.
    pub fn peel(&self, params: &Params, h: &Mat) -> Vec<Vec<usize>> {
        let along = matmul(h, params.get("e").t());
        let scale = params.get("scale").row(0);
        let one = |r: usize| {
            let mut left = along.row(r).to_vec();
            let mut next = |s: &f32| {
                let token = (0..left.len()).fold(0, |best, v| if left[v] > left[best] { v } else { best });
                left[token] -= s;
                token
            };
            scale.iter().map(&mut next).collect()
        };
        (0..h.rows()).map(one).collect()
    }

    /// One-hot: token `v` at position `t` in column `t · vocabulary + v`.
    pub fn features(&self, sequences: &[Vec<usize>]) -> Mat {
        let v = self.vocabulary;
        Mat::from_fn(sequences.len(), self.length * v, |r, c| f32::from(sequences[r][c / v] == c % v))
    }
}

impl ToyModel for Onion {
    fn name(&self) -> &'static str {
        "onion"
    }

    fn source(&self) -> &'static str {
        "Csordás et al. 2024, Recurrent Neural Networks Learn to Store and Generate Sequences using Non-Linear Representations"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        let v = self.vocabulary;
        let q = haar_rotation(v, &mut stream.fork("tokens"));
        let e = Mat::from_fn(v, v, |i, j| q[i * v + j] as f32);
        let scale = Mat::from_fn(1, self.length, |_, t| self.scale.powi(t as i32) as f32);
        Origin::Written(Params { blocks: vec![("e".into(), e), ("scale".into(), scale)] })
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let sequences = self.sequences(rows, stream);
        Sample { features: self.features(&sequences), activations: self.store(params, &sequences) }
    }

    fn truth(&self, params: &Params) -> Truth {
        let sample = self.sample(params, SEQUENCES, &Rng::new(0).fork("sequences of the truth"));
        concepts::truth(&sample.features, &sample.activations, |_| Cause::Nonlinear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::probe::{Probe, agreement, largest};
    use crate::verdict::Verdict;

    #[test]
    fn magnitudes_hold_what_no_linear_probe_reads() {
        let toy = Onion { vocabulary: 8, length: 5, scale: 0.5 };
        let Origin::Written(params) = toy.origin(&Rng::new(3)) else { panic!("a construction") };
        let (train, test) = (toy.sequences(2000, &Rng::new(1)), toy.sequences(500, &Rng::new(2)));
        let (x, fresh) = (toy.store(&params, &train), toy.store(&params, &test));
        assert!(toy.peel(&params, &fresh) == test);
        let read = |t: usize| {
            let of = |s: &[Vec<usize>]| s.iter().map(|s| s[t]).collect::<Vec<_>>();
            let probe = Probe::fit(&x, &concepts::one_hot(&of(&train), 8), 1e-6);
            agreement(&largest(&probe.read(&fresh)), &of(&test))
        };
        assert!(read(0) > 0.99 && read(3) < 0.25, "{} {}", read(0), read(3));
        assert_eq!(toy.truth(&params).verdict, Verdict::Nonlinear);
    }
}
