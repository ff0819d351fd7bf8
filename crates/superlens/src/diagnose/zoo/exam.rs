//! The diagnosis put to the zoo: what it says of each case, beside what is true.

use super::{Answer, Family};
use crate::diagnose::{Options, diagnose};
use crate::verdict::{Basis, Verdict};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Probability from which an alternative counts as named.
const NAMED: f64 = 0.02;

/// The outcome of one test.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tested {
    pub id: String,
    pub p_value: f64,
    /// Draws of its null; 0 for a rule.
    pub null_draws: usize,
    pub supports: bool,
}

/// What the diagnosis said of one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub family: String,
    pub number: u64,
    /// What made the rows.
    pub truth: Answer,
    /// Every answer that the inputs can defend.
    pub defended: Vec<Answer>,
    pub labelled: bool,
    #[serde(default)]
    pub basis: Basis,
    pub said: Answer,
    pub confidence: f64,
    /// The other answers with their probabilities.
    pub alternatives: Vec<(Answer, f64)>,
    /// What the verdict weighed.
    pub signs: Vec<f64>,
    /// Every test that was made.
    #[serde(default)]
    pub tests: Vec<Tested>,
    /// Features that were put in, the estimate of their number, its interval, and whether it is said to be a lower bound.
    pub n_features: Option<usize>,
    pub estimate: Option<(usize, usize, usize, bool)>,
    pub about: String,
    pub seconds: f64,
}

impl Outcome {
    /// Whether verdict and mechanism can be defended.
    ///
    /// `inconclusive` counts only where the case allows it and the cause is among the alternatives.
    pub fn is_right(&self) -> bool {
        self.defended.contains(&self.said) && self.names_the_cause()
    }

    /// Whether the verdict can be defended, whatever the mechanism.
    pub fn is_right_verdict(&self) -> bool {
        self.defended.iter().any(|d| d.0 == self.said.0) && self.names_the_cause()
    }

    fn names_the_cause(&self) -> bool {
        self.said.0 != Verdict::Inconclusive
            || self.truth.0 == Verdict::Inconclusive
            || self.alternatives.iter().any(|(a, p)| (*a == self.truth || *a == (self.truth.0, None)) && *p >= NAMED)
    }
}

/// The diagnosis of one case.
pub fn examine(family: &Family, seed: u64, number: u64) -> Outcome {
    let start = Instant::now();
    let case = family.case(seed, number);
    let labelled = case.labels.is_some();
    let options = Options { basis: case.basis, seed: number, labels: case.labels, parts: false, ..Options::default() };
    let mut outcome = Outcome {
        family: family.id.into(),
        number,
        truth: family.truth,
        defended: case.defended,
        labelled,
        basis: case.basis,
        said: (Verdict::Inconclusive, None),
        confidence: 1.0,
        alternatives: Vec::new(),
        signs: Vec::new(),
        tests: Vec::new(),
        n_features: case.n_features,
        estimate: None,
        about: case.about,
        seconds: 0.0,
    };
    // What can't be diagnosed at all is inconclusive.
    if let Ok(found) = diagnose(&case.x, &options, &mut |_| ControlFlow::Continue(())) {
        outcome.said = (found.layer.verdict, found.layer.mechanism);
        outcome.confidence = found.layer.confidence;
        outcome.alternatives =
            found.layer.alternatives.iter().map(|a| ((a.verdict, a.mechanism), a.probability)).collect();
        let tested = found.hypotheses.iter().filter(|h| h.statistic != 0.0 || h.null_high != 0.0 || h.null_draws > 0);
        outcome.tests = tested
            .map(|h| Tested { id: h.id.clone(), p_value: h.p_value, null_draws: h.null_draws, supports: h.supports })
            .collect();
        outcome.signs = found.signs.iter().map(|s| s.1).collect();
        outcome.estimate = found.layer.n_features.map(|c| (c.estimate, c.low, c.high, c.lower_bound));
    }
    outcome.seconds = start.elapsed().as_secs_f64();
    outcome
}

/// How many cases of each family: `cases`, and more where a cause would have fewer than `of_cause` in all of its families.
pub fn cases_each(families: &[Family], cases: u64, of_cause: u64) -> Vec<u64> {
    let alike = |truth: Answer| families.iter().filter(|f| f.truth == truth).count() as u64;
    families.iter().map(|f| cases.max(of_cause.div_ceil(alike(f.truth)))).collect()
}

/// The first `cases` of each of the families, in order; `done` is told how many are. Panics unless there is a number for each family.
pub fn exam(families: &[Family], seed: u64, cases: &[u64], done: &(dyn Fn(usize) + Sync)) -> Vec<Outcome> {
    assert_eq!(families.len(), cases.len(), "families and numbers of cases");
    let most = cases.iter().copied().max().unwrap_or(0);
    // In turns, so that what is dear comes spread over the whole.
    let all: Vec<(Family, u64)> = (0..most)
        .flat_map(|number| {
            families.iter().zip(cases).filter(move |(_, n)| number < **n).map(move |(f, _)| (*f, number))
        })
        .collect();
    let finished = AtomicUsize::new(0);
    let mut out: Vec<Outcome> = all
        .into_par_iter()
        .with_max_len(1)
        .map(|(family, number)| {
            let outcome = examine(&family, seed, number);
            done(finished.fetch_add(1, Ordering::Relaxed) + 1);
            outcome
        })
        .collect();
    let place = |id: &str| families.iter().position(|f| f.id == id);
    out.sort_by_key(|o| (place(&o.family), o.number));
    out
}
