//! `polytope`: a small classifier of ReLUs, which cuts its layers into polytopes.

use super::probe::{Probe, agreement, largest};
use super::{Cause, Origin, Sample, ToyModel, Truth, concepts, taped};
use crate::verdict::Mechanism;
use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Real, Rng, Tape, Tensor, Var};

/// Images on which the truth is measured, and batch norm folded.
const IMAGES: usize = 3000;
/// Kept from zero under roots in training; nothing is added where the network is read.
const EPS: f64 = 1e-9;
/// Above this accuracy of a linear probe the classes are directions of the layer.
const LINEAR: f64 = 0.9;

/// What stands between the layer and the label beside weights and ReLUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Weights alone: the label depends on the direction of the layer and not on its length.
    BiasFree,
    Bias,
    /// Trained with batch norm, which is then folded into weights and biases, as in Inception.
    BatchNorm,
    /// Biases, behind a division by the root mean square of the layer.
    RmsNorm,
    /// Biases, behind a division by the deviation of the layer about its mean.
    LayerNorm,
}

/// Images of [`Corners`], told apart by ReLUs: `h = ReLU(x W + b)`, then `depth` layers of the same kind behind [`Tail`], then
/// logits. After Black et al. 2022, *Interpreting Neural Networks through the Polytope Lens* (arXiv 2211.12312).
///
/// Its layer is `h`. Parameters: `w0, b0`, then `w, b` (and `g` with batch norm) of each layer; no `b` in a tail without biases.
#[derive(Clone, Debug)]
pub struct Polytope {
    pub task: Corners,
    pub hidden: usize,
    pub depth: usize,
    pub tail: Tail,
    pub batch: usize,
    pub training: TrainConfig,
}

/// Images that are sums of a few patterns, each with its sign, and noise. Which signs belong to which class is drawn at random,
/// so that no pattern alone tells anything.
#[derive(Clone, Debug)]
pub struct Corners {
    /// `[patterns, pixels]`, orthonormal.
    patterns: Mat,
    /// Class of each combination of signs.
    classes: Vec<usize>,
    pub n_classes: usize,
    /// Deviation of the noise of a pixel; a pattern has length 1.
    noise: f32,
}

impl Corners {
    /// Classes are as frequent as they can be. Panics if there are more patterns than pixels.
    pub fn new(pixels: usize, patterns: usize, n_classes: usize, noise: f32, stream: &Rng) -> Self {
        assert!(patterns <= pixels, "{patterns} patterns of {pixels} pixels");
        let q = haar_rotation(pixels, &mut stream.fork("patterns"));
        let order = stream.fork("classes").permutation(1 << patterns);
        Corners {
            patterns: Mat::from_fn(patterns, pixels, |i, j| q[i * pixels + j] as f32),
            classes: order.iter().map(|k| k % n_classes).collect(),
            n_classes,
            noise,
        }
    }

    /// Images `[rows, pixels]` and their classes.
    pub fn draw(&self, rows: usize, stream: &Rng) -> (Mat, Vec<usize>) {
        let mut rng = stream.clone();
        let k = self.patterns.rows();
        let corners: Vec<usize> = (0..rows).map(|_| rng.below(1 << k)).collect();
        let signs = Mat::from_fn(rows, k, |r, i| if corners[r] >> i & 1 == 1 { 1.0 } else { -1.0 });
        let mut x = matmul(&signs, &self.patterns);
        x.data_mut().iter_mut().for_each(|v| *v += self.noise * rng.normal());
        (x, corners.iter().map(|&c| self.classes[c]).collect())
    }
}

/// Weights and biases of one layer.
type Layer = (Mat, Vec<f32>);

/// The trained network with everything folded: what is read and scaled.
pub struct Net {
    first: Layer,
    tail: Tail,
    layers: Vec<Layer>,
}

/// What the tail makes of some rows.
pub struct Read {
    /// `[rows, neurons of the tail]`: the sign of each pre-activation, layers concatenated.
    pub codes: Vec<Vec<bool>>,
    pub labels: Vec<usize>,
}

impl Polytope {
    fn init(&self, rng: &mut Rng) -> Params {
        let h = self.hidden;
        let mut blocks = vec![taped::block("w0", self.task.patterns.cols(), h, 2.0, rng)];
        blocks.push(("b0".into(), Mat::from_fn(1, h, |_, _| 0.5 * rng.normal())));
        for l in 1..=self.depth + 1 {
            let out = if l > self.depth { self.task.n_classes } else { h };
            blocks.push(taped::block(format!("w{l}"), h, out, 2.0, rng));
            if self.tail != Tail::BiasFree {
                blocks.push(taped::row(format!("b{l}"), out, 0.0));
            }
            if self.tail == Tail::BatchNorm && l <= self.depth {
                blocks.push(taped::row(format!("g{l}"), out, 1.0));
            }
        }
        Params { blocks }
    }

    /// Logits; batch norm over the rows at hand.
    fn logits<R: Real>(&self, tape: &mut Tape<R>, p: &[Var], x: Var) -> Var {
        let h = tape.linear(x, p[0], p[1]);
        let h = tape.relu(h);
        let ones = tape.constant(Tensor::from_fn(&[self.hidden], |_| R::ONE));
        let zeros = tape.constant(Tensor::zeros(&[self.hidden]));
        let mut h = match self.tail {
            Tail::RmsNorm => tape.rms_norm(h, ones, EPS),
            Tail::LayerNorm => tape.layer_norm(h, ones, zeros, EPS),
            _ => h,
        };
        let mut p = p[2..].iter().copied();
        let mut next = || p.next().expect("parameters of a layer");
        for l in 1..=self.depth + 1 {
            h = tape.matmul(h, next());
            let bias = (self.tail != Tail::BiasFree).then(&mut next);
            if self.tail == Tail::BatchNorm && l <= self.depth {
                let gain = next();
                h = normalised(tape, h);
                h = tape.mul(h, gain);
            }
            h = bias.map_or(h, |b| tape.add(h, b));
            if l <= self.depth {
                h = tape.relu(h);
            }
        }
        h
    }

    /// The network to read.
    pub fn net(&self, params: &Params) -> Net {
        let bias = |name: &str| params.get(name).row(0).to_vec();
        let mut net = Net { first: (params.get("w0").clone(), bias("b0")), tail: self.tail, layers: Vec::new() };
        let mut h = net.layer(&self.task.draw(IMAGES, &Rng::new(0).fork("images of the folding")).0);
        for l in 1..=self.depth + 1 {
            let mut w = params.get(&format!("w{l}")).clone();
            let mut b = if self.tail == Tail::BiasFree { vec![0.0; w.cols()] } else { bias(&format!("b{l}")) };
            if self.tail == Tail::BatchNorm && l <= self.depth {
                fold(&matmul(&h, &w), params.get(&format!("g{l}")), &mut w, &mut b);
            }
            h = affine(&h, &w, &b);
            h.data_mut().iter_mut().for_each(|v| *v = v.max(0.0));
            net.layers.push((w, b));
        }
        net
    }
}

/// Each column about its mean, over its deviation.
fn normalised<R: Real>(tape: &mut Tape<R>, x: Var) -> Var {
    let width = tape.shape(x)[1];
    let mean = tape.mean_axis(x, 0);
    let mean = tape.reshape(mean, &[1, width]);
    let x = tape.sub(x, mean);
    let square = tape.square(x);
    let variance = tape.mean_axis(square, 0);
    let variance = tape.reshape(variance, &[1, width]);
    let eps = tape.constant(Tensor::scalar(R::of(1e-5)));
    let variance = tape.add(variance, eps);
    let deviation = tape.sqrt(variance);
    tape.div(x, deviation)
}

/// Puts batch norm into `w` and `b`: mean and deviation are those of the columns of `pre`.
fn fold(pre: &Mat, gain: &Mat, w: &mut Mat, b: &mut [f32]) {
    let rows = pre.rows() as f64;
    for j in 0..pre.cols() {
        let mean = (0..pre.rows()).map(|r| f64::from(pre[(r, j)])).sum::<f64>() / rows;
        let variance = (0..pre.rows()).map(|r| (f64::from(pre[(r, j)]) - mean).powi(2)).sum::<f64>() / rows;
        let factor = f64::from(gain[(0, j)]) / (variance + 1e-5).sqrt();
        (0..w.rows()).for_each(|i| w[(i, j)] *= factor as f32);
        b[j] -= (mean * factor) as f32;
    }
}

fn affine(x: &Mat, w: &Mat, b: &[f32]) -> Mat {
    let mut y = matmul(x, w);
    (0..y.rows()).for_each(|r| y.row_mut(r).iter_mut().zip(b).for_each(|(y, b)| *y += b));
    y
}

impl Net {
    /// The pre-activations of the layer, `[rows, hidden]`.
    fn before(&self, x: &Mat) -> Mat {
        affine(x, &self.first.0, &self.first.1)
    }

    /// `h [rows, hidden]`.
    pub fn layer(&self, x: &Mat) -> Mat {
        let mut h = self.before(x);
        h.data_mut().iter_mut().for_each(|v| *v = v.max(0.0));
        h
    }

    /// The tail on a layer, which may have been scaled.
    pub fn read(&self, h: &Mat) -> Read {
        let mut h = h.clone();
        (0..h.rows()).for_each(|r| front(self.tail, h.row_mut(r)));
        let mut codes = vec![Vec::new(); h.rows()];
        for (l, (w, b)) in self.layers.iter().enumerate() {
            h = affine(&h, w, b);
            if l + 1 < self.layers.len() {
                for (r, code) in codes.iter_mut().enumerate() {
                    code.extend(h.row(r).iter().map(|z| *z > 0.0));
                }
                h.data_mut().iter_mut().for_each(|v| *v = v.max(0.0));
            }
        }
        Read { codes, labels: largest(&h) }
    }

    /// The spline codes of inputs, the first layer's neurons included, and their labels.
    pub fn of_inputs(&self, x: &Mat) -> Read {
        let z = self.before(x);
        let tail = self.read(&self.layer(x));
        let whole =
            |(r, code): (usize, &Vec<bool>)| z.row(r).iter().map(|z| *z > 0.0).chain(code.iter().copied()).collect();
        Read { codes: tail.codes.iter().enumerate().map(whole).collect(), labels: tail.labels }
    }
}

/// The norm in front of the tail.
fn front(tail: Tail, row: &mut [f32]) {
    let n = row.len() as f32;
    if tail == Tail::LayerNorm {
        let mean = row.iter().sum::<f32>() / n;
        row.iter_mut().for_each(|v| *v -= mean);
    }
    if matches!(tail, Tail::RmsNorm | Tail::LayerNorm) {
        let size = (row.iter().map(|v| v * v).sum::<f32>() / n).sqrt();
        row.iter_mut().for_each(|v| *v /= size.max(f32::MIN_POSITIVE));
    }
}

struct Told {
    model: Polytope,
    stream: Rng,
}

impl Objective for Told {
    fn init(&self, rng: &mut Rng) -> Params {
        self.model.init(rng)
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let (x, y) = self.model.task.draw(self.model.batch, &self.stream.fork_index(step));
        taped::loss(params, grad, |tape, p| cross_entropy(&self.model, tape, p, &(&x).into(), &y))
    }
}

fn cross_entropy<R: Real>(model: &Polytope, tape: &mut Tape<R>, p: &[Var], x: &Tensor<R>, y: &[usize]) -> Var {
    let x = tape.constant(x.clone());
    let logits = model.logits(tape, p, x);
    tape.cross_entropy(logits, y)
}

impl ToyModel for Polytope {
    fn name(&self) -> &'static str {
        "polytope"
    }

    fn source(&self) -> &'static str {
        "Black et al. 2022, Interpreting Neural Networks through the Polytope Lens (arXiv 2211.12312)"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        Origin::Trained(Box::new(Told { model: self.clone(), stream: stream.clone() }), self.training.clone())
    }

    /// The features are the classes, one-hot.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let (x, y) = self.task.draw(rows, stream);
        Sample { features: concepts::one_hot(&y, self.task.n_classes), activations: self.net(params).layer(&x) }
    }

    /// The neurons are non-linear in the classes unless a linear probe reads those from the layer.
    fn truth(&self, params: &Params) -> Truth {
        let sample = self.sample(params, IMAGES, &Rng::new(0).fork("images of the truth"));
        let probe = Probe::fit(&sample.activations, &sample.features, 1e-6).read(&sample.activations);
        let linear = agreement(&largest(&probe), &largest(&sample.features)) > LINEAR;
        let cause = if linear { Cause::Orthogonal(Mechanism::Computational) } else { Cause::Nonlinear };
        concepts::truth(&sample.features, &sample.activations, |_| cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::make;
    use crate::toy::tied::recipe;
    use crate::verdict::Verdict;
    use std::ops::ControlFlow;

    const TAILS: [Tail; 5] = [Tail::BiasFree, Tail::Bias, Tail::BatchNorm, Tail::RmsNorm, Tail::LayerNorm];

    fn model(tail: Tail, steps: u64) -> Polytope {
        let task = Corners::new(16, 5, 4, 0.2, &Rng::new(8));
        Polytope { task, hidden: 16, depth: 2, tail, batch: 64, training: recipe(steps, 0.01) }
    }

    #[test]
    fn the_gradients_are_those_of_the_loss() {
        for tail in TAILS {
            let m = Polytope { hidden: 5, ..model(tail, 1) };
            let (x, y) = m.task.draw(40, &Rng::new(3));
            let x = Tensor::from(&x).cast::<f64>();
            taped::check_gradient(m.init(&mut Rng::new(4)), |tape, p| cross_entropy(&m, tape, p, &x, &y));
        }
    }

    #[test]
    fn the_network_that_is_read_is_the_one_that_was_trained() {
        for tail in TAILS {
            let m = model(tail, 60);
            let made = make(&m, &Rng::new(5), &mut |_| ControlFlow::Continue(())).unwrap();
            // As many rows as the folding saw, so that batch norm over them is what was folded.
            let (x, _) = m.task.draw(IMAGES, &Rng::new(0).fork("images of the folding"));
            let logits = taped::value(&made.params, |tape, p| {
                let x = tape.constant((&x).into());
                m.logits(tape, p, x)
            });
            let net = m.net(&made.params);
            assert!(agreement(&net.read(&net.layer(&x)).labels, &largest(&logits)) > 0.999, "{tail:?}");
        }
    }

    /// Without biases, and behind a norm, a scale changes neither code nor label.
    #[test]
    fn scale_is_seen_only_with_biases() {
        for tail in TAILS {
            let m = model(tail, 300);
            let made = make(&m, &Rng::new(6), &mut |_| ControlFlow::Continue(())).unwrap();
            let (net, (x, _)) = (m.net(&made.params), m.task.draw(200, &Rng::new(9)));
            let h = net.layer(&x);
            let plain = net.read(&h);
            let scaled = |alpha: f32| net.read(&Mat::from_fn(200, 16, |r, j| alpha * h[(r, j)]));
            let seen =
                [0.125, 8.0].iter().any(|a| scaled(*a).codes != plain.codes && scaled(*a).labels != plain.labels);
            assert_eq!(seen, matches!(tail, Tail::Bias | Tail::BatchNorm), "{tail:?}");
            assert_eq!(m.truth(&made.params).verdict, Verdict::Nonlinear, "{tail:?}");
        }
    }
}
