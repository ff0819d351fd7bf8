//! Sparse synthetic inputs: every feature is on with its own density, independently of all others.

use rayon::prelude::*;
use superlens_tensor::{Mat, Rng};

/// Rows per random stream: the cut of the work, the same for any number of threads.
pub(crate) const BLOCK_ROWS: usize = 256;

/// Inputs of Elhage et al. 2022, *Toy Models of Superposition*: `x_i = 0` with probability `1 − p_i`, else uniform
/// in `[0, 1)`; independent over features and rows.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseFeatures {
    /// `p_i`: the probability that feature `i` is on, in `(0, 1]`.
    pub density: Vec<f64>,
}

impl SparseFeatures {
    /// `n_features` features that are all on with the same probability. Panics unless `0 < density <= 1`.
    pub fn uniform(n_features: usize, density: f64) -> Self {
        assert!(density > 0.0 && density <= 1.0, "a density of {density}, outside (0, 1]");
        Self { density: vec![density; n_features] }
    }

    pub fn n_features(&self) -> usize {
        self.density.len()
    }

    /// Variance of each feature, `p/3 − p²/4`.
    pub fn variances(&self) -> Vec<f64> {
        self.density.iter().map(|p| p / 3.0 - p * p / 4.0).collect()
    }

    /// `[rows, n_features]` fresh inputs, drawn from `stream` alone.
    pub fn sample(&self, rows: usize, stream: &Rng) -> Mat {
        let n = self.n_features();
        let mut x = Mat::zeros(rows, n);
        x.data_mut()
            .par_chunks_mut(BLOCK_ROWS * n.max(1))
            .enumerate()
            .for_each(|(b, block)| self.fill(block, &mut stream.fork_index(b as u64)));
        x
    }

    /// Writes the active entries into `block`, whole rows of zeros.
    ///
    /// What is drawn are the gaps between active entries, which are geometric, so that the cost is that of the
    /// active entries alone.
    fn fill(&self, block: &mut [f32], rng: &mut Rng) {
        let n = self.n_features();
        for (i, &p) in self.density.iter().enumerate() {
            let mut row = gap(p, rng);
            while row < (block.len() / n) as f64 {
                block[row as usize * n + i] = rng.uniform();
                row += 1.0 + gap(p, rng);
            }
        }
    }
}

/// Failures before the next success of probability `p`: geometric, by inversion. A float, since it has no bound.
fn gap(p: f64, rng: &mut Rng) -> f64 {
    if p >= 1.0 {
        return 0.0;
    }
    ((1.0 - rng.uniform_f64()).ln() / (-p).ln_1p()).floor()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share on, mean, mean square of each feature, and the correlation of being on within and across rows.
    #[test]
    fn moments_are_those_of_independent_bernoulli_times_uniform() {
        let data = SparseFeatures { density: vec![0.01, 0.1, 0.5, 1.0] };
        let rows = 100_000;
        let x = data.sample(rows, &Rng::new(5).fork("moments"));
        for (i, &p) in data.density.iter().enumerate() {
            let column: Vec<f64> = (0..rows).map(|r| x[(r, i)] as f64).collect();
            let mean = |f: &dyn Fn(f64) -> f64| column.iter().map(|&v| f(v)).sum::<f64>() / rows as f64;
            let sd = |m1: f64, m2: f64| ((m2 - m1 * m1) / rows as f64).sqrt();
            let (on, m1, m2) = (mean(&|v| f64::from(v > 0.0)), mean(&|v| v), mean(&|v| v * v));
            assert!((on - p).abs() <= 4.0 * sd(p, p) + 1e-6, "feature {i} is on in {on}, not {p}");
            assert!((m1 - p / 2.0).abs() < 4.0 * sd(p / 2.0, p / 3.0), "mean {m1} at density {p}");
            assert!((m2 - p / 3.0).abs() < 4.0 * sd(p / 3.0, p / 5.0), "mean square {m2} at density {p}");
            assert!((m2 - m1 * m1 - data.variances()[i]).abs() < 0.2 * data.variances()[i]);
        }
        // Being on: independent of the feature beside it, and of the row before.
        let on = |r: usize, i: usize| f64::from(x[(r, i)] > 0.0);
        let phi = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| {
            (1..rows).map(|r| a(r) * b(r)).sum::<f64>() / (rows - 1) as f64
        };
        let limit = 4.0 / (rows as f64).sqrt();
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            let (p, q) = (data.density[i], data.density[j]);
            let scale = (p * (1.0 - p) * q * (1.0 - q)).sqrt();
            let same = (phi(&|r| on(r, i), &|r| on(r, j)) - p * q) / scale;
            let lagged = (phi(&|r| on(r, i), &|r| on(r - 1, j)) - p * q) / scale;
            assert!(same.abs() < limit && lagged.abs() < limit, "features {i} and {j}: {same} {lagged}");
        }
    }

    /// χ² of the number of active features a row against the binomial law.
    #[test]
    fn active_features_a_row_are_binomial() {
        let (n, p, rows) = (8usize, 0.2f64, 50_000usize);
        let x = SparseFeatures::uniform(n, p).sample(rows, &Rng::new(6));
        let mut counts = vec![0.0; n + 1];
        for r in 0..rows {
            counts[x.row(r).iter().filter(|&&v| v > 0.0).count()] += 1.0;
        }
        let mut choose = 1.0;
        let mut chi2 = 0.0;
        for k in 0..=5 {
            let want = rows as f64 * choose * p.powi(k as i32) * (1.0 - p).powi((n - k) as i32);
            chi2 += (counts[k] - want).powi(2) / want;
            choose *= (n - k) as f64 / (k + 1) as f64;
        }
        assert!(chi2 < 22.5, "χ² of {chi2} over 6 cells (99.9th percentile 22.5)");
    }

    #[test]
    fn rows_depend_on_the_stream_alone() {
        let data = SparseFeatures::uniform(20, 0.1);
        let draw = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| data.sample(1000, &Rng::new(9)))
        };
        assert!(draw(1) == draw(3), "the number of threads changed the rows");
        assert!(draw(1) != data.sample(1000, &Rng::new(10)), "two streams gave the same rows");
        // Whole blocks don't depend on how many follow.
        assert!(data.sample(512, &Rng::new(9)).data() == &draw(1).data()[..512 * 20]);
    }
}
