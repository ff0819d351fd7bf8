//! The ground truth of a layer, measured from the directions that its weights give to the features.

use crate::verdict::{Mechanism, Verdict};
use superlens_tensor::Mat;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;

/// A feature counts as represented above this norm of its direction (Elhage et al. 2022).
const REPRESENTED: f32 = 0.5;
/// Directions whose cosine is larger than this, whatever its sign, are one line: rows of activations of a feature
/// and of its antipode can't be told from one feature of both signs.
const SAME_LINE: f32 = 0.9;
/// Singular values below this share of the largest don't count as a dimension in use.
const RANK_CUT: f64 = 0.1;
/// A neuron whose variance is below this share of the largest neuron's is dead.
const LIVE: f64 = 1e-4;
/// Two features with this share of a neuron's variance make it polysemantic.
const SECOND_SHARE: f64 = 0.1;
/// So does the lack of any feature with this share: then many features hold a little each.
const MAIN_SHARE: f64 = 0.5;
/// A layer is monosemantic below this share of polysemantic neurons among the live ones.
const POLYSEMANTIC_LAYER: f64 = 0.05;

/// What a layer represents, and how.
#[derive(Clone, Debug)]
pub struct Truth {
    pub verdict: Verdict,
    pub mechanism: Option<Mechanism>,
    /// The features that the layer represents, by their index among the inputs.
    pub features: Vec<usize>,
    /// `[features.len(), neurons]`: what one unit of each represented feature adds to the activations.
    pub directions: Mat,
    /// Dimensions that the directions span.
    pub rank: usize,
    /// Lines among the directions: an antipodal pair is one.
    pub lines: usize,
    /// For each neuron whether it varies at all.
    pub live: Vec<bool>,
    /// For each neuron whether it carries more than one feature.
    pub polysemantic: Vec<bool>,
}

impl Truth {
    /// Reads the truth from `directions`, `[n_features, neurons]`, of independent features with the given variances.
    ///
    /// More represented features than the dimensions they span are superposition. Otherwise the neurons decide:
    /// each with one feature is monosemantic; features that miss them are orthogonal/rotated.
    pub fn of_directions(directions: &Mat, variance: &[f64]) -> Truth {
        let (n, d) = directions.shape();
        assert_eq!(n, variance.len(), "directions {:?} and {} variances", directions.shape(), variance.len());
        let features: Vec<usize> = (0..n).filter(|&i| norm(directions.row(i)) > REPRESENTED).collect();
        let represented = directions.select_rows(&features);
        let rank = rank(&represented);
        let lines = count_lines(&represented);
        let shares: Vec<NeuronShares> = (0..d).map(|j| NeuronShares::of(directions, variance, j)).collect();
        let largest = shares.iter().map(|s| s.variance).fold(0.0, f64::max);
        let live: Vec<bool> = shares.iter().map(|s| s.variance > LIVE * largest).collect();
        let polysemantic: Vec<bool> =
            shares.iter().zip(&live).map(|(s, &l)| l && (s.second >= SECOND_SHARE || s.first < MAIN_SHARE)).collect();
        let count = |flags: &[bool]| flags.iter().filter(|&&f| f).count() as f64;
        let (verdict, mechanism) = if features.is_empty() {
            (Verdict::Inconclusive, None)
        } else if features.len() > rank {
            (Verdict::Superposition, None)
        } else if count(&polysemantic) < POLYSEMANTIC_LAYER * count(&live) {
            (Verdict::Monosemantic, None)
        } else {
            (Verdict::Orthogonal, Some(Mechanism::Rotated))
        };
        Truth { verdict, mechanism, features, directions: represented, rank, lines, live, polysemantic }
    }

    /// The truth of activations without features.
    pub fn nothing(neurons: usize) -> Truth {
        Truth {
            verdict: Verdict::Inconclusive,
            mechanism: None,
            features: Vec::new(),
            directions: Mat::zeros(0, neurons),
            rank: 0,
            lines: 0,
            live: vec![true; neurons],
            polysemantic: vec![false; neurons],
        }
    }

    /// Why neuron `j` is polysemantic, `superposition` or a mechanism; `None` where it is not.
    pub fn cause(&self, j: usize) -> Option<&'static str> {
        self.polysemantic[j].then(|| self.mechanism.map_or(self.verdict.id(), Mechanism::id))
    }

    /// `verdict` or `verdict/mechanism`.
    pub fn label(&self) -> String {
        match self.mechanism {
            Some(mechanism) => format!("{}/{}", self.verdict.id(), mechanism.id()),
            None => self.verdict.id().to_string(),
        }
    }

    /// The share of features with an antipode (cosine below −0.9).
    pub fn antipodal_fraction(&self) -> f64 {
        let unit = normalised(&self.directions);
        let cos = matmul(&unit, unit.t());
        let n = cos.rows();
        let paired = (0..n).filter(|&i| (0..n).any(|j| cos[(i, j)] < -SAME_LINE)).count();
        paired as f64 / n.max(1) as f64
    }

    /// The largest |cosine| between two represented features; 0 with fewer than two.
    pub fn coherence(&self) -> f32 {
        let unit = normalised(&self.directions);
        let cos = matmul(&unit, unit.t());
        let n = cos.rows();
        (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|ij| cos[ij].abs()).fold(0.0, f32::max)
    }
}

/// How the variance of one neuron is shared out among the features.
struct NeuronShares {
    variance: f64,
    /// Share of the feature with most of it, and of the next.
    first: f64,
    second: f64,
}

impl NeuronShares {
    fn of(directions: &Mat, variance: &[f64], j: usize) -> NeuronShares {
        let parts = variance.iter().enumerate().map(|(i, v)| v * (directions[(i, j)] as f64).powi(2));
        let (mut total, mut first, mut second) = (0.0, 0.0f64, 0.0f64);
        for part in parts {
            total += part;
            if part > first {
                (first, second) = (part, first);
            } else {
                second = second.max(part);
            }
        }
        let scale = if total > 0.0 { 1.0 / total } else { 0.0 };
        NeuronShares { variance: total, first: first * scale, second: second * scale }
    }
}

fn norm(v: &[f32]) -> f32 {
    v.iter().map(|x| x * x).sum::<f32>().sqrt()
}

fn normalised(m: &Mat) -> Mat {
    let mut unit = m.clone();
    for i in 0..m.rows() {
        let scale = 1.0 / norm(m.row(i)).max(f32::MIN_POSITIVE);
        unit.row_mut(i).iter_mut().for_each(|x| *x *= scale);
    }
    unit
}

/// Dimensions spanned by the rows, short of those that a tenth of the largest singular value does not reach.
fn rank(rows: &Mat) -> usize {
    let gram: Vec<f64> = matmul(rows.t(), rows).data().iter().map(|&g| g as f64).collect();
    let Some(eigen) = sym_eigen(&gram, rows.cols()) else { return 0 };
    let largest = eigen.values.first().copied().unwrap_or(0.0);
    eigen.values.iter().filter(|&&v| v > RANK_CUT * RANK_CUT * largest && v > 0.0).count()
}

/// Rows up to sign: a row starts a new line unless an earlier line is within [`SAME_LINE`] of it.
fn count_lines(rows: &Mat) -> usize {
    let unit = normalised(rows);
    let mut lines: Vec<usize> = Vec::new();
    for i in 0..unit.rows() {
        let cos = |&l: &usize| unit.row(l).iter().zip(unit.row(i)).map(|(a, b)| a * b).sum::<f32>().abs();
        if lines.iter().all(|l| cos(l) < SAME_LINE) {
            lines.push(i);
        }
    }
    lines.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;
    use superlens_tensor::decomp::haar_rotation;

    fn of(directions: Mat) -> Truth {
        let variance = vec![1.0; directions.rows()];
        Truth::of_directions(&directions, &variance)
    }

    #[test]
    fn neurons_with_a_feature_each_are_monosemantic() {
        // Six features on eight neurons; two neurons stay dead.
        let t = of(Mat::from_fn(6, 8, |i, j| if j == i + 1 { 1.0 } else { 0.02 * f32::from(j == i + 2 && j < 7) }));
        assert_eq!((t.label().as_str(), t.rank, t.lines), ("monosemantic", 6, 6));
        assert_eq!(t.live.iter().filter(|&&l| l).count(), 6);
        assert!(t.polysemantic.iter().all(|&p| !p) && t.cause(1).is_none());
    }

    #[test]
    fn a_rotation_makes_the_same_features_polysemantic() {
        let q = haar_rotation(24, &mut Rng::new(2));
        let t = of(Mat::from_fn(24, 24, |i, j| q[i * 24 + j] as f32));
        assert_eq!((t.label().as_str(), t.rank, t.lines), ("orthogonal/rotated", 24, 24));
        assert!(t.coherence() < 1e-5 && t.cause(0) == Some("rotated"));
    }

    #[test]
    fn more_features_than_dimensions_are_superposition_and_pairs_share_a_line() {
        let t = of(Mat::from_fn(6, 3, |i, j| if j == i / 2 { 1.0 - 2.0 * (i % 2) as f32 } else { 0.0 }));
        assert_eq!((t.label().as_str(), t.rank, t.lines), ("superposition", 3, 3));
        assert_eq!((t.antipodal_fraction(), t.cause(0)), (1.0, Some("superposition")));
    }

    #[test]
    fn what_is_not_represented_does_not_count() {
        let t = of(Mat::from_fn(5, 3, |i, j| if i == j { 1.0 } else { 0.05 }));
        assert_eq!((t.features, t.verdict), (vec![0, 1, 2], Verdict::Monosemantic));
        assert_eq!(of(Mat::zeros(4, 3)).label(), "inconclusive");
    }
}
