//! Random words sixteen at a time, and sparse uniform rows made of them.

use super::lanes::{GROUP, Lanes};
use crate::Rng;
use pulp::{Simd, WithSimd};

/// Sixteen generators side by side, one a lane: xoshiro128++ 1.0 (Blackman and Vigna 2021, period 2¹²⁸ − 1), each
/// with a state of its own that was drawn from an [`Rng`].
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Words {
    state: [[u32; GROUP]; 4],
}

impl Words {
    /// Sixteen streams that depend on the path of `rng` alone.
    pub fn new(rng: &Rng) -> Self {
        let mut rng = rng.fork("words");
        let mut state = [[0; GROUP]; 4];
        for lane in 0..GROUP {
            // All words zero is the one state that must not be.
            while state.iter().all(|word| word[lane] == 0) {
                state.iter_mut().for_each(|word| word[lane] = rng.next_u64() as u32);
            }
        }
        Words { state }
    }

    /// One word a lane.
    #[inline(always)]
    pub fn draw(&mut self) -> [u32; GROUP] {
        let [s0, s1, s2, s3] = &mut self.state;
        let mut out = [0; GROUP];
        for l in 0..GROUP {
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

    /// 31 random bits a lane, as signed words, which SIMD units can compare and convert.
    #[inline(always)]
    fn draw31(&mut self) -> [i32; GROUP] {
        self.draw().map(|w| (w >> 1) as i32)
    }
}

/// Two to the 31st.
const SPAN: f64 = 2147483648.0;
/// Below this density the bits that say how large a value is are drawn apart from those that say whether it is on.
const FINE: f64 = 1.0 / 256.0;

/// How one variable is drawn: with probability `density` uniform in `[0, 1)` (or in `(−1, 1)`), else zero.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Law {
    /// On where 31 random bits are at most this; −1 for never.
    last: i32,
    /// From those bits to a value.
    scale: f32,
    fine: bool,
}

/// Rows of independent sparse uniform variables, of which those that are zero throughout are not written at all.
#[derive(Clone, Debug)]
pub struct SparseUniform {
    laws: Vec<Law>,
    signed: bool,
    /// Values and signs of one group of rows before they are packed, and which lanes are on.
    values: Vec<f32>,
    bytes: Vec<u8>,
    lanes: Vec<u32>,
    /// Whether so few rows are empty that packing costs more than it saves.
    crowded: bool,
}

impl SparseUniform {
    /// One density a variable, each in `(0, 1]`; with `signed` values are uniform in `(−1, 1)`. Panics outside.
    pub fn new(density: &[f64], signed: bool) -> Self {
        let law = |&p: &f64| {
            assert!(p > 0.0 && p <= 1.0, "a density of {p}, outside (0, 1]");
            let steps = (p * SPAN).round().max(1.0);
            let fine = p < FINE;
            Law { last: (steps - 1.0) as i32, scale: (1.0 / if fine { SPAN } else { steps }) as f32, fine }
        };
        let empty: f64 = density.iter().map(|p| 1.0 - p).product();
        SparseUniform {
            laws: density.iter().map(law).collect(),
            signed,
            values: vec![0.0; density.len() * GROUP],
            bytes: vec![0; density.len() * GROUP],
            lanes: vec![0; density.len()],
            crowded: empty < 0.5,
        }
    }

    pub fn vars(&self) -> usize {
        self.laws.len()
    }

    /// Variables that are on in a row, on average.
    pub fn mean_active(&self) -> f64 {
        self.laws.iter().map(|law| (f64::from(law.last) + 1.0) / SPAN).sum()
    }

    /// Draws up to `rows` rows, from the `left` that are still to come, until `x` is full.
    ///
    /// `x`, `[vars, …]`, comes in cleared. Returns how many rows were drawn and how many of them were written, at the
    /// front of `x`; the others are zero throughout. Rows come in steps of 16, so ask again while any are left.
    pub fn fill(&mut self, words: &mut Words, left: usize, x: &mut Lanes) -> (usize, usize) {
        assert_eq!(self.vars(), x.vars(), "variables drawn and room for them");
        pulp::Arch::new().dispatch(Fill { law: self, words, left, x })
    }

    #[inline(always)]
    fn fill_here(&mut self, words: &mut Words, left: usize, x: &mut Lanes) -> (usize, usize) {
        let room = x.groups() * GROUP;
        let (mut drawn, mut written) = (0, 0);
        // A copy of its own can stay in registers.
        let mut own = words.clone();
        while drawn < left && written + GROUP <= room {
            let rows = GROUP.min(left - drawn);
            let any = self.draw_group(&mut own, rows);
            drawn += rows;
            if any == 0 {
                continue;
            }
            if self.crowded {
                let g = written / GROUP;
                for v in 0..self.laws.len() {
                    if self.lanes[v] != 0 {
                        x.group_mut(v, g).copy_from_slice(&self.values[v * GROUP..][..GROUP]);
                        x.mark(v, g);
                    }
                }
                written += rows;
            } else {
                for v in 0..self.laws.len() {
                    let mut on = self.lanes[v];
                    while on != 0 {
                        let lane = on.trailing_zeros();
                        on &= on - 1;
                        let before = (any & ((1 << lane) - 1)).count_ones() as usize;
                        x.set(v, written + before, self.values[v * GROUP + lane as usize]);
                    }
                }
                written += any.count_ones() as usize;
            }
        }
        *words = own;
        (drawn, written)
    }

    /// Draws 16 rows, keeps the first `rows`, and returns which of them are not zero throughout.
    ///
    /// One simple loop after the other: each alone becomes vector code.
    #[inline(always)]
    fn draw_group(&mut self, words: &mut Words, rows: usize) -> u32 {
        for (values, law) in self.values.chunks_exact_mut(GROUP).zip(&self.laws) {
            let Law { last, scale, fine } = *law;
            let bits = words.draw31();
            let sizes = if fine { words.draw31() } else { bits };
            for l in 0..GROUP {
                let value = sizes[l] as f32 * scale;
                values[l] = if bits[l] <= last { value } else { 0.0 };
            }
        }
        if self.signed {
            for values in self.values.chunks_exact_mut(GROUP) {
                let signs = words.draw();
                for l in 0..GROUP {
                    values[l] = f32::from_bits(values[l].to_bits() ^ (signs[l] & 0x8000_0000));
                }
            }
        }
        if rows < GROUP {
            self.values.chunks_exact_mut(GROUP).for_each(|values| values[rows..].fill(0.0));
        }
        for (on, value) in self.bytes.iter_mut().zip(&self.values) {
            *on = u8::from(*value != 0.0);
        }
        let mut any = 0;
        for (lanes, bytes) in self.lanes.iter_mut().zip(self.bytes.chunks_exact(GROUP)) {
            *lanes = bits(&bytes[..8]) | bits(&bytes[8..]) << 8;
            any |= *lanes;
        }
        any
    }
}

/// Bit `l` is byte `l` of eight bytes that are 0 or 1.
#[inline(always)]
fn bits(bytes: &[u8]) -> u32 {
    let bytes = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    // This factor moves each byte to its bit of the topmost byte.
    (bytes.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

/// The call to [`SparseUniform::fill`], to be compiled for the CPU that it runs on.
struct Fill<'a> {
    law: &'a mut SparseUniform,
    words: &'a mut Words,
    left: usize,
    x: &'a mut Lanes,
}

impl WithSimd for Fill<'_> {
    type Output = (usize, usize);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
        self.law.fill_here(self.words, self.left, self.x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rows of `batches` batches, those that are zero throughout left out, and how many rows there were.
    fn draw(density: &[f64], signed: bool, batches: usize, rng: &Rng) -> (Vec<Vec<f32>>, usize) {
        let mut law = SparseUniform::new(density, signed);
        let mut words = Words::new(rng);
        let mut x = Lanes::zeros(density.len(), 7);
        let (mut rows, mut total) = (Vec::new(), 0);
        for _ in 0..batches {
            let mut left = 1000;
            while left > 0 {
                x.clear();
                let (drawn, written) = law.fill(&mut words, left, &mut x);
                assert!(drawn > 0 && written <= drawn && written <= 7 * GROUP);
                rows.extend((0..written).map(|r| (0..density.len()).map(|v| x.value(v, r)).collect::<Vec<f32>>()));
                left -= drawn;
                total += drawn;
            }
        }
        (rows, total)
    }

    /// Share on, mean and mean square, correlations between variables and between rows that follow one another.
    #[test]
    fn moments_are_those_of_independent_bernoulli_times_uniform() {
        for (density, signed) in [
            (vec![0.001, 0.01, 0.1, 0.02], false),
            (vec![0.5, 0.3, 1.0, 0.7, 0.9], false),
            (vec![0.2, 0.05, 0.6], true),
        ] {
            let (rows, total) = draw(&density, signed, 400, &Rng::new(3).fork("moments"));
            let n = total as f64;
            let mean = |f: &dyn Fn(&[f32]) -> f64| rows.iter().map(|r| f(r)).sum::<f64>() / n;
            for (v, &p) in density.iter().enumerate() {
                let first = if signed { 0.0 } else { p / 2.0 };
                for (what, got, want, square) in [
                    ("on", mean(&|r| f64::from(r[v] != 0.0)), p, p),
                    ("mean", mean(&|r| f64::from(r[v])), first, p / 3.0),
                    ("square", mean(&|r| f64::from(r[v]).powi(2)), p / 3.0, p / 5.0),
                ] {
                    let sd = ((square - want * want).max(0.0) / n).sqrt();
                    assert!((got - want).abs() < 4.5 * sd + 1e-5, "{what} of variable {v}: {got} for {want}");
                }
                for (u, &q) in density.iter().enumerate().take(v) {
                    let both = mean(&|r| f64::from(r[u] != 0.0 && r[v] != 0.0));
                    let sd = (p * q * (1.0 - p * q) / n).sqrt();
                    assert!((both - p * q).abs() < 4.5 * sd + 1e-6, "{u} and {v}: {both} for {}", p * q);
                }
            }
            if rows.len() == total {
                let limit = 4.5 / n.sqrt();
                for v in 0..density.len() {
                    let at = |r: usize| f64::from(rows[r][v]);
                    let m = mean(&|r| f64::from(r[v]));
                    let var = mean(&|r| (f64::from(r[v]) - m).powi(2));
                    for lag in [1, GROUP] {
                        let cov = (lag..total).map(|r| (at(r) - m) * (at(r - lag) - m)).sum::<f64>() / n;
                        assert!((cov / var).abs() < limit, "lag {lag} of variable {v}: {}", cov / var);
                    }
                }
            }
        }
    }

    /// χ² of values over 64 bins, and of the number of variables on in a row against the binomial law.
    #[test]
    fn values_are_uniform_and_counts_binomial() {
        for p in [0.002, 0.2, 1.0] {
            let (rows, total) = draw(&[p; 8], false, if p < 0.01 { 2000 } else { 100 }, &Rng::new(4).fork("chi"));
            let values: Vec<f32> = rows.iter().flatten().copied().filter(|v| *v != 0.0).collect();
            assert!(values.iter().all(|v| (0.0..=1.0).contains(v)));
            let mut bins = [0.0f64; 64];
            values.iter().for_each(|v| bins[((v * 64.0) as usize).min(63)] += 1.0);
            let want = values.len() as f64 / 64.0;
            let chi2: f64 = bins.iter().map(|b| (b - want).powi(2) / want).sum();
            assert!(chi2 < 113.0, "χ² of {chi2} at density {p} (99.99th percentile of 63 cells: 113)");
            let mut counts = [0.0f64; 9];
            counts[0] = (total - rows.len()) as f64;
            rows.iter().for_each(|r| counts[r.iter().filter(|v| **v != 0.0).count()] += 1.0);
            let (mut choose, mut chi2) = (1.0, 0.0);
            for k in 0..=8 {
                let want = total as f64 * choose * p.powi(k) * (1.0 - p).powi(8 - k);
                if want > 10.0 {
                    chi2 += (counts[k as usize] - want).powi(2) / want;
                }
                choose *= f64::from(8 - k) / f64::from(k + 1);
            }
            assert!(chi2 < 33.0, "χ² of {chi2} at density {p} (99.99th percentile of 8 cells: 32)");
        }
    }

    #[test]
    fn lanes_and_streams_are_independent() {
        let mut a = Words::new(&Rng::new(1));
        let mut b = Words::new(&Rng::new(1).fork_index(1));
        let n = 4096;
        let unit = |w: u32| f64::from(w) / 4294967296.0 - 0.5;
        let mut cov = vec![[0.0f64; GROUP]; GROUP + 1];
        for _ in 0..n {
            let (x, y) = (a.draw(), b.draw());
            for l in 0..GROUP {
                (0..l).for_each(|k| cov[l][k] += unit(x[l]) * unit(x[k]));
                cov[GROUP][l] += unit(x[l]) * unit(y[l]);
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
        let mut words = Words { state: [[1; GROUP], [2; GROUP], [3; GROUP], [4; GROUP]] };
        let got: Vec<u32> = (0..5).map(|_| words.draw()[9]).collect();
        assert_eq!(got, [641, 1573767, 3222811527, 3517856514, 836907274]);
    }
}
