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
}

impl Mechanism {
    pub fn id(self) -> &'static str {
        match self {
            Mechanism::Rotated => "rotated",
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
