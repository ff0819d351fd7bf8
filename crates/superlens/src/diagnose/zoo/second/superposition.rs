//! Superposition: more sparse linear features than dimensions.

use super::tools::{
    Size, apply, between, densities, enough, features, noisy, normals, on_off, one_of, pick, relu, rotation, shift,
    told,
};
use super::{Case, Family, SUPERPOSITION, case, family};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

pub(super) fn families() -> Vec<Family> {
    vec![
        family("second-super-hash", SUPERPOSITION, "features hashed to four ReLU neurons each, one inhibited", hash),
        family("second-super-two-bases", SUPERPOSITION, "two unbiased bases at once in a residual stream", two_bases),
        family("second-super-polytopes", SUPERPOSITION, "triangles, pentagons and tetrahedra of features", polytopes),
    ]
}

/// Each feature excites four neurons and inhibits one; no two share more than two. A ReLU follows. Half have labels.
fn hash(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = pick(&mut s, 32, 64);
    let n = (d as f64 * between(&mut s, 1.5, 2.5)) as usize;
    let active = between(&mut s, 1.5, 2.5);
    let base = (active / n as f64).max(0.018);
    let p = densities(n, 0.75 * base, 1.3 * base, &mut s);
    let rows = enough(pick(&mut s, 7_000, 12_000), &p);
    let f = features(rows, &p, 1.0, one_of(&mut s, &Size::ALL), &rng.fork("features"));
    let mut w = Mat::zeros(n, d);
    let mut taken: Vec<Vec<usize>> = Vec::new();
    for j in 0..n {
        let order = loop {
            let order = s.permutation(d);
            let shared = |t: &Vec<usize>| t.iter().filter(|u| order[..4].contains(u)).count();
            if taken.iter().all(|t| shared(t) <= 2) {
                break order;
            }
        };
        for &u in &order[..4] {
            w[(j, u)] = between(&mut s, 0.7, 1.3) as f32;
        }
        w[(j, order[4])] = -between(&mut s, 0.5, 1.0) as f32;
        taken.push(order[..4].to_vec());
    }
    let mut x = matmul(&f, &w);
    noisy(&mut x, between(&mut s, 0.03, 0.12), &mut rng.fork("noise"));
    let bias = between(&mut s, -0.05, 0.1) as f32;
    apply(&mut x, |v| relu(v + bias));
    let labels = s.chance(0.5).then(|| on_off(&f));
    told(case(
        x,
        Basis::Privileged,
        labels,
        SUPERPOSITION,
        n,
        format!("{n} features, {:.1} on at a time", base * n as f64),
    ))
}

/// A rotation and its Hadamard transform: 2 d directions, no two closer than 1/√d. Tokens in short runs, a mean, outlier
/// dimensions.
fn two_bases(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = one_of(&mut s, &[32, 64]);
    let (n, run) = (2 * d, one_of(&mut s, &[1.0, 3.0, 5.0]));
    let active = if d == 32 { between(&mut s, 1.5, 2.5) } else { between(&mut s, 2.5, 4.0) };
    let base = (active / n as f64).max(0.022);
    let p = densities(n, 0.85 * base, 1.3 * base, &mut s);
    let rows = enough(pick(&mut s, 9_000, 12_000), &p);
    let f = features(rows, &p, run, one_of(&mut s, &Size::ALL), &rng.fork("features"));
    let r = rotation(d, &mut rng.fork("rotation"));
    let root = (d as f32).sqrt();
    let hadamard = Mat::from_fn(d, d, |i, j| if (i & j).count_ones() % 2 == 0 { 1.0 / root } else { -1.0 / root });
    let h = matmul(&hadamard, &r);
    let w = Mat::from_fn(n, d, |i, j| if i < d { r[(i, j)] } else { h[(i - d, j)] });
    let mut x = matmul(&f, &w);
    noisy(&mut x, between(&mut s, 0.03, 0.12), &mut rng.fork("noise"));
    let mut mean: Vec<f32> = (0..d).map(|_| 0.3 * s.normal()).collect();
    for _ in 0..pick(&mut s, 0, 2) {
        mean[s.below(d)] += between(&mut s, 5.0, 20.0) as f32;
    }
    shift(&mut x, &mean);
    told(case(x, Basis::None, None, SUPERPOSITION, n, format!("{n} features in runs of {run:.0}")))
}

/// Toy models' geometry: 3 or 5 features in a plane, 4 in a space of three dimensions; planes along neurons or rotated.
fn polytopes(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let room = pick(&mut s, 16, 44);
    let mut rows_of_w: Vec<(usize, Vec<f32>)> = Vec::new();
    let mut d = 0;
    while d < room {
        let (dims, vertices) = match s.below(3) {
            0 => (2, ring(3)),
            1 => (2, ring(5)),
            _ => {
                let c = 1.0 / 3f32.sqrt();
                (3, vec![vec![c, c, c], vec![c, -c, -c], vec![-c, c, -c], vec![-c, -c, c]])
            }
        };
        rows_of_w.extend(vertices.into_iter().map(|v| (d, v)));
        d += dims;
    }
    let n = rows_of_w.len();
    let mut w = Mat::zeros(n, d);
    for (j, (from, v)) in rows_of_w.iter().enumerate() {
        w.row_mut(j)[*from..*from + v.len()].copy_from_slice(v);
    }
    let rotated = s.chance(0.6);
    if rotated {
        w = matmul(&w, &rotation(d, &mut rng.fork("rotation")));
    }
    let active = between(&mut s, 1.5, 2.5);
    let base = (active / n as f64).max(0.018);
    let p = densities(n, 0.8 * base, 1.25 * base, &mut s);
    let rows = enough(pick(&mut s, 6_000, 12_000), &p);
    let f = features(rows, &p, 1.0, one_of(&mut s, &Size::ALL), &rng.fork("features"));
    let mut x = matmul(&f, &w);
    let sd = between(&mut s, 0.005, 0.03) as f32;
    let noise = normals(rows, d, &mut rng.fork("noise"));
    for (v, e) in x.data_mut().iter_mut().zip(noise.data()) {
        *v += sd * e;
    }
    let about = format!("{n} features, {}", if rotated { "planes rotated" } else { "planes of neurons" });
    told(case(x, Basis::Unknown, None, SUPERPOSITION, n, about))
}

/// The corners of a regular polygon, not along the axes.
fn ring(k: usize) -> Vec<Vec<f32>> {
    (0..k)
        .map(|i| {
            let angle = std::f32::consts::TAU * (i as f32 + 0.2) / k as f32;
            vec![angle.cos(), angle.sin()]
        })
        .collect()
}
