//! Do the rows pile up along directions at all, or is the cloud round?

use super::{Evidence, Side, against, untested};
use crate::diagnose::finding::Hypothesis;
use crate::diagnose::maxima::{Cloud, heights};
use crate::diagnose::surrogate::radial;

const MEASURES: &str = "mean height of the directions found, E[cos₊^(p+1)] on held-out rows";

/// Held-out rows against the radial null: every row keeps its length and loses its direction.
///
/// The directions come from other rows, so under the null they are as good as random and the p-value is exact.
pub(in crate::diagnose) fn directions(e: &Evidence) -> Hypothesis {
    if e.rays.lines.is_empty() {
        return untested("directions", MEASURES, "No direction was found along which both halves of the rows pile up.");
    }
    let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len() as f64;
    let height = |cloud: &Cloud| mean(heights(cloud, &e.rays.directions, e.rays.power));
    let statistic = height(&e.rays.cloud(e.held_out));
    let stream = e.rng.fork("directions");
    let draws =
        (0..e.draws).map(|k| height(&e.rays.cloud(&radial(e.held_out, &stream.fork_index(k as u64))))).collect();
    let null = against(statistic, draws, Side::Large);
    let supports = null.p <= 0.01;
    let n = e.rays.lines.len();
    let times = match statistic / null.mean.max(1e-300) {
        times if times < 1e4 => format!("{times:.1} times as high as"),
        _ => "more than ten thousand times as high as".into(),
    };
    Hypothesis {
        id: "directions".into(),
        measures: MEASURES.into(),
        statistic,
        null_mean: null.mean,
        null_high: null.edge,
        null_draws: null.draws.len(),
        p_value: null.p,
        supports,
        says: if supports {
            format!("Rows that the search never saw pile up along the {n} directions found: {times} rows without direction.")
        } else {
            format!("Rows that the search never saw do not pile up along the {n} directions found.")
        },
        null: "radial: each held-out row keeps its length and gets a random direction, which keeps the covariance and heavy tails".into(),
        draws: null.draws,
    }
}
