//! How good the answers to the zoo are: shares right, confusion, calibration, false claims, and what each test does on each cause.

use super::exam::Outcome;
use super::{Answer, INCONCLUSIVE};
use crate::verdict::Verdict;
use serde::Serialize;
use std::fmt::Write;
use superlens_tensor::Rng;

/// Bins of confidence, and resamples of the bootstrap.
const BINS: usize = 10;
const RESAMPLES: u64 = 1000;

/// `verdict` or `verdict/mechanism`.
pub fn word((verdict, mechanism): Answer) -> String {
    match mechanism {
        Some(mechanism) => format!("{}/{}", verdict.id(), mechanism.id()),
        None => verdict.id().to_string(),
    }
}

/// Answers about the cases of one cause.
#[derive(Clone, Debug, Serialize)]
pub struct OfCause {
    pub truth: String,
    pub cases: usize,
    /// Verdict and mechanism can be defended; the verdict can.
    pub right: usize,
    pub right_verdict: usize,
    /// What was said, most frequent first.
    pub said: Vec<(String, usize)>,
}

/// Answers about the cases of one family.
#[derive(Clone, Debug, Serialize)]
pub struct OfFamily {
    pub family: String,
    pub truth: String,
    pub cases: usize,
    pub right: usize,
    /// What was said instead, most frequent first.
    pub instead: Vec<(String, usize)>,
}

/// How often one test holds, on each cause: (truth, held, cases). Its power where it should, its false alarms where it should not.
#[derive(Clone, Debug, Serialize)]
pub struct OfTest {
    pub id: String,
    pub held: Vec<(String, usize, usize)>,
}

/// The scores of an exam.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    pub cases: usize,
    pub right: usize,
    pub right_verdict: usize,
    /// Cases whose inputs no one could take for superposition, and those of which it was said.
    pub not_superposition: usize,
    pub false_superposition: usize,
    /// Expected calibration error over ten bins of confidence, with a 90 % bootstrap interval.
    pub calibration_error: f64,
    pub calibration_interval: (f64, f64),
    /// Mean squared difference of confidence and being right.
    pub brier: f64,
    /// Of each bin: (cases, mean confidence, share right).
    pub bins: Vec<(usize, f64, f64)>,
    pub causes: Vec<OfCause>,
    pub families: Vec<OfFamily>,
    pub tests: Vec<OfTest>,
}

/// The scores of `outcomes`.
pub fn scores(outcomes: &[Outcome]) -> Scores {
    let superposed = |o: &&Outcome| o.defended.iter().any(|d| d.0 == Verdict::Superposition);
    let others: Vec<&Outcome> = outcomes.iter().filter(|o| !superposed(o)).collect();
    let sure: Vec<(f64, bool)> = outcomes.iter().map(|o| (o.confidence, o.is_right())).collect();
    let bins = bins(&sure);
    let mut resampled: Vec<f64> = (0..RESAMPLES)
        .map(|k| {
            let mut rng = Rng::new(0).fork("bootstrap").fork_index(k);
            calibration_error(&bins_of((0..sure.len()).map(|_| sure[rng.below(sure.len())])))
        })
        .collect();
    resampled.sort_by(f64::total_cmp);
    let at = |q: f64| resampled[((resampled.len() - 1) as f64 * q) as usize];
    let brier = sure.iter().map(|(c, r)| (c - f64::from(u8::from(*r))).powi(2)).sum::<f64>() / sure.len().max(1) as f64;
    Scores {
        cases: outcomes.len(),
        right: sure.iter().filter(|s| s.1).count(),
        right_verdict: outcomes.iter().filter(|o| o.is_right_verdict()).count(),
        not_superposition: others.len(),
        false_superposition: others.iter().filter(|o| o.said.0 == Verdict::Superposition).count(),
        calibration_error: calibration_error(&bins),
        calibration_interval: (at(0.05), at(0.95)),
        brier,
        bins,
        causes: distinct(outcomes.iter().map(|o| o.truth)).into_iter().map(|t| of_cause(outcomes, t)).collect(),
        families: distinct(outcomes.iter().map(|o| o.family.clone()))
            .into_iter()
            .map(|f| of_family(outcomes, f))
            .collect(),
        tests: of_tests(outcomes),
    }
}

fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut out = Vec::new();
    all.for_each(|x| {
        if !out.contains(&x) {
            out.push(x)
        }
    });
    out
}

fn bins(sure: &[(f64, bool)]) -> Vec<(usize, f64, f64)> {
    bins_of(sure.iter().copied())
}

/// (cases, mean confidence, share right) by bin of confidence.
fn bins_of(sure: impl Iterator<Item = (f64, bool)>) -> Vec<(usize, f64, f64)> {
    let mut out = vec![(0usize, 0.0f64, 0.0f64); BINS];
    for (confidence, right) in sure {
        let bin = &mut out[((confidence * BINS as f64) as usize).min(BINS - 1)];
        *bin = (bin.0 + 1, bin.1 + confidence, bin.2 + f64::from(u8::from(right)));
    }
    out.iter().map(|(n, c, r)| (*n, c / (*n).max(1) as f64, r / (*n).max(1) as f64)).collect()
}

/// Guo et al. 2017, *On Calibration of Modern Neural Networks*.
fn calibration_error(bins: &[(usize, f64, f64)]) -> f64 {
    let total: usize = bins.iter().map(|b| b.0).sum();
    bins.iter().map(|(n, c, r)| *n as f64 * (c - r).abs()).sum::<f64>() / total.max(1) as f64
}

fn counted(said: impl Iterator<Item = String>) -> Vec<(String, usize)> {
    let mut out: Vec<(String, usize)> = Vec::new();
    for word in said {
        match out.iter_mut().find(|(w, _)| *w == word) {
            Some((_, n)) => *n += 1,
            None => out.push((word, 1)),
        }
    }
    out.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    out
}

fn of_cause(outcomes: &[Outcome], truth: Answer) -> OfCause {
    let of: Vec<&Outcome> = outcomes.iter().filter(|o| o.truth == truth).collect();
    OfCause {
        truth: word(truth),
        cases: of.len(),
        right: of.iter().filter(|o| o.is_right()).count(),
        right_verdict: of.iter().filter(|o| o.is_right_verdict()).count(),
        said: counted(of.iter().map(|o| word(o.said))),
    }
}

fn of_family(outcomes: &[Outcome], family: String) -> OfFamily {
    let of: Vec<&Outcome> = outcomes.iter().filter(|o| o.family == family).collect();
    OfFamily {
        truth: word(of.first().map_or(INCONCLUSIVE, |o| o.truth)),
        cases: of.len(),
        right: of.iter().filter(|o| o.is_right()).count(),
        instead: counted(of.iter().filter(|o| !o.is_right()).map(|o| word(o.said))),
        family,
    }
}

fn of_tests(outcomes: &[Outcome]) -> Vec<OfTest> {
    let ids = distinct(outcomes.iter().flat_map(|o| o.tests.iter().map(|t| t.id.clone())));
    let truths = distinct(outcomes.iter().map(|o| o.truth));
    ids.into_iter()
        .map(|id| {
            let held = truths.iter().map(|&truth| {
                let of = outcomes.iter().filter(|o| o.truth == truth);
                let tests: Vec<bool> = of.flat_map(|o| &o.tests).filter(|t| t.id == id).map(|t| t.supports).collect();
                (word(truth), tests.iter().filter(|t| **t).count(), tests.len())
            });
            OfTest { held: held.collect(), id }
        })
        .collect()
}

/// The scores as a page. `command` is what made the outcomes.
pub fn markdown(s: &Scores, command: &str) -> String {
    let mut out = String::new();
    let share = |n: usize, of: usize| 100.0 * n as f64 / of.max(1) as f64;
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "# What the diagnosis says of made cases\n\n    {command}\n\n\
         {} cases of families that had no part in calibrating the verdict, but for `gaussian-test` and `slow-test`, which are other draws of \
         families that had; no case is chosen or left out. An answer is right if the inputs can \
         defend it; `inconclusive` is only where they can't tell, and then the cause must be among the alternatives.\n\n\
         | | |\n|---|---|\n\
         | verdict right | {} of {} ({:.1} %) |\n| verdict and mechanism right | {} ({:.1} %) |\n\
         | superposition said of cases that can't be taken for it | {} of {} |\n\
         | expected calibration error, ten bins [90 %] | {:.3} [{:.3}, {:.3}] |\n| Brier score of the confidence | {:.3} |\n\n",
        s.cases,
        s.right_verdict,
        s.cases,
        share(s.right_verdict, s.cases),
        s.right,
        share(s.right, s.cases),
        s.false_superposition,
        s.not_superposition,
        s.calibration_error,
        s.calibration_interval.0,
        s.calibration_interval.1,
        s.brier
    );
    let words = distinct(s.causes.iter().flat_map(|c| c.said.iter().map(|w| w.0.clone())));
    let _ = write!(
        out,
        "## Truth against answer\n\n| truth | right | {} |\n|---|---|{}\n",
        words.join(" | "),
        "---|".repeat(words.len())
    );
    for c in &s.causes {
        let cell = |w: &String| c.said.iter().find(|(said, _)| said == w).map_or(String::new(), |(_, n)| n.to_string());
        let cells: Vec<String> = words.iter().map(cell).collect();
        let _ = writeln!(out, "| {} | {} of {} | {} |", c.truth, c.right, c.cases, cells.join(" | "));
    }
    out += "\n## Confidence\n\n| confidence | cases | mean | right |\n|---|---|---|---|\n";
    for (k, (n, c, r)) in s.bins.iter().enumerate().filter(|(_, b)| b.0 > 0) {
        let (from, to) = (k as f64 / BINS as f64, (k + 1) as f64 / BINS as f64);
        let _ = writeln!(out, "| {from:.1} to {to:.1} | {n} | {c:.2} | {r:.2} |");
    }
    out += "\n## Families\n\n| family | truth | right | instead |\n|---|---|---|---|\n";
    for f in &s.families {
        let instead: Vec<String> = f.instead.iter().map(|(w, n)| format!("{n} {w}")).collect();
        let _ = writeln!(out, "| {} | {} | {} of {} | {} |", f.family, f.truth, f.right, f.cases, instead.join(", "));
    }
    if !s.tests.is_empty() {
        let truths: Vec<&str> = s.causes.iter().map(|c| c.truth.as_str()).collect();
        let _ = write!(
            out,
            "\n## Tests\n\nShare of the cases in which each test holds, in %, where it was made: its power on its own cause, its false alarms on others.\n\n\
             | test | {} |\n|---|{}\n",
            truths.join(" | "),
            "---|".repeat(truths.len())
        );
        for t in &s.tests {
            let cells: Vec<String> = t
                .held
                .iter()
                .map(|(_, held, of)| if *of == 0 { String::new() } else { format!("{:.0}", share(*held, *of)) })
                .collect();
            let _ = writeln!(out, "| {} | {} |", t.id, cells.join(" | "));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Basis;

    fn outcome(truth: Answer, said: Answer, confidence: f64) -> Outcome {
        Outcome {
            family: "made".into(),
            number: 0,
            truth,
            defended: vec![truth],
            labelled: false,
            basis: Basis::Unknown,
            said,
            confidence,
            alternatives: Vec::new(),
            signs: Vec::new(),
            tests: Vec::new(),
            n_features: None,
            estimate: None,
            about: String::new(),
            seconds: 0.0,
        }
    }

    #[test]
    fn errors_false_claims_and_calibration_are_counted() {
        let (mono, superposition) = ((Verdict::Monosemantic, None), (Verdict::Superposition, None));
        let all = vec![
            outcome(mono, mono, 0.95),
            outcome(mono, superposition, 0.55),
            outcome(superposition, superposition, 0.95),
            outcome(superposition, superposition, 0.95),
        ];
        let s = scores(&all);
        assert_eq!((s.cases, s.right, s.false_superposition, s.not_superposition), (4, 3, 1, 2));
        assert!((s.calibration_error - (3.0 * 0.05 + 0.55) / 4.0).abs() < 1e-9);
        assert!((s.brier - (3.0 * 0.0025 + 0.3025) / 4.0).abs() < 1e-9);
        assert!(s.calibration_interval.0 <= s.calibration_error && s.calibration_error <= s.calibration_interval.1);
        let page = markdown(&s, "command");
        assert!(page.contains("| monosemantic | 1 of 2 | 1 | 1 |"), "{page}");
    }
}
