//! [`Law`]: how often each feature is on, with which others, and how strongly.

use super::tail::threshold;
use super::{Frequencies, Preset, Strengths, Trees};
use superlens_tensor::{Mat, Rng};

/// Factors are stored at a width that suits vectors; what is filled up is zero.
const WIDTH: usize = 16;
/// Variance that is always left to the feature's own noise.
const OWN: f32 = 0.01;

/// The law of the true activations of a [`Preset`], `n` features.
///
/// A feature is proposed where `lᵢ·ε + σᵢ η > tᵢ`, with `ε` normal and shared by the row, `η` normal and its own (a Gaussian copula). In
/// a tree a proposed feature counts only under a parent that is on, and siblings that exclude each other are left with one at random.
#[derive(Clone, Debug)]
pub struct Law {
    /// How often each feature is meant to be on, before what trees take away.
    pub base: Vec<f64>,
    /// How often each is proposed, which makes up for the most part of that.
    pub proposed: Vec<f64>,
    /// `tᵢ`, `σᵢ`, and `lᵢ` `[n, rank]`, filled up with zeros to a whole number of vectors.
    pub threshold: Vec<f32>,
    pub sigma: Vec<f32>,
    pub factors: Mat,
    pub rank: usize,
    pub parent: Vec<Option<u32>>,
    /// Children follow one another: the first, and how many.
    pub children: Vec<(u32, u32)>,
    /// Features from here on are in no tree.
    pub roots: usize,
    pub in_trees: usize,
    pub strengths: Strengths,
    /// Of a normal strength; the standard deviation is a feature's own.
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
}

impl Law {
    pub fn new(preset: &Preset, rng: &Rng) -> Law {
        let n = preset.features;
        let base = frequencies(preset.frequencies, n);
        let Forest { parent, children, roots, in_trees } = forest(preset.trees, n);
        let proposed = compensated(&base, &parent, &children);
        let rank = preset.correlation.rank;
        let (factors, sigma) = factors(n, rank, preset.correlation.scale, &mut rng.fork("factors"));
        let (mean, std) = match preset.strengths {
            Strengths::Uniform => (vec![0.5; n], vec![0.0; n]),
            Strengths::Normal { from, to, std_mean, std_spread } => {
                let mut rng = rng.fork("strengths");
                let at = |i: usize| from + (to - from) * i as f32 / (n.max(2) - 1) as f32;
                let folded = (0..n).map(|_| (std_mean + std_spread * rng.normal()).abs()).collect();
                ((0..n).map(at).collect(), folded)
            }
        };
        let threshold = proposed.iter().map(|&p| threshold(p) as f32).collect();
        let strengths = preset.strengths;
        Law { base, proposed, threshold, sigma, factors, rank, parent, children, roots, in_trees, strengths, mean, std }
    }
}

fn frequencies(law: Frequencies, n: usize) -> Vec<f64> {
    match law {
        Frequencies::Zipf { exponent, max, min } => {
            let at = |i: usize| ((i + 1) as f64).powf(-exponent);
            let (low, high) = (at(n - 1), 1.0);
            let spread = if n > 1 { (max - min) / (high - low) } else { 0.0 };
            (0..n).map(|i| max - (high - at(i)) * spread).collect()
        }
        Frequencies::Geometric { ratio, active } => {
            let sum: f64 = (0..n).map(|i| ratio.powi(i as i32)).sum();
            (0..n).map(|i| active * ratio.powi(i as i32) / sum).collect()
        }
    }
}

struct Forest {
    parent: Vec<Option<u32>>,
    children: Vec<(u32, u32)>,
    roots: usize,
    in_trees: usize,
}

/// Level after level over all trees, so the most frequent features are the roots.
fn forest(trees: Option<Trees>, n: usize) -> Forest {
    let (mut parent, mut children) = (vec![None; n], vec![(0, 0); n]);
    let Some(Trees { roots, branching, depth }) = trees else {
        return Forest { parent, children, roots: 0, in_trees: 0 };
    };
    let roots = roots.min(n);
    let (mut level, mut next) = (0..roots, roots);
    for _ in 0..depth {
        let first = next;
        for above in level {
            let many = branching.min(n - next);
            children[above] = (next as u32, many as u32);
            parent[next..next + many].fill(Some(above as u32));
            next += many;
        }
        level = first..next;
    }
    Forest { parent, children, roots, in_trees: next }
}

/// Children are proposed more often, by what their parent's being off takes away and by the siblings that they meet under it.
fn compensated(base: &[f64], parent: &[Option<u32>], children: &[(u32, u32)]) -> Vec<f64> {
    let of = |i: usize| {
        let Some(above) = parent[i] else { return base[i] };
        let (first, many) = children[above as usize];
        let siblings: f64 = base[first as usize..(first + many) as usize].iter().sum();
        let above = base[above as usize];
        (base[i] / above * (1.0 + (siblings - base[i]).max(0.0) / above)).min(1.0)
    };
    (0..base.len()).map(of).collect()
}

/// Normal factors, shortened where they leave too little to `σ`, and `σ = √(1 − ‖l‖²)`.
fn factors(n: usize, rank: usize, scale: f32, rng: &mut Rng) -> (Mat, Vec<f32>) {
    let mut factors = Mat::zeros(n, rank.next_multiple_of(WIDTH));
    let mut sigma = vec![1.0; n];
    for (i, sigma) in sigma.iter_mut().enumerate() {
        let row = &mut factors.row_mut(i)[..rank];
        row.iter_mut().for_each(|l| *l = scale * rng.normal());
        let square: f32 = row.iter().map(|l| l * l).sum();
        if 1.0 - square < OWN {
            let shorter = ((1.0 - OWN) / square).sqrt();
            row.iter_mut().for_each(|l| *l *= shorter);
        }
        *sigma = (1.0 - square).max(OWN).sqrt();
    }
    (factors, sigma)
}
