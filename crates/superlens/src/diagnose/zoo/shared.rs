//! Features that fit, and share a neuron: because they occur together, or by chance. Only labels tell the two from one feature.

use super::codes::{Code, Magnitude, Ties, presence};
use super::layers::{Step, through};
use super::{
    Answer, CORRELATED, COUNTED, Case, Family, INCIDENTAL, INCONCLUSIVE, MONOSEMANTIC, Split, between, carried,
    neurons, pick,
};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

struct Law<'a> {
    truth: Answer,
    /// Features that share a neuron.
    size: usize,
    ties: &'a [Ties],
    magnitude: &'a [Magnitude],
    /// Share of the features that sit on a shared neuron.
    shared: (f64, f64),
    /// Whether features on one neuron may point opposite ways.
    opposite: bool,
    steps: &'a [&'a [Step]],
    labelled: f64,
}

const PLAIN: Law = Law {
    truth: CORRELATED,
    size: 2,
    ties: &[Ties::Together(2, 0.6), Ties::Together(2, 0.85)],
    magnitude: &[Magnitude::Uniform, Magnitude::Strong],
    shared: (0.6, 1.0),
    opposite: false,
    steps: &[&[], &[Step::Noise(0.03)]],
    labelled: 0.8,
};

fn make(law: &Law, stream: &Rng) -> Case {
    let rng = &mut stream.fork("settings");
    let d = neurons(rng).clamp(8, 64);
    // Neurons that hold a group, and those that hold one feature of their own.
    let share = between(law.shared.0, law.shared.1, rng);
    let groups = ((share * d as f64 / law.size as f64) as usize).max(3);
    let alone = d - groups.min(d);
    let alone = alone.min(((1.0 - share) * d as f64) as usize);
    let n = groups * law.size + alone;
    let order = rng.permutation(d);
    let mut w = Mat::zeros(n, d);
    for g in 0..groups {
        for k in 0..law.size {
            let sign = if law.opposite && k % 2 == 1 { -1.0 } else { 1.0 };
            w[(g * law.size + k, order[g])] = sign * (0.8 + 0.4 * rng.uniform());
        }
    }
    for i in 0..alone {
        w[(groups * law.size + i, order[groups + i])] = 0.8 + 0.4 * rng.uniform();
    }
    let l0 = between(0.08, 0.18, rng) * n as f64;
    let p = (l0 / n as f64).max(0.02);
    let mut code = Code { magnitude: pick(law.magnitude, rng), ties: pick(law.ties, rng), ..Code::new(vec![p; n]) };
    if !matches!(code.ties, Ties::Independent) {
        code.density.truncate(groups * law.size);
    }
    let rows = (150.0 / p).clamp(4000.0, 10_000.0) as usize;
    let tied = code.draw(rows, &stream.fork("code"));
    let free = Code { magnitude: code.magnitude, ..Code::new(vec![p; n - tied.cols()]) };
    let free = free.draw(rows, &stream.fork("free"));
    let features =
        Mat::from_fn(rows, n, |i, j| if j < tied.cols() { tied[(i, j)] } else { free[(i, j - tied.cols())] });
    let steps = pick(law.steps, rng);
    let carried = carried(&features, &w);
    let x = through(matmul(&features, &w), steps, &stream.fork("layer"));
    let labelled = rng.chance(law.labelled);
    let which: Vec<usize> = (0..n).take(40).collect();
    let labels =
        labelled.then(|| presence(&features, &which, pick(&[0.0, 0.0, 0.01], rng), &mut stream.fork("labels")));
    // From activations alone, features on one neuron are one feature.
    let defended = if labelled { vec![law.truth] } else { vec![law.truth, MONOSEMANTIC, INCONCLUSIVE] };
    let about = format!(
        "{rows} rows, {d} neurons, {groups} groups of {}, {alone} alone, density {p:.3}, {:?}, {steps:?}",
        law.size, code.ties
    );
    COUNTED.set(Some(carried));
    Case { x, basis: Basis::Privileged, labels, defended, n_features: None, about }
}

pub(super) fn families() -> Vec<Family> {
    let of = |id, truth, split, about, make| Family { id, truth, split, about, make };
    use Split::{Calibrate, Test};
    vec![
        of("pairs-together", CORRELATED, Calibrate, "pairs that occur together share a neuron", |r| make(&PLAIN, r)),
        of("pairs-exclusive", CORRELATED, Calibrate, "groups of four that exclude one another share a neuron", |r| {
            make(
                &Law {
                    size: 4,
                    ties: &[Ties::Exclusive(4)],
                    magnitude: &[Magnitude::Strong, Magnitude::Uniform],
                    ..PLAIN
                },
                r,
            )
        }),
        of(
            "fives-together",
            CORRELATED,
            Calibrate,
            "groups of five that occur together share a neuron, through a SiLU",
            |r| {
                let law = Law {
                    size: 5,
                    ties: &[Ties::Together(5, 0.5), Ties::Together(5, 0.8)],
                    magnitude: &[Magnitude::Exponential, Magnitude::Strong],
                    steps: &[&[], &[Step::Silu], &[Step::Noise(0.03)]],
                    ..PLAIN
                };
                make(&law, r)
            },
        ),
        of("threes-together", CORRELATED, Test, "groups of three that occur together share a neuron", |r| {
            let law = Law {
                size: 3,
                ties: &[Ties::Together(3, 0.7), Ties::Together(3, 0.9)],
                magnitude: &[Magnitude::HalfNormal, Magnitude::Exponential],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("pairs-gelu", CORRELATED, Test, "pairs that occur together share a neuron, through a GELU or a ReLU", |r| {
            let law = Law {
                ties: &[Ties::Together(2, 0.5), Ties::Together(2, 0.75)],
                magnitude: &[Magnitude::Strong, Magnitude::LogNormal],
                steps: &[&[Step::Gelu], &[Step::Noise(0.02), Step::Relu], &[Step::Bf16]],
                shared: (0.4, 0.9),
                ..PLAIN
            };
            make(&law, r)
        }),
        of("pairs-by-chance", INCIDENTAL, Calibrate, "independent features met on a neuron", |r| {
            make(&Law { truth: INCIDENTAL, ties: &[Ties::Independent], shared: (0.3, 1.0), ..PLAIN }, r)
        }),
        of(
            "opposites-by-chance",
            INCIDENTAL,
            Calibrate,
            "independent features met on a neuron with opposite signs",
            |r| {
                make(
                    &Law { truth: INCIDENTAL, ties: &[Ties::Independent], opposite: true, shared: (0.3, 0.9), ..PLAIN },
                    r,
                )
            },
        ),
        of(
            "fours-by-chance",
            INCIDENTAL,
            Calibrate,
            "four independent features met on a neuron, through a SiLU",
            |r| {
                let law = Law {
                    truth: INCIDENTAL,
                    size: 4,
                    ties: &[Ties::Independent],
                    magnitude: &[Magnitude::Exponential, Magnitude::Strong],
                    steps: &[&[], &[Step::Silu], &[Step::Noise(0.02)]],
                    shared: (0.3, 0.8),
                    ..PLAIN
                };
                make(&law, r)
            },
        ),
        of("few-by-chance", INCIDENTAL, Calibrate, "a few of the neurons hold two independent features", |r| {
            let law = Law {
                truth: INCIDENTAL,
                ties: &[Ties::Independent],
                opposite: r.fork("sides").chance(0.5),
                magnitude: &[Magnitude::Uniform, Magnitude::Strong, Magnitude::Exponential],
                shared: (0.15, 0.4),
                ..PLAIN
            };
            make(&law, r)
        }),
        of("threes-by-chance", INCIDENTAL, Test, "three independent features met on a neuron", |r| {
            let law = Law {
                truth: INCIDENTAL,
                size: 3,
                ties: &[Ties::Independent],
                magnitude: &[Magnitude::Exponential, Magnitude::HalfNormal],
                shared: (0.3, 0.9),
                ..PLAIN
            };
            make(&law, r)
        }),
        of(
            "pairs-by-chance-relu",
            INCIDENTAL,
            Test,
            "independent features met on a neuron, through a ReLU or a GELU",
            |r| {
                let law = Law {
                    truth: INCIDENTAL,
                    ties: &[Ties::Independent],
                    magnitude: &[Magnitude::Strong, Magnitude::Constant],
                    steps: &[&[Step::Relu], &[Step::Noise(0.03), Step::Relu], &[Step::Gelu]],
                    shared: (0.3, 0.8),
                    ..PLAIN
                };
                make(&law, r)
            },
        ),
    ]
}
