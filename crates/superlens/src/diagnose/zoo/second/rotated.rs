//! Orthogonal, rotated: no more sparse features than dimensions, in orthogonal directions away from the neurons.

use super::tools::{
    Size, apply, between, bf16, densities, enough, features, noisy, on_off, one_of, pick, rotation, shift, told,
};
use super::{Case, Family, ROTATED, case, family};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

pub(super) fn families() -> Vec<Family> {
    vec![
        family("second-rotated-butterfly", ROTATED, "features mixed four by four, as by a fast transform", butterfly),
        family("second-rotated-frame", ROTATED, "signed features in a frame of fewer dimensions, values known", frame),
        family("second-rotated-normed", ROTATED, "lasting features, rotated, rows of one scale", normed),
    ]
}

/// Two stages of plane rotations in each block of four neurons.
fn butterfly(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = 4 * pick(&mut s, 4, 20);
    let p = densities(d, 0.03, 0.1, &mut s);
    let rows = enough(pick(&mut s, 6_000, 12_000), &p);
    let f = features(rows, &p, 1.0, one_of(&mut s, &Size::ALL), &rng.fork("features"));
    let order = s.permutation(d);
    let mut x = Mat::from_fn(rows, d, |i, j| f[(i, order[j])]);
    for block in (0..d).step_by(4) {
        for (a, b) in [(0, 1), (2, 3), (0, 2), (1, 3)] {
            let (sin, cos) = (between(&mut s, 0.5, 1.07) as f32).sin_cos();
            for i in 0..rows {
                let (u, v) = (x[(i, block + a)], x[(i, block + b)]);
                x[(i, block + a)] = cos * u - sin * v;
                x[(i, block + b)] = sin * u + cos * v;
            }
        }
    }
    noisy(&mut x, between(&mut s, 0.03, 0.15), &mut rng.fork("noise"));
    let labels = s.chance(0.3).then(|| on_off(&f));
    told(case(x, Basis::Unknown, labels, ROTATED, d, "blocks of four".into()))
}

/// `n < d` orthonormal directions, features with a sign, a mean, bf16. The labels are the features' values.
fn frame(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = pick(&mut s, 24, 80);
    let n = (d as f64 * between(&mut s, 0.35, 0.75)) as usize;
    let p = densities(n, 0.04, 0.12, &mut s);
    let rows = enough(pick(&mut s, 6_000, 12_000), &p);
    let mut f = features(rows, &p, 1.0, one_of(&mut s, &Size::ALL), &rng.fork("features"));
    let mut sign = rng.fork("signs");
    for v in f.data_mut() {
        if sign.chance(0.5) {
            *v = -*v;
        }
    }
    let r = rotation(d, &mut rng.fork("rotation"));
    let mut x = matmul(&f, r.rows_view(0, n));
    noisy(&mut x, between(&mut s, 0.05, 0.15), &mut rng.fork("noise"));
    let mean: Vec<f32> = (0..d).map(|_| 0.4 * s.normal()).collect();
    shift(&mut x, &mean);
    apply(&mut x, bf16);
    told(case(x, Basis::Unknown, Some(f), ROTATED, n, format!("{n} signed features")))
}

/// Rows are divided by their root mean square, softened so that empty rows stay small. Half have labels.
fn normed(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (d, run) = (pick(&mut s, 24, 72), between(&mut s, 2.0, 8.0));
    let n = d - pick(&mut s, 0, d / 6);
    let p = densities(n, 0.04, 0.1, &mut s);
    let rows = enough(pick(&mut s, 8_000, 12_000), &p);
    let f = features(rows, &p, run, Size::Exponential, &rng.fork("features"));
    let r = rotation(d, &mut rng.fork("rotation"));
    let mut x = matmul(&f, r.rows_view(0, n));
    noisy(&mut x, between(&mut s, 0.03, 0.1), &mut rng.fork("noise"));
    let power = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>() / d as f32;
    let typical = (0..rows).map(|i| power(x.row(i))).sum::<f32>() / rows as f32;
    for i in 0..rows {
        let scale = 1.0 / (power(x.row(i)) + 0.5 * typical).sqrt();
        for v in x.row_mut(i) {
            *v *= scale;
        }
    }
    let labels = s.chance(0.5).then(|| on_off(&f));
    told(case(x, Basis::Unknown, labels, ROTATED, n, format!("{n} features in runs of {run:.0}")))
}
