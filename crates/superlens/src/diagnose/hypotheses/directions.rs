//! Do the rows pile up along directions at all, or is the cloud round?

use super::{Evidence, Side, against, untested};
use crate::diagnose::finding::Hypothesis;
use crate::diagnose::maxima::{Cloud, heights};
use crate::diagnose::rays::Rays;
use crate::diagnose::surrogate::radial;

/// Rows of each draw at most.
const ROWS: usize = 4000;
const HEIGHT: &str = "mean height of the directions found, E[cos₊^(p+1)] on held-out rows";
/// Of a complete code, whose directions are maxima of a cumulant.
const MOMENT: [&str; 2] = [
    "mean third moment E[s³] along the directions found, s in standard deviations of held-out rows",
    "mean fourth moment E[s⁴] along the directions found, s in standard deviations of held-out rows",
];

/// Held-out rows against the radial null: every row keeps its length and loses its direction.
///
/// The directions come from other rows, so under the null they are as good as random and the p-value is exact.
pub(in crate::diagnose) fn directions(e: &Evidence) -> Hypothesis {
    if e.rays.lines.is_empty() {
        return untested("directions", HEIGHT, "No direction was found along which both halves of the rows pile up.");
    }
    let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len() as f64;
    let (measures, scale, moment) = moment(e.rays, e.held_out.cols());
    let height = |cloud: &Cloud| scale * mean(heights(cloud, &e.rays.directions, e.rays.power));
    let rows = e.first_rows(ROWS);
    let statistic = height(&e.rays.cloud(&rows));
    let stream = e.rng.fork("directions");
    let draws = (0..e.draws).map(|k| height(&e.rays.cloud(&radial(&rows, &stream.fork_index(k as u64))))).collect();
    let null = against(statistic, draws, Side::Large);
    let supports = null.p <= 0.01;
    let n = e.rays.lines.len();
    let says = match (supports, moment) {
        (false, _) => format!("Rows that the search never saw do not pile up along the {n} directions found."),
        (true, Some(name)) => format!(
            "Rows that the search never saw pile up along the {n} directions found: {name} there is {statistic:.2} on average, and of rows without direction at most {:.2} (19 draws of 20).",
            null.edge.max(0.0)
        ),
        (true, None) => {
            let times = match statistic / null.mean.max(1e-300) {
                times if times < 1e4 => format!("{times:.1} times as high as"),
                _ => "more than ten thousand times as high as".into(),
            };
            format!(
                "Rows that the search never saw pile up along the {n} directions found: {times} rows without direction."
            )
        }
    };
    Hypothesis {
        id: "directions".into(),
        measures: measures.into(),
        statistic,
        null_mean: null.mean,
        null_high: null.edge,
        null_draws: null.draws.len(),
        p_value: null.p,
        supports,
        says,
        null: "radial: each held-out row keeps its length and gets a random direction, which keeps the covariance and heavy tails".into(),
        draws: null.draws,
    }
}

/// What is measured, the factor that brings it to units of variance, and its name.
///
/// The directions of a complete code are maxima of a cumulant, in a cloud that is scaled by √rank.
fn moment(rays: &Rays, rank: usize) -> (&'static str, f64, Option<&'static str>) {
    let scale = (rank as f64).powf((f64::from(rays.power) + 1.0) / 2.0);
    match (rays.complete, rays.power) {
        (false, _) => (HEIGHT, 1.0, None),
        (true, 2) => (MOMENT[0], scale, Some("the third moment")),
        (true, _) => (MOMENT[1], scale, Some("the fourth moment")),
    }
}
