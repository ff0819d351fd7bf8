//! `bit_extraction`: reading the bits of one number one after the other, by two ReLUs a bit.

use super::{Cause, Origin, Sample, ToyModel, Truth, concepts};
use superlens_tensor::kernels::pointwise::relu;
use superlens_tensor::train::Params;
use superlens_tensor::{Mat, Real, Rng};

/// Neurons of a round: the two that make the bit, and the one that carries the rest on.
pub const ROUND: usize = 3;
/// Words on which the truth is measured.
const WORDS: usize = 4096;

/// The bit extraction of Bartlett et al. 2019, *Nearly-tight VC-dimension and pseudodimension bounds* (arXiv 1703.02930), one
/// bit a round: from `x = W / 2^r` with an `r`-bit word `W`,
/// `b = ReLU(K (2x − 1) + 1) − ReLU(K (2x − 1))` and `x ← 2x − b`, with `K = 2^(r + slack)`.
///
/// Its layer is all neurons of all rounds. A word is no feature: what a neuron says depends on all bits that are still to come.
#[derive(Clone, Copy, Debug)]
pub struct BitExtraction {
    /// `r`, from 1 to 52.
    pub bits: u32,
    /// The exponent of `K` beyond `r`; −1 is the least that works.
    pub slack: i32,
}

/// A round on `x`: upper and lower neuron, whose difference is the bit, and the carry.
pub fn round<R: Real>(x: R, gain: R) -> [R; ROUND] {
    let z = gain * (x + x - R::ONE);
    let (upper, lower) = (relu(z + R::ONE), relu(z));
    [upper, lower, relu(x + x - (upper - lower))]
}

impl BitExtraction {
    /// `K`.
    pub fn gain(&self) -> f64 {
        2f64.powi(self.bits as i32 + self.slack)
    }

    /// A word as a number in `[0, 1)`.
    pub fn number(&self, word: u64) -> f64 {
        word as f64 / 2f64.powi(self.bits as i32)
    }

    /// Bit `k` of a word, the most significant first.
    pub fn bit(&self, word: u64, k: u32) -> bool {
        word >> (self.bits - 1 - k) & 1 == 1
    }

    /// A random word.
    pub fn draw(&self, rng: &mut Rng) -> u64 {
        rng.next_u64() >> (64 - self.bits)
    }

    /// The bits read from `x`, each as the number that the neurons give.
    pub fn read<R: Real>(&self, mut x: R) -> Vec<R> {
        let gain = R::of(self.gain());
        let next = |_| {
            let [upper, lower, carry] = round(x, gain);
            x = carry;
            upper - lower
        };
        (0..self.bits).map(next).collect()
    }

    /// Whether every bit of `word` comes out as exactly 0 or 1, and right.
    pub fn exact<R: Real>(&self, word: u64) -> bool {
        let want = |k: usize| if self.bit(word, k as u32) { R::ONE } else { R::ZERO };
        self.read(R::of(self.number(word))).iter().enumerate().all(|(k, bit)| *bit == want(k))
    }

    fn run(&self, gain: f32, words: &[u64]) -> Sample {
        let r = self.bits as usize;
        let mut activations = Mat::zeros(words.len(), ROUND * r);
        for (i, &word) in words.iter().enumerate() {
            let mut x = self.number(word) as f32;
            for neurons in activations.row_mut(i).chunks_exact_mut(ROUND) {
                neurons.copy_from_slice(&round(x, gain));
                x = neurons[2];
            }
        }
        let features = Mat::from_fn(words.len(), r, |i, k| f32::from(self.bit(words[i], k as u32)));
        Sample { features, activations }
    }
}

impl ToyModel for BitExtraction {
    fn name(&self) -> &'static str {
        "bit_extraction"
    }

    fn source(&self) -> &'static str {
        "Bartlett et al. 2019, Nearly-tight VC-dimension and pseudodimension bounds (arXiv 1703.02930)"
    }

    fn origin(&self, _stream: &Rng) -> Origin {
        Origin::Written(Params { blocks: vec![("gain".into(), Mat::from_vec(1, 1, vec![self.gain() as f32]))] })
    }

    /// The features are the bits.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let mut rng = stream.clone();
        let words: Vec<u64> = (0..rows).map(|_| self.draw(&mut rng)).collect();
        self.run(params.get("gain")[(0, 0)], &words)
    }

    fn truth(&self, params: &Params) -> Truth {
        let sample = self.sample(params, WORDS, &Rng::new(0).fork("words of the truth"));
        concepts::truth(&sample.features, &sample.activations, |_| Cause::Compositional)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn every_word_of_eight_bits_is_read() {
        let toy = BitExtraction { bits: 8, slack: 2 };
        assert!((0..256).all(|word| toy.exact::<f32>(word) && toy.exact::<f64>(word)));
        assert_eq!(toy.read(toy.number(0b1011_0001)), [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn single_precision_ends_after_22_bits() {
        let wrong = |bits| {
            let toy = BitExtraction { bits, slack: 2 };
            let mut rng = Rng::new(7);
            (0..200).filter(|_| !toy.exact::<f32>(toy.draw(&mut rng))).count()
        };
        assert_eq!(wrong(22), 0);
        assert!(wrong(23) > 20);
    }

    #[test]
    fn the_neurons_mix_bits_and_only_the_whole_is_a_word() {
        let toy = BitExtraction { bits: 10, slack: 2 };
        let Origin::Written(params) = toy.origin(&Rng::new(0)) else { panic!("a construction") };
        let truth = toy.truth(&params);
        assert_eq!(truth.verdict, Verdict::Compositional);
        // In the last round, whose number is 0 or ½, the lower neuron and the carry are always zero.
        assert_eq!(truth.live.iter().filter(|l| !**l).count(), 2);
        // The first carry holds nine bits, the last but one a single bit.
        assert!(truth.causes[2].is_some() && truth.causes[3 * 8 + 2].is_none());
    }
}
