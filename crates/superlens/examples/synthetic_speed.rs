//! How fast one thread draws a synthetic model's rows, by the time that it really ran (where the system tells): `cargo run --release
//! --example synthetic_speed -- 16k`.

use std::time::Instant;
use superlens::sae::metrics::mean_max_cosine;
use superlens::sae::synthetic::{Stream, Synthetic, find};

const BATCH: u64 = 2048;
const BATCHES: u64 = 40;

fn main() {
    let id = std::env::args().nth(1).unwrap_or_else(|| "16k".into());
    let Some(preset) = find(&id) else {
        eprintln!("no model `{id}`");
        std::process::exit(2);
    };
    let start = Instant::now();
    let model = Synthetic::new(preset, &mut |_| {});
    println!("{id}: directions in {:.1} s on all threads", start.elapsed().as_secs_f64());
    let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(1).build() else { return };
    pool.install(|| measure(&model));
}

fn measure(model: &Synthetic) {
    let (mut drawing, mut adding, mut active) = (0.0, 0.0, 0);
    let wall = Instant::now();
    let clock = || ran().unwrap_or_else(|| wall.elapsed().as_secs_f64());
    for b in 0..BATCHES {
        let start = clock();
        let on = model.activations(0, Stream::Train, b * BATCH..(b + 1) * BATCH);
        let drawn = clock();
        std::hint::black_box(model.rows(&on));
        drawing += drawn - start;
        adding += clock() - drawn;
        active += on.nnz();
    }
    let rows = (BATCH * BATCHES) as f64;
    println!(
        "{:.0} rows/s: {:.2} us a row to draw, {:.2} us to add up; L0 {:.2}; mean max overlap {:.4}",
        rows / (drawing + adding),
        1e6 * drawing / rows,
        1e6 * adding / rows,
        active as f64 / rows,
        mean_max_cosine(&model.directions)
    );
}

/// Seconds that this thread was on a processor.
fn ran() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? * 1e-9)
}
