//! The expected loss of small ReLU-output models, integrated instead of sampled.
//!
//! Each subset of features is on with a known probability, and those on are uniform in `[0, 1]`. A read-out
//! `ReLU(g · x + b)` has one kink, a plane through the cube of those on; on either side of it the error is a polynomial. The
//! rules below end at that plane, so that up to three features at once are integrated exactly ([`halfspace`]), and L-BFGS
//! finds minima to many digits.

use super::groups::FeatureLaw;
use std::f64::consts::PI;
use superlens_tensor::Rng;
use superlens_tensor::lbfgs::{Stop, minimise};

mod halfspace;

pub use halfspace::MOST;
use halfspace::Rules;

/// `Σ_i I_i E (ReLU(Σ_k W_ik h_k + b_i) − x_i)²` with `h = Σ_i W_i x_i`: the sum over features, as in the paper's formulas.
#[derive(Clone, Debug)]
pub struct ExactLoss {
    n: usize,
    m: usize,
    importance: Vec<f64>,
    bias: bool,
    inputs: Inputs,
}

/// The joint law of the features.
#[derive(Clone, Debug)]
enum Inputs {
    /// Which features are on together, each uniform in `[0, 1]`, and how probable that is.
    Patterns(Vec<(Vec<usize>, f64)>, Rules),
    /// A list: inputs `[weights.len(), n]` and the weight of each.
    Listed(Vec<f64>, Vec<f64>),
}

/// The loss as it depends on what the read-outs see: slopes `WWᵀ [n, n]`, bias `[n]`, and its gradient in both.
struct Readouts<'a> {
    slopes: &'a [f64],
    bias: &'a [f64],
    loss: f64,
    d_slopes: Vec<f64>,
    d_bias: Vec<f64>,
}

impl ExactLoss {
    /// Independent features of the same `density` in `(0, 1]`. Panics with more than [`MOST`].
    pub fn new(importance: &[f64], m: usize, density: f64, bias: bool) -> Self {
        Self::of_law(importance, m, &FeatureLaw::independent(vec![density; importance.len()]), bias)
    }

    /// Features under any law. Panics with more than [`MOST`].
    pub fn of_law(importance: &[f64], m: usize, law: &FeatureLaw, bias: bool) -> Self {
        let n = importance.len();
        assert!((1..=MOST).contains(&n) && n == law.n_features(), "an exact loss of {n} features");
        let inputs = Inputs::Patterns(law.patterns(), Rules::new());
        ExactLoss { n, m, importance: importance.to_vec(), bias, inputs }
    }

    /// Equally important features whose joint law is a list: inputs `[weights.len(), n]` and the weight of each.
    ///
    /// Panics if the lengths don't fit.
    pub fn listed(n: usize, m: usize, points: Vec<f64>, weights: Vec<f64>, bias: bool) -> Self {
        assert_eq!(points.len(), n * weights.len(), "{} numbers for {} inputs of {n}", points.len(), weights.len());
        ExactLoss { n, m, importance: vec![1.0; n], bias, inputs: Inputs::Listed(points, weights) }
    }

    /// Numbers in a point of the search: `W [n, m]` and then, where there is one, the bias.
    pub fn parameters(&self) -> usize {
        self.n * self.m + if self.bias { self.n } else { 0 }
    }

    /// The loss at `p`; its gradient is written to `grad`.
    pub fn value(&self, p: &[f64], grad: &mut [f64]) -> f64 {
        let (n, m) = (self.n, self.m);
        let (w, b) = p.split_at(n * m);
        let row = |i: usize| &w[i * m..(i + 1) * m];
        let dot = |i: usize, j: usize| row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum::<f64>();
        let slopes: Vec<f64> = (0..n * n).map(|k| dot(k / n, k % n)).collect();
        let none = vec![0.0; n];
        let bias = if self.bias { b } else { &none };
        let (d_slopes, d_bias) = (vec![0.0; n * n], vec![0.0; n]);
        let mut read = Readouts { slopes: &slopes, bias, loss: 0.0, d_slopes, d_bias };
        match &self.inputs {
            Inputs::Patterns(patterns, rules) => {
                for (on, share) in patterns {
                    (0..n).for_each(|j| read.on_pattern(j, on, share * self.importance[j], rules));
                }
            }
            Inputs::Listed(points, weights) => {
                for (x, weight) in points.chunks_exact(n).zip(weights) {
                    (0..n).for_each(|j| read.at_point(j, x, weight * self.importance[j]));
                }
            }
        }
        // G = WWᵀ, so W_i appears in row i and in column i.
        grad.fill(0.0);
        for i in 0..n {
            for j in 0..n {
                let d = read.d_slopes[i * n + j] + read.d_slopes[j * n + i];
                (0..m).for_each(|k| grad[i * m + k] += d * w[j * m + k]);
            }
        }
        if self.bias {
            grad[n * m..].copy_from_slice(&read.d_bias);
        }
        // A mean of squares, taken apart: where it is nothing, rounding may leave less.
        read.loss.max(0.0)
    }

    /// The lowest of the minima that L-BFGS reaches from `starts` random points: loss and parameters.
    pub fn minimum(&self, starts: usize, rng: &Rng) -> (f64, Vec<f64>) {
        self.minima(starts, rng).min_by(|a, b| a.0.total_cmp(&b.0)).expect("at least one start")
    }

    /// What L-BFGS reaches from each of `starts` random points, at least one: loss and parameters.
    pub fn minima(&self, starts: usize, rng: &Rng) -> impl Iterator<Item = (f64, Vec<f64>)> {
        (0..starts.max(1)).map(move |k| self.minimum_from(self.start(&mut rng.fork_index(k as u64))))
    }

    /// Xavier-normal weights and no bias.
    pub fn start(&self, rng: &mut Rng) -> Vec<f64> {
        let (n, m) = (self.n, self.m);
        let scale = (2.0 / (n + m) as f64).sqrt();
        let mut p = vec![0.0; self.parameters()];
        p[..n * m].iter_mut().for_each(|w| *w = scale * rng.normal_f64());
        p
    }

    /// The minimum that L-BFGS reaches from `p`: loss and parameters.
    pub fn minimum_from(&self, mut p: Vec<f64>) -> (f64, Vec<f64>) {
        let loss = minimise(
            &mut |p, g| self.value(p, g),
            &mut p,
            Stop { iterations: 300, decrease: 1e-10, ..Stop::default() },
        );
        (loss, p)
    }
}

impl Readouts<'_> {
    /// Adds what read-out `j` costs where the features `on` are on: `E (z₊ − t)²` with `z = g · x + b`, and `t` its own feature.
    fn on_pattern(&mut self, j: usize, on: &[usize], weight: f64, rules: &Rules) {
        let n = self.bias.len();
        let mut g = [0.0; MOST];
        on.iter().zip(&mut g).for_each(|(&i, g)| *g = self.slopes[j * n + i]);
        let own = on.iter().position(|&i| i == j);
        // (z₊ − t)² = t² + z₊ (z₊ − 2t), of which the second part lives where z > 0.
        let mut loss = if own.is_some() { 1.0 / 3.0 } else { 0.0 };
        let (mut d_bias, mut d_slopes) = (0.0, [0.0; MOST]);
        let s = on.len();
        rules.visit(&g[..s], self.bias[j], &mut |x, z, share| {
            let t = own.map_or(0.0, |k| x[k]);
            loss += share * z * (z - 2.0 * t);
            let e = 2.0 * share * (z - t);
            d_bias += e;
            (0..s).for_each(|k| d_slopes[k] += e * x[k]);
        });
        self.loss += weight * loss;
        self.d_bias[j] += weight * d_bias;
        on.iter().zip(d_slopes).for_each(|(&i, d)| self.d_slopes[j * n + i] += weight * d);
    }

    /// Adds what read-out `j` costs at the input `x`.
    fn at_point(&mut self, j: usize, x: &[f64], weight: f64) {
        let n = self.bias.len();
        let z = self.bias[j] + x.iter().zip(&self.slopes[j * n..]).map(|(x, g)| x * g).sum::<f64>();
        let error = z.max(0.0) - x[j];
        self.loss += weight * error * error;
        if z > 0.0 {
            let e = 2.0 * weight * error;
            self.d_bias[j] += e;
            x.iter().zip(&mut self.d_slopes[j * n..]).for_each(|(x, d)| *d += e * x);
        }
    }
}

/// Nodes in `[0, 1]` and their weights, which add up to 1: zeros of the Legendre polynomial, by Newton's method.
pub(super) fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    (0..n)
        .map(|i| {
            let mut x = (PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
            let mut slope = 0.0;
            for _ in 0..100 {
                let (mut p, mut before) = (1.0, 0.0);
                for k in 0..n {
                    let k = k as f64;
                    (p, before) = (((2.0 * k + 1.0) * x * p - k * before) / (k + 1.0), p);
                }
                slope = n as f64 * (x * p - before) / (x * x - 1.0);
                let step = p / slope;
                x -= step;
                if step.abs() < 1e-15 {
                    break;
                }
            }
            (0.5 * (1.0 + x), 1.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_integrates_polynomials() {
        let rule = gauss_legendre(12);
        for power in 0..20 {
            let got: f64 = rule.iter().map(|(x, w)| w * x.powi(power)).sum();
            assert!((got - 1.0 / f64::from(power + 1)).abs() < 1e-12, "x^{power}: {got}");
        }
    }

    /// The closed forms of the claims: one feature kept, or an antipodal pair.
    #[test]
    fn known_configurations_have_their_known_losses() {
        for (p, r) in [(0.5, 0.3), (0.1, 1.0), (0.9, 0.7)] {
            let exact = ExactLoss::new(&[1.0, r], 1, p, true);
            let at = |params: [f64; 4]| exact.value(&params, &mut [0.0; 4]);
            let drop = r * (p / 3.0 - p * p / 4.0);
            assert!((at([1.0, 0.0, 0.0, p / 2.0]) - drop).abs() < 1e-10);
            let pair = (1.0 + r) * p * p / 6.0;
            assert!((at([1.0, -1.0, 0.0, 0.0]) / pair - 1.0).abs() < 1e-12, "the kink between the two");
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_value() {
        let mut rng = Rng::new(8);
        for (n, m, bias) in [(2, 1, true), (3, 2, true), (3, 2, false), (5, 2, true)] {
            let exact = ExactLoss::new(&vec![0.8; n], m, 0.4, bias);
            let p: Vec<f64> = (0..exact.parameters()).map(|_| 0.7 * rng.normal_f64()).collect();
            let mut g = vec![0.0; p.len()];
            exact.value(&p, &mut g);
            for k in 0..p.len() {
                let at = |step: f64| {
                    let mut p = p.clone();
                    p[k] += step;
                    exact.value(&p, &mut vec![0.0; g.len()])
                };
                let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((g[k] - numeric).abs() < 1e-7 * g[k].abs().max(1e-2), "{} for {numeric}", g[k]);
            }
        }
    }

    /// Nothing privileges the hidden dimensions of the ReLU-output model: rotating them leaves the loss as it is.
    #[test]
    fn a_rotation_changes_nothing() {
        let mut rng = Rng::new(6);
        let exact = ExactLoss::new(&[1.0, 0.8, 0.6, 0.4], 3, 0.3, true);
        let p: Vec<f64> = (0..16).map(|_| 0.6 * rng.normal_f64()).collect();
        let q = superlens_tensor::decomp::haar_rotation(3, &mut rng);
        let mut rotated = p.clone();
        for i in 0..4 {
            (0..3).for_each(|k| rotated[3 * i + k] = (0..3).map(|l| q[3 * k + l] * p[3 * i + l]).sum());
        }
        let (before, after) = (exact.value(&p, &mut [0.0; 16]), exact.value(&rotated, &mut [0.0; 16]));
        assert!((before / after - 1.0).abs() < 1e-12, "{before} became {after}");
    }

    /// Pairs that exclude each other cost nothing as antipodes; a pair that comes together costs `p E min²` each.
    #[test]
    fn pairs_cost_what_their_law_says() {
        use super::super::groups::Groups;
        let at = |groups| {
            let law = FeatureLaw::new(vec![0.3; 4], groups).unwrap();
            let w = [1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0];
            let p = [&w[..], &[0.0; 4]].concat();
            ExactLoss::of_law(&[1.0; 4], 2, &law, true).value(&p, &mut [0.0; 12])
        };
        assert!(at(Groups::Anticorrelated(2)) < 1e-12);
        let together = at(Groups::Correlated(2));
        assert!((together / (4.0 * 0.3 / 6.0) - 1.0).abs() < 1e-12, "{together}");
    }

    /// Optima over free weights and bias, n = 2, m = 1, equal importance: values of an independent quadrature.
    #[test]
    fn minima_are_those_of_an_independent_quadrature() {
        for (p, with, without) in
            [(1.0, 0.0832, 0.0833), (0.5, 0.0763, 0.0813), (0.3, 0.0293, 0.0296), (0.1, 0.00332, 0.00332)]
        {
            for (bias, want) in [(true, with), (false, without)] {
                let got = ExactLoss::new(&[1.0, 1.0], 1, p, bias).minimum(10, &Rng::new(2)).0;
                assert!((got / want - 1.0).abs() < 0.01, "p {p}, bias {bias}: {got} for {want}");
            }
        }
    }
}
