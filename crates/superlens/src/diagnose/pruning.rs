//! Which of the maxima that a search found are features: those with rows of their own in both halves that are neither
//! where rows rest nor the co-activity of stronger rays.

use super::maxima::heights;
use super::rays::Search;
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::{gemm, matmul};

/// Rows closest to a ray with less than this share of the mean energy: it is where rows rest when nothing is active.
const RESTING: f32 = 0.2;
/// A ray that is a positive mixture of two stronger ones up to this cosine is their co-activity, not a feature …
const MIXTURE: f32 = 0.95;
/// … and so is one up to this cosine on which few rows pile up, compared with either of the two.
const LOOSE_MIXTURE: f32 = 0.8;
const FEW: f64 = 0.15;
/// Rows that must be closest to a ray, in each half, for it to be more than a chance row.
const LEAST_SUPPORT: usize = 5;
/// The power whose height orders rays by strength.
const HEIGHT_POWER: u32 = 9;
/// Stronger rays, nearest first, among which a mixture's two are looked for.
const NEAREST: usize = 24;

/// What lies closest to each ray.
struct Support {
    /// Rows of half a and of half b that are closer to a ray than to any other.
    rows: Vec<[usize; 2]>,
    /// Their mean energy.
    energy: Vec<f32>,
}

impl Support {
    /// `rays` is `[n, rank]` with n ≥ 1.
    fn new(search: &Search, rays: &Mat) -> Support {
        let y = &search.cloud.y;
        let all: Vec<usize> = (0..y.rows()).collect();
        let closest: Vec<Vec<usize>> = all
            .par_chunks(1024)
            .map(|chunk| {
                let mut s = Mat::zeros(chunk.len(), rays.rows());
                gemm(1.0, y.rows_view(chunk[0], chunk[0] + chunk.len()), rays.t(), 0.0, &mut s);
                (0..chunk.len()).map(|i| largest(s.row(i)).0).collect()
            })
            .collect();
        let mut rows = vec![[0; 2]; rays.rows()];
        let mut energy = vec![0.0f32; rays.rows()];
        for (row, ray) in closest.concat().into_iter().enumerate() {
            rows[ray][usize::from(row >= search.half)] += 1;
            energy[ray] += search.cloud.energy[row];
        }
        for (e, s) in energy.iter_mut().zip(&rows) {
            *e /= (s[0] + s[1]).max(1) as f32;
        }
        Support { rows, energy }
    }

    /// Positions of the rays that enough rows of both halves are closest to, other than the resting point, highest first.
    fn enough(&self, search: &Search, rays: &Mat) -> Vec<usize> {
        let height = heights(search.cloud, rays, HEIGHT_POWER);
        let mut order: Vec<usize> = (0..rays.rows())
            .filter(|&i| self.rows[i].iter().all(|&s| s >= LEAST_SUPPORT) && self.energy[i] >= RESTING)
            .collect();
        order.sort_by(|&i, &j| height[j].total_cmp(&height[i]));
        order
    }
}

/// Positions of the rays that enough rows of both halves are closest to, other than the resting point, highest first.
pub(super) fn with_rows(search: &Search, rays: &Mat) -> Vec<usize> {
    if rays.rows() == 0 {
        return Vec::new();
    }
    Support::new(search, rays).enough(search, rays)
}

/// Positions of the rays that have rows of their own and that no pair of stronger rays adds up to, highest first.
pub(super) fn without_mixtures(search: &Search, rays: &Mat) -> Vec<usize> {
    if rays.rows() == 0 {
        return Vec::new();
    }
    let support = Support::new(search, rays);
    let rows = |i: usize| (support.rows[i][0] + support.rows[i][1]) as f64;
    let gram = matmul(rays, rays.t());
    let mut kept: Vec<usize> = Vec::new();
    for i in support.enough(search, rays) {
        let mut near = kept.clone();
        near.sort_by(|&a, &b| gram[(i, b)].total_cmp(&gram[(i, a)]));
        near.truncate(NEAREST);
        let mixture = near.iter().enumerate().any(|(k, &a)| {
            near[..k].iter().any(|&b| {
                let (p, q, h) = (gram[(i, a)], gram[(i, b)], gram[(a, b)]);
                let det = 1.0 - h * h;
                let (alpha, beta) = ((p - h * q) / det, (q - h * p) / det);
                let cos = (alpha * p + beta * q).max(0.0).sqrt();
                let few = rows(i) < FEW * rows(a).min(rows(b));
                det > 1e-4 && alpha > 0.1 && beta > 0.1 && (cos > MIXTURE || (few && cos > LOOSE_MIXTURE))
            })
        });
        if !mixture {
            kept.push(i);
        }
    }
    kept
}

/// The first largest entry and where it is; `(0, −∞)` of nothing.
pub(super) fn largest(row: &[f32]) -> (usize, f32) {
    row.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (j, &v)| if v > best.1 { (j, v) } else { best })
}
