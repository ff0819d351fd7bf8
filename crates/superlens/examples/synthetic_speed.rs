//! How fast a synthetic model's rows are drawn, on the threads that rayon has: `RAYON_NUM_THREADS=1 cargo run --release --example
//! synthetic_speed -- 16k`.

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
    println!("{id}: directions in {:.1} s", start.elapsed().as_secs_f64());
    let (mut drawing, mut adding, mut active) = (0.0, 0.0, 0);
    for b in 0..BATCHES {
        let start = Instant::now();
        let on = model.activations(0, Stream::Train, b * BATCH..(b + 1) * BATCH);
        drawing += start.elapsed().as_secs_f64();
        let start = Instant::now();
        let x = model.rows(&on);
        adding += start.elapsed().as_secs_f64();
        active += on.nnz();
        std::hint::black_box(x);
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
