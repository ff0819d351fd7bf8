//! Compositional explanations of units (Mu and Andreas 2020, *Compositional Explanations of Neurons*, arXiv 2006.14032): the formula over given
//! concepts whose rows are most nearly those in which a unit is on, by intersection over union.
//!
//! A formula that fits better than a concept may say what the unit is about more exactly, or list unrelated things; [`Kind`] tells these apart by a
//! rule, and both from what a unit without any relation to the concepts would get.

mod concepts;
mod formula;
mod mask;
mod search;

pub use concepts::{Concepts, ConceptsError};
pub use formula::Formula;
pub use mask::{Mask, Overlap, binarise};
pub use search::{beam, exhaustive};

use rayon::prelude::*;
use superlens_tensor::Rng;

/// Above this p-value a formula counts as chance; fewer draws than can reach it must all be beaten.
const LEVEL: f64 = 0.05;

/// How formulas are looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// A unit is on in this share of the rows, those with its largest values.
    pub quantile: f64,
    /// Literals of a formula at most.
    pub length: usize,
    /// Formulas of each length that are grown further.
    pub beam: usize,
    /// What the IoU is multiplied by for every literal after the first, 0 to 1.
    pub penalty: f64,
    /// Rotations of each unit's rows that its formula is held against.
    pub draws: usize,
    /// Whether the optimum is searched too.
    pub exhaustive: bool,
}

impl Default for Options {
    /// The quantile, the penalty and the width of Mu and Andreas's code, formulas of three literals.
    fn default() -> Options {
        Options { quantile: 0.005, length: 3, beam: 10, penalty: 0.99, draws: 19, exhaustive: false }
    }
}

/// A formula and how well it fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub formula: Formula,
    pub iou: f64,
    /// The IoU after the penalty: what is maximised.
    pub score: f64,
    /// Literals.
    pub length: usize,
}

/// What a unit's formula says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The unit takes one value in all rows.
    Silent,
    /// A unit that has nothing to do with the concepts gets as good a formula: more than one in twenty rotations of the unit's rows get one that fits as well.
    Chance,
    /// One concept, or several in which no OR joins what comes together only by chance.
    Coherent,
    /// Some OR in it joins what comes together no more than by chance ([`Formula::joins_unrelated`]).
    Polysemantic,
}

impl Kind {
    pub fn id(self) -> &'static str {
        match self {
            Kind::Silent => "silent",
            Kind::Chance => "chance",
            Kind::Coherent => "coherent",
            Kind::Polysemantic => "polysemantic",
        }
    }
}

/// How well formulas fit once the rows of the unit are rotated against those of the concepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Null {
    pub draws: usize,
    pub mean_iou: f64,
    pub largest_iou: f64,
    /// (draws with at least the score + 1) / (draws + 1).
    pub p: f64,
}

/// What is said of one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    pub kind: Kind,
    /// `None` for a silent unit.
    pub best: Option<Found>,
    /// The unit is on where it is at least this.
    pub threshold: f32,
    /// In so many rows.
    pub rows_on: usize,
    /// `None` without draws.
    pub null: Option<Null>,
    /// The best of all formulas; `None` where that was not asked for, or they are too many.
    pub optimum: Option<Found>,
}

/// Explains a unit that gives `values`, one a row of the concepts. Panics on another number of rows.
pub fn explain(values: &[f32], concepts: &Concepts, options: &Options, rng: &Rng) -> Explained {
    assert_eq!(values.len(), concepts.rows(), "values and rows of concepts");
    let (unit, threshold) = binarise(values, options.quantile);
    let rows_on = unit.count();
    if rows_on == 0 {
        return Explained { kind: Kind::Silent, best: None, threshold, rows_on, null: None, optimum: None };
    }
    let search = |unit: &Mask| beam(unit, concepts, options.length, options.beam, options.penalty);
    let best = search(&unit);
    let null = null(&unit, best.score, options.draws, rng, &search);
    let optimum = options.exhaustive.then(|| exhaustive(&unit, concepts, options.length, options.penalty)).flatten();
    let kind = match null {
        Some(null) if null.p > LEVEL.max(1.0 / (null.draws as f64 + 1.0)) => Kind::Chance,
        _ if best.formula.joins_unrelated(concepts) => Kind::Polysemantic,
        _ => Kind::Coherent,
    };
    Explained { kind, best: Some(best), threshold, rows_on, null, optimum }
}

/// The same search for a unit that is on in as many rows, as bunched together, but has nothing to do with the concepts.
fn null(unit: &Mask, score: f64, draws: usize, rng: &Rng, search: &dyn Fn(&Mask) -> Found) -> Option<Null> {
    if draws == 0 || unit.rows() < 2 {
        return None;
    }
    let mut rng = rng.fork("rotations");
    let found: Vec<Found> = (0..draws).map(|_| search(&unit.rotated(1 + rng.below(unit.rows() - 1)))).collect();
    let as_good = found.iter().filter(|f| f.score >= score).count();
    Some(Null {
        draws,
        mean_iou: found.iter().map(|f| f.iou).sum::<f64>() / draws as f64,
        largest_iou: found.iter().map(|f| f.iou).fold(0.0, f64::max),
        p: (as_good + 1) as f64 / (draws + 1) as f64,
    })
}

/// [`explain`] of several units, each with its number, which its draws follow from: the same for a unit whichever others there are. `done` is told
/// after each.
pub fn explain_units(
    units: &[(usize, Vec<f32>)],
    concepts: &Concepts,
    options: &Options,
    rng: &Rng,
    done: &(dyn Fn() + Sync),
) -> Vec<Explained> {
    let rng = rng.fork("compositional");
    let one = |(unit, values): &(usize, Vec<f32>)| {
        let explained = explain(values, concepts, options, &rng.fork_index(*unit as u64));
        done();
        explained
    };
    units.par_iter().map(one).collect()
}
