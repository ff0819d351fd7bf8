//! The models that are offered by name.

use super::directions::Apart;

/// How often features are on, most frequent first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Frequencies {
    /// A power of the rank, mapped linearly onto `min..=max`.
    Zipf { exponent: f64, max: f64, min: f64 },
    /// `ratioⁱ`, scaled so that `active` are on in a row on average.
    Geometric { ratio: f64, active: f64 },
}

/// Trees whose children are on under their parent only, one child of a parent at a time; each as much stronger than usual as its parent
/// is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trees {
    pub roots: usize,
    pub branching: usize,
    /// Levels below the roots.
    pub depth: usize,
}

/// A Gaussian copula with factors `N(0, scale²)`, `rank` of them a feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    pub rank: usize,
    pub scale: f32,
}

/// How strong a feature is that is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strengths {
    /// Normal, rectified: the mean goes linearly `from` the most frequent feature `to` the rarest; the standard deviation of each is
    /// `|N(std_mean, std_spread²)|`.
    Normal { from: f32, to: f32, std_mean: f32, std_spread: f32 },
    /// Uniform in `(0, 1)`.
    Uniform,
}

/// A model whose features are known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    pub id: &'static str,
    pub about: &'static str,
    pub features: usize,
    pub dims: usize,
    /// Length of a fixed random vector that is added to every row.
    pub bias: f32,
    pub frequencies: Frequencies,
    pub trees: Option<Trees>,
    pub correlation: Correlation,
    pub strengths: Strengths,
    pub apart: Apart,
}

/// SynthSAEBench-16k (Chanin et al. 2026, arXiv 2602.14687), its specification.
const BENCH_16K: Preset = Preset {
    id: "16k",
    about: "SynthSAEBench-16k: 16384 features in 768 dimensions, trees, correlations; d_sae 4096 is its standard",
    features: 16_384,
    dims: 768,
    bias: 0.5,
    frequencies: Frequencies::Zipf { exponent: 0.5, max: 0.4, min: 5e-4 },
    trees: Some(Trees { roots: 128, branching: 4, depth: 3 }),
    correlation: Correlation { rank: 25, scale: 0.1 },
    strengths: Strengths::Normal { from: 5.0, to: 4.0, std_mean: 0.5, std_spread: 0.5 },
    apart: Apart { steps: 100, lr: 3e-4 },
};

/// Every model. The smaller benches keep the share of features in trees and the active features a dimension of the large one.
pub const PRESETS: [Preset; 4] = [
    BENCH_16K,
    Preset {
        id: "4k",
        about: "the same law with 4096 features in 384 dimensions",
        features: 4096,
        dims: 384,
        trees: Some(Trees { roots: 32, branching: 4, depth: 3 }),
        ..BENCH_16K
    },
    Preset {
        id: "1k",
        about: "the same law with 1024 features in 192 dimensions",
        features: 1024,
        dims: 192,
        trees: Some(Trees { roots: 8, branching: 4, depth: 3 }),
        ..BENCH_16K
    },
    Preset {
        id: "toy512",
        about: "the toy set of Sharkey and of Cunningham: 512 features in 256 dimensions, 5 on, strengths uniform, independent",
        features: 512,
        dims: 256,
        bias: 0.0,
        frequencies: Frequencies::Geometric { ratio: 0.99, active: 5.0 },
        trees: None,
        correlation: Correlation { rank: 0, scale: 0.0 },
        strengths: Strengths::Uniform,
        apart: Apart { steps: 0, lr: 0.0 },
    },
];

/// The model called `id`, if there is one.
pub fn find(id: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.id == id)
}
