//! Rows without features, or too few of them: whatever is said of these but `inconclusive` is made up.

use super::layers::{Step, rotation, through};
use super::{COMPOSITIONAL, Case, Family, INCONCLUSIVE, SUPERPOSITION, Split, log_uniform, neurons, pick};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

const STEPS: &[&[Step]] = &[&[], &[Step::Mean(1.0)], &[Step::Bf16], &[Step::Outliers(2, 4.0)]];

/// `[d, d]` root of a covariance: a spectrum that falls as k^−s on random axes.
fn root(d: usize, slope: f64, rng: &mut Rng) -> Mat {
    let mut q = rotation(d, rng);
    for k in 0..d {
        let scale = ((k + 1) as f64).powf(-0.5 * slope) as f32;
        q.row_mut(k).iter_mut().for_each(|v| *v *= scale);
    }
    q
}

fn finish(x: Mat, about: String, stream: &Rng) -> Case {
    let mut rng = stream.fork("finish");
    let steps = pick(STEPS, &mut rng);
    Case {
        x: through(x, steps, &stream.fork("layer")),
        basis: pick(&[Basis::Privileged, Basis::Unknown, Basis::None], &mut rng),
        labels: None,
        defended: vec![INCONCLUSIVE],
        n_features: None,
        about: format!("{about}, {steps:?}"),
    }
}

fn sizes(stream: &Rng) -> (usize, usize, Rng) {
    let mut rng = stream.fork("settings");
    let d = neurons(&mut rng);
    (log_uniform(2500.0, 10_000.0, &mut rng) as usize, d, rng)
}

fn normal(rows: usize, d: usize, rng: &mut Rng) -> Mat {
    Mat::from_fn(rows, d, |_, _| rng.normal())
}

fn gaussian(stream: &Rng) -> Case {
    let (rows, d, mut rng) = sizes(stream);
    let slope = 2.0 * rng.uniform_f64();
    let x = matmul(&normal(rows, d, &mut rng), &root(d, slope, &mut rng));
    finish(x, format!("{rows} rows, {d} dimensions, slope {slope:.2}"), stream)
}

/// Gaussian rows, each stretched by its own factor.
fn stretched(factor: fn(&mut Rng) -> f32, what: &str, stream: &Rng) -> Case {
    let (rows, d, mut rng) = sizes(stream);
    let slope = 1.5 * rng.uniform_f64();
    let mut x = matmul(&normal(rows, d, &mut rng), &root(d, slope, &mut rng));
    x.data_mut().chunks_mut(d).for_each(|row| {
        let f = factor(&mut rng);
        row.iter_mut().for_each(|v| *v *= f);
    });
    finish(x, format!("{rows} rows, {d} dimensions, {what}, slope {slope:.2}"), stream)
}

/// At most `d` clusters, each with a dense cloud of its own covariance inside.
fn clusters(shapes: bool, stream: &Rng) -> Case {
    let (rows, d, mut rng) = sizes(stream);
    let k = 2 + rng.below(d.min(40) - 1);
    let apart = 0.5 + 2.0 * rng.uniform();
    let middles = Mat::from_fn(k, d, |_, _| apart * rng.normal());
    let roots: Vec<Mat> = (0..if shapes { k.min(8) } else { 1 }).map(|_| root(d, 1.5, &mut rng)).collect();
    let run = pick(&[1usize, 1, 20], &mut rng);
    let mut at = 0;
    let mut x = Mat::zeros(rows, d);
    let noise = normal(rows, d, &mut rng);
    for i in 0..rows {
        if i % run == 0 {
            at = rng.below(k);
        }
        let inside = matmul(noise.rows_view(i, i + 1), &roots[at % roots.len()]);
        let scale = (d as f32).sqrt() * 0.4;
        x.row_mut(i).iter_mut().enumerate().for_each(|(j, v)| *v = middles[(at, j)] + scale * inside[(0, j)]);
    }
    finish(x, format!("{rows} rows, {d} dimensions, {k} clusters, apart {apart:.2}"), stream)
}

/// Mixtures of covariances around one middle.
fn covariances(stream: &Rng) -> Case {
    let (rows, d, mut rng) = sizes(stream);
    let k = 2 + rng.below(6);
    let roots: Vec<Mat> = (0..k).map(|_| root(d, 1.0 + 1.5 * rng.uniform_f64(), &mut rng)).collect();
    let noise = normal(rows, d, &mut rng);
    let mut x = Mat::zeros(rows, d);
    for i in 0..rows {
        let row = matmul(noise.rows_view(i, i + 1), &roots[rng.below(k)]);
        x.row_mut(i).copy_from_slice(row.row(0));
    }
    finish(x, format!("{rows} rows, {d} dimensions, {k} covariances"), stream)
}

/// Gaussians of one shape in sizes that depend on half of the dimensions, or of two shapes.
fn scales(stream: &Rng) -> Case {
    let (rows, d, mut rng) = sizes(stream);
    let roots = [root(d, 1.5 * rng.uniform_f64(), &mut rng), root(d, 2.0, &mut rng)];
    let two = rng.chance(0.5);
    let noise = normal(rows, d, &mut rng);
    let mut x = Mat::zeros(rows, d);
    for i in 0..rows {
        let wide = rng.chance(0.4);
        let row = matmul(noise.rows_view(i, i + 1), &roots[usize::from(two && wide)]);
        let size = if wide { 2.0 } else { 0.7 };
        x.row_mut(i)
            .iter_mut()
            .zip(row.row(0))
            .enumerate()
            .for_each(|(j, (x, v))| *x = if two || 2 * j < d { size * v } else { *v });
    }
    finish(x, format!("{rows} rows, {d} dimensions, {} shapes of two sizes", 1 + usize::from(two)), stream)
}

/// More clusters than dimensions, and a fifth to two thirds of the variance inside them.
fn many_clusters(stream: &Rng) -> Case {
    let (rows, d, mut rng) = sizes(stream);
    let d = d.min(40);
    let k = d + 1 + rng.below(2 * d);
    let inside = 0.2 + 0.45 * rng.uniform();
    let middles = normal(k, d, &mut rng);
    let (near, far) = (inside.sqrt(), (1.0 - inside).sqrt());
    let shape = root(d, rng.uniform_f64(), &mut rng);
    let mut cloud = matmul(&normal(rows, d, &mut rng), &shape);
    let scale = near / super::layers::spread_of(&cloud).max(1e-6);
    for i in 0..rows {
        let c = rng.below(k);
        cloud.row_mut(i).iter_mut().zip(middles.row(c)).for_each(|(v, m)| *v = scale * *v + far * m);
    }
    finish(cloud, format!("{rows} rows, {k} clusters in {d} dimensions, {inside:.2} of the variance inside"), stream)
}

/// Clusters, each of its own size and frequency, with round clouds.
fn clusters_of_sizes(stream: &Rng) -> Case {
    let (rows, d, mut rng) = sizes(stream);
    let k = 3 + rng.below(d.min(30) - 2);
    let middles = Mat::from_fn(k, d, |_, _| 1.5 * rng.normal());
    let size: Vec<f32> = (0..k).map(|_| 0.3 + 1.2 * rng.uniform()).collect();
    let mut x = Mat::zeros(rows, d);
    for i in 0..rows {
        let c = ((k as f64) * rng.uniform_f64().powi(2)) as usize % k;
        for j in 0..d {
            x[(i, j)] = middles[(c, j)] + size[c] * rng.normal();
        }
    }
    finish(x, format!("{rows} rows, {d} dimensions, {k} clusters of several sizes"), stream)
}

/// A stream whose components remember: dense, Gaussian, slow.
fn slow(stream: &Rng) -> Case {
    let (rows, d, mut rng) = sizes(stream);
    let memory = pick(&[0.5f64, 0.8, 0.9, 0.95], &mut rng);
    let rho: Vec<f64> = (0..d).map(|_| memory * rng.uniform_f64().sqrt()).collect();
    let z = crate::diagnose::surrogate::gaussian_stream(rows, &rho, &stream.fork("stream"));
    let x = matmul(&z, &root(d, rng.uniform_f64(), &mut rng));
    finish(x, format!("{rows} rows, {d} dimensions, memory {memory}"), stream)
}

/// Few dimensions in many columns.
fn flat(stream: &Rng) -> Case {
    let (rows, d, mut rng) = sizes(stream);
    let rank = 2 + rng.below(d / 2);
    let map = normal(rank, d, &mut rng);
    let noise = pick(&[0.0f32, 0.01, 0.1], &mut rng);
    let mut x = matmul(&normal(rows, rank, &mut rng), &map);
    x.data_mut().iter_mut().for_each(|v| *v += noise * rng.normal());
    finish(x, format!("{rows} rows, {rank} dimensions in {d} columns, noise {noise}"), stream)
}

/// Sparse features, and too few rows to see them.
fn few_rows(stream: &Rng) -> Case {
    let (_, d, mut rng) = sizes(stream);
    let rows = 30 + rng.below((6 * d).min(240));
    let n = d / 2 + rng.below(3 * d);
    let w = super::layers::random(n, d, &mut rng);
    let p = (3.0 / n as f64).min(0.3);
    let code = super::codes::Code::new(vec![p; n]).draw(rows, &stream.fork("code"));
    finish(matmul(&code, &w), format!("{rows} rows, {n} features in {d} dimensions"), stream)
}

/// More tight clusters than dimensions are a one-hot code: both names are right.
fn tight_clusters(stream: &Rng) -> Case {
    let (rows, d, mut rng) = sizes(stream);
    let d = d.min(32);
    let k = 2 * d + rng.below(2 * d);
    let middles = normal(k, d, &mut rng);
    let x = Mat::from_fn(rows, d, |_, _| 0.0);
    let mut x = x;
    for i in 0..rows {
        let c = rng.below(k);
        for j in 0..d {
            x[(i, j)] = middles[(c, j)] + 0.04 * rng.normal();
        }
    }
    let mut case = finish(x, format!("{rows} rows, {k} tight clusters in {d} dimensions"), stream);
    case.defended = vec![SUPERPOSITION, COMPOSITIONAL];
    case
}

pub(super) fn families() -> Vec<Family> {
    let of = |id, split, about, make| Family { id, truth: INCONCLUSIVE, split, about, make };
    use Split::{Calibrate, Test};
    vec![
        of("gaussian", Calibrate, "a Gaussian cloud", gaussian),
        of("heavy", Calibrate, "a Gaussian cloud, rows stretched as of a t law", |r| {
            stretched(
                |rng| {
                    let chi: f32 = (0..4).map(|_| rng.normal().powi(2)).sum::<f32>() / 4.0;
                    1.0 / chi.max(0.02).sqrt()
                },
                "t with 4 degrees",
                r,
            )
        }),
        of("clusters", Calibrate, "clusters with a dense cloud inside", |r| clusters(false, r)),
        of("slow", Calibrate, "a slow Gaussian stream", slow),
        of("few-rows", Calibrate, "sparse features in too few rows", few_rows),
        of("flat", Calibrate, "a Gaussian of few dimensions in many columns", flat),
        of("many-clusters", Calibrate, "more clusters than dimensions, with dense clouds inside", many_clusters),
        of("scales", Calibrate, "Gaussians of one shape and several sizes, or two shapes", scales),
        of("clusters-of-sizes", Calibrate, "clusters of several sizes, some common and some rare", clusters_of_sizes),
        Family {
            truth: SUPERPOSITION,
            ..of("tight-clusters", Calibrate, "more tight clusters than dimensions", tight_clusters)
        },
        of("covariances", Test, "Gaussians of several covariances around one middle", covariances),
        of("clusters-of-shapes", Test, "clusters, each of its own shape, in runs", |r| clusters(true, r)),
        of("stretched", Test, "a Gaussian cloud, rows stretched by lognormal or two-valued factors", |r| {
            stretched(
                |rng| if rng.chance(0.3) { 2.5 } else { (0.5 * rng.normal()).exp() },
                "lognormal and two-valued",
                r,
            )
        }),
        of("gaussian-test", Test, "a Gaussian cloud, made as the family that calibrates", gaussian),
        of("slow-test", Test, "a slow Gaussian stream, made as the family that calibrates", slow),
    ]
}
