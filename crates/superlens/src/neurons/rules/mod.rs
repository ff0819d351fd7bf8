//! Explanations without a model: rules on tokens that say what a unit will do, grown on some texts and scored on others.
//!
//! A rule set is a small regression tree (Breiman, Friedman, Olshen and Stone 1984) whose questions are about the token and those before it: is it
//! this word, does it begin one, did that word occur near by. Read from root to leaf, a path is a conjunction of such facts and their negations; all
//! paths that raise the unit are its explanation, and the leaf's mean is what the explanation predicts. So it is simulated and scored as an
//! explanation of a language model is (Bills et al. 2023), by the same measures, and a unit that no words explain gets a low score.
//!
//! What is explained is what a unit gives above zero: where it fires. What it does below is another story, and would be told by the unit turned round.

mod features;
mod grow;
mod words;

pub use features::{Fact, Texts};
pub use grow::{Limits, Tree, grow};
pub use words::explanation;

use rayon::prelude::*;
use superlens_lm::store::Tokens;
use superlens_tensor::{Mat, Rng};

use super::score::{correlation, explained_variance};
use super::{Source, Units};
use crate::probes::auc;

/// Rows of a run of neighbouring rows.
const RUN: u64 = 256;
/// Numbers of units' values held at once.
const HELD: u64 = 1 << 27;
/// Units that are worked on from one reading of the rows.
const CHUNK: usize = 256;
/// Every so many runs, one is held out.
const HELD_OUT: usize = 3;
/// Share of the rows of the training texts on which a unit is said to fire: the largest, and only what is above zero.
const FIRES: f64 = 0.01;

/// How well rules do on texts that they were not grown on.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    pub unit: usize,
    pub tree: Tree,
    /// Held-out rows.
    pub rows: usize,
    /// Between what the rules say and what the unit gives above zero; `None` where either does not vary.
    pub correlation: Option<f64>,
    /// Share of the held-out variance that is explained by the rules as they are: 1 − Σ(a − s)² / Σ(a − ā)². Below zero where the mean would do
    /// better.
    pub variance_explained: Option<f64>,
    /// Probability that a row on which the unit fires is given more than one drawn from all others. Fires: a value that one in a hundred training
    /// rows exceeds, above zero at least. `None` where there are fewer than ten.
    pub auc: Option<f64>,
    /// Held-out rows on which it fires.
    pub firing: usize,
}

/// Rules for each of `wanted`; `watch` hears the share that is done. The seed draws the runs of rows.
///
/// Runs are spread over the whole source, every third is held out. Panics where there is no such unit, or another number of tokens than rows.
pub fn explain(
    source: Source<'_>,
    units: &Units,
    wanted: &[usize],
    tokens: &Tokens,
    limits: &Limits,
    seed: u64,
    watch: &mut dyn FnMut(f64),
) -> Vec<Explained> {
    let width = (source.width().max(units.len()) as u64).max(1);
    let rows = source.sample((HELD / width).clamp(4 * RUN, limits.rows), RUN, &Rng::new(seed).fork("rules"));
    let (train, test) = split(&rows);
    let (train_texts, test_texts) = (Texts::of(tokens, &train), Texts::of(tokens, &test));
    let mut found = Vec::with_capacity(wanted.len());
    let (train_values, test_values) = (units.values(&source.select(&train)), units.values(&source.select(&test)));
    for chunk in wanted.chunks(CHUNK) {
        let done: Vec<Explained> = chunk
            .par_iter()
            .map(|&u| {
                let (seen, unseen) = (firing(&train_values, u), firing(&test_values, u));
                let tree = grow(&train_texts, &seen, limits);
                judge(u, tree, &seen, &test_texts, &unseen)
            })
            .collect();
        found.extend(done);
        watch(found.len() as f64 / wanted.len() as f64);
    }
    found
}

/// Runs in turns: two to grow on, one to hold out. Neighbouring rows stay together.
fn split(rows: &[u64]) -> (Vec<u64>, Vec<u64>) {
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (i, run) in rows.chunks(RUN as usize).enumerate() {
        if i % HELD_OUT == HELD_OUT - 1 { test.extend(run) } else { train.extend(run) }
    }
    (train, test)
}

/// What a unit gives above zero.
fn firing(m: &Mat, j: usize) -> Vec<f32> {
    (0..m.rows()).map(|i| m[(i, j)].max(0.0)).collect()
}

fn judge(unit: usize, tree: Tree, seen: &[f32], texts: &Texts, actual: &[f32]) -> Explained {
    let said = tree.predict(texts);
    let mut sorted = seen.to_vec();
    sorted.sort_by(f32::total_cmp);
    let least = sorted.get(((1.0 - FIRES) * sorted.len() as f64) as usize).copied().unwrap_or(0.0).max(0.0);
    let fires: Vec<bool> = actual.iter().map(|v| *v > least).collect();
    let firing = fires.iter().filter(|f| **f).count();
    Explained {
        unit,
        rows: actual.len(),
        correlation: correlation(actual, &said),
        variance_explained: explained_variance(actual, &said),
        auc: if firing < 10 { None } else { auc(&said, &fires) },
        firing,
        tree,
    }
}
