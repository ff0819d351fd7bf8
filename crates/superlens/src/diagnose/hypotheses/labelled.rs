//! What labels add: are concepts read linearly, generally, additively, and along lines of their own?

use super::{Side, against, untested};
use crate::diagnose::finding::Hypothesis;
use crate::diagnose::labelled::{GAP, LabelEvidence};
use crate::diagnose::signs::Sharing;

/// AUC on unseen clusters of rows below which concepts are looked up …
const LOOKED_UP: f64 = 0.66;
/// … where rows of seen clusters are read at least this well.
const READ: f64 = 0.75;
/// Share of the neurons' variance that products of labels must add, also on unseen clusters.
const INTERACT: f64 = 0.1;
/// Share that a smooth function of real labels must give, and how far above a linear one.
const GIVEN: f64 = 0.85;
const BENT: f64 = 0.08;
/// Share of the concepts that must share a line.
const SHARE: f64 = 0.1;

/// One hypothesis each, in the order of the report.
pub(in crate::diagnose) fn labelled(l: &LabelEvidence, sharing: Sharing) -> Vec<Hypothesis> {
    let mut out = Vec::new();
    if l.concepts == 0 {
        return vec![untested(
            "labels",
            "labels with enough rows of either kind",
            "No label has enough rows of either kind to test anything.",
        )];
    }
    if l.binary {
        out.push(gap(l));
        out.push(lookup(l));
    } else {
        out.push(latents(l));
    }
    out.push(interactions(l));
    out.push(shared(
        "correlated",
        sharing.correlated,
        "that come together, or exclude one another, more than chance would have it",
    ));
    out.push(shared("incidental", sharing.independent, "that are independent of one another"));
    out
}

fn gap(l: &LabelEvidence) -> Hypothesis {
    let measures =
        "mean over concepts of the best non-linear AUC (products, nearest rows) less that of a linear probe, held out";
    let null = (!l.gap_null.is_empty()).then(|| against(l.gap, l.gap_null.clone(), Side::Large));
    let (mean, edge, p, draws) =
        null.map_or((0.0, GAP, 1.0, Vec::new()), |null| (null.mean, null.edge, null.p, null.draws));
    let supports = l.gap >= GAP && p <= 0.05;
    let [linear, best] = [l.linear_auc, l.quadratic_auc.max(l.nearest_auc)];
    Hypothesis {
        id: "nonlinear".into(),
        measures: measures.into(),
        statistic: l.gap,
        null_mean: mean,
        null_high: edge,
        null_draws: draws.len(),
        p_value: p,
        supports,
        says: if supports {
            format!(
                "Concepts are there, but not along directions: a linear probe tells them with AUC {linear:.2}, non-linear ones with {best:.2}."
            )
        } else {
            format!("Non-linear probes tell the concepts no better than a linear one ({best:.2} against {linear:.2}).")
        },
        null: "labels dealt out to other blocks of rows".into(),
        draws,
    }
}

fn lookup(l: &LabelEvidence) -> Hypothesis {
    let supports = l.seen_auc >= READ && l.unseen_auc < LOOKED_UP;
    let [seen, unseen] = [l.seen_auc, l.unseen_auc];
    Hypothesis {
        statistic: unseen,
        null_mean: LOOKED_UP,
        null_high: LOOKED_UP,
        supports,
        null: "none: a rule, an AUC of .66 on clusters of rows that the probe never saw".into(),
        ..untested(
            "lookup",
            "AUC of the better non-linear probe on clusters of rows that it never saw",
            &if supports {
                format!(
                    "Concepts are looked up: probes that tell them in clusters of rows that they know (AUC {seen:.2}) fail in others ({unseen:.2}). The code has no features for them."
                )
            } else {
                format!(
                    "What tells the concepts in known clusters of rows (AUC {seen:.2}) does so in unseen ones ({unseen:.2})."
                )
            },
        )
    }
}

fn latents(l: &LabelEvidence) -> Hypothesis {
    let supports = l.latents_r2 >= GIVEN && l.latents_r2 - l.linear_r2 >= BENT;
    let [smooth, linear] = [l.latents_r2, l.linear_r2].map(|v| 100.0 * v.max(0.0));
    Hypothesis {
        statistic: l.latents_r2 - l.linear_r2,
        null_mean: BENT,
        null_high: BENT,
        supports,
        null: "none: a rule, 85 % given smoothly and 8 % more than linearly".into(),
        ..untested(
            "latents",
            "share of the neurons' variance that a smooth function of the labels gives beyond a linear one, held out",
            &if supports {
                format!(
                    "The labels give the neurons through bends: {smooth:.0} % of their variance, linearly {linear:.0} %. The neurons compute with them."
                )
            } else {
                format!("The labels give {smooth:.0} % of the neurons' variance through bends, {linear:.0} % linearly.")
            },
        )
    }
}

fn interactions(l: &LabelEvidence) -> Hypothesis {
    let statistic = l.interactions.min(l.interactions_unseen);
    let supports = statistic >= INTERACT;
    let share = 100.0 * statistic.max(0.0);
    Hypothesis {
        statistic,
        null_mean: INTERACT,
        null_high: INTERACT,
        supports,
        null: "none: a rule, a tenth of the neurons' variance".into(),
        ..untested(
            "interactions",
            "share of the neurons' variance that products of two labels give beyond the labels, held out and on unseen clusters",
            &if supports {
                format!("Concepts do not add up: products of two give {share:.0} % more of the neurons' variance.")
            } else {
                format!("Concepts add up: products of two give {share:.0} % more of the neurons' variance.")
            },
        )
    }
}

fn shared(id: &str, share: f64, which: &str) -> Hypothesis {
    let supports = share >= SHARE;
    Hypothesis {
        statistic: share,
        null_mean: SHARE,
        null_high: SHARE,
        supports,
        null: "none: a rule, a tenth of the concepts".into(),
        ..untested(
            id,
            "share of the concepts that lie along the line of another one",
            &format!("{:.0} % of the concepts share a line with others {which}.", 100.0 * share),
        )
    }
}
