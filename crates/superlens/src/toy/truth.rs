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
pub(super) const SECOND_SHARE: f64 = 0.1;
/// So does the lack of any feature with this share: then many features hold a little each.
pub(super) const MAIN_SHARE: f64 = 0.5;
/// A layer is monosemantic below this share of polysemantic neurons among the live ones.
const POLYSEMANTIC_LAYER: f64 = 0.05;

/// Why a neuron is polysemantic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    Superposition,
    Nonlinear,
    Compositional,
    /// Features that fit, and miss the neuron.
    Orthogonal(Mechanism),
}

impl Cause {
    /// The word used in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Cause::Superposition => Verdict::Superposition.id(),
            Cause::Nonlinear => Verdict::Nonlinear.id(),
            Cause::Compositional => Verdict::Compositional.id(),
            Cause::Orthogonal(mechanism) => mechanism.id(),
        }
    }

    /// The verdict on a layer whose neurons are mostly so.
    pub fn verdict(self) -> (Verdict, Option<Mechanism>) {
        match self {
            Cause::Superposition => (Verdict::Superposition, None),
            Cause::Nonlinear => (Verdict::Nonlinear, None),
            Cause::Compositional => (Verdict::Compositional, None),
            Cause::Orthogonal(mechanism) => (Verdict::Orthogonal, Some(mechanism)),
        }
    }
}

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
    /// For each neuron why it carries more than one feature; `None` where it does not.
    pub causes: Vec<Option<Cause>>,
}

impl Truth {
    /// Reads the truth from `directions`, `[n_features, neurons]`, of independent features with the given variances.
    ///
    /// More represented features than the dimensions they span are superposition. Otherwise the neurons decide:
    /// each with one feature is monosemantic; features that miss them are orthogonal/rotated.
    pub fn of_directions(directions: &Mat, variance: &[f64]) -> Truth {
        Truth::of_fitting(directions, variance, Mechanism::Rotated)
    }

    /// The same where it is known why features that fit would miss the neurons.
    pub fn of_fitting(directions: &Mat, variance: &[f64], mechanism: Mechanism) -> Truth {
        let represented = represented(directions);
        let fits = represented.len() <= rank(&directions.select_rows(&represented));
        let cause = if fits { Cause::Orthogonal(mechanism) } else { Cause::Superposition };
        let truth = Truth::of_known(directions, variance, |_| cause);
        // More features than dimensions are superposition, however few neurons show it.
        if fits { truth } else { Truth { verdict: Verdict::Superposition, mechanism: None, ..truth } }
    }

    /// The same where it is known why a neuron would be polysemantic: `cause` tells it from the neuron's index. Whether it
    /// is polysemantic is still read from `directions`.
    pub fn of_known(directions: &Mat, variance: &[f64], cause: impl Fn(usize) -> Cause) -> Truth {
        let (n, d) = directions.shape();
        assert_eq!(n, variance.len(), "directions {:?} and {} variances", directions.shape(), variance.len());
        let shares: Vec<NeuronShares> = (0..d).map(|j| NeuronShares::of(directions, variance, j)).collect();
        let largest = shares.iter().map(|s| s.variance).fold(0.0, f64::max);
        let live: Vec<bool> = shares.iter().map(|s| s.variance > LIVE * largest).collect();
        let polysemantic = |j: usize| live[j] && (shares[j].second >= SECOND_SHARE || shares[j].first < MAIN_SHARE);
        let causes: Vec<Option<Cause>> = (0..d).map(|j| polysemantic(j).then(|| cause(j))).collect();
        let features = represented(directions);
        let nothing = (Verdict::Inconclusive, None);
        let (verdict, mechanism) = if features.is_empty() { nothing } else { verdict_of(&causes, &live) };
        let directions = directions.select_rows(&features);
        let (rank, lines) = (rank(&directions), count_lines(&directions));
        Truth { verdict, mechanism, features, directions, rank, lines, live, causes }
    }

    /// The truth of a layer whose `causes` are known, one a neuron, from what the model computes and not from directions.
    ///
    /// `directions`, `[features, neurons]`, may have no rows. The verdict is the most frequent cause, if at least 5 % of the
    /// live neurons are polysemantic.
    pub fn of_causes(directions: Mat, live: Vec<bool>, causes: Vec<Option<Cause>>) -> Truth {
        assert!(
            directions.cols() == live.len() && live.len() == causes.len(),
            "directions {:?}, {} neurons, {} causes",
            directions.shape(),
            live.len(),
            causes.len()
        );
        let (verdict, mechanism) = verdict_of(&causes, &live);
        let features = (0..directions.rows()).collect();
        let (rank, lines) = (rank(&directions), count_lines(&directions));
        Truth { verdict, mechanism, features, directions, rank, lines, live, causes }
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
            causes: vec![None; neurons],
        }
    }

    /// Why neuron `j` is polysemantic, `superposition` or a mechanism for instance; `None` where it is not.
    pub fn cause(&self, j: usize) -> Option<&'static str> {
        self.causes[j].map(Cause::id)
    }

    /// How many neurons are polysemantic.
    pub fn polysemantic(&self) -> usize {
        self.causes.iter().flatten().count()
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

/// The features whose directions are long enough, by their index.
fn represented(directions: &Mat) -> Vec<usize> {
    (0..directions.rows()).filter(|&i| norm(directions.row(i)) > REPRESENTED).collect()
}

/// What explains most of the polysemantic neurons, or that there are too few of those to speak of.
fn verdict_of(causes: &[Option<Cause>], live: &[bool]) -> (Verdict, Option<Mechanism>) {
    let polysemantic = causes.iter().flatten().count() as f64;
    let alive = live.iter().filter(|l| **l).count() as f64;
    if polysemantic < POLYSEMANTIC_LAYER * alive || polysemantic == 0.0 {
        return (Verdict::Monosemantic, None);
    }
    let count = |cause: &Cause| causes.iter().flatten().filter(|c| *c == cause).count();
    // The first of several that are equally frequent.
    let most = causes.iter().flatten().rev().max_by_key(|c| count(c)).expect("a polysemantic neuron");
    most.verdict()
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
        assert!(t.polysemantic() == 0 && t.cause(1).is_none());
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
    fn the_most_frequent_cause_is_the_verdict_and_a_few_neurons_are_not() {
        let incidental = Some(Cause::Orthogonal(Mechanism::Incidental));
        let of = |causes: Vec<Option<Cause>>| {
            let n = causes.len();
            Truth::of_causes(Mat::zeros(0, n), vec![true; n], causes)
        };
        let t = of(vec![incidental, Some(Cause::Nonlinear), Some(Cause::Nonlinear), None]);
        assert_eq!((t.label().as_str(), t.cause(0), t.cause(3)), ("nonlinear", Some("incidental"), None));
        let mut few = vec![None; 64];
        few[3] = incidental;
        assert_eq!(of(few).label(), "monosemantic");
    }

    #[test]
    fn what_is_not_represented_does_not_count() {
        let t = of(Mat::from_fn(5, 3, |i, j| if i == j { 1.0 } else { 0.05 }));
        assert_eq!((t.features, t.verdict), (vec![0, 1, 2], Verdict::Monosemantic));
        assert_eq!(of(Mat::zeros(4, 3)).label(), "inconclusive");
    }
}
