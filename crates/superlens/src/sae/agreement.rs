//! How alike sets of directions are: a dictionary and features that are known, two dictionaries, a dictionary and itself.

use super::assignment::assign;
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::matmul;

/// Mean over the true `features` of the largest |cos| with any row of `dictionary`: mean max cosine similarity.
///
/// Ignores sign, and duplicates count for several features: read it beside [`mcc`]. Both `[n, d]`; zero rows match
/// nothing. NaN without features. Panics on different widths.
pub fn mmcs(features: &Mat, dictionary: &Mat) -> f64 {
    let cosines = abs_cosines(features, dictionary);
    let best = |i: usize| cosines.row(i).iter().map(|&c| f64::from(c)).fold(0.0, f64::max);
    (0..features.rows()).map(best).sum::<f64>() / features.rows() as f64
}

/// Mean |cos| over the best one-to-one match of true `features` with rows of `dictionary` (Hungarian assignment), over
/// the smaller number of the two.
///
/// With fewer latents than features it says nothing about the features left over. NaN where either is empty. Panics on
/// different widths.
pub fn mcc(features: &Mat, dictionary: &Mat) -> f64 {
    let (few, many) =
        if features.rows() <= dictionary.rows() { (features, dictionary) } else { (dictionary, features) };
    let cosines = abs_cosines(few, many);
    let columns = assign(few.rows(), many.rows(), |i, j| f64::from(cosines[(i, j)]));
    columns.iter().enumerate().map(|(i, &j)| f64::from(cosines[(i, j)])).sum::<f64>() / few.rows() as f64
}

/// How close the closest of other directions is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Largest cosine with its sign, −1 where there are no others.
    pub signed: f64,
    /// Largest |cosine|, 0 where there are no others.
    pub absolute: f64,
}

/// Of every row of `a` among the rows of `b`, both `[n, d]`; zero rows have the cosine 0 with all. Never more than a tile of cosines is held
/// by a thread. Panics on different widths.
pub fn nearest(a: &Mat, b: &Mat) -> Vec<Nearest> {
    assert_eq!(a.cols(), b.cols(), "directions {:?} and {:?}", a.shape(), b.shape());
    tiled(&unit(a), &unit(b), |_, _| true)
}

/// Of every row of `dictionary` among its other rows.
pub fn nearest_within(dictionary: &Mat) -> Vec<Nearest> {
    let unit = unit(dictionary);
    tiled(&unit, &unit, |i, j| i != j)
}

fn tiled(a: &Mat, b: &Mat, counts: impl Fn(usize, usize) -> bool + Sync) -> Vec<Nearest> {
    const ROWS: usize = 512;
    const COLS: usize = 4096;
    let of_block = |block: usize| {
        let (from, to) = (block * ROWS, ((block + 1) * ROWS).min(a.rows()));
        let mut best = vec![Nearest { signed: -1.0, absolute: 0.0 }; to - from];
        for start in (0..b.rows()).step_by(COLS) {
            let cosines = matmul(a.rows_view(from, to), b.rows_view(start, (start + COLS).min(b.rows())).t());
            for (r, best) in best.iter_mut().enumerate() {
                let others = cosines.row(r).iter().enumerate().filter(|(c, _)| counts(from + r, start + c));
                let (signed, absolute) = others.fold((-1.0f32, 0.0f32), |(s, a), (_, c)| (s.max(*c), a.max(c.abs())));
                best.signed = best.signed.max(f64::from(signed).min(1.0));
                best.absolute = best.absolute.max(f64::from(absolute).min(1.0));
            }
        }
        best
    };
    (0..a.rows().div_ceil(ROWS)).into_par_iter().flat_map_iter(of_block).collect()
}

/// Shows `visit` every pair of a row of `a` and a row of `b` whose cosine is above `least`, which is above 0. Tile by tile, in order. Panics on
/// different widths.
pub(super) fn each_alike(a: &Mat, b: &Mat, least: f32, mut visit: impl FnMut(usize, usize)) {
    const TILE: usize = 1024;
    assert_eq!(a.cols(), b.cols(), "directions {:?} and {:?}", a.shape(), b.shape());
    let (a, b) = (unit(a), unit(b));
    for i in (0..a.rows()).step_by(TILE) {
        for j in (0..b.rows()).step_by(TILE) {
            let (a, b) = (a.rows_view(i, (i + TILE).min(a.rows())), b.rows_view(j, (j + TILE).min(b.rows())));
            let cosines = matmul(a, b.t());
            for r in 0..cosines.rows() {
                let alike = cosines.row(r).iter().enumerate().filter(|(_, cosine)| **cosine > least);
                alike.for_each(|(c, _)| visit(i + r, j + c));
            }
        }
    }
}

/// Mean over the rows of `dictionary` of the largest |cos| with any other row; NaN with fewer than two. Quadratic in the rows, tile by tile.
pub fn mean_max_cosine(dictionary: &Mat) -> f64 {
    if dictionary.rows() < 2 {
        return f64::NAN;
    }
    nearest_within(dictionary).iter().map(|n| n.absolute).sum::<f64>() / dictionary.rows() as f64
}

/// Which true feature each latent is most like: the index of the largest |cos|, or `None` for a latent without direction.
pub(super) fn best_features(features: &Mat, dictionary: &Mat) -> Vec<Option<usize>> {
    let cosines = abs_cosines(dictionary, features);
    let best = |j: usize| {
        let row = cosines.row(j).iter().enumerate();
        row.fold((None, 0.0f32), |best, (i, &c)| if c > best.1 { (Some(i), c) } else { best }).0
    };
    (0..dictionary.rows()).map(best).collect()
}

/// Distinct true features among those that all latents are most like, over all latents, in use or not: the number that SynthSAEBench
/// publishes as uniqueness. NaN without latents.
pub fn uniqueness_of_all(features: &Mat, dictionary: &Mat) -> f64 {
    let distinct: std::collections::BTreeSet<usize> =
        best_features(features, dictionary).into_iter().flatten().collect();
    distinct.len() as f64 / dictionary.rows() as f64
}

/// Distinct true features among those that the latents in use are most like, over the latents in use: 1 where each follows another
/// feature (Chanin et al. 2026, SynthSAEBench). `density` is that of [`Metrics`](super::metrics::Metrics). NaN where no latent is in use.
pub fn uniqueness(features: &Mat, dictionary: &Mat, density: &[f64]) -> f64 {
    let best = best_features(features, dictionary);
    let used: Vec<usize> = best.iter().zip(density).filter(|(_, d)| **d > 0.0).filter_map(|(b, _)| *b).collect();
    let distinct: std::collections::BTreeSet<usize> = used.iter().copied().collect();
    distinct.len() as f64 / used.len() as f64
}

/// |cos| between every row of `a` and every row of `b`; 0 where a row is zero or not finite.
fn abs_cosines(a: &Mat, b: &Mat) -> Mat {
    assert_eq!(a.cols(), b.cols(), "directions {:?} and {:?}", a.shape(), b.shape());
    let mut cosines = matmul(&unit(a), unit(b).t());
    cosines.data_mut().iter_mut().for_each(|c| *c = if c.is_finite() { c.abs().min(1.0) } else { 0.0 });
    cosines
}

fn unit(m: &Mat) -> Mat {
    let mut m = m.clone();
    for i in 0..m.rows() {
        let norm = m.row(i).iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            m.row_mut(i).iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
        }
    }
    m
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_with_features() {
        let features = Mat::from_vec(3, 3, vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        let shuffled = Mat::from_vec(4, 3, vec![0.0, -2.0, 0.0, 0.0, 0.0, 3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert!((mmcs(&features, &shuffled) - 1.0).abs() < 1e-6 && (mcc(&features, &shuffled) - 1.0).abs() < 1e-6);
        // One latent between two features serves both for MMCS but only one for MCC.
        let between = Mat::from_vec(3, 3, vec![1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
        let half = 0.5f64.sqrt();
        assert!((mmcs(&features, &between) - (2.0 * half + 1.0) / 3.0).abs() < 1e-6);
        assert!((mcc(&features, &between) - (half + 1.0) / 3.0).abs() < 1e-6);
        let one = Mat::from_vec(1, 3, vec![0.0, 0.0, 1.0]);
        assert!((mcc(&features, &one) - 1.0).abs() < 1e-6 && (mmcs(&features, &one) - 1.0 / 3.0).abs() < 1e-6);
    }

    /// Rows at 0°, 60°, 180° and none at all.
    #[test]
    fn the_nearest_of_the_others_with_and_without_sign() {
        let root = 0.75f32.sqrt();
        let rows = Mat::from_vec(4, 2, vec![2.0, 0.0, 0.5, root, -3.0, 0.0, 0.0, 0.0]);
        let close = |n: Nearest, signed: f64, absolute: f64| {
            assert!((n.signed - signed).abs() < 1e-6 && (n.absolute - absolute).abs() < 1e-6, "{n:?}");
        };
        let within = nearest_within(&rows);
        close(within[0], 0.5, 1.0);
        close(within[1], 0.5, 0.5);
        close(within[2], 0.0, 1.0);
        close(within[3], 0.0, 0.0);
        assert!((mean_max_cosine(&rows) - 2.5 / 4.0).abs() < 1e-6 && mean_max_cosine(&Mat::zeros(1, 2)).is_nan());
        let across = nearest(&rows, &Mat::from_vec(1, 2, vec![0.0, -1.0]));
        close(across[1], -f64::from(root), f64::from(root));
        close(nearest(&rows, &Mat::zeros(0, 2))[0], -1.0, 0.0);
    }

    /// More rows than a tile holds, against all cosines at once.
    #[test]
    fn tiles_change_nothing() {
        let mut rng = superlens_tensor::Rng::new(3);
        let a = Mat::from_fn(600, 3, |_, _| rng.normal());
        let b = Mat::from_fn(4200, 3, |_, _| rng.normal());
        let cosines = abs_cosines(&a, &b);
        for (i, n) in nearest(&a, &b).iter().enumerate() {
            let best = cosines.row(i).iter().copied().fold(0.0, f32::max);
            assert!((n.absolute - f64::from(best)).abs() < 1e-5, "{i}: {n:?} {best}");
        }
    }
}
