//! The truth of every demo case for seeds 0 to N: `cargo run --release -p superlens --example demo_truth -- 20`.

use std::ops::ControlFlow;
use superlens::toy::demo::each_demo_case;

fn main() {
    let seeds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(3);
    for seed in 0..=seeds {
        let _ = each_demo_case(seed, &mut |_, _| ControlFlow::Continue(()), &mut |case| {
            println!("{seed:3} {:24} {:20} {}", case.name, case.truth.label(), case.facts);
            ControlFlow::Continue(())
        });
    }
}
