//! `boolean_and`: every AND of two sparse inputs from fewer neurons than ANDs, by construction and by training.

use super::hidden_layer::{HiddenLayer, Init, Task, ands, neurons, of_pairs, pairs};
use super::{Origin, Sample, ToyModel, Truth};
use superlens_tensor::kernels::tied::Response;
use superlens_tensor::train::{Params, TrainConfig};
use superlens_tensor::{Mat, Rng};

/// U-AND of Hänni, Mendel, Vaintrob and Chan 2024, *Mathematical Models of Computation in Superposition* (arXiv 2408.05451):
/// `z = ReLU(W x − 1)` with `W_ia ~ Bernoulli(connect)`. The AND of inputs `a` and `b` is read as the mean of the neurons that see
/// both.
///
/// A neuron fires when two of its inputs are on, whichever they are, so it belongs to every pair among them: superposition of
/// ANDs. With fixed `s` inputs on and `p = connect`, `E[R | neither] = sp − 1 + (1−p)^s`, `E[R | one] = (s−1)p`,
/// `E[R | both] = 1 + (s−2)p` and `Var(R | one) ≈ (s−1)p(1−p)/(dp²)` (derived).
#[derive(Clone, Debug)]
pub struct RandomAnd {
    pub inputs: usize,
    pub neurons: usize,
    pub connect: f64,
    pub law: Law,
}

/// How inputs are drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Law {
    /// That many on, at random.
    Fixed(usize),
    /// Each on its own, with its probability.
    Each(Vec<f64>),
}

/// Sum, sum of squares and count of read-outs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    sum: f64,
    squares: f64,
    pub n: f64,
}

impl Moments {
    fn add(&mut self, v: f64) {
        self.sum += v;
        self.squares += v * v;
        self.n += 1.0;
    }

    pub fn mean(&self) -> f64 {
        self.sum / self.n.max(1.0)
    }

    pub fn std(&self) -> f64 {
        (self.squares / self.n.max(1.0) - self.mean().powi(2)).max(0.0).sqrt()
    }
}

/// What was measured: read-outs with none, one and both of their inputs on.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub by_on: [Moments; 3],
    /// Read-outs on the wrong side of one half, of all.
    pub errors: usize,
    pub read: usize,
    /// Pairs that no neuron sees both of, which are left out.
    pub empty: usize,
}

/// Pairs between two words of how far the wiring is, and its share of the work.
const LOOK: usize = 1000;
const WIRING: f64 = 0.3;

impl RandomAnd {
    /// Inputs on in a row, on average.
    fn active(&self) -> f64 {
        match &self.law {
            Law::Fixed(active) => *active as f64,
            Law::Each(p) => p.iter().sum(),
        }
    }

    /// E[R | none on], E[R | one on], E[R | both on] and the standard deviation with one on, for `s` inputs on at once.
    pub fn theory(&self) -> [f64; 4] {
        let (s, p, d) = (self.active(), self.connect, self.neurons as f64);
        let std = ((s - 1.0).max(0.0) * p * (1.0 - p) / (d * p * p)).sqrt();
        [s * p - 1.0 + (1.0 - p).powf(s), (s - 1.0) * p, 1.0 + (s - 2.0) * p, std]
    }

    /// The neurons that see each input, in order.
    fn wires(&self, rng: &Rng) -> Vec<Vec<u32>> {
        let mut wires = rng.fork("wires");
        let sees = |_| (0..self.neurons as u32).filter(|_| wires.chance(self.connect)).collect();
        (0..self.inputs).map(sees).collect()
    }

    /// Reads every AND of `trials` inputs. `tell` hears the share done and may say stop; then there is no answer.
    pub fn measure(&self, trials: usize, rng: &Rng, tell: &mut dyn FnMut(f64) -> bool) -> Option<Measured> {
        let sees = self.wires(rng);
        let pairs: Vec<(usize, usize)> = pairs(self.inputs).collect();
        let mut common: Vec<Vec<u32>> = Vec::with_capacity(pairs.len());
        for (k, &(a, b)) in pairs.iter().enumerate() {
            common.push(both(&sees[a], &sees[b]));
            if k.is_multiple_of(LOOK) && !tell(WIRING * k as f64 / pairs.len() as f64) {
                return None;
            }
        }
        let mut m = Measured { by_on: [Moments::default(); 3], errors: 0, read: 0, empty: 0 };
        m.empty = common.iter().filter(|c| c.is_empty()).count();
        let mut draws = rng.fork("inputs");
        for trial in 0..trials {
            let on = self.draw(&mut draws);
            let mut z = vec![-1.0f32; self.neurons];
            (0..self.inputs).filter(|&i| on[i]).for_each(|i| sees[i].iter().for_each(|&k| z[k as usize] += 1.0));
            z.iter_mut().for_each(|z| *z = z.max(0.0));
            for (&(a, b), common) in pairs.iter().zip(&common).filter(|(_, c)| !c.is_empty()) {
                // Small whole numbers, so that the sum is exact.
                let read = f64::from(common.iter().map(|&k| z[k as usize]).sum::<f32>()) / common.len() as f64;
                let count = usize::from(on[a]) + usize::from(on[b]);
                m.by_on[count].add(read);
                m.errors += usize::from((read > 0.5) != (count == 2));
                m.read += 1;
            }
            if !tell(WIRING + (1.0 - WIRING) * (trial + 1) as f64 / trials as f64) {
                return None;
            }
        }
        Some(m)
    }

    fn draw(&self, rng: &mut Rng) -> Vec<bool> {
        match &self.law {
            Law::Each(p) => p.iter().map(|&p| rng.chance(p)).collect(),
            Law::Fixed(active) => {
                let mut on = vec![false; self.inputs];
                rng.permutation(self.inputs)[..*active].iter().for_each(|&i| on[i] = true);
                on
            }
        }
    }

    /// Variance of the AND of each pair.
    fn variances(&self) -> Vec<f64> {
        let n = self.inputs as f64;
        let p = |a: usize, b: usize| match &self.law {
            Law::Fixed(s) => *s as f64 * (*s as f64 - 1.0) / (n * (n - 1.0)),
            Law::Each(p) => p[a] * p[b],
        };
        pairs(self.inputs).map(|(a, b)| p(a, b) * (1.0 - p(a, b))).collect()
    }
}

/// What two rising lists share.
fn both(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                out.push(a[i]);
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    out
}

impl ToyModel for RandomAnd {
    fn name(&self) -> &'static str {
        "boolean_and"
    }

    fn source(&self) -> &'static str {
        "Hänni et al. 2024, Mathematical Models of Computation in Superposition"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        let sees = self.wires(stream);
        let mut w1 = Mat::zeros(self.inputs, self.neurons);
        for (i, sees) in sees.iter().enumerate() {
            sees.iter().for_each(|&k| w1[(i, k as usize)] = 1.0);
        }
        let b1 = Mat::from_fn(1, self.neurons, |_, _| -1.0);
        Origin::Written(Params { blocks: vec![("w1".into(), w1), ("b1".into(), b1)] })
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let mut rng = stream.fork("inputs");
        let mut x = Mat::zeros(rows, self.inputs);
        for r in 0..rows {
            x.row_mut(r).iter_mut().zip(self.draw(&mut rng)).for_each(|(x, on)| *x = f32::from(on));
        }
        Sample { activations: neurons(params, &x), features: ands(&x) }
    }

    fn truth(&self, params: &Params) -> Truth {
        Truth::of_directions(&of_pairs(params), &self.variances())
    }
}

/// The same task learned: `y = W2ᵀ ReLU(W1ᵀ x + b1) + b2` trained for all ANDs of Boolean inputs.
///
/// Newgas 2025 (arXiv 2507.09816) finds that training ends in another circuit than the construction: dense, every neuron in
/// every output, with weights into a neuron of two sizes only.
#[derive(Clone, Debug)]
pub struct TrainedAnd {
    pub inputs: usize,
    pub neurons: usize,
    /// Probability of each input to be on.
    pub density: f64,
    pub batch: usize,
    pub training: TrainConfig,
}

impl TrainedAnd {
    pub fn layer(&self) -> HiddenLayer {
        HiddenLayer {
            task: Task::And,
            density: vec![self.density; self.inputs],
            d_hidden: self.neurons,
            importance: vec![1.0; Task::And.outputs(self.inputs)],
            hidden_bias: true,
            output_bias: true,
            readout: Response::Linear,
            init: Init::Xavier,
            batch: self.batch,
            training: self.training.clone(),
        }
    }
}

/// How the weights into the neurons look: mean share of a neuron's weights that are at least a quarter of its largest, and mean
/// share of their variance that two sizes explain (the best split of a neuron's weights in two; 1 where there are only two sizes,
/// 0.64 for normal ones).
pub fn dense_and_binary(w1: &Mat) -> (f64, f64) {
    let (n, m) = w1.shape();
    let of = |k: usize| {
        let mut w: Vec<f64> = (0..n).map(|i| f64::from(w1[(i, k)])).collect();
        w.sort_by(f64::total_cmp);
        let largest = w[0].abs().max(w[n - 1].abs());
        let dense = w.iter().filter(|w| w.abs() >= 0.25 * largest).count() as f64 / n as f64;
        let mean = w.iter().sum::<f64>() / n as f64;
        let total: f64 = w.iter().map(|w| (w - mean).powi(2)).sum();
        let between = |cut: usize| {
            let side = |part: &[f64]| part.len() as f64 * (part.iter().sum::<f64>() / part.len() as f64 - mean).powi(2);
            side(&w[..cut]) + side(&w[cut..])
        };
        let explained = (1..n).map(between).fold(0.0, f64::max);
        (dense, if total > 0.0 { (explained / total).min(1.0) } else { 1.0 })
    };
    let all: Vec<(f64, f64)> = (0..m).map(of).collect();
    let mean = |f: fn(&(f64, f64)) -> f64| all.iter().map(f).sum::<f64>() / m as f64;
    (mean(|v| v.0), mean(|v| v.1))
}

impl ToyModel for TrainedAnd {
    fn name(&self) -> &'static str {
        "boolean_and"
    }

    fn source(&self) -> &'static str {
        "Newgas 2025, Compressed Computation: Dense Circuits in a Toy Model of the Universal-AND Problem"
    }

    fn origin(&self, stream: &Rng) -> Origin {
        Origin::Trained(self.layer().objective(stream), self.training.clone())
    }

    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        self.layer().sample(params, rows, stream)
    }

    fn truth(&self, params: &Params) -> Truth {
        self.layer().truth(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::make;
    use std::ops::ControlFlow;

    /// Means within 0.005 of the formulas and the deviation within 15 %, at the sizes of the claims' second line.
    #[test]
    fn moments_are_those_of_the_formulas() {
        let c = RandomAnd { inputs: 100, neurons: 1000, connect: 0.1, law: Law::Fixed(3) };
        let m = c.measure(60, &Rng::new(1), &mut |_| true).unwrap();
        let theory = c.theory();
        for (k, want) in theory[..3].iter().enumerate() {
            // Few pairs have both inputs on: three a trial.
            let error = 4.0 * m.by_on[k].std() / (m.by_on[k].n).sqrt();
            assert!((m.by_on[k].mean() - want).abs() < 0.005 + error, "{k}: {} for {want}", m.by_on[k].mean());
        }
        assert!((m.by_on[1].std() / theory[3] - 1.0).abs() < 0.15, "{} for {}", m.by_on[1].std(), theory[3]);
        assert!(m.errors < m.read / 300);
    }

    #[test]
    fn its_neurons_hold_several_ands_each() {
        let model = RandomAnd { inputs: 20, neurons: 100, connect: 0.25, law: Law::Fixed(3) };
        let stream = Rng::new(2);
        let made = make(&model, &stream, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(made.loss.is_none());
        let truth = model.truth(&made.params);
        assert_eq!(truth.label(), "superposition");
        // Three inputs make three ANDs.
        let w1 = made.params.get("w1");
        let shared = (0..100).filter(|&k| (0..20).map(|i| w1[(i, k)]).sum::<f32>() >= 3.0).count();
        assert_eq!((truth.polysemantic(), truth.live.len()), (shared, 100));
        // A pair without a common neuron is no feature of the layer; all others are, with a one at each common neuron.
        let seen = pairs(20).filter(|&(a, b)| w1.row(a).iter().zip(w1.row(b)).any(|(a, b)| a * b > 0.0)).count();
        assert_eq!(truth.features.len(), seen);
    }

    #[test]
    fn lists_are_intersected() {
        assert_eq!(both(&[1, 3, 5, 9], &[0, 3, 4, 9, 10]), [3, 9]);
    }

    #[test]
    fn two_sizes_are_binary_and_normal_weights_are_not() {
        let mut rng = Rng::new(3);
        let two = Mat::from_fn(40, 5, |_, _| if rng.chance(0.5) { 0.8 } else { -0.6 });
        assert_eq!(dense_and_binary(&two), (1.0, 1.0));
        let normal = Mat::from_fn(400, 20, |_, _| rng.normal());
        let (_, binary) = dense_and_binary(&normal);
        assert!((binary - 2.0 / std::f64::consts::PI).abs() < 0.05, "{binary}");
    }
}
