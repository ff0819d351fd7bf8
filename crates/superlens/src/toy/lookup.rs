//! A table of labels in the bits of weights: address → weight → bit.

use super::bit_extraction::BitExtraction;
use superlens_tensor::Rng;

/// `2^address` weights of `bits` labels each, in single precision; after the constructions behind the bounds of Bartlett et al.
/// 2019 (arXiv 1703.02930), derived.
///
/// The address comes as signs; neuron `i` of `2^address`, `ReLU(s · code_i − address + 1)`, is 1 for its own address and 0
/// else, and hands on its weight. A bias takes the offset off, and rounds of [`bit_extraction`](super::bit_extraction) read
/// the labels.
///
/// A weight is `offset + W / 2^bits` with an offset that makes the last bit of `W` the last of the significand: nothing is to
/// spare, so a weight that is off by one unit in the last place is another word.
pub struct Lookup {
    address: u32,
    reader: BitExtraction,
    pub weights: Vec<f32>,
}

impl Lookup {
    /// A table of `words`, whose number is a power of two. Panics if it isn't, or unless `1 <= bits <= 22`.
    pub fn write(bits: u32, words: &[u64]) -> Lookup {
        assert!(words.len().is_power_of_two() && (1..=22).contains(&bits), "{} words of {bits} bits", words.len());
        let reader = BitExtraction { bits, slack: 2 };
        let weight = |word: &u64| (offset(bits) + reader.number(*word)) as f32;
        Lookup { address: words.len().ilog2(), reader, weights: words.iter().map(weight).collect() }
    }

    /// The number that the address layer hands on, as the network computes it.
    pub fn word(&self, address: usize) -> f32 {
        let sign = |code: usize, k: u32| if code >> k & 1 == 1 { 1.0f32 } else { -1.0 };
        let neuron = |code: usize| {
            let match_ = (0..self.address).map(|k| sign(code, k) * sign(address, k)).sum::<f32>();
            (match_ - self.address as f32 + 1.0).max(0.0)
        };
        let sum: f32 = self.weights.iter().enumerate().map(|(code, w)| neuron(code) * w).sum();
        sum - offset(self.reader.bits) as f32
    }

    /// The labels at an address.
    pub fn read(&self, address: usize) -> Vec<bool> {
        self.reader.read(self.word(address)).iter().map(|bit| *bit > 0.5).collect()
    }

    /// Moves every weight by 1 to `ulps` units in the last place, as many and up or down by chance.
    pub fn shake(&mut self, ulps: u32, rng: &mut Rng) {
        for w in &mut self.weights {
            let (bits, ulps) = (w.to_bits(), 1 + rng.below(ulps as usize) as u32);
            *w = f32::from_bits(if rng.chance(0.5) { bits + ulps } else { bits - ulps });
        }
    }

    /// The share of words of which every label is right, and the share of right labels.
    pub fn recall(&self, words: &[u64]) -> (f64, f64) {
        let (mut whole, mut single) = (0, 0);
        for (address, &word) in words.iter().enumerate() {
            let right =
                self.read(address).iter().enumerate().filter(|(k, l)| **l == self.reader.bit(word, *k as u32)).count();
            whole += usize::from(right == self.reader.bits as usize);
            single += right;
        }
        let n = words.len() as f64;
        (whole as f64 / n, single as f64 / (n * f64::from(self.reader.bits)))
    }
}

/// In the middle of the binade whose unit in the last place is `2^−bits`.
fn offset(bits: u32) -> f64 {
    1.5 * 2f64.powi(23 - bits as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_recalled_and_one_unit_in_the_last_place_is_another_word() {
        for bits in [3, 16, 22] {
            let reader = BitExtraction { bits, slack: 2 };
            let mut rng = Rng::new(5).fork_index(u64::from(bits));
            let words: Vec<u64> = (0..64).map(|_| 1 + reader.draw(&mut rng) % ((1 << bits) - 2)).collect();
            let mut table = Lookup::write(bits, &words);
            assert_eq!(table.recall(&words), (1.0, 1.0));
            table.shake(1, &mut rng);
            let (whole, single) = table.recall(&words);
            assert!(whole == 0.0 && single < 1.0 - 1.0 / f64::from(bits) + 1e-9, "{bits} bits: {whole} {single}");
        }
    }
}
