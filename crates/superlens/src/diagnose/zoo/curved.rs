//! Concepts that are no directions: radii, parities, arcs of circles, bands of magnitude, regions.

use super::layers::{Step, random, rotation, through};
use super::{Answer, Case, Family, INCONCLUSIVE, NONLINEAR, Split, pick};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

const STEPS: &[&[Step]] = &[&[Step::Noise(0.03)], &[Step::Noise(0.08)], &[Step::Noise(0.02), Step::Mean(1.0)]];

/// `z [rows, k]` turned into `d ≥ k` neurons, the rest of them a little noise; with labels turned over by 0 to 2 %.
fn embed(z: &Mat, d: usize, labels: Option<Mat>, defended: Vec<Answer>, about: String, stream: &Rng) -> Case {
    let rng = &mut stream.fork("embedding");
    let q = rotation(d, rng).select_rows(&(0..z.cols()).collect::<Vec<_>>());
    let steps = pick(STEPS, rng);
    let x = through(matmul(z, &q), steps, &stream.fork("layer"));
    let flips = pick(&[0.0, 0.01, 0.02], rng);
    let labels = labels.map(|mut l| {
        l.data_mut().iter_mut().for_each(|v| *v = if rng.chance(flips) { 1.0 - *v } else { *v });
        l
    });
    let basis = pick(&[Basis::Unknown, Basis::Privileged, Basis::None], rng);
    Case { x, basis, labels, defended, n_features: None, about: format!("{about}, {d} neurons, {steps:?}") }
}

fn sizes(stream: &Rng) -> (usize, Rng) {
    let mut rng = stream.fork("settings");
    (4000 + rng.below(4000), rng)
}

/// Groups of dimensions; a concept is on where its group is far from the middle.
fn radii(stream: &Rng) -> Case {
    let (rows, mut rng) = sizes(stream);
    let (groups, size) = (2 + rng.below(5), 2 + rng.below(3));
    let z = Mat::from_fn(rows, groups * size, |_, _| rng.normal());
    let far = size as f32 * (0.7 + 0.8 * rng.uniform());
    let labels = Mat::from_fn(rows, groups, |i, g| {
        f32::from(z.row(i)[g * size..(g + 1) * size].iter().map(|v| v * v).sum::<f32>() > far)
    });
    let d = groups * size + rng.below(2 * groups * size);
    embed(&z, d, Some(labels), vec![NONLINEAR], format!("{rows} rows, radii of {groups} groups of {size}"), stream)
}

/// A concept is on where two coordinates have the same sign.
fn parities(of: usize, stream: &Rng) -> Case {
    let (rows, mut rng) = sizes(stream);
    let k = of * (2 + rng.below(5));
    let gap = pick(&[0.0f32, 0.5, 1.5], &mut rng);
    let z = Mat::from_fn(rows, k, |_, _| {
        let g = rng.normal();
        g + gap * g.signum()
    });
    let labels = Mat::from_fn(rows, k / of, |i, c| {
        f32::from(z.row(i)[c * of..(c + 1) * of].iter().filter(|v| **v > 0.0).count() % 2 == 0)
    });
    let d = k + rng.below(2 * k);
    // With a gap, coordinates are of two values: a dense code by activations alone, but labels say that it is computed with.
    embed(
        &z,
        d,
        Some(labels),
        vec![NONLINEAR],
        format!("{rows} rows, parities of {of} of {k} coordinates, gap {gap}"),
        stream,
    )
}

/// Points on circles; with labels a concept is a pair of opposite arcs.
fn circles(labelled: bool, stream: &Rng) -> Case {
    let (rows, mut rng) = sizes(stream);
    let k = 1 + rng.below(8);
    let angles = Mat::from_fn(rows, k, |_, _| std::f32::consts::TAU * rng.uniform());
    let wobble = pick(&[0.0f32, 0.03, 0.08], &mut rng);
    let z = Mat::from_fn(rows, 2 * k, |i, c| {
        let a = angles[(i, c / 2)];
        (if c % 2 == 0 { a.cos() } else { a.sin() }) * (1.0 + wobble * rng.normal())
    });
    let arcs = pick(&[2.0f32, 3.0], &mut rng);
    let labels = labelled.then(|| Mat::from_fn(rows, k, |i, c| f32::from((arcs * angles[(i, c)]).sin() > 0.2)));
    let d = (2 * k + rng.below(3 * k)).max(3);
    let defended = if labelled || k >= 2 { vec![NONLINEAR] } else { vec![NONLINEAR, INCONCLUSIVE] };
    embed(&z, d, labels, defended, format!("{rows} rows, {k} circles, wobble {wobble}, {arcs} arcs"), stream)
}

/// Circles of their own sizes and speeds, in half of the dimensions or more; the rest is dense.
fn circles_of_sizes(stream: &Rng) -> Case {
    let (rows, mut rng) = sizes(stream);
    let k = 2 + rng.below(6);
    let rest = rng.below(k);
    let size: Vec<f32> = (0..k).map(|_| 0.5 + rng.uniform()).collect();
    let run = pick(&[1usize, 1, 8], &mut rng);
    let mut angles = vec![0.0f32; k];
    let mut z = Mat::zeros(rows, 2 * k + rest);
    for i in 0..rows {
        if i % run == 0 {
            angles.iter_mut().for_each(|a| *a = std::f32::consts::TAU * rng.uniform());
        }
        for c in 0..k {
            let a = angles[c] + if run > 1 { 0.6 * (i % run) as f32 } else { 0.0 };
            z[(i, 2 * c)] = size[c] * a.cos();
            z[(i, 2 * c + 1)] = size[c] * a.sin();
        }
        for c in 0..rest {
            z[(i, 2 * k + c)] = 0.5 * rng.normal();
        }
    }
    let d = z.cols() + rng.below(2 * k);
    embed(&z, d, None, vec![NONLINEAR], format!("{rows} rows, {k} circles and {rest} dense dimensions"), stream)
}

/// Circles among sparse features that are directions, all of them turned; the circles have most of the variance.
fn circles_among_sparse(stream: &Rng) -> Case {
    let (rows, mut rng) = sizes(stream);
    let k = 1 + rng.below(3);
    let sparse = k + 1 + rng.below(4 * k);
    let (p, size) = (0.05 + 0.15 * rng.uniform_f64(), 0.8 + 0.8 * rng.uniform());
    let mut z = Mat::zeros(rows, 2 * k + sparse);
    for i in 0..rows {
        for c in 0..k {
            let angle = std::f32::consts::TAU * rng.uniform();
            z[(i, 2 * c)] = size * angle.cos();
            z[(i, 2 * c + 1)] = size * angle.sin();
        }
        for c in 0..sparse {
            z[(i, 2 * k + c)] = if rng.chance(p) { rng.uniform() } else { 0.0 };
        }
    }
    let d = z.cols() + rng.below(2);
    embed(&z, d, None, vec![NONLINEAR], format!("{rows} rows, {k} circles and {sparse} sparse features"), stream)
}

/// Circles that are there in some rows only: features of two dimensions. A concept is a pair of arcs of one of them.
fn sparse_circles(stream: &Rng) -> Case {
    let (rows, mut rng) = sizes(stream);
    let k = 3 + rng.below(6);
    let p = 0.25 + 0.25 * rng.uniform_f64();
    let mut z = Mat::zeros(rows, 2 * k);
    let mut labels = Mat::zeros(rows, 2 * k);
    for i in 0..rows {
        for c in 0..k {
            if rng.chance(p) {
                let angle = std::f32::consts::TAU * rng.uniform();
                z[(i, 2 * c)] = angle.cos();
                z[(i, 2 * c + 1)] = angle.sin();
                labels[(i, 2 * c)] = f32::from((2.0 * angle).sin() > 0.0);
                labels[(i, 2 * c + 1)] = f32::from((2.0 * angle).cos() > 0.0);
            }
        }
    }
    let d = 2 * k + rng.below(k);
    embed(&z, d, Some(labels), vec![NONLINEAR], format!("{rows} rows, {k} circles on in {p:.2} of them"), stream)
}

/// One direction, several concepts: each a band of its magnitude (an onion).
fn bands(stream: &Rng) -> Case {
    let (rows, mut rng) = sizes(stream);
    let (lines, levels) = (2 + rng.below(5), 3 + rng.below(3));
    let d = lines + rng.below(2 * lines) + 2;
    let w = random(lines, lines + 2, &mut rng);
    let mut code = Mat::zeros(rows, lines);
    let mut labels = Mat::zeros(rows, lines * levels);
    for i in 0..rows {
        for c in 0..lines {
            let level = rng.below(levels + 1);
            if level > 0 {
                code[(i, c)] = level as f32 + 0.1 * rng.normal();
                labels[(i, c * levels + level - 1)] = 1.0;
            }
        }
    }
    // The outermost and innermost bands of a line can be read off linearly; those between can't.
    let inner: Vec<usize> = (0..lines * levels).filter(|j| j % levels != levels - 1).collect();
    let z = matmul(&code, &w);
    embed(
        &z,
        d.max(z.cols()),
        Some(labels.select_cols(&inner)),
        vec![NONLINEAR],
        format!("{rows} rows, {lines} lines of {levels} bands"),
        stream,
    )
}

/// Which side of two random planes a row is on, and whether the two agree: regions as of a ReLU network.
fn regions(stream: &Rng) -> Case {
    let (rows, mut rng) = sizes(stream);
    let k = 3 + rng.below(8);
    let concepts = 3 + rng.below(6);
    let z = Mat::from_fn(rows, k, |_, _| rng.normal());
    let planes = random(2 * concepts, k, &mut rng);
    let side = matmul(&z, planes.t());
    let labels =
        Mat::from_fn(rows, concepts, |i, c| f32::from((side[(i, 2 * c)] > 0.0) == (side[(i, 2 * c + 1)] > 0.0)));
    let d = k + rng.below(2 * k);
    embed(
        &z,
        d,
        Some(labels),
        vec![NONLINEAR],
        format!("{rows} rows, regions between {} planes in {k} dimensions", 2 * concepts),
        stream,
    )
}

pub(super) fn families() -> Vec<Family> {
    let of = |id, split, about, make| Family { id, truth: NONLINEAR, split, about, make };
    use Split::{Calibrate, Test};
    vec![
        of("radii", Calibrate, "concepts are distances from the middle", radii),
        of("parities", Calibrate, "concepts are parities of two signs", |r| parities(2, r)),
        of("circles", Calibrate, "circles, without labels", |r| circles(false, r)),
        of("arcs", Calibrate, "circles, concepts are opposite arcs", |r| circles(true, r)),
        of(
            "circles-of-sizes",
            Calibrate,
            "circles of several sizes beside dense dimensions, without labels",
            circles_of_sizes,
        ),
        of("circles-among-sparse", Calibrate, "circles among sparse features, without labels", circles_among_sparse),
        of("triples", Calibrate, "concepts are parities of three signs", |r| parities(3, r)),
        of("bands", Test, "concepts are bands of magnitude on one direction", bands),
        of("regions", Test, "concepts are regions between planes", regions),
        of("sparse-circles", Test, "circles that are there in some rows only", sparse_circles),
        of("torus", Test, "circles at related angles, without labels", torus),
    ]
}

/// Angles that depend on one another: each circle turns with a sum of two of a few angles.
fn torus(stream: &Rng) -> Case {
    let (rows, mut rng) = sizes(stream);
    let (free, k) = (2 + rng.below(4), 3 + rng.below(6));
    let angles = Mat::from_fn(rows, free, |_, _| std::f32::consts::TAU * rng.uniform());
    let parts: Vec<(usize, usize, f32)> =
        (0..k).map(|_| (rng.below(free), rng.below(free), pick(&[-1.0, 1.0], &mut rng))).collect();
    let z = Mat::from_fn(rows, 2 * k, |i, c| {
        let (a, b, sign) = parts[c / 2];
        let angle = if c / 2 < free { angles[(i, c / 2)] } else { angles[(i, a)] + sign * angles[(i, b)] };
        if c % 2 == 0 { angle.cos() } else { angle.sin() }
    });
    let d = 2 * k + rng.below(2 * k);
    embed(&z, d, None, vec![NONLINEAR], format!("{rows} rows, {k} circles of {free} angles"), stream)
}
