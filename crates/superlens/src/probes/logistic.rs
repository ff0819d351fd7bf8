//! Linear probes of binary concepts.

use super::{POSITIVE, column_scales, standardised};
use rayon::prelude::*;
use std::collections::VecDeque;
use superlens_tensor::kernels::gemm::{gemm_into, matmul};
use superlens_tensor::kernels::pointwise::dot;
use superlens_tensor::kernels::smooth::exp;
use superlens_tensor::kernels::vectors::by_vectors;
use superlens_tensor::{Mat, View};

/// Rows per piece of parallel work; sums are in `f32` within a piece and in `f64` over pieces.
const PIECE: usize = 512;
/// Times that the rows are gone through, at most.
const ROUNDS: usize = 60;
/// Steps and changes of gradient that are remembered.
const MEMORY: usize = 8;
/// Share of the decrease promised by the slope that a step must bring (Armijo).
const DECREASE: f64 = 1e-4;
/// A concept is done when a step lowers its loss by no more than this share, or its gradient is shorter than [`FLAT`].
const SETTLED: f64 = 1e-5;
const FLAT: f64 = 1e-5;

/// Ridge-regularised logistic regressions of many concepts on the same rows, each with an intercept and with both classes weighed alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Logistic {
    /// `[concepts, d]`, in the units of the rows that it was fitted to.
    pub weights: Mat,
    /// `[concepts]`.
    pub bias: Vec<f64>,
}

impl Logistic {
    /// Fits each column of `labels` `[rows, concepts]`, zeros and ones, from `x` `[rows, d]`. `ridge` is half the penalty on squared weights
    /// beside the mean log loss in nats, both classes having half of the weight, with columns of `x` at unit variance.
    ///
    /// All concepts go through the rows together: L-BFGS (Nocedal and Wright 2006, algorithm 7.5) with steps of their own. A concept with
    /// one class missing gets no weights. Panics where the numbers of rows differ.
    pub fn fit(x: &Mat, labels: &Mat, ridge: f64) -> Logistic {
        let (mean, scale) = column_scales(x);
        Logistic::fit_standardised(&standardised(x, &mean, &scale), (&mean, &scale), labels, ridge)
    }

    /// As [`Logistic::fit`], from columns less their `mean` and over their `scale` `[d]`, for whoever holds them so already.
    pub(crate) fn fit_standardised(z: &Mat, (mean, scale): (&[f64], &[f64]), labels: &Mat, ridge: f64) -> Logistic {
        assert_eq!(z.rows(), labels.rows(), "rows of {:?} and {:?}", z.shape(), labels.shape());
        let (rows, d) = z.shape();
        let mut positive = vec![0usize; labels.cols()];
        for i in 0..rows {
            positive.iter_mut().zip(labels.row(i)).for_each(|(p, l)| *p += usize::from(*l > POSITIVE));
        }
        let mut paths: Vec<Path> = (0..labels.cols())
            .filter(|&c| positive[c] > 0 && positive[c] < rows)
            .map(|c| Path::new(c, d + 1))
            .collect();
        let mut targets = Mat::default();
        let mut gathered = 0;
        for _ in 0..ROUNDS {
            // Those that are done stay at the end, where they cost nothing.
            let active = paths.partition_point(|p| !p.done);
            if active == 0 {
                break;
            }
            if gathered != active {
                targets = signed(labels, &paths[..active], &positive);
                gathered = active;
            }
            let points = Mat::from_fn(active, d, |p, j| paths[p].trial[j] as f32);
            let offsets: Vec<f32> = paths[..active].iter().map(|p| p.trial[d] as f32).collect();
            let (loss, gradient) = evaluate(z, &targets, &points, &offsets);
            paths[..active].par_iter_mut().enumerate().for_each(|(p, path)| {
                path.hear(loss[p], &gradient[p * (d + 1)..(p + 1) * (d + 1)], ridge);
            });
            paths.sort_by_key(|p| p.done);
        }
        let mut fitted = Logistic { weights: Mat::zeros(labels.cols(), d), bias: vec![0.0; labels.cols()] };
        for path in &paths {
            let row = fitted.weights.row_mut(path.concept);
            let mut bias = path.at[d];
            for j in 0..d {
                let w = path.at[j] / scale[j];
                row[j] = w as f32;
                bias -= w * mean[j];
            }
            fitted.bias[path.concept] = bias;
        }
        fitted
    }

    /// `[rows, concepts]`: log odds, for classes that are equally frequent.
    pub fn scores(&self, x: &Mat) -> Mat {
        let mut out = matmul(x, self.weights.t());
        for i in 0..out.rows() {
            out.row_mut(i).iter_mut().zip(&self.bias).for_each(|(v, b)| *v = (f64::from(*v) + b) as f32);
        }
        out
    }
}

/// `[rows, paths]`: the weight of a row, positive where its label is, such that each class weighs one half.
fn signed(labels: &Mat, paths: &[Path], positive: &[usize]) -> Mat {
    let weights: Vec<(usize, f32, f32)> = paths
        .iter()
        .map(|p| {
            let there = positive[p.concept];
            (p.concept, 0.5 / there as f32, -0.5 / (labels.rows() - there) as f32)
        })
        .collect();
    let mut out = Vec::with_capacity(labels.rows() * paths.len());
    for i in 0..labels.rows() {
        let row = labels.row(i);
        out.extend(weights.iter().map(|&(c, yes, no)| if row[c] > POSITIVE { yes } else { no }));
    }
    Mat::from_vec(labels.rows(), paths.len(), out)
}

/// Losses `[concepts]` and their gradients `[concepts · (d + 1)]`, the offset last, without the penalty.
fn evaluate(z: &Mat, targets: &Mat, points: &Mat, offsets: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (d, concepts) = (z.cols(), points.rows());
    let piece = |p: usize| {
        let (from, to) = (p * PIECE, ((p + 1) * PIECE).min(z.rows()));
        let rows = z.rows_view(from, to);
        let mut odds = vec![0.0f32; (to - from) * concepts];
        gemm_into(1.0, rows, points.t(), 0.0, &mut odds);
        let (mut loss, mut slope) = (vec![0.0f32; concepts], vec![0.0f32; concepts]);
        let wanted = &targets.data()[from * concepts..to * concepts];
        by_vectors(
            #[inline(always)]
            || log_loss(&mut odds, wanted, offsets, &mut loss, &mut slope),
        );
        let mut gradient = vec![0.0f32; concepts * d];
        gemm_into(1.0, View::contiguous(to - from, concepts, &odds).t(), rows, 0.0, &mut gradient);
        (loss, slope, gradient)
    };
    let pieces: Vec<_> = (0..z.rows().div_ceil(PIECE)).into_par_iter().map(piece).collect();
    let (mut loss, mut gradient) = (vec![0.0f64; concepts], vec![0.0f64; concepts * (d + 1)]);
    for (part, slope, slopes) in &pieces {
        for c in 0..concepts {
            loss[c] += f64::from(part[c]);
            let to = &mut gradient[c * (d + 1)..(c + 1) * (d + 1)];
            to.iter_mut().zip(&slopes[c * d..(c + 1) * d]).for_each(|(t, s)| *t += f64::from(*s));
            to[d] += f64::from(slope[c]);
        }
    }
    (loss, gradient)
}

/// Log odds `[rows · concepts]` become slopes of the weighted log loss; sums over rows of loss and slope are added.
#[inline(always)]
fn log_loss(odds: &mut [f32], wanted: &[f32], offsets: &[f32], loss: &mut [f32], slope: &mut [f32]) {
    let concepts = offsets.len();
    for (odds, wanted) in odds.chunks_exact_mut(concepts).zip(wanted.chunks_exact(concepts)) {
        for c in 0..concepts {
            let t = wanted[c];
            // How far on the right side.
            let u = (odds[c] + offsets[c]) * 1.0f32.copysign(t);
            let e = exp(-u.abs());
            let wrong = (if u > 0.0 { e } else { 1.0 }) / (1.0 + e);
            // ln(1 + e) = 2 artanh(e / (2 + e)); the argument is a third at most, so that seven terms do.
            let r = e / (2.0 + e);
            let s = r * r;
            let mut series = 1.0f32 / 13.0;
            for k in [1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0] {
                series = series * s + k;
            }
            loss[c] += t.abs() * (2.0 * r * series + (-u).max(0.0));
            let by = -t * wrong;
            slope[c] += by;
            odds[c] = by;
        }
    }
}

/// One concept's way down.
struct Path {
    concept: usize,
    /// The best point so far, the offset last; its value and gradient.
    at: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
    /// Step from there, and how much of it is tried.
    direction: Vec<f64>,
    slope: f64,
    share: f64,
    trial: Vec<f64>,
    memory: VecDeque<(Vec<f64>, Vec<f64>, f64)>,
    done: bool,
}

impl Path {
    fn new(concept: usize, n: usize) -> Path {
        let zeros = || vec![0.0; n];
        Path {
            concept,
            at: zeros(),
            value: f64::INFINITY,
            gradient: zeros(),
            direction: zeros(),
            slope: 0.0,
            share: 1.0,
            trial: zeros(),
            memory: VecDeque::new(),
            done: false,
        }
    }

    /// Takes loss and gradient at the trial point without the penalty, and chooses the next.
    fn hear(&mut self, loss: f64, gradient: &[f64], ridge: f64) {
        let d = self.trial.len() - 1;
        let value = loss + 0.5 * ridge * dot(&self.trial[..d], &self.trial[..d]);
        let mut new: Vec<f64> = gradient.to_vec();
        new.iter_mut().zip(&self.trial[..d]).for_each(|(g, w)| *g += ridge * w);
        if value > self.value + DECREASE * self.share * self.slope || !value.is_finite() {
            // The lowest point of the parabola through both values and the slope, within bounds.
            let promised = self.share * self.slope;
            let lowest = -0.5 * promised / (value - self.value - promised);
            self.share *= if lowest.is_finite() { lowest.clamp(0.1, 0.5) } else { 0.1 };
            self.done = self.share < 1e-4;
        } else {
            let fell = self.value - value;
            let step: Vec<f64> = self.trial.iter().zip(&self.at).map(|(a, b)| a - b).collect();
            let change: Vec<f64> = new.iter().zip(&self.gradient).map(|(a, b)| a - b).collect();
            let curvature = dot(&step, &change);
            if fell.is_finite() && curvature > 1e-10 * dot(&step, &step) {
                if self.memory.len() == MEMORY {
                    self.memory.pop_front();
                }
                self.memory.push_back((step, change, 1.0 / curvature));
            }
            self.at.copy_from_slice(&self.trial);
            self.gradient = new;
            self.value = value;
            self.done = fell <= SETTLED * value || dot(&self.gradient, &self.gradient) < FLAT * FLAT;
            self.turn();
        }
        for ((t, a), d) in self.trial.iter_mut().zip(&self.at).zip(&self.direction) {
            *t = a + self.share * d;
        }
    }

    /// The next direction: minus the inverse Hessian, as remembered, times the gradient.
    fn turn(&mut self) {
        let mut q: Vec<f64> = self.gradient.iter().map(|g| -g).collect();
        let mut alphas = Vec::with_capacity(self.memory.len());
        for (s, y, rho) in self.memory.iter().rev() {
            let alpha = rho * dot(s, &q);
            q.iter_mut().zip(y).for_each(|(q, y)| *q -= alpha * y);
            alphas.push(alpha);
        }
        // At the start all curvatures are a quarter in columns that are not correlated.
        let scale = self.memory.back().map_or(2.0, |(_, y, rho)| 1.0 / (rho * dot(y, y)));
        q.iter_mut().for_each(|q| *q *= scale);
        for ((s, y, rho), alpha) in self.memory.iter().zip(alphas.into_iter().rev()) {
            let beta = rho * dot(y, &q);
            q.iter_mut().zip(s).for_each(|(q, s)| *q += (alpha - beta) * s);
        }
        self.slope = dot(&q, &self.gradient);
        self.direction = q;
        self.share = 1.0;
    }
}
