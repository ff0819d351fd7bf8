//! Many tied autoencoders trained side by side: the engine of `relu_output`, its linear twin and `relu_hidden`.
//!
//! Each instance is one task for the thread pool: its batches are drawn, and its gradient and its step made, by the
//! kernels of `superlens-tensor` on one core, so that nothing is handed between threads from step to step. Every
//! instance draws fresh rows from a stream of its own; the number of threads changes no byte.

use super::are_bounded;
use super::groups::{FeatureLaw, Source};
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use superlens_tensor::kernels::adam::{AdamStep, adam_step_here};
use superlens_tensor::kernels::lanes::{GROUP, Lanes, MAX_GROUPS};
use superlens_tensor::kernels::random::Words;
use superlens_tensor::kernels::tied::{Response, Room, Tied, transpose};
use superlens_tensor::optim::{AdamConfig, Optimiser, Schedule, SgdConfig};
use superlens_tensor::{Mat, Rng};

/// Floats of the hidden layer in flight, so that they stay in a core's innermost cache.
const IN_CACHE: usize = 6 << 10;
/// Steps between two looks at whether to stop.
const LOOK: u64 = 50;
/// Active inputs that the loss on fresh rows is averaged over, and rows at most and at least.
const FRESH_ACTIVE: f64 = 1e6;
const FRESH_ROWS: (f64, f64) = (16_384.0, 20_000_000.0);

/// What all instances share. The loss of a row is the mean over features of `importance · error²`.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub d_hidden: usize,
    /// `I_i`, one a feature.
    pub importance: Vec<f64>,
    pub hidden: Response,
    pub readout: Response,
    /// Weight of `Σ |h|` beside the summed squared errors of a row.
    pub l1: f64,
    /// Standard deviation of the first weights.
    pub init: f64,
    /// Whether there is a bias, which starts at zero; without, it stays there.
    pub bias: bool,
    /// Whether inputs are uniform in `(−1, 1)` instead of `[0, 1)`.
    pub signed: bool,
    pub batch: usize,
    pub steps: u64,
    pub optimiser: Optimiser,
    pub schedule: Schedule,
}

/// Standard deviation of Xavier-normal weights (Glorot and Bengio 2010) of `[n_features, d_hidden]`.
pub fn xavier(n_features: usize, d_hidden: usize) -> f64 {
    (2.0 / (n_features + d_hidden) as f64).sqrt()
}

/// One instance after training.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// `[n_features, d_hidden]`: a row a feature, the paper's `Wᵀ`.
    pub w: Mat,
    /// `[n_features]`.
    pub b: Vec<f32>,
    /// Mean over rows and features of `importance · error²` on fresh rows; infinite where the training diverged.
    pub loss: f64,
    /// Loss during training, averaged over the steps since the last entry: `(step, loss)`.
    pub history: Vec<(u64, f64)>,
    /// The weights on the way, `(step, w)`, the first ones included; empty unless asked for.
    pub path: Vec<(u64, Mat)>,
}

impl Plan {
    fn n_features(&self) -> usize {
        self.importance.len()
    }

    /// Trains one instance a row of `density`, which are one density a feature. Instance `i` draws from
    /// `rng.fork_index(i)` alone.
    ///
    /// `watch` is told the share of all steps that is done, from whichever thread makes them, and may break; then there
    /// is no answer.
    pub fn train(
        &self,
        density: &[Vec<f64>],
        rng: &Rng,
        watch: &(dyn Fn(f64) -> ControlFlow<()> + Sync),
    ) -> Option<Vec<Trained>> {
        let laws: Vec<FeatureLaw> = density.iter().map(|p| FeatureLaw::independent(p.clone())).collect();
        self.train_on(&laws, 0, rng, watch)
    }

    /// The same for any laws of the features, one an instance. With `looks > 0` the weights are kept that many times on the
    /// way, at equal distances, and the history has an entry for each.
    pub fn train_on(
        &self,
        laws: &[FeatureLaw],
        looks: u64,
        rng: &Rng,
        watch: &(dyn Fn(f64) -> ControlFlow<()> + Sync),
    ) -> Option<Vec<Trained>> {
        let all = (self.steps * laws.len() as u64).max(1) as f64;
        let (done, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
        let tell = |steps: u64| {
            let before = done.fetch_add(steps, Ordering::Relaxed);
            if stopped.load(Ordering::Relaxed) || watch((before + steps) as f64 / all).is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
            !stopped.load(Ordering::Relaxed)
        };
        // Dense instances take longest, so they come first.
        let mut order: Vec<usize> = (0..laws.len()).collect();
        let active = |i: usize| laws[i].densities().iter().sum::<f64>();
        order.sort_by(|&i, &j| active(j).total_cmp(&active(i)).then(i.cmp(&j)));
        let mut trained: Vec<(usize, Option<Trained>)> = order
            .into_par_iter()
            .with_max_len(1)
            .map(|i| (i, Instance::new(self, &laws[i], &rng.fork_index(i as u64)).run(looks, &tell)))
            .collect();
        trained.sort_by_key(|(i, _)| *i);
        trained.into_iter().map(|(_, t)| t).collect()
    }
}

impl Plan {
    /// The loss of weights on fresh rows, ten times as many as training ends with: the least of several noisy losses is too
    /// low, so that a model that was chosen by its loss is measured again.
    pub fn measure(&self, model: &Trained, law: &FeatureLaw, rng: &Rng) -> f64 {
        let mut instance = Instance::new(self, law, rng);
        instance.params = model.w.data().iter().chain(&model.b).copied().collect();
        (0..10).map(|_| instance.fresh_loss()).sum::<f64>() / 10.0
    }
}

/// An instance in training.
struct Instance<'a> {
    plan: &'a Plan,
    law: Source,
    words: Words,
    fresh: Words,
    x: Lanes,
    room: Room,
    /// Weights and then biases; gradient and moments alike.
    params: Vec<f32>,
    grad: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    wt: Vec<f32>,
    cost: Vec<f32>,
}

impl<'a> Instance<'a> {
    fn new(plan: &'a Plan, law: &FeatureLaw, rng: &Rng) -> Self {
        let (n, m) = (plan.n_features(), plan.d_hidden);
        assert_eq!(n, law.n_features(), "densities for the features");
        let mut init = rng.fork("init");
        let scale = plan.init as f32;
        let params: Vec<f32> = (0..n * m).map(|_| scale * init.normal()).chain(vec![0.0; n]).collect();
        let groups = (IN_CACHE / (m * GROUP)).clamp(16, MAX_GROUPS).min(plan.batch.div_ceil(GROUP) + 1);
        let zeros = vec![0.0; params.len()];
        Instance {
            law: Source::new(law, plan.signed),
            words: Words::new(&rng.fork("batches")),
            fresh: Words::new(&rng.fork("fresh")),
            x: Lanes::zeros(n, groups),
            room: Room::new(n, m, groups),
            grad: zeros.clone(),
            m: zeros.clone(),
            v: zeros,
            wt: vec![0.0; n * m],
            cost: vec![0.0; n],
            params,
            plan,
        }
    }

    fn run(mut self, looks: u64, tell: &dyn Fn(u64) -> bool) -> Option<Trained> {
        let steps = self.plan.steps;
        let (mut history, mut path) = (Vec::new(), Vec::new());
        let log = (steps / looks.max(100)).max(1);
        if looks > 0 {
            path.push((0, self.weights()));
        }
        let (mut sum, mut since) = (0.0, 0u64);
        for step in 0..steps {
            sum += self.loss(self.plan.batch, false);
            self.step(step);
            since += 1;
            if (step + 1) % log == 0 || step + 1 == steps {
                history.push((step + 1, sum / since as f64));
                (sum, since) = (0.0, 0);
                if looks > 0 {
                    path.push((step + 1, self.weights()));
                }
            }
            if (step + 1) % LOOK == 0 && !tell(LOOK) {
                return None;
            }
        }
        if !tell(steps % LOOK) {
            return None;
        }
        let loss = if are_bounded(&self.params) { self.fresh_loss() } else { f64::INFINITY };
        let b = self.params[self.plan.n_features() * self.plan.d_hidden..].to_vec();
        Some(Trained { w: self.weights(), b, loss, history, path })
    }

    fn weights(&self) -> Mat {
        let (n, m) = (self.plan.n_features(), self.plan.d_hidden);
        Mat::from_vec(n, m, self.params[..n * m].to_vec())
    }

    /// The loss on `rows` new rows, with its gradient in `grad`.
    fn loss(&mut self, rows: usize, fresh: bool) -> f64 {
        let (n, m) = (self.plan.n_features(), self.plan.d_hidden);
        let scale = 1.0 / (rows as f64 * n as f64);
        for (cost, importance) in self.cost.iter_mut().zip(&self.plan.importance) {
            *cost = (scale * importance) as f32;
        }
        let (w, b) = self.params.split_at(n * m);
        transpose(w, m, &mut self.wt);
        self.grad.fill(0.0);
        let (dw, db) = self.grad.split_at_mut(n * m);
        let tied = Tied {
            w,
            wt: &self.wt,
            b,
            cost: &self.cost,
            l1: (scale * self.plan.l1) as f32,
            hidden: self.plan.hidden,
            readout: self.plan.readout,
        };
        let words = if fresh { &mut self.fresh } else { &mut self.words };
        let (mut loss, mut left, mut seen) = (0.0, rows, 0);
        while left > 0 {
            let (drawn, written) = self.law.fill(words, left, &mut self.x);
            left -= drawn;
            let groups = written.div_ceil(GROUP);
            seen += groups * GROUP;
            loss += tied.gradient(&self.x, groups, &mut self.room, dw, db);
        }
        loss + tied.of_empty_rows(rows as f64 - seen as f64, db)
    }

    fn step(&mut self, step: u64) {
        let lr = self.plan.optimiser.lr() * self.plan.schedule.factor(step, self.plan.steps);
        if !self.plan.bias {
            let at = self.plan.n_features() * self.plan.d_hidden;
            self.grad[at..].fill(0.0);
        }
        match self.plan.optimiser {
            Optimiser::Adam(AdamConfig { beta1, beta2, eps, weight_decay, .. }) => {
                let c = AdamStep { lr, beta1, beta2, eps, weight_decay, t: step + 1 };
                adam_step_here(&mut self.params, &self.grad, &mut self.m, &mut self.v, c);
            }
            Optimiser::Sgd(SgdConfig { momentum, weight_decay, .. }) => {
                let (keep, lr) = (1.0 - (lr * weight_decay) as f32, lr as f32);
                for ((w, g), m) in self.params.iter_mut().zip(&self.grad).zip(&mut self.m) {
                    *m = momentum * *m + g;
                    *w = keep * *w - lr * *m;
                }
            }
        }
    }

    /// The loss on rows that no step has seen.
    fn fresh_loss(&mut self) -> f64 {
        let active: f64 = self.law.mean_active();
        let rows = (FRESH_ACTIVE / active).clamp(FRESH_ROWS.0, FRESH_ROWS.1);
        let parts = (rows / 16_384.0).ceil() as usize;
        (0..parts).map(|_| self.loss(16_384, true)).sum::<f64>() / parts as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(n: usize, m: usize) -> Plan {
        Plan {
            d_hidden: m,
            importance: vec![1.0; n],
            hidden: Response::Linear,
            readout: Response::Relu,
            l1: 0.0,
            init: xavier(n, m),
            bias: true,
            signed: false,
            batch: 256,
            steps: 1500,
            optimiser: Optimiser::adam(5e-3),
            schedule: Schedule::Constant,
        }
    }

    fn train(plan: &Plan, density: &[f64], threads: usize) -> Vec<Trained> {
        let density: Vec<Vec<f64>> = density.iter().map(|&p| vec![p; plan.n_features()]).collect();
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| plan.train(&density, &Rng::new(1), &|_| ControlFlow::Continue(())).unwrap())
    }

    /// Elhage et al. 2022: the linear model keeps the m most important features and loses the variance of the others.
    #[test]
    fn the_linear_model_is_principal_components() {
        let p: f64 = 0.5;
        let importance: Vec<f64> = (0..5).map(|i| 0.7f64.powi(i)).collect();
        let want = (p / 3.0 - p * p / 4.0) * importance[2..].iter().sum::<f64>() / 5.0;
        let plan = Plan { importance, readout: Response::Linear, steps: 3000, batch: 1024, ..plan(5, 2) };
        let got = train(&plan, &[p], 1)[0].loss;
        assert!((got / want - 1.0).abs() < 0.02, "{got} for {want}");
    }

    /// Two features that exclude each other nearly always fit on one line at `p²/6` each.
    #[test]
    fn a_sparse_pair_becomes_antipodal() {
        let trained = train(&plan(2, 1), &[0.1; 6], 2);
        let best = trained.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).unwrap();
        assert!((best.loss / (0.01 / 6.0) - 1.0).abs() < 0.05, "{}", best.loss);
        assert!(best.w[(0, 0)] * best.w[(1, 0)] < -0.9);
        assert!(best.history.last().unwrap().1 < best.history[0].1);
    }

    #[test]
    fn threads_change_no_byte_and_instances_differ() {
        let plan = Plan { steps: 60, ..plan(6, 3) };
        let one = train(&plan, &[0.3, 0.3, 0.01], 1);
        assert_eq!(one, train(&plan, &[0.3, 0.3, 0.01], 3));
        assert_ne!(one[0].w, one[1].w);
    }

    /// Looking on changes nothing, and the last look is the end.
    #[test]
    fn the_path_leads_to_the_end() {
        let plan = Plan { steps: 200, ..plan(6, 3) };
        let laws = [FeatureLaw::independent(vec![0.3; 6])];
        let go =
            |looks| plan.train_on(&laws, looks, &Rng::new(1), &|_| ControlFlow::Continue(())).unwrap().swap_remove(0);
        let (blind, seen) = (go(0), go(20));
        assert!(blind.path.is_empty() && blind.w == seen.w);
        assert_eq!((seen.path[0].0, seen.path.last().unwrap()), (0, &(200, seen.w.clone())));
        assert!(seen.path.len() > 20 && seen.path.len() == seen.history.len() + 1);
    }

    /// Measuring again gives the same loss but for the draw.
    #[test]
    fn a_model_is_measured_on_rows_of_its_own() {
        let plan = Plan { steps: 300, ..plan(4, 2) };
        let model = train(&plan, &[0.3], 1).swap_remove(0);
        let again = plan.measure(&model, &FeatureLaw::independent(vec![0.3; 4]), &Rng::new(9));
        assert!(again != model.loss && (again / model.loss - 1.0).abs() < 0.01, "{again} for {}", model.loss);
    }

    /// Weights that are no numbers would make silent outputs of a finite loss.
    #[test]
    fn a_training_that_diverges_says_so() {
        let sgd = Optimiser::Sgd(SgdConfig { lr: 1e3, momentum: 0.0, weight_decay: 0.0 });
        let got = train(&Plan { optimiser: sgd, steps: 300, ..plan(5, 2) }, &[1.0], 1).swap_remove(0);
        assert!(got.loss == f64::INFINITY, "{got:?}");
    }

    #[test]
    fn breaking_ends_all_instances() {
        let density = vec![vec![0.5; 4]; 3];
        let stop = |share: f64| if share > 0.2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        assert!(plan(4, 2).train(&density, &Rng::new(0), &stop).is_none());
    }
}
