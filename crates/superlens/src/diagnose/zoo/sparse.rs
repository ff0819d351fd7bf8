//! Sparse features that add up: one neuron each, rotated, or more than there are dimensions.

use super::codes::{Code, Magnitude, Ties, power_law, presence};
use super::layers::{Step, aligned, packed, random, rotated, rotated_in_groups, spread, through};
use super::{
    Answer, COUNTED, Case, Family, MONOSEMANTIC, ROTATED, SUPERPOSITION, Split, between, carried, log_uniform, neurons,
    pick,
};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Labels a case at most.
const CONCEPTS: usize = 32;
/// Rows a case, at least and at most; between, each feature is on in this many.
const LEAST_ROWS: f64 = 4000.0;
const MOST_ROWS: f64 = 16_000.0;
const ROWS_A_FEATURE: f64 = 120.0;

/// How the directions of the features lie.
#[derive(Clone, Copy)]
enum Lie {
    Aligned,
    /// Aligned, and this share of each feature leaks onto other neurons.
    Leaky(f32),
    Rotated,
    /// Rotated within groups of this many neurons.
    Groups(usize),
    Random,
    Packed,
    /// On this many neurons each, with signs or without.
    Spread(usize, bool),
    /// Each group of 8 neurons holds its own share of the features.
    Blocks,
    /// Polygons of three to five features in planes of their own, the planes on a rotation.
    Polygons,
}

/// What a family of sparse features may draw from.
struct Law<'a> {
    truth: Answer,
    lie: &'a [Lie],
    /// Features a neuron.
    ratio: (f64, f64),
    magnitude: &'a [Magnitude],
    ties: &'a [Ties],
    /// Exponent of the densities: 0 is even.
    exponent: (f64, f64),
    signed: &'a [bool],
    /// Whether many features are on in a row.
    dense: bool,
    steps: &'a [&'a [Step]],
    basis: &'a [Basis],
}

const PLAIN: Law = Law {
    truth: SUPERPOSITION,
    lie: &[Lie::Random],
    ratio: (1.5, 4.0),
    magnitude: &[Magnitude::Uniform, Magnitude::Strong, Magnitude::Exponential],
    ties: &[Ties::Independent],
    exponent: (0.0, 0.0),
    signed: &[false],
    dense: false,
    steps: &[&[], &[Step::Noise(0.03)], &[Step::Noise(0.05), Step::Mean(1.0)]],
    basis: &[Basis::Unknown, Basis::Privileged],
};

fn directions(lie: Lie, n: usize, d: usize, rng: &mut Rng) -> Mat {
    match lie {
        Lie::Aligned => aligned(n, d, rng),
        Lie::Leaky(share) => {
            let mut w = aligned(n, d, rng);
            let noise = random(n, d, rng);
            w.data_mut().iter_mut().zip(noise.data()).for_each(|(w, e)| *w += share * e);
            w
        }
        Lie::Rotated => rotated(n, d, rng),
        Lie::Groups(size) => rotated_in_groups(n, d, size, rng),
        Lie::Random => random(n, d, rng),
        Lie::Packed => packed(n, d, rng),
        Lie::Spread(k, signed) => spread(n, d, k, signed, rng),
        Lie::Polygons => {
            let planes = rotated(d / 2 * 2, d, rng);
            let corners = n.div_ceil(d / 2).max(3);
            let phase: Vec<f32> = (0..d / 2).map(|_| std::f32::consts::TAU * rng.uniform()).collect();
            Mat::from_fn(n, d, |i, j| {
                let (plane, corner) = (i % (d / 2), i / (d / 2));
                let angle = phase[plane] + std::f32::consts::TAU * corner as f32 / corners as f32;
                angle.cos() * planes[(2 * plane, j)] + angle.sin() * planes[(2 * plane + 1, j)]
            })
        }
        Lie::Blocks => {
            let mut w = Mat::zeros(n, d);
            let blocks = (d / 8).max(1);
            for i in 0..n {
                let block = i % blocks;
                let (from, to) = (block * 8, if block + 1 == blocks { d } else { block * 8 + 8 });
                let own = random(1, to - from, rng);
                w.row_mut(i)[from..to].copy_from_slice(own.row(0));
            }
            w
        }
    }
}

fn make(law: &Law, stream: &Rng) -> Case {
    let rng = &mut stream.fork("settings");
    let d = neurons(rng);
    let n = ((between(law.ratio.0, law.ratio.1, rng) * d as f64).round() as usize).max(3);
    let n = if law.ratio.1 <= 1.0 { n.min(d) } else { n };
    let lie = pick(law.lie, rng);
    let room = n.min(d) as f64;
    let most = if law.dense { (0.33 * room).max(2.0) } else { (0.22 * room).clamp(1.5, 10.0) };
    let l0 = log_uniform(if law.dense { 0.5 * most } else { 1.0 }, most, rng).min(0.35 * n as f64);
    let exponent = between(law.exponent.0, law.exponent.1, rng);
    let code = Code {
        density: power_law(n, l0, exponent),
        magnitude: pick(law.magnitude, rng),
        signed: pick(law.signed, rng),
        ties: pick(law.ties, rng),
    };
    let rarest = code.density.iter().copied().fold(1.0, f64::min);
    let rows = (ROWS_A_FEATURE / rarest).clamp(LEAST_ROWS, MOST_ROWS) as usize;
    let steps = pick(law.steps, rng);
    let basis = pick(law.basis, rng);
    let features = code.draw(rows, &stream.fork("code"));
    let w = directions(lie, n, d, &mut stream.fork("directions"));
    let carried = carried(&features, &w);
    let x = through(matmul(&features, &w), steps, &stream.fork("layer"));
    let labelled = rng.chance(0.35);
    let labels = labelled.then(|| {
        let often: Vec<usize> = (0..n).filter(|&j| code.density[j] * rows as f64 >= 200.0).take(CONCEPTS).collect();
        presence(&features, &often, pick(&[0.0, 0.01], rng), &mut stream.fork("labels"))
    });
    let labels = labels.filter(|l| l.cols() > 0);
    let about = format!(
        "{rows} rows, {d} neurons, {n} features, L0 {l0:.2}, exponent {exponent:.2}, {:?}, {:?}, {}{steps:?}",
        code.magnitude,
        code.ties,
        if code.signed { "signed, " } else { "" },
    );
    // Without a basis neurons mean nothing: features that fit are orthogonal, and why is not asked.
    let truth = if basis == Basis::None && law.truth != SUPERPOSITION { (ROTATED.0, None) } else { law.truth };
    COUNTED.set(Some(carried));
    Case { x, basis, labels, defended: vec![truth], n_features: Some(n), about }
}

pub(super) fn families() -> Vec<Family> {
    let of = |id, truth, split, about, make| Family { id, truth, split, about, make };
    use Split::{Calibrate, Test};
    vec![
        of("aligned", MONOSEMANTIC, Calibrate, "a neuron for each feature", |r| {
            make(&Law { truth: MONOSEMANTIC, lie: &[Lie::Aligned], ratio: (0.3, 1.0), ..PLAIN }, r)
        }),
        of(
            "aligned-zipf",
            MONOSEMANTIC,
            Calibrate,
            "a neuron for each feature, some rare; a ReLU, dead neurons",
            |r| {
                let law = Law {
                    truth: MONOSEMANTIC,
                    lie: &[Lie::Aligned],
                    ratio: (0.4, 1.0),
                    exponent: (0.3, 0.9),
                    steps: &[&[Step::Noise(0.02), Step::Relu], &[Step::Relu], &[Step::Dead(3), Step::Relu]],
                    basis: &[Basis::Privileged],
                    ..PLAIN
                };
                make(&law, r)
            },
        ),
        of("aligned-leaky", MONOSEMANTIC, Calibrate, "a neuron for each feature, a little on others", |r| {
            let law = Law {
                truth: MONOSEMANTIC,
                lie: &[Lie::Leaky(0.1), Lie::Leaky(0.2)],
                ratio: (0.5, 1.0),
                signed: &[false, true],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("aligned-dense", MONOSEMANTIC, Calibrate, "a neuron for each feature, many on at once", |r| {
            let law = Law {
                truth: MONOSEMANTIC,
                lie: &[Lie::Aligned],
                ratio: (0.5, 1.0),
                dense: true,
                magnitude: &[Magnitude::Exponential, Magnitude::HalfNormal, Magnitude::Constant],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("aligned-silu", MONOSEMANTIC, Calibrate, "a neuron for each feature in runs, heavy tails, a SiLU", |r| {
            let law = Law {
                truth: MONOSEMANTIC,
                lie: &[Lie::Aligned, Lie::Leaky(0.1)],
                ratio: (0.4, 1.0),
                ties: &[Ties::Independent, Ties::Runs(5.0), Ties::Together(2, 0.3)],
                magnitude: &[Magnitude::LogNormal, Magnitude::Strong],
                steps: &[
                    &[Step::Silu],
                    &[Step::Noise(0.03), Step::Silu, Step::Bf16],
                    &[Step::Silu, Step::Duplicates(1)],
                ],
                basis: &[Basis::Privileged],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("aligned-children", MONOSEMANTIC, Test, "a neuron for each feature, half of them children of others", |r| {
            let law = Law {
                truth: MONOSEMANTIC,
                lie: &[Lie::Aligned],
                ratio: (0.4, 1.0),
                ties: &[Ties::Children],
                magnitude: &[Magnitude::Uniform, Magnitude::HalfNormal],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("aligned-gelu", MONOSEMANTIC, Test, "a neuron for each feature, heavy tails, a GELU", |r| {
            let law = Law {
                truth: MONOSEMANTIC,
                lie: &[Lie::Aligned, Lie::Leaky(0.1)],
                ratio: (0.5, 1.0),
                magnitude: &[Magnitude::LogNormal, Magnitude::HalfNormal],
                steps: &[&[Step::Noise(0.03), Step::Gelu], &[Step::Gelu, Step::Bf16]],
                basis: &[Basis::Privileged],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("aligned-twins", MONOSEMANTIC, Test, "some features on two neurons, in documents, rounded to bf16", |r| {
            let law = Law {
                truth: MONOSEMANTIC,
                lie: &[Lie::Aligned],
                ratio: (0.7, 1.0),
                ties: &[Ties::Documents(40), Ties::Runs(3.0)],
                steps: &[&[Step::Duplicates(3), Step::Bf16], &[Step::Noise(0.02), Step::Duplicates(2), Step::Bf16]],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("aligned-gated", MONOSEMANTIC, Test, "a neuron for each feature, gated by a view of the others", |r| {
            let law = Law {
                truth: MONOSEMANTIC,
                lie: &[Lie::Aligned],
                ratio: (0.5, 1.0),
                magnitude: &[Magnitude::Strong, Magnitude::Exponential],
                steps: &[&[Step::Gate], &[Step::Gate, Step::Noise(0.02)]],
                basis: &[Basis::Privileged],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("random", SUPERPOSITION, Calibrate, "random directions", |r| {
            make(&Law { basis: &[Basis::Unknown, Basis::Privileged, Basis::None], ..PLAIN }, r)
        }),
        of("packed", SUPERPOSITION, Calibrate, "directions pushed apart, some rarer than others", |r| {
            let law = Law {
                lie: &[Lie::Packed],
                ratio: (1.3, 6.0),
                exponent: (0.0, 0.5),
                signed: &[false, true],
                basis: &[Basis::Unknown, Basis::None],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("random-relu", SUPERPOSITION, Calibrate, "random directions through a ReLU", |r| {
            let law = Law {
                ratio: (1.5, 3.0),
                magnitude: &[Magnitude::Uniform, Magnitude::Strong, Magnitude::Constant],
                steps: &[&[Step::Noise(0.02), Step::Relu], &[Step::Relu]],
                basis: &[Basis::Privileged],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("random-dense", SUPERPOSITION, Calibrate, "random directions, many on at once, heavy tails", |r| {
            let law = Law {
                ratio: (1.5, 2.5),
                dense: true,
                magnitude: &[Magnitude::LogNormal, Magnitude::Exponential, Magnitude::Strong],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("polygons", SUPERPOSITION, Calibrate, "polygons of features in planes of their own", |r| {
            make(&Law { lie: &[Lie::Polygons], ratio: (1.5, 2.5), basis: &[Basis::None, Basis::Unknown], ..PLAIN }, r)
        }),
        of(
            "random-silu",
            SUPERPOSITION,
            Calibrate,
            "random directions in runs through a SiLU, with outlier neurons",
            |r| {
                let law = Law {
                    ratio: (1.5, 3.0),
                    ties: &[Ties::Independent, Ties::Runs(4.0)],
                    magnitude: &[Magnitude::Strong, Magnitude::Exponential],
                    steps: &[&[Step::Silu], &[Step::Noise(0.02), Step::Silu], &[Step::Silu, Step::Outliers(2, 5.0)]],
                    basis: &[Basis::Privileged],
                    ..PLAIN
                };
                make(&law, r)
            },
        ),
        of("random-steady", SUPERPOSITION, Calibrate, "many features on at once, each at about one strength", |r| {
            let law = Law {
                lie: &[Lie::Random, Lie::Packed],
                ratio: (1.5, 5.0),
                dense: true,
                magnitude: &[Magnitude::Constant, Magnitude::Constant, Magnitude::Strong, Magnitude::Uniform],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("spread", SUPERPOSITION, Test, "each feature on three to five neurons", |r| {
            let law = Law {
                lie: &[Lie::Spread(3, false), Lie::Spread(4, true), Lie::Spread(5, true)],
                ratio: (1.4, 3.5),
                exponent: (0.0, 0.4),
                ..PLAIN
            };
            make(&law, r)
        }),
        of("blocks", SUPERPOSITION, Test, "groups of eight neurons, each with too many features", |r| {
            make(&Law { lie: &[Lie::Blocks], ratio: (1.6, 3.0), signed: &[false, true], ..PLAIN }, r)
        }),
        of("random-children", SUPERPOSITION, Test, "half of the features are children of others, heavy tails", |r| {
            let law = Law {
                ties: &[Ties::Children],
                magnitude: &[Magnitude::HalfNormal, Magnitude::LogNormal],
                ratio: (1.6, 4.0),
                ..PLAIN
            };
            make(&law, r)
        }),
        of(
            "random-stream",
            SUPERPOSITION,
            Test,
            "documents and runs, with outlier dimensions and a common mean",
            |r| {
                let law = Law {
                    ties: &[Ties::Documents(60), Ties::Runs(2.5)],
                    steps: &[
                        &[Step::Noise(0.02), Step::Outliers(2, 8.0), Step::Mean(2.0), Step::Bf16],
                        &[Step::Mean(1.0), Step::LayerNorm],
                    ],
                    basis: &[Basis::None, Basis::Unknown],
                    ..PLAIN
                };
                make(&law, r)
            },
        ),
        of("packed-gelu", SUPERPOSITION, Test, "directions pushed apart, through a GELU or a gate", |r| {
            let law = Law {
                lie: &[Lie::Packed],
                ratio: (1.5, 3.0),
                steps: &[&[Step::Gelu], &[Step::Gate], &[Step::Noise(0.02), Step::Gelu]],
                basis: &[Basis::Privileged],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("rotation", ROTATED, Calibrate, "a random rotation of the neurons", |r| {
            let law = Law { truth: ROTATED, lie: &[Lie::Rotated], ratio: (0.4, 1.0), signed: &[false, true], ..PLAIN };
            make(&law, r)
        }),
        of("rotation-zipf", ROTATED, Calibrate, "a random rotation, some features rare, or without a basis", |r| {
            let law = Law {
                truth: ROTATED,
                lie: &[Lie::Rotated],
                ratio: (0.5, 1.0),
                exponent: (0.3, 0.9),
                basis: &[Basis::Privileged, Basis::None],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("rotation-in-pairs", ROTATED, Calibrate, "rotations of pairs and fours of neurons", |r| {
            let law = Law { truth: ROTATED, lie: &[Lie::Groups(2), Lie::Groups(4)], ratio: (0.7, 1.0), ..PLAIN };
            make(&law, r)
        }),
        of("rotation-dense", ROTATED, Calibrate, "a random rotation, many features on at once, heavy tails", |r| {
            let law = Law {
                truth: ROTATED,
                lie: &[Lie::Rotated, Lie::Groups(5)],
                ratio: (0.5, 1.0),
                dense: true,
                ties: &[Ties::Independent, Ties::Runs(4.0)],
                magnitude: &[Magnitude::LogNormal, Magnitude::Exponential, Magnitude::HalfNormal],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("rotation-softened", ROTATED, Calibrate, "a random rotation through a gentle bend, normed rows", |r| {
            let law = Law {
                truth: ROTATED,
                lie: &[Lie::Rotated, Lie::Groups(6)],
                ratio: (0.6, 1.0),
                steps: &[&[Step::Leaky], &[Step::Noise(0.02), Step::Leaky], &[Step::Mean(2.0), Step::LayerNorm]],
                basis: &[Basis::Privileged],
                ..PLAIN
            };
            make(&law, r)
        }),
        of(
            "rotation-steady",
            ROTATED,
            Calibrate,
            "a random rotation, many on at once, each at about one strength",
            |r| {
                let law = Law {
                    truth: ROTATED,
                    lie: &[Lie::Rotated],
                    ratio: (0.5, 1.0),
                    dense: true,
                    magnitude: &[Magnitude::Constant, Magnitude::Constant, Magnitude::Strong, Magnitude::Uniform],
                    ..PLAIN
                };
                make(&law, r)
            },
        ),
        of("rotation-children", ROTATED, Test, "a random rotation, half of the features children of others", |r| {
            let law = Law {
                truth: ROTATED,
                lie: &[Lie::Rotated],
                ratio: (0.4, 1.0),
                ties: &[Ties::Children],
                magnitude: &[Magnitude::HalfNormal, Magnitude::Strong],
                ..PLAIN
            };
            make(&law, r)
        }),
        of("rotation-stream", ROTATED, Test, "a random rotation, in documents and runs, heavy tails, bf16", |r| {
            let law = Law {
                truth: ROTATED,
                lie: &[Lie::Rotated],
                ratio: (0.5, 1.0),
                ties: &[Ties::Documents(50), Ties::Runs(3.0)],
                magnitude: &[Magnitude::LogNormal, Magnitude::Exponential],
                steps: &[&[Step::Noise(0.02), Step::Bf16], &[Step::Mean(1.5), Step::Bf16]],
                ..PLAIN
            };
            make(&law, r)
        }),
        of(
            "rotation-in-eights",
            ROTATED,
            Test,
            "rotations of groups of three and eight neurons, outlier neurons",
            |r| {
                let law = Law {
                    truth: ROTATED,
                    lie: &[Lie::Groups(3), Lie::Groups(8)],
                    ratio: (0.7, 1.0),
                    exponent: (0.0, 0.5),
                    steps: &[&[], &[Step::Noise(0.03)], &[Step::Noise(0.01), Step::Outliers(2, 4.0)]],
                    ..PLAIN
                };
                make(&law, r)
            },
        ),
    ]
}
