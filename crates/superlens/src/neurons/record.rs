//! Stretches of text with what a unit does on each token.

/// Tokens of one text, and what a unit gives on each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub tokens: Vec<String>,
    /// As many as tokens.
    pub activations: Vec<f32>,
}

impl Record {
    /// The largest activation; minus infinity where there is no token.
    pub fn max(&self) -> f32 {
        self.activations.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Examples of one unit, sorted as OpenAI's neuron records are (Bills et al. 2023).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    pub unit: usize,
    /// Around its largest activations, largest first, none overlapping another.
    pub top: Vec<Record>,
    /// From anywhere.
    pub random: Vec<Record>,
    /// Around activations between consecutive boundaries, lowest first: what lies below the top.
    pub by_quantile: Vec<Vec<Record>>,
    /// The boundaries, one more than there are groups; empty where there are no groups.
    pub boundaries: Vec<f32>,
}
