//! Sparse codes: which features are on in a row, how strongly, and what ties them together.

use superlens_tensor::{Mat, Rng};

/// How strong an active feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magnitude {
    /// Uniform in [0, 1].
    Uniform,
    /// Uniform in [.5, 1.5]: never weak.
    Strong,
    /// Always 1, give or take 3 %.
    Constant,
    Exponential,
    HalfNormal,
    /// exp(.8 g): heavy tails.
    LogNormal,
}

impl Magnitude {
    fn draw(self, rng: &mut Rng) -> f32 {
        match self {
            Magnitude::Uniform => rng.uniform(),
            Magnitude::Strong => 0.5 + rng.uniform(),
            Magnitude::Constant => 1.0 + 0.03 * rng.normal(),
            Magnitude::Exponential => -(1.0 - rng.uniform()).ln(),
            Magnitude::HalfNormal => rng.normal().abs(),
            Magnitude::LogNormal => (0.8 * rng.normal()).exp(),
        }
    }
}

/// What ties features together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ties {
    Independent,
    /// Rows come in documents of this length; in each, a third of the features are three times as frequent and the rest rare.
    Documents(usize),
    /// A feature that is on stays on for this many rows on average.
    Runs(f64),
    /// The second half of the features are children: each is on only where its parent is, in half of the rows.
    Children,
    /// Consecutive groups of this size share one gate with this probability a row, and go their own way otherwise.
    Together(usize, f64),
    /// Of consecutive groups of this size at most one is on.
    Exclusive(usize),
}

/// A law of sparse codes.
#[derive(Clone, Debug)]
pub(super) struct Code {
    /// Probability of each feature to be on.
    pub density: Vec<f64>,
    pub magnitude: Magnitude,
    /// Whether active features have either sign.
    pub signed: bool,
    pub ties: Ties,
}

/// Densities of `n` features of which `l0` are on in a row on average: pᵢ ∝ i^−exponent, none above .5.
pub(super) fn power_law(n: usize, l0: f64, exponent: f64) -> Vec<f64> {
    let raw: Vec<f64> = (1..=n).map(|i| (i as f64).powf(-exponent)).collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|p| (l0 * p / sum).min(0.5)).collect()
}

impl Code {
    pub fn new(density: Vec<f64>) -> Self {
        Self { density, magnitude: Magnitude::Uniform, signed: false, ties: Ties::Independent }
    }

    /// `[rows, features]`.
    pub fn draw(&self, rows: usize, rng: &Rng) -> Mat {
        let on = self.gates(rows, &mut rng.fork("gates"));
        let mut rng = rng.fork("magnitudes");
        let n = self.density.len();
        Mat::from_fn(rows, n, |i, j| {
            if !on[i * n + j] {
                return 0.0;
            }
            let sign = if self.signed && rng.chance(0.5) { -1.0 } else { 1.0 };
            sign * self.magnitude.draw(&mut rng)
        })
    }

    fn gates(&self, rows: usize, rng: &mut Rng) -> Vec<bool> {
        let n = self.density.len();
        let mut on = vec![false; rows * n];
        if n == 0 {
            return on;
        }
        match self.ties {
            Ties::Independent => {
                for row in on.chunks_mut(n) {
                    row.iter_mut().zip(&self.density).for_each(|(on, &p)| *on = rng.chance(p));
                }
            }
            Ties::Documents(length) => {
                let mut frequent = vec![false; n];
                for (i, row) in on.chunks_mut(n).enumerate() {
                    if i % length == 0 {
                        frequent.iter_mut().for_each(|f| *f = rng.chance(1.0 / 3.0));
                    }
                    for (j, on) in row.iter_mut().enumerate() {
                        let times = if frequent[j] { 2.6 } else { 0.2 };
                        *on = rng.chance((times * self.density[j]).min(0.9));
                    }
                }
            }
            Ties::Runs(length) => {
                let mut state: Vec<bool> = self.density.iter().map(|&p| rng.chance(p)).collect();
                for row in on.chunks_mut(n) {
                    for (j, on) in row.iter_mut().enumerate() {
                        if rng.chance(1.0 / length) {
                            state[j] = rng.chance(self.density[j]);
                        }
                        *on = state[j];
                    }
                }
            }
            Ties::Children => {
                let parents = n.div_ceil(2);
                for row in on.chunks_mut(n) {
                    for j in 0..parents {
                        row[j] = rng.chance(self.density[j]);
                    }
                    for j in parents..n {
                        row[j] = row[j - parents] && rng.chance(0.5);
                    }
                }
            }
            Ties::Together(size, share) => {
                for row in on.chunks_mut(n) {
                    for (group, densities) in row.chunks_mut(size).zip(self.density.chunks(size)) {
                        let (shared, gate) = (rng.chance(share), rng.chance(densities[0]));
                        for (on, &p) in group.iter_mut().zip(densities) {
                            *on = if shared { gate } else { rng.chance(p) };
                        }
                    }
                }
            }
            Ties::Exclusive(size) => {
                for row in on.chunks_mut(n) {
                    for (group, densities) in row.chunks_mut(size).zip(self.density.chunks(size)) {
                        let total: f64 = densities.iter().sum::<f64>().min(0.95);
                        if rng.chance(total) {
                            let k = rng.below(group.len());
                            group[k] = true;
                        }
                    }
                }
            }
        }
        on
    }
}

/// 1 where the feature is on, `[rows, which.len()]`, with this share of the labels turned over. Of a feature with both signs, whose presence no
/// direction tells, where it is positive.
pub(super) fn presence(code: &Mat, which: &[usize], flipped: f64, rng: &mut Rng) -> Mat {
    Mat::from_fn(code.rows(), which.len(), |i, k| {
        let on = code[(i, which[k])] > 0.0;
        f32::from(on != rng.chance(flipped))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(ties: Ties) -> Mat {
        Code { ties, ..Code::new(vec![0.1; 12]) }.draw(20_000, &Rng::new(4))
    }

    fn on(x: &Mat, j: usize) -> Vec<f64> {
        (0..x.rows()).map(|i| f64::from(u8::from(x[(i, j)] != 0.0))).collect()
    }

    fn phi(x: &Mat, a: usize, b: usize) -> f64 {
        let (a, b, n) = (on(x, a), on(x, b), x.rows() as f64);
        let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
        let both = a.iter().zip(&b).map(|(a, b)| a * b).sum::<f64>() / n;
        let (p, q) = (mean(&a), mean(&b));
        (both - p * q) / (p * (1.0 - p) * q * (1.0 - q)).sqrt()
    }

    #[test]
    fn densities_are_kept_and_ties_tie() {
        for ties in
            [Ties::Independent, Ties::Documents(50), Ties::Runs(10.0), Ties::Together(2, 0.7), Ties::Exclusive(3)]
        {
            let x = law(ties);
            let share = on(&x, 1).iter().sum::<f64>() / 20_000.0;
            assert!((share - 0.1).abs() < 0.02, "{ties:?}: {share}");
        }
        assert!(phi(&law(Ties::Independent), 0, 1).abs() < 0.03);
        assert!((phi(&law(Ties::Together(2, 0.7)), 0, 1) - 0.7).abs() < 0.05);
        assert!(phi(&law(Ties::Together(2, 0.7)), 1, 2).abs() < 0.03);
        assert!(phi(&law(Ties::Exclusive(3)), 0, 1) < -0.08);
        let x = law(Ties::Children);
        assert!((0..x.rows()).all(|i| x[(i, 7)] == 0.0 || x[(i, 1)] != 0.0), "a child without its parent");
    }
}
