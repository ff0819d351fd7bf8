//! `incidental`: features that meet on a neuron by chance at the start of training, and stay, though there is room.

pub mod lean;

use super::data::SparseFeatures;
use super::{Cause, Origin, Sample, ToyModel, Truth};
use crate::verdict::Mechanism;
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

/// A weight of this size is a feature's own (Lecomte et al.).
pub const OWN: std::ops::RangeInclusive<f32> = 0.8..=1.2;

/// The model of Lecomte et al. 2024, *What Causes Polysemanticity?* (arXiv 2312.03096): `y = ReLU(WWᵀx)`, trained on the `n`
/// one-hot inputs at once with `Σ (y − x)² + λ Σ|w|` from `W ~ N(0, 1/m)`.
///
/// Its layer is `Wᵀx`, whose neurons the penalty (or noise on them) privileges: each feature gathers on the neuron where it
/// happened to be strongest. Two features that gather on the same neuron with opposite signs don't disturb one another,
/// because the read-out's ReLU cuts off what is negative; so such a collision stays.
///
/// Parameters: `w [n_features, d_hidden]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Incidental {
    pub n_features: usize,
    pub d_hidden: usize,
    /// `λ`.
    pub l1: f32,
    pub noise: Noise,
    /// Density of the rows that [`ToyModel::sample`] draws. Training knows only one-hot inputs.
    pub density: f64,
    pub training: TrainConfig,
}

/// Noise on the neurons during training, fresh at every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    pub law: Law,
    /// Whether all inputs of a step get the same draw, as in the published code, or each its own.
    pub shared: bool,
}

/// How noise is distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Law {
    None,
    /// `±σ` with equal chances.
    Bipolar(f32),
    /// Normal with standard deviation `σ`.
    Gaussian(f32),
}

impl Noise {
    pub const NONE: Noise = Noise { law: Law::None, shared: false };

    /// `w` with noise added to it, row after row; `None` where there is no noise.
    fn on(self, w: &Mat, rng: &mut Rng) -> Option<Mat> {
        let mut draw = || match self.law {
            Law::None => 0.0,
            Law::Bipolar(size) if rng.chance(0.5) => size,
            Law::Bipolar(size) => -size,
            Law::Gaussian(size) => size * rng.normal(),
        };
        if self.law == Law::None {
            return None;
        }
        let mut h = w.clone();
        if self.shared {
            let common: Vec<f32> = (0..w.cols()).map(|_| draw()).collect();
            (0..w.rows()).for_each(|i| h.row_mut(i).iter_mut().zip(&common).for_each(|(h, e)| *h += e));
        } else {
            h.data_mut().iter_mut().for_each(|h| *h += draw());
        }
        Some(h)
    }
}

impl ToyModel for Incidental {
    fn name(&self) -> &'static str {
        "incidental"
    }

    fn source(&self) -> &'static str {
        "Lecomte et al. 2024, What Causes Polysemanticity? (arXiv 2312.03096)"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        Origin::Trained(Box::new(OneHot { model: self.clone(), stream: stream.clone() }), self.training.clone())
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let features = SparseFeatures::uniform(self.n_features, self.density).sample(rows, stream);
        let activations = matmul(&features, params.get("w"));
        Sample { features, activations }
    }

    /// A polysemantic neuron is incidental if it is the own neuron of two features or more, and there were enough neurons
    /// for all. Where features have not gathered, they are spread over neurons: rotated.
    fn truth(&self, params: &Params) -> Truth {
        let w = params.get("w");
        let cause = |j: usize| match owners(w, j) {
            _ if self.n_features > self.d_hidden => Cause::Superposition,
            2.. => Cause::Orthogonal(Mechanism::Incidental),
            _ => Cause::Orthogonal(Mechanism::Rotated),
        };
        let p = self.density;
        Truth::of_known(w, &vec![p / 3.0 - p * p / 4.0; self.n_features], cause)
    }
}

/// Features whose own neuron is `j`.
fn owners(w: &Mat, j: usize) -> usize {
    (0..w.rows()).filter(|&i| OWN.contains(&w[(i, j)].abs())).count()
}

/// Neurons that are the own of two features or more.
pub fn collisions(w: &Mat) -> usize {
    (0..w.cols()).filter(|&j| owners(w, j) >= 2).count()
}

/// Share of the features with exactly one neuron of their own.
pub fn converged(w: &Mat) -> f64 {
    let one = |i: &usize| w.row(*i).iter().filter(|v| OWN.contains(&v.abs())).count() == 1;
    (0..w.rows()).filter(one).count() as f64 / w.rows() as f64
}

/// Mean over features of `Σ w⁴`: 1 where each has gathered on one neuron.
pub fn fourth_power(w: &Mat) -> f64 {
    w.data().iter().map(|v| f64::from(*v).powi(4)).sum::<f64>() / w.rows() as f64
}

/// The sum of squared errors over all one-hot inputs, plus the penalty.
struct OneHot {
    model: Incidental,
    stream: Rng,
}

impl Objective for OneHot {
    /// `W ~ N(0, 1/m)`.
    fn init(&self, rng: &mut Rng) -> Params {
        let scale = 1.0 / (self.model.d_hidden as f32).sqrt();
        let w = Mat::from_fn(self.model.n_features, self.model.d_hidden, |_, _| scale * rng.normal());
        Params { blocks: vec![("w".into(), w)] }
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let w = params.get("w");
        let noisy = self.model.noise.on(w, &mut self.stream.fork_index(step));
        let g = grad.get_mut("w");
        let squares = match &noisy {
            None => clean(w, g),
            Some(h) => disturbed(w, h, g),
        };
        squares + penalise(self.model.l1, w, g)
    }
}

/// Turns products `WWᵀ` (or `HWᵀ`), `[n, n]`, into `E = 2 (ReLU(·) − I) [· > 0]` and returns `Σ (ReLU(·) − I)²`.
fn residual(products: &mut Mat) -> f64 {
    let mut loss = 0.0;
    for i in 0..products.rows() {
        for (j, e) in products.row_mut(i).iter_mut().enumerate() {
            let error = e.max(0.0) - f32::from(i == j);
            loss += f64::from(error * error);
            *e = if *e > 0.0 { 2.0 * error } else { 0.0 };
        }
    }
    loss
}

/// Without noise `E` is symmetric, and the gradient `Eᵀ W + E W` is twice one product.
fn clean(w: &Mat, grad: &mut Mat) -> f64 {
    let mut e = matmul(w, w.t());
    let loss = residual(&mut e);
    gemm(2.0, e.view(), w.view(), 1.0, grad);
    loss
}

/// With neurons `H = W + noise` the gradient is `Eᵀ H + E W`.
fn disturbed(w: &Mat, h: &Mat, grad: &mut Mat) -> f64 {
    let mut e = matmul(h, w.t());
    let loss = residual(&mut e);
    gemm(1.0, e.t(), h.view(), 1.0, grad);
    gemm(1.0, e.view(), w.view(), 1.0, grad);
    loss
}

/// `λ Σ|w|` and its gradient, 0 at 0.
fn penalise(l1: f32, w: &Mat, grad: &mut Mat) -> f64 {
    let mut sum = 0.0;
    for (g, w) in grad.data_mut().iter_mut().zip(w.data()) {
        sum += w.abs();
        *g += l1 * (f32::from(*w > 0.0) - f32::from(*w < 0.0));
    }
    f64::from(l1 * sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::tied::recipe;
    use superlens_tensor::gradcheck::check_objective;

    pub fn small(law: Law, shared: bool) -> Incidental {
        let noise = Noise { law, shared };
        Incidental { n_features: 6, d_hidden: 9, l1: 0.05, noise, density: 0.1, training: recipe(10, 1e-3) }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        for (law, shared) in
            [(Law::None, false), (Law::Bipolar(0.1), false), (Law::Gaussian(0.1), false), (Law::Gaussian(0.1), true)]
        {
            let mut objective = OneHot { model: small(law, shared), stream: Rng::new(9) };
            // Away from the kinks at zero weights and zero products.
            let mut rng = Rng::new(6);
            let size = |rng: &mut Rng| 0.5 + 0.3 * rng.uniform();
            let w = Mat::from_fn(6, 9, |i, j| if (i + j) % 3 == 0 { -1.0 } else { 1.0 } * size(&mut rng));
            let worst = check_objective(&mut objective, &Params { blocks: vec![("w".into(), w)] }, 3, &mut Rng::new(2));
            assert!(worst.error < 2e-3, "{law:?}, shared {shared}: {worst:?}");
        }
    }

    #[test]
    fn noise_is_fresh_or_shared_as_asked() {
        let w = Mat::zeros(3, 4);
        let draw = |shared| Noise { law: Law::Gaussian(1.0), shared }.on(&w, &mut Rng::new(1)).unwrap();
        assert!(draw(true).row(0) == draw(true).row(2) && draw(false).row(0) != draw(false).row(2));
        let bipolar = Noise { law: Law::Bipolar(0.5), shared: false }.on(&w, &mut Rng::new(1)).unwrap();
        assert!(bipolar.data().iter().all(|v| v.abs() == 0.5));
    }

    /// Opposite features on one neuron, a feature of its own, and one that is spread over two neurons.
    #[test]
    fn a_neuron_with_two_owners_is_incidental_and_a_spread_feature_rotated() {
        let model = Incidental { n_features: 4, d_hidden: 5, ..small(Law::None, false) };
        let rows = [[1.0, 0.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]];
        let with = |last: [f32; 5]| {
            let w = Mat::from_fn(4, 5, |i, j| if i < 3 { rows[i][j] } else { last[j] });
            (collisions(&w), converged(&w), model.truth(&Params { blocks: vec![("w".into(), w)] }))
        };
        let (count, share, truth) = with([0.0, 0.0, 0.9, 0.0, 0.0]);
        assert_eq!((count, share, truth.label().as_str()), (1, 1.0, "orthogonal/incidental"));
        assert_eq!((truth.cause(0), truth.cause(1), truth.rank), (Some("incidental"), None, 3));
        let (count, share, _) = with([0.0, 0.0, 0.7, 0.7, 0.0]);
        assert_eq!((count, share), (1, 0.75));
    }
}
