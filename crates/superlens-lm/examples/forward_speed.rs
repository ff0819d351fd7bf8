//! Tokens a second of a model to its logits: `forward_speed MODEL LENGTH SEQUENCES THREADS`. Prints `{"tokens_per_s": …, "gflops": …}`.
//!
//! `benches/peers/compare_harvest.py` holds it against `transformers` on the same tokens.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use superlens_lm::model::{self, Batch, Sites};

/// Of each, the median of so many stretches.
const STRETCHES: usize = 7;
const STRETCH: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [path, length, sequences, threads] = &words[..] else {
        return Err("expected MODEL LENGTH SEQUENCES THREADS".into());
    };
    let (length, sequences): (u32, u32) = (length.parse()?, sequences.parse()?);
    let model = model::open(&PathBuf::from(path))?;
    let mut batch = Batch::new();
    for s in 0..sequences {
        let ids: Vec<u32> = (0..length).map(|i| 1 + (7 * s + 13 * i) % 500).collect();
        model.check(&ids)?;
        batch.push(&ids);
    }
    let sites = Sites::and_logits([], &model.config);
    let once = || model.forward(&batch, &sites, None, &mut |_, _| {});
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build()?;
    let mut rates: Vec<f64> = pool.install(|| {
        once();
        (0..STRETCHES)
            .map(|_| {
                let (start, mut done) = (Instant::now(), 0);
                while start.elapsed() < STRETCH {
                    once();
                    done += batch.tokens();
                }
                done as f64 / start.elapsed().as_secs_f64()
            })
            .collect()
    });
    rates.sort_by(f64::total_cmp);
    let rate = rates[STRETCHES / 2];
    // Two operations a weight and token: what every forward pass must do at least.
    let gflops = 2.0 * rate * model.weights.count(&model.config) as f64 / 1e9;
    println!("{}", serde_json::json!({"tokens_per_s": rate, "gflops": gflops}));
    Ok(())
}
