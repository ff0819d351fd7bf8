//! Made cases whose cause is known: what the verdict is calibrated on, and what it is tested on.
//!
//! A family is a way of making cases; each case draws its own sizes. Families are split: what calibrates the verdict
//! ([`Split::Calibrate`]) and what only tests it ([`Split::Test`]) share building blocks, never a family. Two nulls are the exception and say so:
//! there is but one kind of Gaussian cloud, and of slow stream, so `gaussian-test` and `slow-test` are made as `gaussian` and `slow` are.

pub mod alarms;
pub mod calibrate;
mod codebooks;
mod codes;
mod computed;
pub mod counts;
mod curved;
pub mod exam;
mod layers;
pub mod mixed;
mod nulls;
pub mod score;
pub mod second;
mod shared;
mod sparse;
pub mod trained;

use crate::verdict::{Basis, Mechanism, Verdict};
use std::cell::Cell;
use superlens_tensor::{Mat, Rng};

/// A verdict, with the mechanism where it is `orthogonal`.
pub type Answer = (Verdict, Option<Mechanism>);

/// What a family may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Calibrate,
    Test,
}

impl Split {
    /// The word on the command line.
    pub fn id(self) -> &'static str {
        match self {
            Split::Calibrate => "calibrate",
            Split::Test => "test",
        }
    }
}

/// One way of making cases of one cause.
#[derive(Clone, Copy)]
pub struct Family {
    pub id: &'static str,
    /// What made the rows.
    pub truth: Answer,
    pub split: Split,
    /// In one line.
    pub about: &'static str,
    make: fn(&Rng) -> Case,
}

impl Family {
    /// Case `number` of the family under `seed`.
    pub fn case(&self, seed: u64, number: u64) -> Case {
        self.counted_case(seed, number).0
    }

    /// The same, and how many features each neuron carries, where the family can count them: by their variance in it, as
    /// [`Neuron`](super::Neuron) counts them.
    fn counted_case(&self, seed: u64, number: u64) -> (Case, Option<Vec<usize>>) {
        COUNTED.take();
        let case = (self.make)(&Rng::new(seed).fork("zoo").fork(self.id).fork_index(number));
        (case, COUNTED.take())
    }
}

thread_local! {
    /// What a family left beside the case that it has just made. A case itself has no room for it: the second set, whose bytes are sealed by a
    /// hash, builds cases too.
    static COUNTED: Cell<Option<Vec<usize>>> = const { Cell::new(None) };
}

/// What the diagnosis is given, and the answers that its inputs can defend.
#[derive(Clone, Debug)]
pub struct Case {
    /// `[rows, neurons]`.
    pub x: Mat,
    pub basis: Basis,
    /// `[rows, concepts]`; `None` where only activations are given.
    pub labels: Option<Mat>,
    /// Every answer that these inputs can defend; `inconclusive` among them only where they can't tell.
    pub defended: Vec<Answer>,
    /// Features that the rows hold, where they can be counted.
    pub n_features: Option<usize>,
    /// The sizes and laws that were drawn.
    pub about: String,
}

/// All families, those that calibrate first.
pub fn families() -> Vec<Family> {
    let all = [
        sparse::families(),
        shared::families(),
        computed::families(),
        curved::families(),
        codebooks::families(),
        nulls::families(),
    ]
    .concat();
    let of = |split| all.iter().copied().filter(move |f: &Family| f.split == split);
    of(Split::Calibrate).chain(of(Split::Test)).collect()
}

const MONOSEMANTIC: Answer = (Verdict::Monosemantic, None);
const SUPERPOSITION: Answer = (Verdict::Superposition, None);
const ROTATED: Answer = (Verdict::Orthogonal, Some(Mechanism::Rotated));
const CORRELATED: Answer = (Verdict::Orthogonal, Some(Mechanism::Correlated));
const INCIDENTAL: Answer = (Verdict::Orthogonal, Some(Mechanism::Incidental));
const COMPUTATIONAL: Answer = (Verdict::Orthogonal, Some(Mechanism::Computational));
const NONLINEAR: Answer = (Verdict::Nonlinear, None);
const COMPOSITIONAL: Answer = (Verdict::Compositional, None);
const INCONCLUSIVE: Answer = (Verdict::Inconclusive, None);

/// Features on each neuron, of so many `[rows, features]` along directions `[features, neurons]`.
fn carried(features: &Mat, directions: &Mat) -> Vec<usize> {
    let rows = features.rows().max(1) as f64;
    let variance: Vec<f64> = (0..features.cols())
        .map(|f| {
            let column = (0..features.rows()).map(|i| f64::from(features[(i, f)]));
            let (sum, squares) = column.fold((0.0, 0.0), |(s, q), v| (s + v, q + v * v));
            squares / rows - (sum / rows).powi(2)
        })
        .collect();
    let of = |j: usize| -> Vec<f64> {
        variance.iter().enumerate().map(|(f, v)| v * f64::from(directions[(f, j)]).powi(2)).collect()
    };
    (0..directions.cols()).map(|j| super::neurons::carried(&of(j))).collect()
}

/// e to a uniform power between the logarithms of the two.
fn log_uniform(low: f64, high: f64, rng: &mut Rng) -> f64 {
    (low.ln() + (high.ln() - low.ln()) * rng.uniform_f64()).exp()
}

fn between(low: f64, high: f64, rng: &mut Rng) -> f64 {
    low + (high - low) * rng.uniform_f64()
}

fn pick<T: Copy>(from: &[T], rng: &mut Rng) -> T {
    from[rng.below(from.len())]
}

/// Neurons of a case: mostly 16 to 96, at times as few as 8 or as many as 256.
fn neurons(rng: &mut Rng) -> usize {
    match rng.below(20) {
        0 => 8 + rng.below(8),
        1 => log_uniform(96.0, 256.0, rng) as usize,
        _ => log_uniform(16.0, 96.0, rng) as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_family_makes_sound_cases_that_depend_on_seed_and_number_alone() {
        let mut ids = BTreeSet::new();
        for family in families() {
            assert!(ids.insert(family.id), "two families are called {}", family.id);
            let case = family.case(1, 0);
            assert!(case.x.rows() > 0 && case.x.cols() >= 2, "{}: {:?}", family.id, case.x.shape());
            assert!(case.x.data().iter().all(|v| v.is_finite()), "{}", family.id);
            assert!(!case.defended.is_empty(), "{}", family.id);
            if let Some(labels) = &case.labels {
                assert_eq!(labels.rows(), case.x.rows(), "{}", family.id);
                assert!(labels.cols() > 0 && labels.data().iter().all(|v| v.is_finite()), "{}", family.id);
            }
            assert!(family.case(1, 0).x == case.x, "{}", family.id);
            assert!(family.case(2, 0).x.data() != case.x.data(), "{}", family.id);
        }
    }

    #[test]
    fn every_cause_has_families_that_calibrate_and_families_that_test() {
        let causes = [
            MONOSEMANTIC,
            SUPERPOSITION,
            ROTATED,
            CORRELATED,
            INCIDENTAL,
            COMPUTATIONAL,
            NONLINEAR,
            COMPOSITIONAL,
            INCONCLUSIVE,
        ];
        for cause in causes {
            for split in [Split::Calibrate, Split::Test] {
                let n = families().iter().filter(|f| f.truth == cause && f.split == split).count();
                assert!(n >= 2, "{cause:?} has {n} families that {}", split.id());
            }
        }
    }
}
