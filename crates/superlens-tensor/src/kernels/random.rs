//! Sparse uniform rows, drawn afresh.

use super::lanes::{GROUP, Lanes, MAX_GROUPS};
use super::words::WIDE;
pub use super::words::Words;

use pulp::{Simd, WithSimd};

/// Two to the 31st.
const SPAN: f64 = 2147483648.0;
/// Below this density it is cheaper to draw how far it is to the next value than to draw for each row.
const RARE: f64 = 0.04;
/// Rows are packed if at least this share of them is empty.
const WORTH_PACKING: f64 = 0.2;

/// How one variable is drawn: with probability `density` uniform in `[0, 1)` (or in `(−1, 1)`), else zero.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    /// A word a row: on where its upper 31 bits are at most `last`, which then give the value by `scale`.
    Each { last: i32, scale: f32 },
    /// The rows between two values: an exponential variate times `mean`, rounded down, is geometric. `next` is the row
    /// of the next value, counted from the first row that was not drawn yet, and unknown before the first draw.
    Gaps { mean: f64, next: Option<u64> },
}

/// Rows of independent sparse uniform variables, drawn afresh from a stream of their own. Where many rows are zero
/// throughout, those are left out.
#[derive(Clone, Debug)]
pub struct SparseUniform {
    density: Vec<f64>,
    laws: Vec<Law>,
    signed: bool,
    packed: bool,
    spare: Spare,
    /// Of the variables that are drawn by gaps: row and value of all that are on, where each variable's end, and which
    /// rows they are in.
    found: Vec<(u32, f32)>,
    ends: Vec<usize>,
    seen: Rows,
}

impl SparseUniform {
    /// One density a variable, each in `(0, 1]`; with `signed` values are uniform in `(−1, 1)`. Panics outside.
    pub fn new(density: &[f64], signed: bool) -> Self {
        let law = |&p: &f64| {
            assert!(p > 0.0 && p <= 1.0, "a density of {p}, outside (0, 1]");
            let steps = (p * SPAN).round();
            match p < RARE {
                true => Law::Gaps { mean: -1.0 / (-p).ln_1p(), next: None },
                false => Law::Each { last: (steps - 1.0) as i32, scale: (1.0 / steps) as f32 },
            }
        };
        let empty: f64 = density.iter().map(|p| 1.0 - p).product();
        SparseUniform {
            density: density.to_vec(),
            laws: density.iter().map(law).collect(),
            signed,
            packed: empty >= WORTH_PACKING && density.iter().all(|p| *p < RARE),
            spare: Spare::new(signed),
            found: Vec::new(),
            ends: vec![0; density.len()],
            seen: Rows::default(),
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
    pub fn fill(&mut self, words: &mut Words, left: usize, x: &mut Lanes) -> (usize, usize) {
        assert_eq!(self.vars(), x.vars(), "variables drawn and room for them");
        pulp::Arch::new().dispatch(Fill { law: self, words, left, x })
    }

    #[inline(always)]
    fn fill_here(&mut self, words: &mut Words, left: usize, x: &mut Lanes) -> (usize, usize) {
        let rows = left.min(x.groups() * GROUP);
        // A copy of its own can stay in registers.
        let mut own = words.clone();
        for (v, law) in self.laws.iter().enumerate() {
            if let Law::Each { last, scale } = *law {
                match self.signed {
                    true => each_row::<true>(&mut own, last, scale, rows, v, x),
                    false => each_row::<false>(&mut own, last, scale, rows, v, x),
                }
            }
        }
        self.draw_gaps(&mut own, rows);
        *words = own;
        let written = if self.packed { self.seen.count() } else { rows };
        let mut start = 0;
        for (v, &end) in self.ends.iter().enumerate() {
            if matches!(self.laws[v], Law::Gaps { .. }) {
                let found = self.found[start..end].iter();
                if self.packed {
                    x.scatter(v, found.map(|&(row, value)| (self.seen.place(row), value)));
                } else {
                    x.scatter(v, found.copied());
                }
            }
            start = end;
        }
        (rows, written)
    }

    /// Finds what is on among the next `rows` rows of all variables that are drawn by gaps.
    #[inline(always)]
    fn draw_gaps(&mut self, words: &mut Words, rows: usize) {
        self.seen = Rows::default();
        let mut at = 0;
        for (law, end) in self.laws.iter_mut().zip(&mut self.ends) {
            if let Law::Gaps { mean, next } = law {
                if self.found.len() < at + rows {
                    self.found.resize(at + rows, (0, 0.0));
                }
                let mut row = next.unwrap_or_else(|| whole(self.spare.take(words).0 * *mean));
                while row < rows as u64 {
                    let (gap, value) = self.spare.take(words);
                    self.found[at] = (row as u32, value);
                    self.seen.add(row as u32);
                    at += 1;
                    row += 1 + whole(gap * *mean);
                }
                *next = Some(row - rows as u64);
            }
            *end = at;
        }
    }
}

/// The whole part of a number that is not negative.
#[inline(always)]
fn whole(x: f64) -> u64 {
    debug_assert!((0.0..1e18).contains(&x));
    // SAFETY: an exponential variate of at most 23 times a mean gap of at most 2³² is neither NaN nor outside.
    unsafe { x.to_int_unchecked::<i64>() as u64 }
}

/// A set of the rows that a variable can have.
#[derive(Clone, Debug, Default)]
struct Rows {
    on: [u64; MAX_GROUPS * GROUP / 64],
    /// How many are in the words before each.
    before: [u32; MAX_GROUPS * GROUP / 64],
}

impl Rows {
    #[inline(always)]
    fn add(&mut self, row: u32) {
        self.on[row as usize / 64] |= 1 << (row % 64);
    }

    /// How many rows there are, which settles their places.
    #[inline(always)]
    fn count(&mut self) -> usize {
        let mut count = 0;
        for (on, before) in self.on.iter().zip(&mut self.before) {
            *before = count;
            count += on.count_ones();
        }
        count as usize
    }

    /// How many rows come before this one.
    #[inline(always)]
    fn place(&self, row: u32) -> u32 {
        let word = row as usize / 64;
        self.before[word] + (self.on[word] & ((1 << (row % 64)) - 1)).count_ones()
    }
}

/// Variable `v` of the first `rows` rows, a word a row.
#[inline(always)]
fn each_row<const SIGNED: bool>(words: &mut Words, last: i32, scale: f32, rows: usize, v: usize, x: &mut Lanes) {
    let groups = rows.div_ceil(GROUP);
    for g in (0..groups).step_by(2) {
        let mut values = [0.0f32; WIDE];
        let drawn = words.draw_wide();
        for l in 0..WIDE {
            // As signed words, which SIMD units can compare and convert.
            let bits = (drawn[l] >> 1) as i32;
            let value = if bits <= last { bits as f32 * scale } else { 0.0 };
            values[l] = if SIGNED { f32::from_bits(value.to_bits() | drawn[l] << 31) } else { value };
        }
        x.group_mut(v, g).copy_from_slice(&values[..GROUP]);
        if g + 1 < groups {
            x.group_mut(v, g + 1).copy_from_slice(&values[GROUP..]);
        }
    }
    x.end_at(v, rows);
}

/// Exponential variates, each with a uniform one beside it, made many at a time.
#[derive(Clone, Debug)]
struct Spare {
    gaps: [f64; WIDE],
    values: [f32; WIDE],
    left: usize,
    signed: bool,
}

impl Spare {
    fn new(signed: bool) -> Self {
        Spare { gaps: [0.0; WIDE], values: [0.0; WIDE], left: 0, signed }
    }

    #[inline(always)]
    fn take(&mut self, words: &mut Words) -> (f64, f32) {
        if self.left == 0 {
            self.refill(words);
        }
        self.left -= 1;
        (self.gaps[self.left], self.values[self.left])
    }

    #[inline(always)]
    fn refill(&mut self, words: &mut Words) {
        let (mut gaps, mut values) = ([0.0; WIDE], [0.0; WIDE]);
        let drawn = words.draw_wide();
        for l in 0..WIDE {
            gaps[l] = -ln((f64::from(drawn[l] as i32) + (SPAN + 0.5)) * (0.5 / SPAN));
        }
        let drawn = words.draw_wide();
        let signs = if self.signed { 1 } else { 0 };
        for l in 0..WIDE {
            let size = (drawn[l] >> 1) as i32 as f32 * (1.0 / SPAN) as f32;
            values[l] = f32::from_bits(size.to_bits() | (drawn[l] & signs) << 31);
        }
        (self.gaps, self.values, self.left) = (gaps, values, WIDE);
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
    use crate::Rng;

    /// All rows of `batches` batches, those that are zero throughout left out, and how many rows there were.
    fn draw(density: &[f64], signed: bool, batches: usize, rng: &Rng) -> (Vec<Vec<f32>>, usize) {
        let (mut law, mut words) = (SparseUniform::new(density, signed), Words::new(rng));
        let mut x = Lanes::zeros(density.len(), 7);
        let (mut rows, mut total) = (Vec::new(), 0);
        for _ in 0..batches {
            let mut left = 1000;
            while left > 0 {
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

    /// How often and how much each variable is on in a batch must say nothing about other variables, about the batch
    /// that follows, or about another instance: over steps, features and instances all is drawn afresh.
    #[test]
    fn features_steps_and_instances_are_uncorrelated() {
        const BATCHES: usize = 3000;
        for density in [[0.02, 0.02, 0.02, 0.02], [0.3, 0.7, 1.0, 0.3], [0.3, 0.02, 0.5, 0.02]] {
            let batches = |rng: &Rng| {
                let (mut law, mut words) = (SparseUniform::new(&density, false), Words::new(rng));
                let mut x = Lanes::zeros(4, 3);
                let mut sums = vec![Vec::new(); 4];
                for _ in 0..BATCHES {
                    let (_, written) = law.fill(&mut words, 48, &mut x);
                    let sum = |v: usize| (0..written).map(|r| f64::from(x.value(v, r))).sum::<f64>();
                    sums.iter_mut().enumerate().for_each(|(v, sums)| sums.push(sum(v)));
                }
                sums
            };
            let rng = Rng::new(5).fork("steps");
            let (a, b) = (batches(&rng.fork_index(0)), batches(&rng.fork_index(1)));
            for v in 0..4 {
                let pairs = (0..v).map(|u| (&a[u][..], &a[v][..])).chain([
                    (&a[v][1..], &a[v][..BATCHES - 1]),
                    (&a[v][2..], &a[v][..BATCHES - 2]),
                    (&a[v][..], &b[v][..]),
                    (&a[v][1..], &b[v][..BATCHES - 1]),
                ]);
                for (k, (x, y)) in pairs.enumerate() {
                    let r = correlation(x, y);
                    assert!(r.abs() < 4.5 / (BATCHES as f64).sqrt(), "pair {k} of variable {v} at {density:?}: {r}");
                }
            }
        }
    }

    fn correlation(x: &[f64], y: &[f64]) -> f64 {
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let (mx, my) = (mean(x), mean(y));
        let cov =
            |a: &[f64], ma: f64, b: &[f64], mb: f64| a.iter().zip(b).map(|(a, b)| (a - ma) * (b - mb)).sum::<f64>();
        cov(x, mx, y, my) / (cov(x, mx, x, mx) * cov(y, my, y, my)).sqrt()
    }

    /// χ² of the rows between two values against the geometric law, across the borders of what is drawn at once.
    #[test]
    fn gaps_are_geometric() {
        let p = 0.03;
        // The dense variable keeps rows where they are.
        let (mut law, mut words) = (SparseUniform::new(&[p, 0.5], false), Words::new(&Rng::new(6)));
        let mut x = Lanes::zeros(2, 4);
        let (mut gaps, mut since, mut total) = ([0.0f64; 100], 0, 0.0);
        for _ in 0..40_000 {
            assert_eq!(law.fill(&mut words, 50, &mut x), (50, 50));
            for row in 0..50 {
                since += 1;
                if x.value(0, row) != 0.0 {
                    gaps[(since - 1).min(99)] += 1.0;
                    (since, total) = (0, total + 1.0);
                }
            }
        }
        let left = |k: i32| total * (1.0f64 - p).powi(k);
        let want = |k: usize| if k == 99 { left(99) } else { left(k as i32) - left(k as i32 + 1) };
        let chi2: f64 = gaps.iter().enumerate().map(|(k, n)| (n - want(k)).powi(2) / want(k)).sum();
        assert!(chi2 < 159.0, "χ² of {chi2} (99.99th percentile of 99 cells: 159)");
    }

    #[test]
    fn the_logarithm_is_that_of_the_library() {
        let mut rng = Rng::new(7);
        for k in 0..100_000 {
            let x = if k < 1000 { (f64::from(k) + 0.5) / 4294967296.0 } else { f64::from(rng.uniform()) + 1e-10 };
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "ln {x}: {} for {}", ln(x), x.ln());
        }
    }
}
