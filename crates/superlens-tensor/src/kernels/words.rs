//! Random words, many at a time.

use super::lanes::GROUP;
use crate::Rng;

/// Generators side by side. Two groups of them, since one alone would wait for its own last word.
pub const WIDE: usize = 2 * GROUP;

/// Generators side by side, one a lane: xoshiro128++ 1.0 (Blackman and Vigna 2021, period 2¹²⁸ − 1), each with a state
/// of its own that was drawn from an [`Rng`].
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Words {
    state: [[u32; WIDE]; 4],
    /// The second half of what [`draw`](Self::draw) drew, if it has not been given out.
    half: Option<[u32; GROUP]>,
}

impl Words {
    /// Streams that depend on the path of `rng` alone.
    pub fn new(rng: &Rng) -> Self {
        let mut rng = rng.fork("words");
        let mut state = [[0; WIDE]; 4];
        for lane in 0..WIDE {
            // All words zero is the one state that must not be.
            while state.iter().all(|word| word[lane] == 0) {
                state.iter_mut().for_each(|word| word[lane] = rng.next_u64() as u32);
            }
        }
        Words { state, half: None }
    }

    /// A word for each of sixteen rows.
    #[inline(always)]
    pub fn draw(&mut self) -> [u32; GROUP] {
        if let Some(half) = self.half.take() {
            return half;
        }
        let wide = self.draw_wide();
        self.half = Some(std::array::from_fn(|l| wide[GROUP + l]));
        std::array::from_fn(|l| wide[l])
    }

    /// One word a generator.
    #[inline(always)]
    pub fn draw_wide(&mut self) -> [u32; WIDE] {
        let [s0, s1, s2, s3] = &mut self.state;
        let mut out = [0; WIDE];
        for l in 0..WIDE {
            out[l] = s0[l].wrapping_add(s3[l]).rotate_left(7).wrapping_add(s0[l]);
            let t = s1[l] << 9;
            s2[l] ^= s0[l];
            s3[l] ^= s1[l];
            s1[l] ^= s2[l];
            s0[l] ^= s3[l];
            s2[l] ^= t;
            s3[l] = s3[l].rotate_left(11);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_and_streams_are_independent() {
        let mut a = Words::new(&Rng::new(1));
        let mut b = Words::new(&Rng::new(1).fork_index(1));
        let n = 4096;
        let unit = |w: u32| f64::from(w) / 4294967296.0 - 0.5;
        let mut cov = vec![[0.0f64; WIDE]; WIDE + 1];
        for _ in 0..n {
            let (x, y) = (a.draw_wide(), b.draw_wide());
            for l in 0..WIDE {
                (0..l).for_each(|k| cov[l][k] += unit(x[l]) * unit(x[k]));
                cov[WIDE][l] += unit(x[l]) * unit(y[l]);
            }
        }
        let limit = 4.5 / 12.0 * (n as f64).sqrt();
        assert!(cov.iter().flatten().all(|c| c.abs() < limit), "{cov:?}");
        let again = (Words::new(&Rng::new(1)).draw(), Words::new(&Rng::new(1)).draw());
        assert_eq!(again.0, again.1);
    }

    /// The published test vector of xoshiro128++ 1.0: from state 1, 2, 3, 4 come 641, 1573767, …
    #[test]
    fn the_generator_is_the_published_one() {
        let mut words = Words { state: [[1; WIDE], [2; WIDE], [3; WIDE], [4; WIDE]], half: None };
        let got: Vec<u32> = (0..5).map(|_| words.draw_wide()[19]).collect();
        let halves = |words: &mut Words| [words.draw(), words.draw()].concat();
        let (mut a, mut b) = (words.clone(), words.clone());
        assert_eq!(halves(&mut a), b.draw_wide());
        assert_eq!(got, [641, 1573767, 3222811527, 3517856514, 836907274]);
    }
}
