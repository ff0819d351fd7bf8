//! Inconclusive: nothing is there to be found, or too few rows to find it.

use super::tools::{Size, apply, between, bf16, features, noisy, normals, pick, spells, told};
use super::{Case, Family, INCONCLUSIVE, case, family};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

pub(super) fn families() -> Vec<Family> {
    vec![
        family(
            "second-null-volatility",
            INCONCLUSIVE,
            "Gaussian factors whose common scale comes in storms",
            volatility,
        ),
        family("second-null-field", INCONCLUSIVE, "a smooth Gaussian field, with labels of something else", field),
        family("second-null-few-rows", INCONCLUSIVE, "superposition, but fewer rows than dimensions", few_rows),
    ]
}

/// Returns of a market: one volatility for all, its logarithm autoregressive. Elliptical, heavy-tailed, in bursts.
fn volatility(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (rows, d) = (pick(&mut s, 5_000, 12_000), pick(&mut s, 16, 72));
    let factors = pick(&mut s, 2, 6);
    let mut mix = normals(factors + d, d, &mut rng.fork("loadings"));
    for j in 0..d {
        let own = between(&mut s, 0.4, 1.0) as f32;
        for k in 0..d {
            mix[(factors + j, k)] = if j == k { own } else { 0.0 };
        }
    }
    let mut x = matmul(&normals(rows, factors + d, &mut rng.fork("shocks")), &mix);
    let (keep, spread) = (between(&mut s, 0.5, 0.95) as f32, between(&mut s, 0.3, 0.7) as f32);
    let mut stream = rng.fork("storms");
    let mut log = stream.normal();
    for i in 0..rows {
        log = keep * log + (1.0 - keep * keep).sqrt() * stream.normal();
        let scale = (spread * log).exp();
        x.row_mut(i).iter_mut().for_each(|v| *v *= scale);
    }
    told(case(x, Basis::Unknown, None, INCONCLUSIVE, None, format!("{factors} factors, log-scale spread {spread:.2}")))
}

/// Columns are places on a line, rows are times, both smooth. The labels last as long as the field does and have nothing to
/// do with it. Half come without them.
fn field(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (rows, d) = (pick(&mut s, 5_000, 12_000), pick(&mut s, 16, 72));
    let (reach, keep) = (between(&mut s, 0.5, 4.0), between(&mut s, 0.0, 0.85) as f32);
    let smooth = Mat::from_fn(d, d, |i, j| (-(i as f64 - j as f64).powi(2) / (2.0 * reach * reach)).exp() as f32);
    let mut z = normals(rows, d, &mut rng.fork("shocks"));
    let fresh = (1.0 - keep * keep).sqrt();
    for i in 1..rows {
        for j in 0..d {
            z[(i, j)] = keep * z[(i - 1, j)] + fresh * z[(i, j)];
        }
    }
    let mut x = matmul(&z, &smooth);
    noisy(&mut x, between(&mut s, 0.02, 0.1), &mut rng.fork("noise"));
    apply(&mut x, bf16);
    let run = 1.0 / (1.0 - keep as f64);
    let labels = s.chance(0.5).then(|| {
        let concepts = pick(&mut s, 6, 20);
        let columns: Vec<Vec<bool>> = (0..concepts)
            .map(|c| {
                let mut own = rng.fork("labels").fork_index(c as u64);
                let p = between(&mut own, 0.1, 0.4);
                spells(rows, p, run, &mut own)
            })
            .collect();
        Mat::from_fn(rows, concepts, |i, c| f32::from(u8::from(columns[c][i])))
    });
    told(case(x, Basis::Unknown, labels, INCONCLUSIVE, None, format!("reach {reach:.1}, rows kept {keep:.2}")))
}

/// Two features a dimension would be superposition, but each was seen in a row or two.
fn few_rows(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = pick(&mut s, 32, 96);
    let (rows, n) = (pick(&mut s, 3 * d / 5, 9 * d / 10), 2 * d);
    let p = vec![3.0 / n as f64; n];
    let f = features(rows, &p, 1.0, Size::Exponential, &rng.fork("features"));
    let mut w = normals(n, d, &mut rng.fork("directions"));
    apply(&mut w, |v| v / (d as f32).sqrt());
    let mut x = matmul(&f, &w);
    noisy(&mut x, between(&mut s, 0.05, 0.2), &mut rng.fork("noise"));
    told(case(x, Basis::Unknown, None, INCONCLUSIVE, None, format!("{n} features, barely seen")))
}
