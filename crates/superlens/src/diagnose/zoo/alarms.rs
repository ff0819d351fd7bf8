//! False alarms: how often each test rejects its null where that null is true.
//!
//! A p-value is honest if P(p ≤ α) ≤ α. A test that had nothing to test (no direction was found, say) has p = 1.

use super::{Family, families};
use crate::diagnose::{Options, diagnose};
use crate::verdict::{Basis, Verdict};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases with at most this many numbers, and neurons.
const NUMBERS: usize = 160_000;
const NEURONS: usize = 32;
/// The levels that are looked at.
pub const LEVELS: [f64; 3] = [0.01, 0.05, 0.1];

/// Families of nulls, and the tests whose own null is true there. Clusters do pile up along directions, so there `directions` must reject.
const TRUE: [(&str, &[&str]); 5] = [
    ("gaussian", &["directions", "sparse_code", "superposition", "aligned", "computational"]),
    ("gaussian-test", &["directions", "sparse_code", "superposition", "aligned", "computational"]),
    ("stretched", &["directions", "sparse_code", "superposition", "aligned"]),
    ("slow", &["directions", "sparse_code", "superposition", "aligned", "computational"]),
    ("clusters", &["sparse_code", "superposition"]),
];

/// What was said of one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Alarm {
    pub family: String,
    pub number: u64,
    pub superposition: bool,
    /// Of each test whose null is true: its name, its p-value, the draws of its null.
    pub tests: Vec<(String, f64, usize)>,
}

/// `cases` small cases of each family; `done` is told how many are.
pub fn exam(seed: u64, cases: u64, done: &(dyn Fn(usize) + Sync)) -> Vec<Alarm> {
    let all = families();
    let of = |id: &str| *all.iter().find(|f| f.id == id).expect("a family of the zoo");
    let finished = AtomicUsize::new(0);
    let one = |(family, tests, number): (Family, &[&str], u64)| {
        let case = family.case(seed, number);
        let options = Options { basis: Basis::Privileged, seed: number, parts: false, ..Options::default() };
        let found = diagnose(&case.x, &options, &mut |_| ControlFlow::Continue(())).ok();
        let hypotheses = found.as_ref().map(|d| d.hypotheses.as_slice()).unwrap_or_default();
        let p = |id: &&str| {
            let h = hypotheses.iter().find(|h| h.id == **id && h.null_draws > 1);
            (id.to_string(), h.map_or(1.0, |h| h.p_value), h.map_or(0, |h| h.null_draws))
        };
        let tests = tests.iter().map(p).collect();
        done(finished.fetch_add(1, Ordering::Relaxed) + 1);
        let superposition = found.is_some_and(|d| d.layer.verdict == Verdict::Superposition);
        Alarm { family: family.id.into(), number, superposition, tests }
    };
    let chosen: Vec<(Family, &[&str], u64)> = TRUE
        .iter()
        .flat_map(|&(id, tests)| small(of(id), seed, cases).into_iter().map(move |n| (of(id), tests, n)))
        .collect();
    chosen.into_par_iter().with_max_len(1).map(one).collect()
}

/// The families that [`exam`] goes through.
pub fn count() -> usize {
    TRUE.len()
}

/// Numbers of the first cases that are small.
fn small(family: Family, seed: u64, cases: u64) -> Vec<u64> {
    let fits = |number: &u64| {
        let x = family.case(seed, *number).x;
        x.cols() <= NEURONS && x.rows() * x.cols() <= NUMBERS
    };
    (0..).filter(fits).take(cases as usize).collect()
}

/// A page of the shares below each level, beside what an honest test may reach by chance; `command` made it.
pub fn markdown(alarms: &[Alarm], command: &str) -> String {
    let mut out = format!(
        "# False alarms of the tests\n\n    {command}\n\nSmall cases of the zoo's nulls ({NEURONS} neurons at most), and the tests whose own null is true there. A test that found nothing to \
         test has p = 1. No p is below 1 / (draws + 1). An honest test stays below α + 2 standard errors.\n\n| null | test | draws | had something to test | p ≤ .01 | ≤ .05 | ≤ .1 | smallest p | honest |\n|---|---|---|---|---|---|---|---|---|\n"
    );
    for same in alarms.chunk_by(|a, b| a.family == b.family) {
        let n = same.len() as f64;
        for (k, (test, _, _)) in same[0].tests.iter().enumerate() {
            let p: Vec<f64> = same.iter().map(|a| a.tests[k].1).collect();
            let draws = same.iter().map(|a| a.tests[k].2).max().unwrap_or(0);
            let shares = LEVELS.map(|level| p.iter().filter(|p| **p <= level).count() as f64 / n);
            let honest = LEVELS.iter().zip(shares).all(|(a, share)| share <= a + 2.0 * (a * (1.0 - a) / n).sqrt());
            let least = p.iter().copied().fold(1.0, f64::min);
            let tested = same.iter().filter(|a| a.tests[k].2 > 0).count();
            out += &format!(
                "| {} | {test} | {draws} | {tested} of {} | {:.3} | {:.3} | {:.3} | {least:.3} | {} |\n",
                same[0].family,
                same.len(),
                shares[0],
                shares[1],
                shares[2],
                if honest { "yes" } else { "no" }
            );
        }
    }
    out += "\n| null | superposition said |\n|---|---|\n";
    for same in alarms.chunk_by(|a, b| a.family == b.family) {
        let said = same.iter().filter(|a| a.superposition).count();
        out += &format!("| {} | {said} of {} |\n", same[0].family, same.len());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_cases_of_each_null_are_small_and_told() {
        let alarms = exam(4, 2, &|_| {});
        assert_eq!(alarms.len(), 2 * count());
        assert!(
            alarms.iter().all(|a| a.tests.iter().all(|t| t.1 > 0.0 && (t.2 == 0 || t.1 >= 1.0 / (t.2 + 1) as f64)))
        );
        let page = markdown(&alarms, "command");
        assert!(page.contains("| gaussian | directions |") && page.contains("| clusters | 0 of 2 |"), "{page}");
    }
}
