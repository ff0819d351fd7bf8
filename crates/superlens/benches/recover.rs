//! Benches of sparse recovery: every method of `METHODS` on planted rows, and the kernels below them.
//!
//! `cargo bench -p superlens --bench recover`, with a word of a name to run only some. A method that is added to `METHODS` is
//! benched without a line here.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use superlens::geometry::recover::methods::{Choice, METHODS};
use superlens::geometry::recover::planted::{noisy, planted};
use superlens::geometry::recover::{Dictionary, unit_rows};
use superlens_tensor::kernels::pursuit::{combine, dots, largest};
use superlens_tensor::{Mat, Rng};

/// Rows of one call.
const ROWS: usize = 64;

fn methods(c: &mut Criterion) {
    let mut group = c.benchmark_group("methods");
    group.sample_size(10);
    group.throughput(Throughput::Elements(ROWS as u64));
    for (n, d, k) in [(512, 128, 6), (2048, 256, 16)] {
        let mut rng = Rng::new(0);
        let dictionary = Dictionary::new(&unit_rows(n, d, &mut rng));
        let (x, _) = planted(&dictionary, ROWS, k, false, &mut rng);
        let x = noisy(&x, 0.02, &mut rng);
        for method in METHODS {
            let choice = Choice { k, lambda: 0.08, ..Choice::default() };
            let solver = method.build(&choice, &dictionary);
            let id = BenchmarkId::new(method.name, format!("n{n}_d{d}_k{k}"));
            group.bench_function(id, |b| b.iter(|| black_box(solver.recover(&dictionary, &x))));
        }
    }
}

fn gram(c: &mut Criterion) {
    let directions = unit_rows(2048, 256, &mut Rng::new(0));
    c.bench_function("dictionary_n2048_d256", |b| b.iter(|| black_box(Dictionary::new(&directions))));
}

fn kernels(c: &mut Criterion) {
    let mut group = c.benchmark_group("kernels");
    let mut rng = Rng::new(1);
    let rows = Mat::from_fn(16, 2048, |_, _| rng.normal());
    let terms: Vec<(f32, &[f32])> = (0..16).map(|i| (0.1, rows.row(i))).collect();
    let mut out = vec![0.0; 2048];
    group.throughput(Throughput::Elements(16 * 2048));
    group.bench_function("combine_16", |b| b.iter(|| combine(rows.row(0), black_box(&terms), &mut out)));
    group.throughput(Throughput::Elements(2048));
    group.bench_function("largest", |b| b.iter(|| largest(black_box(rows.row(3)), false)));
    let atoms = unit_rows(1000, 500, &mut rng);
    let (x, mut products) = (atoms.row(0).to_vec(), vec![0.0; 1000]);
    group.throughput(Throughput::Elements(500 * 1000));
    group.bench_function("dots_1000x500", |b| b.iter(|| dots(black_box(&atoms), &x, &mut products)));
}

criterion_group!(benches, kernels, gram, methods);
criterion_main!(benches);
