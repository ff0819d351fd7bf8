//! What this machine could do at most, on one core: fused multiply-adds, and random numbers.
//!
//! `cargo run --release -p superlens-tensor --example machine`. Shares of these in `docs/toy-speed.md` are made with it.

use pulp::{Simd, WithSimd};
use std::hint::black_box;
use std::time::Instant;
use superlens_tensor::Rng;
use superlens_tensor::kernels::lanes::{GROUP, Lanes};
use superlens_tensor::kernels::random::SparseUniform;

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
    let flops = best(|| {
        let (adds, sum) = pulp::Arch::new().dispatch(Peak);
        black_box(sum);
        2 * adds
    });
    println!("multiply-add peak    {:.1} GFLOP/s on one core, f32", flops / 1e9);
    for p in [1.0, 0.1, 0.03, 0.01, 0.001] {
        let mut x = Lanes::zeros(20, 64);
        let mut law = SparseUniform::new(&[p; 20], false, &Rng::new(0));
        let entries = best(|| {
            (0..200).for_each(|_| assert_eq!(law.fill(64 * GROUP, &mut x).0, 64 * GROUP));
            200 * 64 * GROUP * 20
        });
        println!(
            "inputs, density {p:<5} {:.3} ns an entry, {:.2} ns for one that is on",
            1e9 / entries,
            1e9 / entries / p
        );
    }
}
