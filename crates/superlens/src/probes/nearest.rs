//! Probes without a model: what the nearest rows say.

use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::gemm_into;
use superlens_tensor::kernels::topk::top_k_of_row;

/// Rows that are kept to be neighbours; more cost time and hardly help.
const MOST_ROWS: usize = 4000;
/// Rows whose distances are held at once.
const PANEL: usize = 64;

/// The `k` nearest of a set of rows, by Euclid: white coordinates make that a fair distance.
///
/// For probes alone: regression by neighbours is fooled by repeated rows.
#[derive(Clone, Debug)]
pub struct Nearest {
    rows: Mat,
    labels: Mat,
    k: usize,
}

impl Nearest {
    /// Keeps at most 4,000 evenly spaced rows of `x` `[rows, d]` with their `labels` `[rows, concepts]`.
    ///
    /// Panics where the numbers of rows differ or there are none.
    pub fn fit(x: &Mat, labels: &Mat, k: usize) -> Nearest {
        assert_eq!(x.rows(), labels.rows(), "rows and labels");
        assert!(x.rows() > 0 && k > 0, "neighbours among nothing");
        let kept = x.rows().min(MOST_ROWS);
        let rows: Vec<usize> = (0..kept).map(|i| i * x.rows() / kept).collect();
        Nearest { rows: x.select_rows(&rows), labels: labels.select_rows(&rows), k: k.min(kept) }
    }

    /// `[rows, concepts]`: the mean label of the nearest rows, which is the share of positive ones where labels are zeros and ones.
    pub fn scores(&self, x: &Mat) -> Mat {
        shares(&neighbours(&self.rows, x, self.k), self.k, &self.labels)
    }
}

/// The numbers of the `k` rows of `of` `[n, d]` nearest to each row of `x` `[rows, d]`: `[rows · k]`, each row's in ascending order.
///
/// Panics unless widths agree and `k ≤ n`.
pub fn neighbours(of: &Mat, x: &Mat, k: usize) -> Vec<u32> {
    assert_eq!(of.cols(), x.cols(), "widths of {:?} and {:?}", of.shape(), x.shape());
    assert!(k > 0 && k <= of.rows(), "{k} neighbours among {} rows", of.rows());
    let half: Vec<f32> =
        (0..of.rows()).map(|i| (0.5 * of.row(i).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>()) as f32).collect();
    let mut found = vec![0u32; x.rows() * k];
    found.par_chunks_mut(PANEL * k).enumerate().for_each(|(p, found)| {
        let (from, rows) = (p * PANEL, found.len() / k);
        // x·t − ½|t|² is largest where |x − t|² is smallest.
        let mut near = vec![0.0f32; rows * of.rows()];
        gemm_into(1.0, x.rows_view(from, from + rows), of.t(), 0.0, &mut near);
        let (mut scratch, mut values) = (Vec::new(), vec![0.0f32; k]);
        for (row, found) in near.chunks_exact_mut(of.rows()).zip(found.chunks_exact_mut(k)) {
            row.iter_mut().zip(&half).for_each(|(v, h)| *v -= h);
            top_k_of_row(row, &mut scratch, found, &mut values);
        }
    });
    found
}

/// `[rows, concepts]`: the mean of `labels` `[n, concepts]` over the `k` neighbours of each row, as [`neighbours`] gives them.
pub fn shares(neighbours: &[u32], k: usize, labels: &Mat) -> Mat {
    let mut out = Mat::zeros(neighbours.len() / k, labels.cols());
    let width = labels.cols();
    if width == 0 {
        return out;
    }
    out.data_mut().par_chunks_mut(width).zip(neighbours.par_chunks_exact(k)).for_each(|(out, near)| {
        for &i in near {
            out.iter_mut().zip(labels.row(i as usize)).for_each(|(o, l)| *o += l);
        }
        out.iter_mut().for_each(|o| *o /= k as f32);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn neighbours_are_the_nearest_rows() {
        let mut rng = Rng::new(5);
        let of = Mat::from_fn(150, 3, |_, _| rng.normal());
        let x = Mat::from_fn(70, 3, |_, _| rng.normal());
        let found = neighbours(&of, &x, 4);
        for i in 0..x.rows() {
            let distance =
                |t: usize| -> f64 { x.row(i).iter().zip(of.row(t)).map(|(a, b)| f64::from(a - b).powi(2)).sum() };
            let mut order: Vec<usize> = (0..of.rows()).collect();
            order.sort_by(|a, b| distance(*a).total_cmp(&distance(*b)));
            order.truncate(4);
            order.sort_unstable();
            assert_eq!(found[i * 4..i * 4 + 4].iter().map(|&t| t as usize).collect::<Vec<_>>(), order);
        }
    }

    #[test]
    fn shares_are_means_of_labels() {
        let labels = Mat::from_vec(3, 2, vec![1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(shares(&[0, 1, 1, 2], 2, &labels).data(), [0.5, 0.0, 0.5, 0.5]);
    }
}
