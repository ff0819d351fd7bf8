//! Made rows that share with the data what a null hypothesis grants, and nothing else.

use rayon::prelude::*;
use superlens_tensor::{Mat, Rng};

/// White Gaussian rows whose components have the lag-1 autocorrelations `rho`: what a slow stream of noise would look like.
pub(super) fn gaussian_stream(rows: usize, rho: &[f64], rng: &Rng) -> Mat {
    let columns: Vec<Vec<f32>> = rho
        .par_iter()
        .enumerate()
        .map(|(j, &rho)| {
            let mut rng = rng.fork_index(j as u64);
            let fresh = (1.0 - rho * rho).sqrt();
            let mut state = rng.normal_f64();
            (0..rows)
                .map(|_| {
                    let now = state as f32;
                    state = rho * state + fresh * rng.normal_f64();
                    now
                })
                .collect()
        })
        .collect();
    Mat::from_fn(rows, rho.len(), |i, j| columns[j][i])
}

/// Every row keeps its length and gets a direction drawn uniformly: the radial null. Covariance (after whitening) and heavy
/// tails stay, directions go.
pub(super) fn radial(z: &Mat, rng: &Rng) -> Mat {
    let rank = z.cols();
    let rows: Vec<Vec<f32>> = (0..z.rows())
        .into_par_iter()
        .map(|i| {
            let mut rng = rng.fork_index(i as u64);
            let g: Vec<f64> = (0..rank).map(|_| rng.normal_f64()).collect();
            let length = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
            let scale =
                length(&mut z.row(i).iter().map(|v| f64::from(*v))) / length(&mut g.iter().copied()).max(1e-300);
            g.iter().map(|v| (v * scale) as f32).collect()
        })
        .collect();
    Mat::from_vec(z.rows(), rank, rows.concat())
}

/// `n` directions drawn uniformly, `[n, rank]`.
pub(super) fn random_directions(n: usize, rank: usize, rng: &mut Rng) -> Mat {
    let mut out = Mat::zeros(n, rank);
    for i in 0..n {
        let g: Vec<f64> = (0..rank).map(|_| rng.normal_f64()).collect();
        let norm = g.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-300);
        out.row_mut(i).iter_mut().zip(&g).for_each(|(o, v)| *o = (v / norm) as f32);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::rows::lag_one;
    use superlens_tensor::kernels::pointwise::dot;

    #[test]
    fn streams_keep_their_memory_and_their_variance() {
        let z = gaussian_stream(20_000, &[0.0, 0.8], &Rng::new(0));
        let rho = lag_one(&z);
        assert!(rho[0].abs() < 0.03 && (rho[1] - 0.8).abs() < 0.02, "{rho:?}");
        for j in 0..2 {
            let variance: f32 = (0..z.rows()).map(|i| z[(i, j)].powi(2)).sum::<f32>() / 20_000.0;
            assert!((variance - 1.0).abs() < 0.1);
        }
    }

    #[test]
    fn the_radial_null_keeps_lengths_and_forgets_directions() {
        let mut rng = Rng::new(1);
        let z = Mat::from_fn(4000, 5, |_, j| rng.normal() + if j == 0 { 3.0 } else { 0.0 });
        let w = radial(&z, &Rng::new(2));
        for i in 0..z.rows() {
            assert!((dot(z.row(i), z.row(i)).sqrt() - dot(w.row(i), w.row(i)).sqrt()).abs() < 1e-4);
        }
        let mean: f32 = (0..w.rows()).map(|i| w[(i, 0)]).sum::<f32>() / 4000.0;
        assert!(mean.abs() < 0.15, "{mean}");
    }
}
