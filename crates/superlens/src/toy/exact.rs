//! The expected loss of small ReLU-output models, integrated instead of sampled.
//!
//! Each subset of features is on with a known probability, and those on are uniform in `[0, 1]`: a Gauss–Legendre rule on
//! each subset's cube gives the loss and its gradient without noise, so that L-BFGS finds minima to many digits. It costs
//! `Σ_s nodes^|s|` points, which is cheap for few features that are on at once.

use super::groups::FeatureLaw;
use std::f64::consts::PI;
use superlens_tensor::Rng;
use superlens_tensor::lbfgs::{Stop, minimise};

/// Nodes a dimension for one, two, three, … features that are on.
const NODES: [usize; 6] = [48, 24, 10, 8, 6, 4];
/// Features at most.
pub const MOST: usize = NODES.len();

/// `Σ_i I_i E (ReLU(Σ_k W_ik h_k + b_i) − x_i)²` with `h = Σ_i W_i x_i`: the sum over features, as in the paper's formulas.
#[derive(Clone, Debug)]
pub struct ExactLoss {
    n: usize,
    m: usize,
    importance: Vec<f64>,
    bias: bool,
    /// Inputs `[points, n]` and their weights.
    points: Vec<f64>,
    weights: Vec<f64>,
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
        let (mut points, mut weights) = (Vec::new(), Vec::new());
        for (on, share) in law.patterns() {
            let rule = if on.is_empty() { Vec::new() } else { gauss_legendre(NODES[on.len() - 1]) };
            let total = rule.len().pow(on.len() as u32);
            for mut at in 0..total {
                let (mut x, mut weight) = (vec![0.0; n], share);
                for &i in &on {
                    let (node, w) = rule[at % rule.len()];
                    at /= rule.len();
                    x[i] = node;
                    weight *= w;
                }
                points.extend(x);
                weights.push(weight);
            }
        }
        ExactLoss { n, m, importance: importance.to_vec(), bias, points, weights }
    }

    /// Equally important features whose joint law is a list: inputs `[weights.len(), n]` and the weight of each.
    ///
    /// Panics if the lengths don't fit.
    pub fn listed(n: usize, m: usize, points: Vec<f64>, weights: Vec<f64>, bias: bool) -> Self {
        assert_eq!(points.len(), n * weights.len(), "{} numbers for {} inputs of {n}", points.len(), weights.len());
        ExactLoss { n, m, importance: vec![1.0; n], bias, points, weights }
    }

    /// Numbers in a point of the search: `W [n, m]` and then, where there is one, the bias.
    pub fn parameters(&self) -> usize {
        self.n * self.m + if self.bias { self.n } else { 0 }
    }

    /// The loss at `p`; its gradient is written to `grad`.
    pub fn value(&self, p: &[f64], grad: &mut [f64]) -> f64 {
        let (n, m) = (self.n, self.m);
        let (w, b) = p.split_at(n * m);
        grad.fill(0.0);
        let mut loss = 0.0;
        let (mut h, mut dh) = (vec![0.0; m], vec![0.0; m]);
        for (x, weight) in self.points.chunks_exact(n).zip(&self.weights) {
            h.fill(0.0);
            dh.fill(0.0);
            for i in (0..n).filter(|&i| x[i] != 0.0) {
                (0..m).for_each(|k| h[k] += x[i] * w[i * m + k]);
            }
            for i in 0..n {
                let bias = if self.bias { b[i] } else { 0.0 };
                let pre = (0..m).map(|k| w[i * m + k] * h[k]).sum::<f64>() + bias;
                let error = pre.max(0.0) - x[i];
                loss += weight * self.importance[i] * error * error;
                if pre > 0.0 {
                    let e = 2.0 * weight * self.importance[i] * error;
                    for k in 0..m {
                        grad[i * m + k] += e * h[k];
                        dh[k] += e * w[i * m + k];
                    }
                    if self.bias {
                        grad[n * m + i] += e;
                    }
                }
            }
            for i in (0..n).filter(|&i| x[i] != 0.0) {
                (0..m).for_each(|k| grad[i * m + k] += x[i] * dh[k]);
            }
        }
        loss
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
            assert!((at([1.0, -1.0, 0.0, 0.0]) / pair - 1.0).abs() < 2e-3, "the kink costs some digits");
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_value() {
        let mut rng = Rng::new(8);
        for (n, m, bias) in [(2, 1, true), (3, 2, true), (3, 2, false)] {
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
                assert!((g[k] - numeric).abs() < 1e-4 * g[k].abs().max(1e-2), "{} for {numeric}", g[k]);
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
        assert!((together / (4.0 * 0.3 / 6.0) - 1.0).abs() < 1e-2, "{together}, with four kinks at once");
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
