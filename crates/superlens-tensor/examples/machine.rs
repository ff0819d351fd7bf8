//! What this machine could do at most, on one core: fused multiply-adds, and random numbers.
//!
//! `cargo run --release -p superlens-tensor --example machine [FEATURES [DENSITY …]]` prints GFLOP/s in `f32`, and for
//! each density the µs that 1,024 rows of inputs take. The shares in `docs/toy-speed.md` are of these.

use pulp::{Simd, WithSimd};
use std::hint::black_box;
use std::time::Instant;
use superlens_tensor::Rng;
use superlens_tensor::kernels::lanes::{GROUP, Lanes};
use superlens_tensor::kernels::random::{SparseUniform, Words};

/// Vectors that are multiplied and added independently of one another, so that no multiplier waits.
const CHAINS: usize = 12;
const ROUNDS: usize = 1 << 16;

struct Peak;

impl WithSimd for Peak {
    /// Multiply-adds, and what came of them.
    type Output = (usize, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (usize, f32) {
        let (a, b) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(0.001)));
        let mut sums = [simd.splat_f32s(1.0); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, a, b);
            }
        }
        (ROUNDS * CHAINS * S::F32_LANES, sums.iter().map(|s| simd.reduce_sum_f32s(*s)).sum())
    }
}

/// The most that `work` did in a second, in fifty tries: other programs can only make it less.
fn best(mut work: impl FnMut() -> usize) -> f64 {
    let rate = |_| {
        let start = Instant::now();
        let done = work();
        done as f64 / start.elapsed().as_secs_f64()
    };
    (0..50).map(rate).fold(0.0, f64::max)
}

fn main() {
    let arguments: Vec<f64> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (n, densities) = match arguments.split_first() {
        Some((n, densities)) if *n >= 1.0 => (*n as usize, densities.to_vec()),
        _ => (20, vec![1.0, 0.1, 0.03, 0.01, 0.001]),
    };
    let flops = best(|| {
        let (adds, sum) = pulp::Arch::new().dispatch(Peak);
        black_box(sum);
        2 * adds
    });
    println!("gflops {:.1}", flops / 1e9);
    // In training, wide models draw fewer rows at once, so that these stay in the cache.
    let groups = if n > 20 { 16 } else { 64 };
    for p in densities.into_iter().filter(|p| *p > 0.0 && *p <= 1.0) {
        let mut x = Lanes::zeros(n, groups);
        let (mut law, mut words) = (SparseUniform::new(&vec![p; n], false), Words::new(&Rng::new(0)));
        let rows = best(|| {
            let batches = 1 + 200_000 / (n * groups);
            (0..batches).for_each(|_| assert_eq!(law.fill(&mut words, groups * GROUP, &mut x).0, groups * GROUP));
            batches * groups * GROUP
        });
        println!("inputs {n} {p} {:.4}", 1e6 * 1024.0 / rows);
    }
}
