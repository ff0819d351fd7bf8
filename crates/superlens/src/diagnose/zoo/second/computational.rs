//! Orthogonal, computational: a few dense variables, many neurons that each mix some of them to compute something. The
//! labels are the variables' values.

use super::tools::{apply, between, noisy, one_of, pick, relu, shift, told};
use super::{COMPUTATIONAL, Case, Family, case, family};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

pub(super) fn families() -> Vec<Family> {
    vec![
        family("second-compute-larger", COMPUTATIONAL, "the larger of two, from ReLU(x − y) and its like", larger),
        family("second-compute-fuzzy-gates", COMPUTATIONAL, "and, or, but-not of degrees between 0 and 1", fuzzy_gates),
        family("second-compute-control", COMPUTATIONAL, "tanh neurons that steer by smooth trajectories", control),
    ]
}

/// Comparisons of pairs: `max(x, y) = y + ReLU(x − y)`, `|x − y|`, and each variable's two halves.
fn larger(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (rows, m, d) = (pick(&mut s, 4_000, 10_000), pick(&mut s, 3, 6), pick(&mut s, 24, 64));
    let (mut stream, uniform) = (rng.fork("variables"), s.chance(0.5));
    let z = Mat::from_fn(rows, m, |_, _| if uniform { 3.46 * (stream.uniform() - 0.5) } else { stream.normal() });
    let mut w = Mat::zeros(m, d);
    for j in 0..d {
        let order = s.permutation(m);
        let gain = between(&mut s, 0.6, 1.6) as f32;
        w[(order[0], j)] = gain;
        if s.chance(0.85) {
            w[(order[1], j)] = -gain;
        } else if s.chance(0.5) {
            w[(order[0], j)] = -gain;
        }
    }
    let mut x = matmul(&z, &w);
    apply(&mut x, relu);
    noisy(&mut x, between(&mut s, 0.01, 0.06), &mut rng.fork("noise"));
    told(case(x, Basis::Privileged, Some(z), COMPUTATIONAL, None, format!("{m} variables compared in pairs")))
}

/// Łukasiewicz gates of degrees `a`, `b`: ReLU(a + b − 1), ReLU(a − b), ReLU(1 − a − b).
fn fuzzy_gates(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (rows, m, d) = (pick(&mut s, 4_000, 10_000), pick(&mut s, 4, 8), pick(&mut s, 24, 72));
    let mut stream = rng.fork("degrees");
    let z = Mat::from_fn(rows, m, |_, _| stream.uniform());
    let gates: Vec<(usize, usize, usize, f32)> = (0..d)
        .map(|_| {
            let order = s.permutation(m);
            (order[0], order[1], s.below(3), between(&mut s, 0.8, 2.0) as f32)
        })
        .collect();
    let mut x = Mat::from_fn(rows, d, |i, j| {
        let (a, b, kind, gain) = gates[j];
        let (a, b) = (z[(i, a)], z[(i, b)]);
        gain * relu(match kind {
            0 => a + b - 1.0,
            1 => a - b,
            _ => 1.0 - a - b,
        })
    });
    noisy(&mut x, between(&mut s, 0.01, 0.06), &mut rng.fork("noise"));
    told(case(x, Basis::Privileged, Some(z), COMPUTATIONAL, None, format!("gates of {m} degrees")))
}

/// Positions and speeds that move smoothly; each neuron a tanh or ReLU of two or three of them.
fn control(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (rows, m, d) = (pick(&mut s, 6_000, 12_000), pick(&mut s, 3, 6), pick(&mut s, 20, 64));
    let keep = between(&mut s, 0.5, 0.9) as f32;
    let fresh = (1.0 - keep * keep).sqrt();
    let mut z = Mat::zeros(rows, m);
    let mut stream = rng.fork("trajectories");
    for i in 0..rows {
        for k in 0..m {
            z[(i, k)] = if i == 0 { stream.normal() } else { keep * z[(i - 1, k)] + fresh * stream.normal() };
        }
    }
    let mut w = Mat::zeros(m, d);
    let mut bias = vec![0.0; d];
    for j in 0..d {
        let order = s.permutation(m);
        for &k in &order[..pick(&mut s, 2, 3)] {
            w[(k, j)] = between(&mut s, 0.5, 1.2) as f32 * one_of(&mut s, &[-1.0, 1.0]);
        }
        bias[j] = 0.5 * s.normal();
    }
    let mut x = matmul(&z, &w);
    shift(&mut x, &bias);
    let tanh = s.chance(0.6);
    apply(&mut x, |v| if tanh { v.tanh() } else { relu(v) });
    noisy(&mut x, between(&mut s, 0.01, 0.06), &mut rng.fork("noise"));
    let about = format!("{m} smooth variables through {}", if tanh { "tanh" } else { "ReLU" });
    told(case(x, Basis::Privileged, Some(z), COMPUTATIONAL, None, about))
}
