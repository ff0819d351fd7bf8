//! The words of a diagnosis. The toy lab says the truth in them, the diagnosis its verdict; so they stand below both.

use serde::{Deserialize, Serialize};

/// What explains the polysemanticity of a layer's neurons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// One feature per neuron: nothing to explain.
    Monosemantic,
    /// More sparse linear features than dimensions.
    Superposition,
    /// No more features than dimensions, but not along the neurons.
    Orthogonal,
    /// Features that are no directions: positions on a circle, magnitudes, regions.
    Nonlinear,
    /// A code without features: only the whole says what is meant.
    Compositional,
    /// These inputs can't tell.
    Inconclusive,
}

impl Verdict {
    /// The word used in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Verdict::Monosemantic => "monosemantic",
            Verdict::Superposition => "superposition",
            Verdict::Orthogonal => "orthogonal",
            Verdict::Nonlinear => "nonlinear",
            Verdict::Compositional => "compositional",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

/// Why orthogonal features miss the neurons. Only beside [`Verdict::Orthogonal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// The features are a rotation away from the neurons.
    Rotated,
    /// Features that occur together, or exclude each other, share a neuron.
    Correlated,
    /// Features met on a neuron by chance, though there was room.
    Incidental,
    /// The computation mixes them, as x·y does that is made of ReLU(x ± y).
    Computational,
}

impl Mechanism {
    pub fn id(self) -> &'static str {
        match self {
            Mechanism::Rotated => "rotated",
            Mechanism::Correlated => "correlated",
            Mechanism::Incidental => "incidental",
            Mechanism::Computational => "computational",
        }
    }
}

/// Whether the columns are neurons, that is, a privileged basis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// After a non-linearity: columns are neurons.
    Privileged,
    /// A residual stream or a linear bottleneck: columns mean nothing.
    None,
    /// Not said; alignment is reported as if the columns were neurons.
    #[default]
    Unknown,
}
