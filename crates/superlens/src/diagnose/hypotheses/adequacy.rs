//! Are there enough rows to speak at all?

use crate::diagnose::finding::{Hypothesis, thousands};

/// Rows below which nothing is claimed, for `rank` dimensions.
///
/// Fewer rows than ten a dimension leave even the covariance uncertain, and below 250 no direction can be held against
/// its null.
fn required_rows(rank: usize) -> f64 {
    250f64.max(10.0 * rank as f64)
}

/// A rule rather than a test: no null is drawn.
pub(in crate::diagnose) fn adequacy(effective: f64, rows: usize, rank: usize) -> Hypothesis {
    let required = required_rows(rank);
    let supports = effective >= required;
    let repeats = if effective < 0.9 * rows as f64 {
        format!(" (of {}: neighbouring rows repeat one another)", thousands(rows))
    } else {
        String::new()
    };
    let enough = if supports { "enough" } else { "too few" };
    let says = format!(
        "{} effective rows{repeats} are {enough} for {rank} dimensions; {} are needed.",
        thousands(effective.round() as usize),
        thousands(required as usize)
    );
    Hypothesis {
        id: "adequacy".into(),
        measures: "effective rows, N (1 − ρ) / (1 + ρ) with ρ the mean lag-1 autocorrelation".into(),
        statistic: effective,
        null_mean: required,
        null_high: required,
        null_draws: 0,
        p_value: 1.0,
        supports,
        says,
        null: "none: a rule, max(250, ten rows a dimension)".into(),
        draws: Vec::new(),
    }
}
