//! Are there enough rows to speak at all?

use crate::diagnose::finding::Hypothesis;

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
        format!(" (of {rows}: neighbouring rows repeat one another)")
    } else {
        String::new()
    };
    let says = if supports {
        format!("{effective:.0} effective rows{repeats} are enough for {rank} dimensions; {required:.0} are needed.")
    } else {
        format!("{effective:.0} effective rows{repeats} are too few for {rank} dimensions; {required:.0} are needed.")
    };
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
