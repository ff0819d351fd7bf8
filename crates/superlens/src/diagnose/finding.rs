//! What a diagnosis says: the verdict, each hypothesis against its null, each neuron, and the numbers behind the pictures.
//!
//! The JSON form of [`Diagnosis`] is a contract (schema 1): keys may be added, never renamed or removed.

use serde::{Deserialize, Serialize};

use superlens_tensor::Mat;

use super::heads::Heads;
use crate::verdict::{Basis, Mechanism, Verdict};

/// The whole answer. Shapes: `rows × dims` activations in, one entry of `neurons` per column out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Version of this layout: 1.
    pub schema: u32,
    pub input: Input,
    pub layer: Layer,
    pub hypotheses: Vec<Hypothesis>,
    /// What the verdict weighs: every test's outcome as a number of about the size of one, by name.
    #[serde(default)]
    pub signs: Vec<(String, f64)>,
    /// Empty where the basis is [`Basis::None`].
    pub neurons: Vec<Neuron>,
    /// Parts of the layer that nothing links to the rest, each diagnosed by itself; empty where the layer is of one piece.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// What the labels say; `None` without any, or with too few rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concepts: Option<Concepts>,
    /// How features lie across heads; `None` where heads were not asked about, or with too few rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<Heads>,
    /// What the dictionary that was given shows; `None` without one, or with too few rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dictionary: Option<Dictionary>,
    pub evidence: Evidence,
    /// Directions of the features in neuron coordinates `[features, dims]`, strongest first.
    #[serde(skip)]
    pub directions: Mat,
    /// What these inputs can't tell, one plain sentence each.
    pub cannot_tell: Vec<String>,
}

/// What was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input {
    pub rows: usize,
    pub dims: usize,
    /// Columns of labels; 0 without `--labels`.
    pub labels: usize,
    /// Columns that never change; left out of every test.
    pub constant_columns: Vec<usize>,
    /// Rows that count, N (1 − ρ) / (1 + ρ), with ρ the lag-1 autocorrelation of the leading components.
    pub effective_rows: f64,
    /// Rows that were read by the tests, when fewer than `rows`.
    pub rows_used: usize,
}

/// The verdict on the layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    pub verdict: Verdict,
    pub mechanism: Option<Mechanism>,
    /// Probability given to the verdict, 0 to 1.
    pub confidence: f64,
    pub alternatives: Vec<Alternative>,
    pub would_settle: Vec<String>,
    pub basis: Basis,
    /// `None` where no dictionary was found.
    pub n_features: Option<Count>,
    /// Dimensions in use.
    pub effective_rank: f64,
    /// Share of live neurons that carry at least two features; `None` without a basis or a dictionary.
    pub polysemantic_fraction: Option<f64>,
    /// The verdict in one sentence.
    pub says: String,
    /// Why, in one or two sentences.
    pub because: String,
}

/// What one sign adds to the log odds of the verdict against an alternative; negative where it speaks for the alternative.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reason {
    pub sign: String,
    pub log_odds: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Alternative {
    pub verdict: Verdict,
    pub mechanism: Option<Mechanism>,
    pub probability: f64,
    /// What speaks for the verdict and against this, strongest first.
    #[serde(default)]
    pub against: Vec<Reason>,
}

/// Number of features with its 90 % interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Count {
    pub estimate: usize,
    pub low: usize,
    pub high: usize,
    /// True where the count still grows with the rows: then `estimate` is a lower bound.
    pub lower_bound: bool,
    /// Features found with a quarter, a half and all of the rows: `(rows, features)`.
    pub growth: Vec<(usize, usize)>,
}

/// One hypothesis, its statistic, and the null that it was held against.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hypothesis {
    /// A short name, `superposition` for instance.
    pub id: String,
    /// What the statistic is, in words, with its unit.
    pub measures: String,
    pub statistic: f64,
    pub null_mean: f64,
    /// The null's 95th percentile (or the 5th, where small values support the hypothesis).
    pub null_high: f64,
    pub null_draws: usize,
    /// Never below `1 / (null_draws + 1)`.
    pub p_value: f64,
    pub supports: bool,
    pub says: String,
    /// How the null was made, in words.
    pub null: String,
    /// The null's draws, sorted, for the picture.
    pub draws: Vec<f64>,
}

/// Neurons that share no feature with others, and vary without them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Columns of the input, ascending.
    pub neurons: Vec<usize>,
    pub verdict: Verdict,
    pub mechanism: Option<Mechanism>,
    /// Probability given to the verdict, 0 to 1.
    pub confidence: f64,
    pub says: String,
    pub because: String,
}

/// One column of the input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Neuron {
    pub index: usize,
    /// False for constant columns.
    pub live: bool,
    /// At least two features each explain 10 % of the variance that the dictionary explains, or none explains half of it; or as much by labels.
    /// Every neuron that no feature accounts for, where the verdict is that there are none: `nonlinear`, `compositional`, `computational`.
    pub polysemantic: bool,
    /// Features that explain at least 10 %; where none explains half, at least 1 / Σ share², the number of equal features
    /// that would spread the variance as thinly. With labels, the number of their concepts where that is larger.
    pub n_features: usize,
    /// `superposition`, `nonlinear`, `compositional` or a mechanism, of the part of the layer that the neuron belongs to; `None` where not
    /// polysemantic or not known.
    pub cause: Option<String>,
    /// Share of this neuron's variance that the dictionary (the part's own, where it has one) explains on held-out rows.
    pub explained: f64,
    /// The features that explain at least 10 % of the explained variance, largest first: `(feature, share)`.
    pub features: Vec<(usize, f64)>,
    /// Columns of the labels that explain at least 10 % of what labels explain, largest first; empty where that is too little.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concepts: Vec<(usize, f64)>,
}

/// What labels say of the layer, measured on held-out rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Concepts {
    /// Columns of the labels that have enough rows of either kind.
    pub used: Vec<usize>,
    /// Mean AUC of a linear probe, of one with products, and by the nearest rows.
    pub linear_auc: f64,
    pub quadratic_auc: f64,
    pub nearest_auc: f64,
    /// Concepts that are read linearly, and the dimensions that their directions span.
    pub decodable: usize,
    pub decodable_rank: usize,
    /// Concepts whose direction is more than noise; mean share of such a direction in its strongest neuron, and after Haar rotations.
    pub directed: usize,
    pub alignment: f64,
    pub alignment_null: f64,
    /// Share of the concepts that share a line with another one; the same where both point the same way; and the median |φ| over such pairs.
    pub shared_fraction: f64,
    pub same_sided_fraction: f64,
    pub shared_phi: f64,
    /// Concepts that are present in a row, on average.
    pub coactive: f64,
    /// Pairs of concepts on nearly one line, nearest first.
    pub pairs: Vec<Shared>,
}

/// A dictionary put to the rows, beside the directions that were found without it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dictionary {
    pub latents: usize,
    /// Latents that are active in ten rows at least of those that were read.
    pub active: usize,
    /// Latents that were put to the rows: the active ones, or the most active of them.
    pub asked: usize,
    /// Of those, latents along which the rows pile up in both halves.
    pub held: usize,
    /// Different directions among them; opposite ones are one.
    pub features: usize,
    /// Directions that were found without the dictionary, and how many of them its own show again.
    pub found: usize,
    pub shared: usize,
    /// Directions of its own that were not found without it.
    pub new: usize,
    /// Share of the variance of held-out rows that it leaves, and its active latents a row.
    pub unexplained: f64,
    pub active_a_row: f64,
}

/// Two concepts on nearly one line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shared {
    /// Columns of the labels.
    pub a: usize,
    pub b: usize,
    /// Cosine of their directions, and correlation of their labels.
    pub cos: f64,
    pub phi: f64,
    /// Whether they come together, or exclude one another, more than chance would have it.
    pub related: bool,
}

/// Numbers behind the pictures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// |cos| between each feature and its nearest other feature, in whitened coordinates where all directions count alike.
    pub coherence: Vec<f64>,
    /// The same for as many random directions.
    pub coherence_null: Vec<f64>,
    /// Largest squared coordinate over the sum of squared coordinates, per feature, in neuron space.
    pub alignment: Vec<f64>,
    /// The same for Haar-rotated features.
    pub alignment_null: Vec<f64>,
    /// Held-out fraction of variance unexplained with `k` active features a row: complete against overcomplete.
    pub fvu: Vec<FvuPoint>,
}

/// One point of the complete-against-overcomplete curve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FvuPoint {
    /// Active features a row.
    pub k: usize,
    /// Best dictionary with no more atoms than dimensions.
    pub complete: f64,
    /// All atoms found.
    pub overcomplete: f64,
    /// Rows of the same lengths without direction (the radial null), coded with all atoms found.
    pub gaussian: f64,
}

/// A whole number with a comma between thousands: `12,500`.
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}
