//! Nonlinear: concepts that no direction tells, though a curve does. All with binary labels.

use super::tools::{between, noisy, normals, one_of, pick, rotation, told};
use super::{Case, Family, NONLINEAR, case, family};
use crate::verdict::Basis;
use std::f64::consts::TAU;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

pub(super) fn families() -> Vec<Family> {
    vec![
        family("second-nonlin-clocks", NONLINEAR, "hours on circles; concepts are two opposite times of day", clocks),
        family("second-nonlin-doses", NONLINEAR, "a little, some, much along one direction", doses),
        family("second-nonlin-regions", NONLINEAR, "chequers and balls in a Gaussian cloud", regions),
    ]
}

/// Each clock is a circle in a plane of its own; "rush hour" is on around an hour and around the opposite one.
fn clocks(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = pick(&mut s, 12, 32);
    let m = pick(&mut s, d / 4, d / 2);
    let rows = pick(&mut s, 5_000, 11_000);
    let mut stream = rng.fork("hours");
    let hours: Vec<Vec<f64>> = (0..m).map(|_| (0..rows).map(|_| TAU * stream.uniform_f64()).collect()).collect();
    let radius: Vec<f64> = (0..m).map(|_| between(&mut s, 0.7, 1.4)).collect();
    let flat = Mat::from_fn(rows, 2 * m, |i, j| {
        let (sin, cos) = hours[j / 2][i].sin_cos();
        (radius[j / 2] * if j % 2 == 0 { cos } else { sin }) as f32
    });
    let mut x = matmul(&flat, rotation(d, &mut rng.fork("rotation")).rows_view(0, 2 * m));
    noisy(&mut x, between(&mut s, 0.03, 0.12), &mut rng.fork("noise"));
    let peaks: Vec<f64> = (0..2 * m).map(|_| TAU * s.uniform_f64()).collect();
    let width = between(&mut s, 0.25, 0.45);
    // The angle doubled: an arc of it is two opposite arcs. Its cosine exceeds cos(π · width) in the share `width`.
    let labels = Mat::from_fn(rows, 2 * m, |i, c| {
        let near = (2.0 * hours[c / 2][i] - peaks[c]).cos() > (0.5 * TAU * width).cos();
        f32::from(u8::from(near))
    });
    let basis = one_of(&mut s, &[Basis::None, Basis::Unknown]);
    told(case(x, basis, Some(labels), NONLINEAR, None, format!("{m} clocks")))
}

/// Three bands of magnitude on each direction mean three things; only the highest can be told by a threshold.
fn doses(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = pick(&mut s, 12, 32);
    let n = pick(&mut s, d / 3, 2 * d / 3);
    let rows = pick(&mut s, 5_000, 11_000);
    let (on, blur) = (between(&mut s, 0.35, 0.55), between(&mut s, 0.03, 0.1) as f32);
    let mut stream = rng.fork("doses");
    let level: Vec<Vec<usize>> =
        (0..rows).map(|_| (0..n).map(|_| if stream.chance(on) { 1 + stream.below(3) } else { 0 }).collect()).collect();
    let f = Mat::from_fn(rows, n, |i, j| {
        let at = level[i][j] as f32;
        if at > 0.0 { at + blur * stream.normal() } else { 0.0 }
    });
    let mut x = matmul(&f, rotation(d, &mut rng.fork("rotation")).rows_view(0, n));
    noisy(&mut x, between(&mut s, 0.02, 0.08), &mut rng.fork("noise"));
    let labels = Mat::from_fn(rows, 3 * n, |i, c| f32::from(u8::from(level[i][c / 3] == 1 + c % 3)));
    told(case(x, Basis::Unknown, Some(labels), NONLINEAR, None, format!("{n} directions with three doses each")))
}

/// From X alone a Gaussian. Concepts: two coordinates agree in sign; two or three lie within a ball.
fn regions(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (rows, d) = (pick(&mut s, 6_000, 12_000), pick(&mut s, 12, 24));
    let u = normals(rows, d, &mut rng.fork("cloud"));
    let scale: Vec<f32> = (0..d).map(|_| between(&mut s, 0.7, 1.4) as f32).collect();
    let scaled = Mat::from_fn(rows, d, |i, j| u[(i, j)] * scale[j]);
    let mut x = matmul(&scaled, &rotation(d, &mut rng.fork("rotation")));
    noisy(&mut x, between(&mut s, 0.01, 0.06), &mut rng.fork("noise"));
    let (chequers, balls) = (d / 2, d / 4);
    let order = s.permutation(d);
    let labels = Mat::from_fn(rows, chequers + balls, |i, c| {
        let inside = if c < chequers {
            u[(i, order[2 * c])] * u[(i, order[2 * c + 1])] > 0.0
        } else {
            let first = 3 * (c - chequers);
            let r2: f32 = order[first..first + 3].iter().map(|&k| u[(i, k)].powi(2)).sum();
            r2 < 2.37
        };
        f32::from(u8::from(inside))
    });
    told(case(x, Basis::Unknown, Some(labels), NONLINEAR, None, format!("{chequers} chequers and {balls} balls")))
}
