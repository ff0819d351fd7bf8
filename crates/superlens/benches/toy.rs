//! Benches of the toy lab: each toy of `TOYS` as a user would run it, only smaller; a training step of the sizes of
//! `docs/toy-speed.md`; and the kernels that such a step is made of.
//!
//! `cargo bench -p superlens --bench toy`, with a word of a name to run only some. A toy that is added to `TOYS` is benched
//! without a line here.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::ops::ControlFlow;
use superlens::toy::fused::{Plan, xavier};
use superlens::toy::lab::{Lab, Settings, TOYS};
use superlens_tensor::Rng;
use superlens_tensor::kernels::lanes::{GROUP, Lanes, mix, outer};
use superlens_tensor::kernels::random::SparseUniform;
use superlens_tensor::kernels::tied::{Response, Room, Tied, transpose};
use superlens_tensor::kernels::words::{WIDE, Words};
use superlens_tensor::optim::{Optimiser, Schedule};

/// Features and hidden dimensions of the models that `docs/toy-speed.md` compares.
const SIZES: [(usize, usize); 4] = [(5, 2), (20, 5), (80, 20), (400, 30)];
const DENSITIES: [f64; 3] = [1.0, 0.1, 0.01];
/// Groups of rows for the kernels: few enough for the cache, as in training.
const GROUPS: usize = 16;

fn toys(c: &mut Criterion) {
    let mut group = c.benchmark_group("toys");
    group.sample_size(10);
    for toy in TOYS {
        let settings = Settings::parse(toy.name, toy.settings, &toy.small()).expect("settings of its own");
        group.bench_function(toy.name, |b| {
            b.iter(|| {
                let watch = |_: f64, _: &str| ControlFlow::Continue(());
                let lab = Lab { instances: 2, rng: Rng::new(0), watch: &watch };
                toy.work(&settings, &lab).expect("a run that nobody stops")
            })
        });
    }
}

/// A hundred training steps of one instance, the loss on fresh rows included.
fn hundred_steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("hundred_steps");
    group.sample_size(10);
    for (n, m) in SIZES {
        for p in DENSITIES {
            let plan = Plan {
                d_hidden: m,
                importance: (0..n).map(|i| 0.9f64.powi(i as i32)).collect(),
                hidden: Response::Linear,
                readout: Response::Relu,
                l1: 0.0,
                init: xavier(n, m),
                bias: true,
                signed: false,
                batch: 1024,
                steps: 100,
                optimiser: Optimiser::adam(1e-3),
                schedule: Schedule::Constant,
            };
            group.bench_function(BenchmarkId::new(format!("n{n}_m{m}"), p), |b| {
                b.iter(|| plan.train(&[vec![p; n]], &Rng::new(0), &|_| ControlFlow::Continue(())))
            });
        }
    }
}

/// What drawing the inputs costs by itself: no training step can be quicker.
fn random(c: &mut Criterion) {
    let mut group = c.benchmark_group("random");
    let mut words = Words::new(&Rng::new(0));
    group.throughput(Throughput::Elements(1024 * WIDE as u64));
    group.bench_function("words", |b| {
        b.iter(|| (0..1024).fold(0, |sum: u32, _| words.draw_wide().iter().fold(sum, |s, w| s ^ w)))
    });
    for p in DENSITIES {
        let mut law = SparseUniform::new(&[p; 20], false);
        let mut x = Lanes::zeros(20, GROUPS);
        group.throughput(Throughput::Elements((20 * GROUPS * GROUP) as u64));
        group
            .bench_function(BenchmarkId::new("inputs", p), |b| b.iter(|| law.fill(&mut words, GROUPS * GROUP, &mut x)));
    }
}

/// The products, and the whole gradient that is made of them or done in strips.
fn kernels(c: &mut Criterion) {
    let mut group = c.benchmark_group("kernels");
    for (n, m) in SIZES {
        let mut rng = Rng::new(0);
        let mut random = |len: usize| (0..len).map(|_| 0.3 * rng.normal()).collect::<Vec<f32>>();
        let (w, b, cost) = (random(n * m), random(n), vec![1e-3; n]);
        let mut wt = vec![0.0; n * m];
        transpose(&w, m, &mut wt);
        let mut x = Lanes::zeros(n, GROUPS);
        SparseUniform::new(&vec![1.0; n], false).fill(&mut Words::new(&Rng::new(1)), GROUPS * GROUP, &mut x);
        let mut h = Lanes::zeros(m, GROUPS);
        let (mut dw, mut db) = (vec![0.0; n * m], vec![0.0; n]);
        let name = format!("n{n}_m{m}");
        let products = |count: usize| Throughput::Elements((count * n * m * GROUPS * GROUP) as u64);
        group.throughput(products(1));
        group.bench_function(BenchmarkId::new("mix", &name), |b| b.iter(|| mix(&x, &w, None, GROUPS, &mut h)));
        group.bench_function(BenchmarkId::new("outer", &name), |b| b.iter(|| outer(&x, &h, GROUPS, &mut dw)));
        let tied =
            Tied { w: &w, wt: &wt, b: &b, cost: &cost, l1: 0.0, hidden: Response::Linear, readout: Response::Relu };
        let mut room = Room::new(n, m, GROUPS);
        group.throughput(products(5));
        group.bench_function(BenchmarkId::new("tied_gradient", &name), |b| {
            b.iter(|| black_box(tied.gradient(&x, GROUPS, &mut room, &mut dw, &mut db)))
        });
    }
}

criterion_group!(benches, random, kernels, hundred_steps, toys);
criterion_main!(benches);
