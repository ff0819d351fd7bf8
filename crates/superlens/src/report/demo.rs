//! A case whose truth is known, and what the diagnosis said of it.

use serde::Serialize;

use super::words;
use crate::diagnose::{Diagnosis, Mechanism, Verdict};

/// A layer that was made with a known cause, diagnosed as if unknown.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    /// How it was made, in one sentence.
    pub about: String,
    pub truth: Verdict,
    pub truth_mechanism: Option<Mechanism>,
    pub diagnosis: Diagnosis,
}

/// A line of the table "truth | verdict | confidence"; its JSON form is a contract.
#[derive(Clone, Debug, Serialize)]
pub struct CaseRow {
    pub name: String,
    /// `verdict` or `verdict/mechanism`.
    pub truth: String,
    pub verdict: Verdict,
    pub mechanism: Option<Mechanism>,
    pub confidence: f64,
}

impl Case {
    /// Whether verdict and mechanism are the true ones.
    pub fn is_right(&self) -> bool {
        let layer = &self.diagnosis.layer;
        layer.verdict == self.truth && layer.mechanism == self.truth_mechanism
    }

    pub fn row(&self) -> CaseRow {
        let layer = &self.diagnosis.layer;
        let truth = match self.truth_mechanism {
            Some(mechanism) => format!("{}/{}", self.truth.id(), mechanism.id()),
            None => self.truth.id().to_owned(),
        };
        CaseRow {
            name: self.name.clone(),
            truth,
            verdict: layer.verdict,
            mechanism: layer.mechanism,
            confidence: layer.confidence,
        }
    }
}

/// A distinct prefix for the files and ids of each case.
pub(super) fn prefixes(cases: &[Case]) -> Vec<String> {
    let slugs: Vec<_> = cases.iter().map(|c| words::slug(&c.name)).collect();
    let alone = |s: &String| slugs.iter().filter(|other| *other == s).count() == 1 && s != "demo";
    slugs.iter().enumerate().map(|(i, s)| if alone(s) { s.clone() } else { format!("{s}-case-{i}") }).collect()
}
