//! Random streams: one counter-based generator, forked by name.
//!
//! A stream is fixed by the seed and the path of names that leads to it, never by what was drawn elsewhere or by
//! the number of threads: `rng.fork("atoms").fork_index(3)` is the same stream wherever it is asked for.

use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A random stream (ChaCha with 8 rounds; its key is the SHA-256 of the seed and the path of names).
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u8; 32],
    stream: ChaCha8Rng,
    spare: Option<f64>,
}

impl Rng {
    /// The root stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self::from_key(Sha256::digest(seed.to_le_bytes()).into())
    }

    fn from_key(key: [u8; 32]) -> Self {
        Self { key, stream: ChaCha8Rng::from_seed(key), spare: None }
    }

    /// The stream called `name` below this one, independent of how much was drawn from this one.
    pub fn fork(&self, name: &str) -> Rng {
        Self::from_key(
            Sha256::new().chain_update(self.key).chain_update(b"/").chain_update(name.as_bytes()).finalize().into(),
        )
    }

    /// The stream number `index` below this one.
    pub fn fork_index(&self, index: u64) -> Rng {
        Self::from_key(
            Sha256::new().chain_update(self.key).chain_update(b"#").chain_update(index.to_le_bytes()).finalize().into(),
        )
    }

    pub fn next_u64(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// Uniform in `[0, 1)` with 53 random bits.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `[0, 1)` with 24 random bits.
    pub fn uniform(&mut self) -> f32 {
        (self.stream.next_u32() >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform_f64() < p
    }

    /// Uniform in `0..n`. Panics if `n == 0`.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "a draw from an empty range");
        // Multiply-shift; the bias is below 2⁻⁶⁴ · n.
        ((self.next_u64() as u128 * n as u128) >> 64) as usize
    }

    /// Standard normal in `f64` (polar Box–Muller).
    pub fn normal_f64(&mut self) -> f64 {
        if let Some(z) = self.spare.take() {
            return z;
        }
        loop {
            let (u, v) = (2.0 * self.uniform_f64() - 1.0, 2.0 * self.uniform_f64() - 1.0);
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let scale = (-2.0 * s.ln() / s).sqrt();
                self.spare = Some(v * scale);
                return u * scale;
            }
        }
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f32 {
        self.normal_f64() as f32
    }

    /// A random permutation of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_depend_on_the_path_alone() {
        let root = Rng::new(7);
        let mut used = root.clone();
        used.next_u64();
        assert_eq!(root.fork("a").next_u64(), used.fork("a").next_u64());
        assert_ne!(root.fork("a").next_u64(), root.fork("b").next_u64());
        assert_ne!(root.fork_index(0).next_u64(), root.fork_index(1).next_u64());
        assert_ne!(Rng::new(7).next_u64(), Rng::new(8).next_u64());
    }

    #[test]
    fn moments_are_those_of_the_law() {
        let mut rng = Rng::new(3).fork("moments");
        let n = 200_000;
        let (mut m1, mut m2, mut m4, mut u) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..n {
            let z = rng.normal_f64();
            m1 += z;
            m2 += z * z;
            m4 += z.powi(4);
            u += rng.uniform_f64();
        }
        let n = n as f64;
        assert!((m1 / n).abs() < 0.01 && (m2 / n - 1.0).abs() < 0.02 && (m4 / n - 3.0).abs() < 0.12, "{m1} {m2} {m4}");
        assert!((u / n - 0.5).abs() < 0.004);
    }
}
