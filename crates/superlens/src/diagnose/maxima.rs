//! Directions along which the rows pile up: local maxima of `E[(u·y)₊^(p+1)]` over the sphere.
//!
//! `y` is a white row brought to unit length, so that heavy tails carry no weight and an elliptical cloud has no maxima
//! at all. The exponent sets how sharp a pile must be: p = 2 and 3 (third and fourth moments, with the curvature term of
//! FastICA; Hyvärinen and Oja 1997) still see features when a third of the dimensions' worth of them is on at once, and
//! large p, which seeks the modes of the cloud, tells hundreds of directions apart when few are on at once.

use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::gemm;
use superlens_tensor::kernels::pointwise::dot;

/// Rows a piece; fixed, so that sums come out the same on any number of threads.
const PIECE_ROWS: usize = 1024;
/// A direction that turns by less than this (1 − cos) in a step has arrived.
const ARRIVED: f32 = 1e-4;
/// Two maxima closer than this cosine are one.
pub(super) const SAME: f32 = 0.9;

/// White rows at (at most) unit length, `[rows, rank]`.
#[derive(Clone, Debug)]
pub(super) struct Cloud {
    pub y: Mat,
    /// ‖z‖² / rank of each row.
    pub energy: Vec<f32>,
    /// Whether negative s = u·y count as well, as in a cumulant, or only positive ones.
    signed: bool,
}

impl Cloud {
    /// Rows shorter than this share of the root-mean-square length keep being short: where nothing is active there is no direction.
    const SHORT: f32 = 0.3;

    pub fn new(z: &Mat) -> Self {
        let rank = z.cols() as f32;
        let mut y = z.clone();
        let mut energy = Vec::with_capacity(z.rows());
        for i in 0..z.rows() {
            let e = dot(z.row(i), z.row(i)) / rank;
            let scale = 1.0 / (rank.sqrt() * e.sqrt().max(Self::SHORT));
            y.row_mut(i).iter_mut().for_each(|v| *v *= scale);
            energy.push(e);
        }
        Self { y, energy, signed: false }
    }

    /// The white rows at their own length and with both signs: here the maxima of third and fourth moments, which are then
    /// cumulants, are exactly the sources of a complete code, at the price of being led by outliers. One-sided moments are
    /// not: they mix skewness with `E[|s|³]`, and a feature that is on in a third of the rows is skewed but lighter in its tails
    /// than a Gaussian.
    pub fn unnormalised(z: &Mat) -> Self {
        let rank = z.cols() as f32;
        let mut y = z.clone();
        y.data_mut().iter_mut().for_each(|v| *v /= rank.sqrt());
        let energy = (0..z.rows()).map(|i| dot(z.row(i), z.row(i)) / rank).collect();
        Self { y, energy, signed: true }
    }

    pub fn rank(&self) -> usize {
        self.y.cols()
    }
}

/// Moves every row of `u` `[starts, rank]` uphill on rows `from..to` of the cloud, for at most `steps` steps.
pub(super) fn climb(cloud: &Cloud, (from, to): (usize, usize), u: &mut Mat, power: u32, steps: usize) {
    let rank = cloud.rank();
    let mut moving: Vec<usize> = (0..u.rows()).collect();
    for _ in 0..steps {
        if moving.is_empty() {
            return;
        }
        let v = u.select_rows(&moving);
        let next = step(cloud, from, to, &v, power);
        let mut still = Vec::with_capacity(moving.len());
        for (k, &i) in moving.iter().enumerate() {
            let cos = dot(next.row(k), v.row(k));
            let sign = if cos < 0.0 { -1.0 } else { 1.0 };
            for j in 0..rank {
                u[(i, j)] = sign * next[(k, j)];
            }
            if cos.abs() < 1.0 - ARRIVED {
                still.push(i);
            }
        }
        moving = still;
    }
}

/// One fixed-point step: u ← normalise(r `E[y s^p]` − p `E[s^(p−1)]` u), s = (u·y)₊, r the rank; without the last term for p > 3.
fn step(cloud: &Cloud, from: usize, to: usize, u: &Mat, power: u32) -> Mat {
    let mut next = uphill(cloud, from, to, u, power);
    for i in 0..u.rows() {
        normalise(next.row_mut(i), u.row(i));
    }
    next
}

/// Whether each direction is a maximum rather than a minimum, to which the curvature term is drawn just as much: there the
/// step points backwards.
pub(super) fn is_maximum(cloud: &Cloud, u: &Mat, power: u32) -> Vec<bool> {
    let next = uphill(cloud, 0, cloud.y.rows(), u, power);
    (0..u.rows()).map(|i| dot(next.row(i), u.row(i)) > 0.0).collect()
}

/// r `E[y s^p]` − p `E[s^(p−1)]` u, up to a factor.
fn uphill(cloud: &Cloud, from: usize, to: usize, u: &Mat, power: u32) -> Mat {
    let (n, rank) = (to - from, cloud.rank());
    let curved = power <= 3;
    let pieces: Vec<(Mat, Vec<f64>)> = (0..n.div_ceil(PIECE_ROWS))
        .into_par_iter()
        .map(|p| {
            let y = cloud.y.rows_view(from + p * PIECE_ROWS, (from + (p + 1) * PIECE_ROWS).min(to));
            let mut s = Mat::zeros(y.rows, u.rows());
            gemm(1.0, y, u.t(), 0.0, &mut s);
            let mut curvature = vec![0.0f64; if curved { u.rows() } else { 0 }];
            if !cloud.signed {
                s.data_mut().iter_mut().for_each(|v| *v = v.max(0.0));
            }
            raise(&mut s, power, &mut curvature);
            let mut gradient = Mat::zeros(u.rows(), rank);
            gemm(1.0, s.t(), y, 0.0, &mut gradient);
            (gradient, curvature)
        })
        .collect();
    let mut next = Mat::zeros(u.rows(), rank);
    let mut curvature = vec![0.0f64; u.rows()];
    for (gradient, c) in &pieces {
        next.data_mut().iter_mut().zip(gradient.data()).for_each(|(a, b)| *a += b);
        curvature.iter_mut().zip(c).for_each(|(a, b)| *a += b);
    }
    for i in 0..u.rows() {
        if curved {
            let weight = (f64::from(power) * curvature[i] / rank as f64) as f32;
            next.row_mut(i).iter_mut().zip(u.row(i)).for_each(|(a, b)| *a -= weight * b);
        }
    }
    next
}

/// `s ← s^power` in place; where `curvature` isn't empty, column sums of `s^(power−1)` are added to it.
fn raise(s: &mut Mat, power: u32, curvature: &mut [f64]) {
    for i in 0..s.rows() {
        let row = s.row_mut(i);
        match power {
            2 => {
                for (v, c) in row.iter_mut().zip(curvature.iter_mut()) {
                    *c += f64::from(*v);
                    *v *= *v;
                }
            }
            3 => {
                for (v, c) in row.iter_mut().zip(curvature.iter_mut()) {
                    let q = *v * *v;
                    *c += f64::from(q);
                    *v *= q;
                }
            }
            5 => row.iter_mut().for_each(|v| {
                let q = *v * *v;
                *v *= q * q;
            }),
            9 => row.iter_mut().for_each(|v| {
                let q = *v * *v;
                let q = q * q;
                *v *= q * q;
            }),
            _ => row.iter_mut().for_each(|v| *v = v.powi(power as i32)),
        }
    }
}

fn normalise(v: &mut [f32], fallback: &[f32]) {
    let norm = dot(v, v).sqrt();
    if norm > 1e-30 && norm.is_finite() {
        v.iter_mut().for_each(|x| *x /= norm);
    } else {
        v.copy_from_slice(fallback);
    }
}

/// Mean of `s^(power+1)` over the rows, s₊ unless both signs count, per direction: the height of each maximum.
pub(super) fn heights(cloud: &Cloud, u: &Mat, power: u32) -> Vec<f64> {
    let n = cloud.y.rows();
    let pieces: Vec<Vec<f64>> = (0..n.div_ceil(PIECE_ROWS))
        .into_par_iter()
        .map(|p| {
            let y = cloud.y.rows_view(p * PIECE_ROWS, ((p + 1) * PIECE_ROWS).min(n));
            let mut s = Mat::zeros(y.rows, u.rows());
            gemm(1.0, y, u.t(), 0.0, &mut s);
            let mut sums = vec![0.0f64; u.rows()];
            for i in 0..s.rows() {
                for (sum, v) in sums.iter_mut().zip(s.row(i)) {
                    let v = if cloud.signed { *v } else { v.max(0.0) };
                    *sum += f64::from(v.powi(power as i32 + 1));
                }
            }
            sums
        })
        .collect();
    let mut sums = vec![0.0f64; u.rows()];
    for piece in pieces {
        sums.iter_mut().zip(piece).for_each(|(a, b)| *a += b);
    }
    sums.iter().map(|s| s / n as f64).collect()
}

/// One of each group of directions within [`SAME`] of one another, earlier rows first, with the size of its group.
pub(super) fn distinct(u: &Mat) -> (Vec<usize>, Vec<usize>) {
    let mut gram = Mat::zeros(u.rows(), u.rows());
    gemm(1.0, u.view(), u.t(), 0.0, &mut gram);
    let mut taken = vec![false; u.rows()];
    let (mut keep, mut sizes) = (Vec::new(), Vec::new());
    for i in 0..u.rows() {
        if taken[i] {
            continue;
        }
        let mut size = 0;
        for j in i..u.rows() {
            if !taken[j] && (j == i || gram[(i, j)] > SAME) {
                taken[j] = true;
                size += 1;
            }
        }
        keep.push(i);
        sizes.push(size);
    }
    (keep, sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    /// Rows that are noisy copies of one of five fixed directions.
    fn five_rays(rng: &mut Rng) -> (Mat, Mat) {
        let mut rays = Mat::from_fn(5, 4, |_, _| rng.normal());
        for i in 0..5 {
            let copy = rays.row(i).to_vec();
            normalise(rays.row_mut(i), &copy);
        }
        let mut z = Mat::zeros(3000, 4);
        for i in 0..3000 {
            let (k, a) = (rng.below(5), 1.0 + rng.uniform());
            for j in 0..4 {
                z[(i, j)] = a * rays[(k, j)] + 0.02 * rng.normal();
            }
        }
        (rays, z)
    }

    #[test]
    fn climbing_ends_on_the_rays() {
        let mut rng = Rng::new(5);
        let (rays, z) = five_rays(&mut rng);
        let cloud = Cloud::new(&z);
        let mut u = cloud.y.select_rows(&(0..60).collect::<Vec<_>>());
        for i in 0..60 {
            let copy = u.row(i).to_vec();
            normalise(u.row_mut(i), &copy);
        }
        climb(&cloud, (0, 3000), &mut u, 15, 40);
        let (keep, sizes) = distinct(&u);
        assert_eq!(sizes.iter().sum::<usize>(), 60);
        for k in 0..5 {
            assert!(keep.iter().any(|&i| dot(u.row(i), rays.row(k)) > 0.99), "ray {k} not found");
        }
    }

    #[test]
    fn threads_change_no_byte() {
        let mut rng = Rng::new(6);
        let cloud = Cloud::new(&Mat::from_fn(5000, 8, |_, _| rng.normal()));
        let start = Mat::from_fn(20, 8, |_, _| rng.normal());
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut u = start.clone();
                climb(&cloud, (100, 4900), &mut u, 3, 5);
                (heights(&cloud, &u, 3), u)
            })
        };
        assert_eq!(run(1), run(3));
    }
}
