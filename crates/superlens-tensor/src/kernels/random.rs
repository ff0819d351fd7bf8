//! Random words many at a time, and sparse uniform rows made of them.

use super::lanes::{GROUP, Lanes};
use crate::Rng;
use pulp::{Simd, WithSimd};

/// Generators side by side. Two groups of them, since one alone would wait for its own last word.
const WIDE: usize = 2 * GROUP;

/// Generators side by side, one a lane: xoshiro128++ 1.0 (Blackman and Vigna 2021, period 2¹²⁸ − 1), each with a state
/// of its own that was drawn from an [`Rng`].
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Words {
    state: [[u32; WIDE]; 4],
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
        Words { state }
    }

    /// One word a lane.
    #[inline(always)]
    pub fn draw(&mut self) -> [u32; WIDE] {
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

/// Two to the 31st.
const SPAN: f64 = 2147483648.0;
/// Below this density it is cheaper to draw how far it is to the next value than to draw for each row.
const RARE: f64 = 1.0 / 16.0;
/// Rows are packed if at least this share of them is empty.
const WORTH_PACKING: f64 = 0.2;

/// How one variable is drawn: with probability `density` uniform in `[0, 1)` (or in `(−1, 1)`), else zero.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    /// A word a row: on where its upper 31 bits are at most `last`, which then give the value by `scale`.
    Each { last: i32, scale: f32 },
    /// The rows between two values: an exponential variate times `mean`, rounded down, is geometric. `next` is the row
    /// of the next value, counted from the first row that was not drawn yet.
    Gaps { mean: f64, next: f64 },
}

/// Rows of independent sparse uniform variables, drawn afresh from a stream of their own. Where many rows are zero
/// throughout, those are left out.
#[derive(Clone, Debug)]
pub struct SparseUniform {
    density: Vec<f64>,
    laws: Vec<Law>,
    signed: bool,
    packed: bool,
    words: Words,
    spare: Spare,
    /// Of the variables that are drawn by gaps: row and value of all that are on, where each variable's end, and which
    /// rows they are in.
    found: Vec<(u32, f32)>,
    ends: Vec<usize>,
    rows: Vec<u64>,
}

impl SparseUniform {
    /// One density a variable, each in `(0, 1]`; with `signed` values are uniform in `(−1, 1)`. Draws depend on the path
    /// of `rng` alone. Panics outside.
    pub fn new(density: &[f64], signed: bool, rng: &Rng) -> Self {
        let mut words = Words::new(rng);
        let mut spare = Spare::new();
        let mut law = |&p: &f64| {
            assert!(p > 0.0 && p <= 1.0, "a density of {p}, outside (0, 1]");
            if p < RARE {
                let mean = -1.0 / (-p).ln_1p();
                let (gap, _) = spare.take(&mut words);
                return Law::Gaps { mean, next: (gap * mean).floor() };
            }
            let steps = (p * SPAN).round();
            Law::Each { last: (steps - 1.0) as i32, scale: (1.0 / steps) as f32 }
        };
        let laws: Vec<Law> = density.iter().map(&mut law).collect();
        let empty: f64 = density.iter().map(|p| 1.0 - p).product();
        let rare = density.iter().all(|p| *p < RARE);
        SparseUniform {
            density: density.to_vec(),
            laws,
            signed,
            packed: rare && empty >= WORTH_PACKING,
            words,
            spare,
            found: Vec::new(),
            ends: Vec::new(),
            rows: Vec::new(),
        }
    }

    pub fn vars(&self) -> usize {
        self.laws.len()
    }

    /// Variables that are on in a row, on average.
    pub fn mean_active(&self) -> f64 {
        self.density.iter().sum()
    }

    /// Draws as many of `left` rows as `x`, `[vars, …]`, has room for, in place of what was in `x`.
    ///
    /// Returns how many rows were drawn and how many of them were written, at the front of `x`; the others are zero
    /// throughout.
    pub fn fill(&mut self, left: usize, x: &mut Lanes) -> (usize, usize) {
        assert_eq!(self.vars(), x.vars(), "variables drawn and room for them");
        pulp::Arch::new().dispatch(Fill { law: self, left, x })
    }

    #[inline(always)]
    fn fill_here(&mut self, left: usize, x: &mut Lanes) -> (usize, usize) {
        let rows = left.min(x.groups() * GROUP);
        // A copy of its own can stay in registers.
        let mut words = self.words.clone();
        for (v, law) in self.laws.iter().enumerate() {
            if let Law::Each { last, scale } = *law {
                each_row(&mut words, last, scale, self.signed, rows, v, x);
            }
        }
        self.words = words;
        self.draw_gaps(rows);
        let written = if self.packed { self.pack() } else { rows };
        let mut start = 0;
        for (v, &end) in self.ends.iter().enumerate() {
            if matches!(self.laws[v], Law::Gaps { .. }) {
                x.scatter(v, &self.found[start..end]);
            }
            start = end;
        }
        (rows, written)
    }

    /// Finds what is on among the next `rows` rows of all variables that are drawn by gaps.
    #[inline(always)]
    fn draw_gaps(&mut self, rows: usize) {
        self.found.clear();
        self.ends.clear();
        for law in &mut self.laws {
            if let Law::Gaps { mean, next } = law {
                while *next < rows as f64 {
                    let (gap, word) = self.spare.take(&mut self.words);
                    let size = (word >> 1) as i32 as f32 * (1.0 / SPAN) as f32;
                    let value = if self.signed && word & 1 == 1 { -size } else { size };
                    self.found.push((*next as i32 as u32, value));
                    *next += 1.0 + (gap * *mean).floor();
                }
                *next -= rows as f64;
            }
            self.ends.push(self.found.len());
        }
    }

    /// Renumbers the rows in `found` so that those without any value are left out; returns how many are left.
    #[inline(always)]
    fn pack(&mut self) -> usize {
        self.rows.clear();
        for &(row, _) in &self.found {
            let word = row as usize / 64;
            if word >= self.rows.len() {
                self.rows.resize(word + 1, 0);
            }
            self.rows[word] |= 1 << (row % 64);
        }
        let mut before = Vec::with_capacity(self.rows.len());
        let mut count = 0;
        for word in &self.rows {
            before.push(count);
            count += word.count_ones();
        }
        for (row, _) in &mut self.found {
            let word = *row as usize / 64;
            *row = before[word] + (self.rows[word] & ((1 << (*row % 64)) - 1)).count_ones();
        }
        count as usize
    }
}

/// Variable `v` of the first `rows` rows, a word a row.
#[inline(always)]
fn each_row(words: &mut Words, last: i32, scale: f32, signed: bool, rows: usize, v: usize, x: &mut Lanes) {
    let groups = rows.div_ceil(GROUP);
    for g in (0..groups).step_by(2) {
        let mut values = [0.0f32; WIDE];
        let drawn = words.draw();
        for l in 0..WIDE {
            // As signed words, which SIMD units can compare and convert.
            let bits = (drawn[l] >> 1) as i32;
            let value = if bits <= last { bits as f32 * scale } else { 0.0 };
            let sign = if signed { drawn[l] << 31 } else { 0 };
            values[l] = f32::from_bits(value.to_bits() | sign);
        }
        x.group_mut(v, g).copy_from_slice(&values[..GROUP]);
        if g + 1 < groups {
            x.group_mut(v, g + 1).copy_from_slice(&values[GROUP..]);
        }
    }
    x.end_at(v, rows);
}

/// Exponential variates, each with a word beside it, made many at a time.
#[derive(Clone, Debug)]
struct Spare {
    gaps: [f64; WIDE],
    words: [u32; WIDE],
    left: usize,
}

impl Spare {
    fn new() -> Self {
        Spare { gaps: [0.0; WIDE], words: [0; WIDE], left: 0 }
    }

    #[inline(always)]
    fn take(&mut self, words: &mut Words) -> (f64, u32) {
        if self.left == 0 {
            let drawn = words.draw();
            for l in 0..WIDE {
                self.gaps[l] = -ln((f64::from(drawn[l] as i32) + (SPAN + 0.5)) * (0.5 / SPAN));
            }
            self.words = words.draw();
            self.left = WIDE;
        }
        self.left -= 1;
        (self.gaps[self.left], self.words[self.left])
    }
}

/// The natural logarithm of a normal positive number, to within some 10⁻¹⁵ of its own size or of 1; unlike the one of
/// the standard library it becomes vector code.
#[inline(always)]
fn ln(x: f64) -> f64 {
    // x = m 2^e with m in [√½, √2), so that s = (m − 1)/(m + 1) is small; ln m = 2 (s + s³/3 + s⁵/5 + …).
    let bits = x.to_bits();
    let shifted = bits.wrapping_sub(0x3fe6_a09e_667f_3bcd);
    let exponent = (shifted as i64 >> 52) as i32;
    let m = f64::from_bits(bits.wrapping_sub(shifted & 0xfff0_0000_0000_0000));
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let mut sum = 1.0 / 21.0;
    for odd in [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sum = sum * q + 1.0 / odd;
    }
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * (s + s * q * sum)
}

/// The call to [`SparseUniform::fill`], to be compiled for the CPU that it runs on.
struct Fill<'a> {
    law: &'a mut SparseUniform,
    left: usize,
    x: &'a mut Lanes,
}

impl WithSimd for Fill<'_> {
    type Output = (usize, usize);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (usize, usize) {
        self.law.fill_here(self.left, self.x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rows of `batches` batches, those that are zero throughout left out, and how many rows there were.
    fn draw(density: &[f64], signed: bool, batches: usize, rng: &Rng) -> (Vec<Vec<f32>>, usize) {
        let mut law = SparseUniform::new(density, signed, rng);
        let mut x = Lanes::zeros(density.len(), 7);
        let (mut rows, mut total) = (Vec::new(), 0);
        for _ in 0..batches {
            let mut left = 1000;
            while left > 0 {
                let (drawn, written) = law.fill(left, &mut x);
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
        let mut cov = vec![[0.0f64; WIDE]; WIDE + 1];
        for _ in 0..n {
            let (x, y) = (a.draw(), b.draw());
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
        let mut words = Words { state: [[1; WIDE], [2; WIDE], [3; WIDE], [4; WIDE]] };
        let got: Vec<u32> = (0..5).map(|_| words.draw()[19]).collect();
        assert_eq!(got, [641, 1573767, 3222811527, 3517856514, 836907274]);
    }
}
