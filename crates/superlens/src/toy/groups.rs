//! Features that depend on one another: sets that come together, exclude one another, or hang on a parent.
//!
//! Elhage et al. 2022, *Toy Models of Superposition*, correlated and anticorrelated features. Consecutive features form a
//! set; sets are independent of one another, and every value is uniform of its own.

use super::data::{BLOCK_ROWS, SparseFeatures};
use rayon::prelude::*;
use superlens_tensor::kernels::lanes::{GROUP, Lanes};
use superlens_tensor::kernels::random::{SparseUniform, Words};
use superlens_tensor::{Mat, Rng};

/// How the features of a set depend on one another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Groups {
    #[default]
    Independent,
    /// All features of a set are on together: one gate, values of their own.
    Correlated(usize),
    /// At most one feature of a set is on. The set is on with the densities of its features added up, so that each keeps
    /// its own: `2p` for a pair.
    Anticorrelated(usize),
    /// The first feature of a set is the parent; where it is on, each other one is on with probability `given`.
    Hierarchical { size: usize, given: f64 },
}

impl Groups {
    /// Features of a set.
    pub fn size(self) -> usize {
        match self {
            Groups::Independent => 1,
            Groups::Correlated(size) | Groups::Anticorrelated(size) | Groups::Hierarchical { size, .. } => size,
        }
    }
}

/// The law of a row of features: how often each is on, and with which others. A feature that is on is uniform in `[0, 1)`.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureLaw {
    density: Vec<f64>,
    groups: Groups,
}

impl From<SparseFeatures> for FeatureLaw {
    fn from(features: SparseFeatures) -> Self {
        FeatureLaw::independent(features.density)
    }
}

impl FeatureLaw {
    /// Features that are on independently of one another, each with its own density in `(0, 1]`.
    pub fn independent(density: Vec<f64>) -> Self {
        FeatureLaw { density, groups: Groups::Independent }
    }

    /// Features in sets. `density` is that of each feature, the same throughout a set; children of a parent are on in the
    /// share of it that the law says.
    ///
    /// # Errors
    /// What doesn't fit: a rest that makes no set, unequal densities within one, more than one feature on at once on average
    /// where they exclude one another.
    pub fn new(density: Vec<f64>, groups: Groups) -> Result<Self, String> {
        let size = groups.size();
        if groups != Groups::Independent {
            if size < 2 || !density.len().is_multiple_of(size) {
                return Err(format!("sets of at least 2 that divide the {} features", density.len()));
            }
            if density.chunks(size).any(|set| set.iter().any(|p| (p / set[0] - 1.0).abs() > 1e-9)) {
                return Err("the same density for all features of a set".into());
            }
        }
        match groups {
            Groups::Anticorrelated(_) if density.iter().any(|p| size as f64 * p > 1.0) => {
                Err(format!("densities of at most 1/{size}, since at most one feature of a set is on"))
            }
            Groups::Hierarchical { given, .. } if !(given > 0.0 && given <= 1.0) => {
                Err("a probability above 0 and at most 1 for the children".into())
            }
            _ => Ok(FeatureLaw { density, groups }),
        }
    }

    pub fn groups(&self) -> Groups {
        self.groups
    }

    pub fn n_features(&self) -> usize {
        self.density.len()
    }

    /// How often each feature is on.
    pub fn densities(&self) -> Vec<f64> {
        match self.groups {
            Groups::Hierarchical { size, given } => self
                .density
                .iter()
                .enumerate()
                .map(|(i, p)| if i.is_multiple_of(size) { *p } else { p * given })
                .collect(),
            _ => self.density.clone(),
        }
    }

    /// Variance of each feature, `p/3 − p²/4`.
    pub fn variances(&self) -> Vec<f64> {
        self.densities().iter().map(|p| p / 3.0 - p * p / 4.0).collect()
    }

    /// Probability that features `i` and `j` are on together.
    fn both(&self, i: usize, j: usize) -> f64 {
        let p = self.densities();
        let size = self.groups.size();
        match self.groups {
            _ if i == j => p[i],
            _ if i / size != j / size => p[i] * p[j],
            Groups::Independent => p[i] * p[j],
            Groups::Correlated(_) => p[i],
            Groups::Anticorrelated(_) => 0.0,
            Groups::Hierarchical { given, .. } if i.is_multiple_of(size) || j.is_multiple_of(size) => {
                given * self.density[i]
            }
            Groups::Hierarchical { given, .. } => given * given * self.density[i],
        }
    }

    /// `[n, n]`, row after row.
    pub fn covariance(&self) -> Vec<f64> {
        let (n, p) = (self.n_features(), self.densities());
        let entry = |i: usize, j: usize| {
            if i == j { p[i] / 3.0 - p[i] * p[i] / 4.0 } else { 0.25 * (self.both(i, j) - p[i] * p[j]) }
        };
        (0..n * n).map(|k| entry(k / n, k % n)).collect()
    }

    /// All sets of features that can be on at once, and how probable each is. Up to `2^n` of them.
    pub fn patterns(&self) -> Vec<(Vec<usize>, f64)> {
        let size = self.groups.size();
        let mut all = vec![(Vec::new(), 1.0)];
        for first in (0..self.n_features()).step_by(size) {
            let ways = self.ways(first);
            all = all
                .iter()
                .flat_map(|(on, share)| {
                    ways.iter().map(move |(more, p)| ([on.as_slice(), more.as_slice()].concat(), share * p))
                })
                .filter(|(_, share)| *share > 0.0)
                .collect();
        }
        all
    }

    /// What the set that starts with feature `first` can do.
    fn ways(&self, first: usize) -> Vec<(Vec<usize>, f64)> {
        let p = self.density[first];
        match self.groups {
            Groups::Independent => vec![(vec![], 1.0 - p), (vec![first], p)],
            Groups::Correlated(size) => vec![(vec![], 1.0 - p), ((first..first + size).collect(), p)],
            Groups::Anticorrelated(size) => {
                let none = (vec![], (1.0 - size as f64 * p).max(0.0));
                (first..first + size).map(|i| (vec![i], p)).chain([none]).collect()
            }
            Groups::Hierarchical { size, given } => {
                let children = (0..1usize << (size - 1)).map(|subset| {
                    let on: Vec<usize> = (1..size).filter(|k| subset >> (k - 1) & 1 == 1).map(|k| first + k).collect();
                    let off = (size - 1 - on.len()) as i32;
                    let share = p * given.powi(on.len() as i32) * (1.0 - given).powi(off);
                    ([&[first][..], &on].concat(), share)
                });
                children.chain([(vec![], 1.0 - p)]).collect()
            }
        }
    }

    /// `[rows, n_features]` fresh inputs, drawn from `stream` alone.
    pub fn sample(&self, rows: usize, stream: &Rng) -> Mat {
        if self.groups == Groups::Independent {
            return SparseFeatures { density: self.density.clone() }.sample(rows, stream);
        }
        let n = self.n_features();
        let mut x = Mat::zeros(rows, n);
        x.data_mut().par_chunks_mut(BLOCK_ROWS * n).enumerate().for_each(|(b, block)| {
            let mut words = Words::new(&stream.fork_index(b as u64));
            let mut sets = Sets::new(self, false);
            for rows in block.chunks_mut(GROUP * n) {
                sets.draw(&mut words, rows.len() / n);
                for (r, row) in rows.chunks_exact_mut(n).enumerate() {
                    row.iter_mut().zip(&sets.values).for_each(|(x, values)| *x = values[r]);
                }
            }
        });
        x
    }
}

/// Where the rows of a training come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Independent(Box<SparseUniform>),
    Sets(Sets),
}

impl Source {
    /// With `signed`, values are uniform in `(−1, 1)`.
    pub fn new(law: &FeatureLaw, signed: bool) -> Self {
        match law.groups {
            Groups::Independent => Source::Independent(Box::new(SparseUniform::new(&law.density, signed))),
            _ => Source::Sets(Sets::new(law, signed)),
        }
    }

    /// See [`SparseUniform::fill`].
    pub fn fill(&mut self, words: &mut Words, left: usize, x: &mut Lanes) -> (usize, usize) {
        match self {
            Source::Independent(law) => law.fill(words, left, x),
            Source::Sets(sets) => sets.fill(words, left, x),
        }
    }

    /// Features that are on in a row, on average.
    pub fn mean_active(&self) -> f64 {
        match self {
            Source::Independent(law) => law.mean_active(),
            Source::Sets(sets) => sets.law.densities().iter().sum(),
        }
    }
}

/// Sixteen rows of sets at a time.
#[derive(Clone, Debug)]
pub(super) struct Sets {
    law: FeatureLaw,
    signed: bool,
    values: Vec<[f32; GROUP]>,
}

impl Sets {
    fn new(law: &FeatureLaw, signed: bool) -> Self {
        Sets { law: law.clone(), signed, values: vec![[0.0; GROUP]; law.n_features()] }
    }

    fn fill(&mut self, words: &mut Words, left: usize, x: &mut Lanes) -> (usize, usize) {
        x.clear();
        let room = x.groups() * GROUP;
        let (mut drawn, mut written) = (0, 0);
        while drawn < left && written + GROUP <= room {
            let rows = GROUP.min(left - drawn);
            self.draw(words, rows);
            drawn += rows;
            for r in 0..rows {
                let mut any = false;
                for (v, values) in self.values.iter().enumerate().filter(|(_, values)| values[r] != 0.0) {
                    x.set(v, written, values[r]);
                    any = true;
                }
                written += usize::from(any);
            }
        }
        (drawn, written)
    }

    /// Draws 16 rows and keeps the first `rows`.
    fn draw(&mut self, words: &mut Words, rows: usize) {
        let size = self.law.groups.size();
        for first in (0..self.values.len()).step_by(size) {
            let set = &mut self.values[first..first + size];
            set.iter_mut().for_each(|values| *values = [0.0; GROUP]);
            let p = self.law.density[first];
            match self.law.groups {
                Groups::Anticorrelated(_) => {
                    let on = gate(size as f64 * p, rows, words);
                    if on.contains(&true) {
                        let (member, value) = (words.draw(), words.draw().map(unit));
                        for r in (0..rows).filter(|&r| on[r]) {
                            set[((u64::from(member[r]) * size as u64) >> 32) as usize][r] = value[r];
                        }
                    }
                }
                groups => {
                    let on = gate(p, rows, words);
                    if on.contains(&true) {
                        for (k, values) in set.iter_mut().enumerate() {
                            let here = match groups {
                                Groups::Hierarchical { given, .. } if k > 0 => gate(given, rows, words),
                                _ => [true; GROUP],
                            };
                            let value = words.draw().map(unit);
                            (0..rows).filter(|&r| on[r] && here[r]).for_each(|r| values[r] = value[r]);
                        }
                    }
                }
            }
        }
        if self.signed {
            for values in &mut self.values {
                let signs = words.draw();
                (0..rows).for_each(|r| values[r] = f32::from_bits(values[r].to_bits() ^ (signs[r] & 0x8000_0000)));
            }
        }
    }
}

/// Which of `rows` lanes are on, with probability `p`.
fn gate(p: f64, rows: usize, words: &mut Words) -> [bool; GROUP] {
    let limit = (p * 4_294_967_296.0).round() as u64;
    let bits = words.draw();
    std::array::from_fn(|r| r < rows && u64::from(bits[r]) < limit)
}

/// 24 random bits as a number in `[0, 1)`.
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAWS: [(Groups, f64); 5] = [
        (Groups::Independent, 0.3),
        (Groups::Correlated(3), 0.2),
        (Groups::Anticorrelated(2), 0.2),
        (Groups::Anticorrelated(3), 1.0 / 3.0),
        (Groups::Hierarchical { size: 3, given: 0.4 }, 0.5),
    ];

    fn law(groups: Groups, p: f64) -> FeatureLaw {
        FeatureLaw::new(vec![p; 6], groups).unwrap()
    }

    /// Means, mean squares and all covariances, in one row and across neighbouring rows.
    #[test]
    fn moments_are_those_of_the_law() {
        let rows = 60_000;
        for (groups, p) in LAWS {
            let law = law(groups, p);
            let x = law.sample(rows, &Rng::new(2).fork("groups"));
            let (density, covariance) = (law.densities(), law.covariance());
            let mean = |f: &dyn Fn(usize) -> f64| (1..rows).map(f).sum::<f64>() / (rows - 1) as f64;
            let at = |r: usize, i: usize| f64::from(x[(r, i)]);
            for i in 0..6 {
                let p = density[i];
                let (m1, m2) = (mean(&|r| at(r, i)), mean(&|r| at(r, i).powi(2)));
                let sd = |m1: f64, m2: f64| ((m2 - m1 * m1) / rows as f64).sqrt();
                assert!((m1 - p / 2.0).abs() < 4.5 * sd(p / 2.0, p / 3.0), "{groups:?}: mean {m1} of {}", p / 2.0);
                assert!((m2 - p / 3.0).abs() < 4.5 * sd(p / 3.0, p / 5.0), "{groups:?}: mean square {m2}");
                for j in 0..6 {
                    let centred = |r: usize, i: usize| at(r, i) - density[i] / 2.0;
                    let limit = 6.0 * (covariance[i * 7] * covariance[j * 7]).sqrt().max(1e-3) / (rows as f64).sqrt();
                    let same = mean(&|r| centred(r, i) * centred(r, j)) - covariance[i * 6 + j];
                    assert!(same.abs() < 2.0 * limit, "{groups:?}: covariance of {i} and {j} off by {same}");
                    let lagged = mean(&|r| centred(r, i) * centred(r - 1, j));
                    assert!(lagged.abs() < limit, "{groups:?}: {i} follows {j}: {lagged}");
                }
            }
        }
    }

    /// χ² of which features are on together, from the rows of the training engine, against the probabilities of the law.
    #[test]
    fn patterns_come_as_often_as_they_should() {
        let (rows, batch) = (96_000usize, 1000);
        for (groups, p) in LAWS {
            let law = law(groups, p);
            let mut source = Source::new(&law, false);
            let mut words = Words::new(&Rng::new(7).fork("patterns"));
            let mut x = Lanes::zeros(6, 5);
            let mut counts = [0.0f64; 64];
            for _ in 0..rows / batch {
                let mut left = batch;
                while left > 0 {
                    let (drawn, written) = source.fill(&mut words, left, &mut x);
                    left -= drawn;
                    counts[0] += (drawn - written) as f64;
                    for r in 0..written {
                        counts[(0..6).filter(|&v| x.value(v, r) != 0.0).map(|v| 1 << v).sum::<usize>()] += 1.0;
                    }
                }
            }
            let mut wanted = [0.0f64; 64];
            for (on, share) in law.patterns() {
                wanted[on.iter().map(|i| 1usize << i).sum::<usize>()] += share * rows as f64;
            }
            assert!((wanted.iter().sum::<f64>() - rows as f64).abs() < 1e-6, "{groups:?}: probabilities add up");
            let often: Vec<usize> = (0..64).filter(|&k| wanted[k] > 10.0).collect();
            let chi2: f64 = often.iter().map(|&k| (counts[k] - wanted[k]).powi(2) / wanted[k]).sum();
            let cells = often.len() as f64;
            assert!(chi2 < cells + 4.5 * (2.0 * cells).sqrt() + 6.0, "{groups:?}: χ² of {chi2} over {cells} cells");
            let never = (0..64).filter(|&k| wanted[k] == 0.0).map(|k| counts[k]).sum::<f64>();
            assert_eq!(never, 0.0, "{groups:?}: features on together that can't be");
        }
    }

    /// Values within a set are independent of one another, and uniform (χ² over 32 bins).
    #[test]
    fn values_share_a_gate_and_nothing_else() {
        let x = law(Groups::Correlated(2), 0.5).sample(40_000, &Rng::new(4));
        let on: Vec<(f64, f64)> =
            (0..x.rows()).map(|r| (f64::from(x[(r, 0)]), f64::from(x[(r, 1)]))).filter(|(a, b)| a + b > 0.0).collect();
        let n = on.len() as f64;
        let cov = on.iter().map(|(a, b)| (a - 0.5) * (b - 0.5)).sum::<f64>() / n;
        assert!((cov * 12.0).abs() < 4.5 / n.sqrt(), "correlation {}", cov * 12.0);
        let mut bins = [0.0f64; 32];
        on.iter().for_each(|(a, _)| bins[(a * 32.0) as usize] += 1.0);
        let chi2: f64 = bins.iter().map(|b| (b - n / 32.0).powi(2) / (n / 32.0)).sum();
        assert!(chi2 < 70.0, "χ² of {chi2} (99.99th percentile of 31 degrees: 70)");
    }

    #[test]
    fn laws_that_cannot_be_are_refused() {
        let new = |p: Vec<f64>, groups| FeatureLaw::new(p, groups);
        assert!(new(vec![0.1; 5], Groups::Correlated(2)).is_err());
        assert!(new(vec![0.1; 4], Groups::Correlated(1)).is_err());
        assert!(new(vec![0.1, 0.2], Groups::Correlated(2)).is_err());
        assert!(new(vec![0.6; 2], Groups::Anticorrelated(2)).is_err());
        assert!(new(vec![0.6; 2], Groups::Hierarchical { size: 2, given: 0.0 }).is_err());
        assert!(new(vec![0.5; 2], Groups::Anticorrelated(2)).is_ok());
    }
}
