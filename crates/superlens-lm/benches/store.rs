//! Rows a second out of a shuffled store, larger than its buffer: what training must not wait for.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use superlens_lm::store::{DType, Plan, Rows, Shuffle, Writer};
use superlens_tensor::{Mat, Rng};

const BATCH: usize = 2048;

fn shuffled(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut group = c.benchmark_group("shuffled rows");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20);
    for (width, rows) in [(288, 400_000), (768, 150_000)] {
        for dtype in DType::ALL {
            let path = dir.path().join(format!("{width}{dtype}"));
            let plan = Plan { hooks: vec![("h".into(), width, dtype)], ..Plan::default() };
            let mut writer = Writer::create(&path, &plan).expect("a store");
            let piece = Mat::from_fn(10_000, width, |i, j| ((i * 31 + j * 7) % 1000) as f32 / 500.0 - 1.0);
            (0..rows / 10_000).for_each(|_| writer.append(&[&piece], &[]).expect("room"));
            writer.finish().expect("room");
            let store = Rows::open(&path, None).expect("the store");
            // Four windows at least, so that loading them is a part of what is measured.
            let mut shuffle = Shuffle::new(store, BATCH, 32 << 20, &Rng::new(0));
            let mut step = 0;
            group.bench_function(format!("{width} {dtype}"), |b| {
                b.iter(|| {
                    step += 1;
                    shuffle.batch(step)
                });
            });
        }
    }
}

criterion_group!(benches, shuffled);
criterion_main!(benches);
