//! How features share dimensions, read from weights `[n_features, d_hidden]`.

use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::matmul;

/// A feature whose direction is longer than this is represented.
pub const REPRESENTED: f64 = 0.5;
/// Shorter directions have no dimensionality: they are nothing.
const NOTHING: f64 = 1e-6;

/// `‖W_i‖` of each feature.
pub fn norms(w: &Mat) -> Vec<f64> {
    (0..w.rows()).map(|i| w.row(i).iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()).collect()
}

/// Features with a direction longer than [`REPRESENTED`].
pub fn n_represented(w: &Mat) -> usize {
    norms(w).iter().filter(|&&norm| norm > REPRESENTED).count()
}

/// Feature dimensionality `D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)²` (Elhage et al. 2022): the share of a dimension that
/// feature `i` has to itself. The other directions count with their lengths. 0 for a feature without direction.
pub fn dimensionality(w: &Mat) -> Vec<f64> {
    let gram = matmul(w, w.t());
    norms(w)
        .iter()
        .enumerate()
        .map(|(i, &norm)| {
            let shared: f64 = gram.row(i).iter().map(|&g| (f64::from(g) / norm.max(NOTHING)).powi(2)).sum();
            if norm > NOTHING { norm * norm / shared } else { 0.0 }
        })
        .collect()
}

/// `D* = m / ‖W‖²_F` (Elhage et al. 2022): hidden dimensions per represented feature; infinite where there is none.
pub fn dimensions_per_feature(w: &Mat) -> f64 {
    w.cols() as f64 / norms(w).iter().map(|norm| norm * norm).sum::<f64>()
}

/// `Σ_{j≠i} (Ŵ_i · W_j)²` (Elhage et al. 2022): 0 for a feature at right angles to all others, 1 and more for one that shares
/// its direction heavily.
pub fn superposition(w: &Mat) -> Vec<f64> {
    let gram = matmul(w, w.t());
    let of = |(i, norm): (usize, &f64)| {
        let others = (0..w.rows()).filter(|&j| j != i);
        if *norm > NOTHING { others.map(|j| (f64::from(gram[(i, j)]) / norm).powi(2)).sum() } else { 0.0 }
    };
    norms(w).iter().enumerate().map(of).collect()
}

/// Cosines between all pairs of directions inside consecutive sets of `size` features, and across them; 0 for a feature
/// without direction.
pub fn set_cosines(w: &Mat, size: usize) -> (Vec<f64>, Vec<f64>) {
    let (gram, norms) = (matmul(w, w.t()), norms(w));
    let (mut within, mut across) = (Vec::new(), Vec::new());
    for i in 0..w.rows() {
        for j in 0..i {
            let cosine = f64::from(gram[(i, j)]) / (norms[i] * norms[j]).max(NOTHING * NOTHING);
            if i / size == j / size { within.push(cosine) } else { across.push(cosine) }
        }
    }
    (within, across)
}

/// Cosines between the directions of all pairs of represented features, row after row.
pub fn cosines(w: &Mat) -> Vec<f64> {
    let norms = norms(w);
    let kept: Vec<usize> = (0..w.rows()).filter(|&i| norms[i] > REPRESENTED).collect();
    let dot = |i: usize, j: usize| w.row(i).iter().zip(w.row(j)).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let pairs = kept.iter().enumerate().flat_map(|(a, &i)| kept[..a].iter().map(move |&j| (i, j)));
    pairs.map(|(i, j)| dot(i, j) / (norms[i] * norms[j])).collect()
}

/// Angles in degrees from each represented feature to the next around the plane; empty with other than two dimensions.
pub fn gaps(w: &Mat) -> Vec<f64> {
    if w.cols() != 2 {
        return Vec::new();
    }
    let norms = norms(w);
    let kept = (0..w.rows()).filter(|&i| norms[i] > REPRESENTED);
    let mut angles: Vec<f64> = kept.map(|i| f64::from(w[(i, 1)]).atan2(f64::from(w[(i, 0)])).to_degrees()).collect();
    angles.sort_by(f64::total_cmp);
    let next = |k: usize| if k + 1 < angles.len() { angles[k + 1] } else { angles[0] + 360.0 };
    (0..angles.len()).map(|k| next(k) - angles[k]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polygon(k: usize) -> Mat {
        let angle = |i: usize| std::f64::consts::TAU * i as f64 / k as f64;
        Mat::from_fn(k, 2, |i, j| if j == 0 { angle(i).cos() as f32 } else { angle(i).sin() as f32 })
    }

    /// Unit-norm tight frames of k vectors in d dimensions have D = d/k.
    #[test]
    fn tight_frames_share_dimensions_equally() {
        for k in [3, 4, 5, 6, 7] {
            let d = dimensionality(&polygon(k));
            assert!(d.iter().all(|d| (d - 2.0 / k as f64).abs() < 1e-6), "{k}: {d:?}");
            assert!((dimensions_per_feature(&polygon(k)) - 2.0 / k as f64).abs() < 1e-6);
        }
        let tetrahedron = Mat::from_fn(4, 3, |i, j| [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]][i][j] as f32);
        assert!(dimensionality(&tetrahedron).iter().all(|d| (d - 0.75).abs() < 1e-6));
    }

    #[test]
    fn what_is_shared_and_with_whom() {
        let shared = superposition(&polygon(4));
        assert!(shared.iter().all(|s| (s - 1.0).abs() < 1e-6), "an opposite feature shares all: {shared:?}");
        assert_eq!(superposition(&Mat::zeros(2, 2)), [0.0, 0.0]);
        let (within, across) = set_cosines(&polygon(4), 2);
        assert!(within.iter().all(|c| c.abs() < 1e-6) && within.len() == 2);
        assert!((across.iter().sum::<f64>() + 2.0).abs() < 1e-6 && across.len() == 4);
    }

    #[test]
    fn a_polygon_has_equal_gaps() {
        assert!(gaps(&polygon(5)).iter().all(|gap| (gap - 72.0).abs() < 1e-4));
        let cosines = cosines(&polygon(4));
        assert_eq!(cosines.len(), 6);
        assert!((cosines.iter().sum::<f64>() + 2.0).abs() < 1e-6, "two opposite pairs, the rest at right angles");
        assert!(gaps(&Mat::zeros(3, 3)).is_empty());
    }

    /// ΣD_i ≤ rank, whatever the weights; a feature without direction has none.
    #[test]
    fn dimensionalities_add_up_to_at_most_the_rank() {
        let mut rng = superlens_tensor::Rng::new(3);
        let mut w = Mat::from_fn(9, 4, |_, _| rng.normal());
        w.row_mut(2).fill(0.0);
        let d = dimensionality(&w);
        assert!(d.iter().sum::<f64>() <= 4.0 + 1e-6 && d[2] == 0.0);
        assert_eq!(n_represented(&polygon(5)), 5);
    }
}
