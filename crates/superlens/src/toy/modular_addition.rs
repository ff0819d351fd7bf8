//! `modular_addition`: a + b mod p by products of cosines, found long after the training pairs are known by heart.

use super::{Cause, Origin, Sample, ToyModel, Truth};
use crate::verdict::Mechanism;
use rayon::prelude::*;
use std::f64::consts::TAU;
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::kernels::pointwise::axpy;
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

/// One hidden layer of squares on one-hot `a` and `b`: `logits = (u_a + v_b)² W`, trained on a share of the `p²` pairs at once
/// with weight decay; loss `Σ (logits − one-hot(a + b mod p))²`, as the mean over pairs.
///
/// The network of Gromov 2023, *Grokking modular arithmetic* (arXiv 2301.02679). First it learns the training pairs by
/// heart; what decay then leaves are neurons with `u_a = cos(2πka/p + φ)` and `v_b = cos(2πkb/p + ψ)`, whose square holds the
/// product of the two cosines, that is `cos(2πk(a + b)/p + φ + ψ)` (Nanda et al. 2023, arXiv 2301.05217, found the same
/// in a transformer). So a neuron answers to both inputs because of what it computes.
///
/// Its layer is `(u_a + v_b)²`. Parameters: `u [p, neurons]`, `v [p, neurons]`, `w [neurons, p]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ModularAddition {
    /// Odd.
    pub p: usize,
    pub neurons: usize,
    /// Share of the pairs that is trained on.
    pub train_share: f64,
    pub training: TrainConfig,
}

/// Pairs `(a, b)`, ordered by `a`, and where each `b` is found among them.
#[derive(Clone, Debug)]
struct Pairs {
    a: Vec<usize>,
    b: Vec<usize>,
    /// The rows of each `a` and of each `b`.
    of_a: Vec<Vec<usize>>,
    of_b: Vec<Vec<usize>>,
}

impl Pairs {
    fn new(p: usize, mut numbers: Vec<usize>) -> Pairs {
        numbers.sort_unstable();
        let (a, b): (Vec<usize>, Vec<usize>) = numbers.iter().map(|k| (k / p, k % p)).unzip();
        let rows = |of: &[usize]| {
            let mut rows = vec![Vec::new(); p];
            of.iter().enumerate().for_each(|(r, &x)| rows[x].push(r));
            rows
        };
        Pairs { of_a: rows(&a), of_b: rows(&b), a, b }
    }

    fn len(&self) -> usize {
        self.a.len()
    }
}

/// What is trained, with the pairs that it is trained on and those held out.
pub struct Addition {
    p: usize,
    neurons: usize,
    train: Pairs,
    test: Pairs,
}

impl ModularAddition {
    /// Draws which pairs are trained on from `stream`; at least one, and all but one at most.
    pub fn objective(&self, stream: &Rng) -> Addition {
        let all = self.p * self.p;
        let mut order = stream.fork("split").permutation(all);
        let test = order.split_off(((self.train_share * all as f64).round() as usize).clamp(1, all - 1));
        Addition { p: self.p, neurons: self.neurons, train: Pairs::new(self.p, order), test: Pairs::new(self.p, test) }
    }
}

impl Addition {
    /// Shares of the training pairs and of the held-out pairs whose sum has the largest logit.
    pub fn accuracies(&self, params: &Params) -> (f64, f64) {
        (self.accuracy(params, &self.train), self.accuracy(params, &self.test))
    }

    fn accuracy(&self, params: &Params, pairs: &Pairs) -> f64 {
        let mut h = inputs(params, &pairs.a, &pairs.b);
        h.data_mut().par_iter_mut().for_each(|h| *h *= *h);
        let logits = matmul(&h, params.get("w"));
        let right = |r: &usize| {
            let row = logits.row(*r);
            let best = (0..self.p).max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap_or(0);
            best == (pairs.a[*r] + pairs.b[*r]) % self.p
        };
        (0..pairs.len()).filter(right).count() as f64 / pairs.len() as f64
    }
}

/// `u_a + v_b`, a row a pair.
fn inputs(params: &Params, a: &[usize], b: &[usize]) -> Mat {
    let (u, v) = (params.get("u"), params.get("v"));
    let mut pre = Mat::zeros(a.len(), u.cols());
    pre.data_mut().par_chunks_mut(u.cols()).enumerate().for_each(|(r, row)| {
        for ((x, u), v) in row.iter_mut().zip(u.row(a[r])).zip(v.row(b[r])) {
            *x = u + v;
        }
    });
    pre
}

/// `out[x] += Σ rows of x`, each `x` added in the order of its rows.
fn gather(rows: &[Vec<usize>], from: &Mat, out: &mut Mat) {
    let cols = out.cols();
    out.data_mut()
        .par_chunks_mut(cols)
        .zip(rows)
        .for_each(|(out, rows)| rows.iter().for_each(|&r| axpy(1.0, from.row(r), out)));
}

impl Objective for Addition {
    /// Normal with variance `1/p` for the inputs and `1/neurons` for the read-out.
    fn init(&self, rng: &mut Rng) -> Params {
        let mut block = |rows: usize, cols: usize, scale: f64| {
            let scale = 1.0 / scale.sqrt();
            Mat::from_fn(rows, cols, |_, _| (scale * rng.normal_f64()) as f32)
        };
        let (p, neurons) = (self.p, self.neurons);
        let (u, v) = (block(p, neurons, p as f64), block(p, neurons, p as f64));
        let w = block(neurons, p, neurons as f64);
        Params { blocks: vec![("u".into(), u), ("v".into(), v), ("w".into(), w)] }
    }

    /// With `z = u_a + v_b`, `h = z²` and `e = 2 (h W − one-hot) / pairs`: `dW = hᵀ e`, `dz = 2 z (e Wᵀ)`, and `du`, `dv` add up
    /// `dz` over the pairs of each `a` and of each `b`.
    fn loss(&mut self, params: &Params, _step: u64, grad: &mut Params) -> f64 {
        let (pairs, p, w) = (&self.train, self.p, params.get("w"));
        let z = inputs(params, &pairs.a, &pairs.b);
        let mut h = z.clone();
        h.data_mut().par_iter_mut().for_each(|h| *h *= *h);
        let mut e = matmul(&h, w);
        let scale = 1.0 / pairs.len() as f32;
        let squares: Vec<f64> = (e.data_mut().par_chunks_mut(p).enumerate())
            .map(|(r, row)| {
                row[(pairs.a[r] + pairs.b[r]) % p] -= 1.0;
                let sum = row.iter().map(|e| f64::from(*e) * f64::from(*e)).sum();
                row.iter_mut().for_each(|e| *e *= 2.0 * scale);
                sum
            })
            .collect();
        gemm(1.0, h.t(), e.view(), 1.0, grad.get_mut("w"));
        let mut dz = matmul(&e, w.t());
        dz.data_mut().par_iter_mut().zip(z.data()).for_each(|(d, z)| *d *= 2.0 * z);
        gather(&pairs.of_a, &dz, grad.get_mut("u"));
        gather(&pairs.of_b, &dz, grad.get_mut("v"));
        f64::from(scale) * squares.iter().sum::<f64>()
    }
}

/// Fourier coefficients of each neuron's weights over the numbers mod p: `[p − 1, neurons]`, row `2(k−1)` the cosine and the
/// next the sine of frequency `k`, so that `x_a = mean + Σ √2 (c cos + s sin)(2πka/p)`. Their squares add up to the variance.
pub fn spectrum(x: &Mat) -> Mat {
    let (p, neurons) = x.shape();
    let mut out = Mat::zeros(p - 1, neurons);
    out.data_mut().par_chunks_mut(neurons).enumerate().for_each(|(row, out)| {
        for a in 0..p {
            axpy((wave(row, a, p) / p as f64) as f32, x.row(a), out);
        }
    });
    out
}

/// Row `row` of the basis of [`spectrum`] at `a`: a cosine or a sine of variance 1.
fn wave(row: usize, a: usize, p: usize) -> f64 {
    let angle = TAU * ((row / 2 + 1) * a % p) as f64 / p as f64;
    2f64.sqrt() * if row.is_multiple_of(2) { angle.cos() } else { angle.sin() }
}

/// Variance of each neuron's input at each frequency, both numbers together: `[(p − 1)/2, neurons]`.
pub fn power(params: &Params) -> Mat {
    let (u, v) = (spectrum(params.get("u")), spectrum(params.get("v")));
    let square = |m: &Mat, k: usize, j: usize| m[(2 * k, j)].powi(2) + m[(2 * k + 1, j)].powi(2);
    Mat::from_fn(u.rows() / 2, u.cols(), |k, j| square(&u, k, j) + square(&v, k, j))
}

/// Each neuron's strongest frequency, from 1, the share of its variance there, and its variance.
pub fn strongest(power: &Mat) -> Vec<(usize, f64, f64)> {
    let of = |j: usize| {
        let total: f64 = (0..power.rows()).map(|k| f64::from(power[(k, j)])).sum();
        let best = (0..power.rows()).max_by(|&a, &b| power[(a, j)].total_cmp(&power[(b, j)])).unwrap_or(0);
        (best + 1, f64::from(power[(best, j)]) / total.max(f64::MIN_POSITIVE), total)
    };
    (0..power.cols()).map(of).collect()
}

/// The same network with each neuron's input cut down to its mean and its strongest frequency: products of two cosines.
pub fn only_cosines(params: &Params) -> Params {
    let best = strongest(&power(params));
    let mut cut = params.clone();
    for name in ["u", "v"] {
        let x = cut.get_mut(name);
        let (p, waves) = (x.rows(), spectrum(x));
        for (j, &(k, ..)) in best.iter().enumerate() {
            let mean = (0..p).map(|a| f64::from(x[(a, j)])).sum::<f64>() / p as f64;
            for a in 0..p {
                let part = |row: usize| f64::from(waves[(row, j)]) * wave(row, a, p);
                x[(a, j)] = (mean + part(2 * k - 2) + part(2 * k - 1)) as f32;
            }
        }
    }
    cut
}

/// A neuron is a product of cosines if this share of its variance lies at one frequency.
pub const ONE_FREQUENCY: f64 = 0.85;

impl ToyModel for ModularAddition {
    fn name(&self) -> &'static str {
        "modular_addition"
    }

    fn source(&self) -> &'static str {
        "Gromov 2023, Grokking modular arithmetic (arXiv 2301.02679); Nanda et al. 2023 (arXiv 2301.05217)"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        Origin::Trained(Box::new(self.objective(stream)), self.training.clone())
    }

    /// Features are the waves of `a` and then those of `b`, each of variance 1; inputs are all pairs, equally likely.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let (p, mut rng) = (self.p, stream.clone());
        let (a, b): (Vec<usize>, Vec<usize>) = (0..rows).map(|_| (rng.below(p), rng.below(p))).unzip();
        let features = waves(&a, &b, p);
        let mut activations = inputs(params, &a, &b);
        activations.data_mut().iter_mut().for_each(|h| *h *= *h);
        Sample { features, activations }
    }

    /// As [`truth_of`] has it, of the two halves of the neurons' inputs.
    fn truth(&self, params: &Params) -> Truth {
        truth_of(params)
    }
}

/// The truth of neurons whose inputs are a sum of `u [p, neurons]` and `v [p, neurons]`. The directions are those along which the waves enter the
/// neurons, the longest having length 1. A polysemantic neuron is computational if its input is waves of one frequency from both numbers; otherwise it
/// is a mixture, rotated.
pub fn truth_of(params: &Params) -> Truth {
    let (u, v) = (spectrum(params.get("u")), spectrum(params.get("v")));
    let (waves, neurons) = u.shape();
    let mut directions = Mat::from_fn(2 * waves, neurons, |i, j| if i < waves { u[(i, j)] } else { v[(i - waves, j)] });
    let length = |i: usize| directions.row(i).iter().map(|x| x * x).sum::<f32>().sqrt();
    let longest = (0..2 * waves).map(length).fold(f32::MIN_POSITIVE, f32::max);
    directions.data_mut().iter_mut().for_each(|x| *x /= longest);
    let best = strongest(&power(params));
    let cause = |j: usize| {
        let one = best[j].1 >= ONE_FREQUENCY;
        Cause::Orthogonal(if one { Mechanism::Computational } else { Mechanism::Rotated })
    };
    Truth::of_known(&directions, &vec![1.0; 2 * waves], cause)
}

/// `[rows, 2 (p − 1)]`: the waves of each `a` and then those of each `b`, each of variance 1 over all numbers.
pub fn waves(a: &[usize], b: &[usize], p: usize) -> Mat {
    Mat::from_fn(a.len(), 2 * (p - 1), |r, i| {
        (if i < p - 1 { wave(i, a[r], p) } else { wave(i - (p - 1), b[r], p) }) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::tied::recipe;
    use superlens_tensor::gradcheck::check_objective;

    fn small() -> ModularAddition {
        ModularAddition { p: 7, neurons: 12, train_share: 0.6, training: recipe(10, 1e-3) }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let mut objective = small().objective(&Rng::new(1));
        let params = objective.init(&mut Rng::new(2));
        let worst = check_objective(&mut objective, &params, 0, &mut Rng::new(3));
        assert!(worst.error < 1e-3, "{worst:?}");
    }

    #[test]
    fn the_loss_is_that_of_the_definition() {
        let model = small();
        let mut objective = model.objective(&Rng::new(1));
        let params = objective.init(&mut Rng::new(2));
        let loss = objective.loss(&params, 0, &mut params.zeros_like());
        let (u, v, w) = (params.get("u"), params.get("v"), params.get("w"));
        let mut want = 0.0;
        for (&a, &b) in objective.train.a.iter().zip(&objective.train.b) {
            for c in 0..7 {
                let logit: f64 = (0..12).map(|j| f64::from(u[(a, j)] + v[(b, j)]).powi(2) * f64::from(w[(j, c)])).sum();
                want += (logit - f64::from((a + b) % 7 == c)).powi(2);
            }
        }
        want /= objective.train.len() as f64;
        assert!((loss - want).abs() < 1e-5 * want, "{loss} for {want}");
        assert_eq!(objective.train.len() + objective.test.len(), 49);
    }

    #[test]
    fn a_spectrum_adds_up_to_the_variance_and_finds_a_cosine() {
        let mut rng = Rng::new(4);
        let x = Mat::from_fn(11, 3, |_, _| rng.normal());
        let waves = spectrum(&x);
        for j in 0..3 {
            let mean = (0..11).map(|a| x[(a, j)]).sum::<f32>() / 11.0;
            let variance = (0..11).map(|a| (x[(a, j)] - mean).powi(2)).sum::<f32>() / 11.0;
            let power: f32 = (0..10).map(|k| waves[(k, j)].powi(2)).sum();
            assert!((power - variance).abs() < 1e-5, "{power} for {variance}");
        }
        let cosine = Mat::from_fn(11, 2, |a, j| (TAU * (3 * a) as f64 / 11.0 + 0.4 * j as f64).cos() as f32);
        let w = Mat::zeros(2, 11);
        let params = Params { blocks: vec![("u".into(), cosine.clone()), ("v".into(), cosine), ("w".into(), w)] };
        let best = strongest(&power(&params));
        assert!(best.iter().all(|&(k, share, _)| k == 3 && share > 0.9999), "{best:?}");
        let cut = only_cosines(&params);
        let off = cut.get("u").data().iter().zip(params.get("u").data()).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f32::max) < 1e-5);
    }

    /// Gromov's solution, written down: cosines with phases that add up, for every frequency, adds right and is computational.
    #[test]
    fn written_cosines_add_right() {
        let (p, phases) = (7, 4);
        let neurons = (p / 2) * phases * phases;
        let at = |j: usize| {
            (
                j / (phases * phases) + 1,
                TAU * (j / phases % phases) as f64 / phases as f64,
                TAU * (j % phases) as f64 / phases as f64,
            )
        };
        let angle = |k: usize, x: usize| TAU * (k * x) as f64 / p as f64;
        let u = Mat::from_fn(p, neurons, |a, j| (angle(at(j).0, a) + at(j).1).cos() as f32);
        let v = Mat::from_fn(p, neurons, |b, j| (angle(at(j).0, b) + at(j).2).cos() as f32);
        let w = Mat::from_fn(neurons, p, |j, c| (angle(at(j).0, c) + at(j).1 + at(j).2).cos() as f32);
        let params = Params { blocks: vec![("u".into(), u), ("v".into(), v), ("w".into(), w)] };
        let model = ModularAddition { p, neurons, ..small() };
        assert_eq!(model.objective(&Rng::new(1)).accuracies(&params), (1.0, 1.0));
        assert_eq!(model.truth(&params).label(), "orthogonal/computational");
    }
}
