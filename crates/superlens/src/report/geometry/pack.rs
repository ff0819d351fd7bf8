//! A packing: how close its directions come, and how far that is from the bounds.

use super::{Answer, bound_name, bounds_json, cosine, five, row};
use crate::geometry::bounds::{Bound, Kind, best_bound, bounds};
use crate::geometry::pack::Best;
use crate::report::{figures, words};
use crate::toy::lab::{Axis, Series};
use serde_json::{Map, Value, json};

/// Coordinates that are written out at most.
const WRITTEN: usize = 1_000_000;
/// Pairs of a picture's curve.
const CURVE: usize = 400;
/// Directions whose cosines are all computed again for a picture.
const SORTED: usize = 1200;
/// Height of a label as a share of that picture's.
const LABEL: f64 = 0.08;

/// What can be said of the best packing that is known here.
pub fn pack(best: &Best) -> Answer {
    let (kind, n, d) = (best.kind, best.packing.n(), best.packing.d());
    let bounds = bounds(kind, d, n);
    let bound = best_bound(kind, d, n);
    let gap = best.cosine - bound;
    let nearest = bounds.iter().max_by(|a, b| a.cosine.total_cmp(&b.cosine)).map(|b| b.name);
    let directions = (n * d <= WRITTEN).then(|| (0..n).map(|i| best.packing.row(i)).collect::<Vec<_>>());
    let mut keys = Map::new();
    keys.insert("coherence".into(), best.cosine.into());
    keys.insert("kind".into(), kind.id().into());
    keys.insert("dims".into(), d.into());
    keys.insert("points".into(), n.into());
    keys.insert("bounds".into(), bounds_json(&bounds));
    keys.insert("best_bound".into(), json!(nearest));
    keys.insert("gap".into(), gap.into());
    keys.insert("method".into(), best.method.clone().into());
    keys.insert("exact".into(), best.exact.into());
    keys.insert("directions".into(), directions.map_or(Value::Null, |d| json!(d)));

    let found = format!("found: {}", best.method);
    let mut table = vec![row(["", &format!("largest {}", cosine(kind)), "angle", "found above it"])];
    table.push(vec![found, five(best.cosine), angle(best.cosine), String::new()]);
    let of = |b: &Bound| {
        vec![format!("{} bound", bound_name(b.name)), five(b.cosine), angle(b.cosine), excess(best.cosine - b.cosine)]
    };
    table.extend(bounds.iter().map(of));
    let mut figures: Vec<_> = figures::packing(best).into_iter().collect();
    if n > 3 && figures.is_empty() {
        figures.push(figures::gram(best));
    }
    if (3..=SORTED).contains(&n) {
        figures.push(sorted(best, &bounds));
    }
    let what = if kind == Kind::Lines { "lines" } else { "directions" };
    Answer {
        title: format!("{} {what} in {}", words::count(n), words::counted(d, "dimension")),
        keys,
        tables: vec![table],
        says: vec![says(best, gap)],
        figures,
    }
}

fn says(best: &Best, gap: f64) -> String {
    let (points, d) = (best.packing.n(), words::counted(best.packing.d(), "dimension"));
    let n = words::count(points);
    let what = match best.kind {
        Kind::Lines if best.packing.d() == 1 => format!("{d} has one line: {n} must coincide"),
        Kind::Signed if best.packing.d() == 1 && points > 2 => format!("{d} has two points: of {n} some must coincide"),
        Kind::Lines => format!("{n} lines in {d} keep every |cosine| at or below {}", five(best.cosine)),
        Kind::Signed => {
            format!("{n} directions in {d} keep every signed cosine at or below {}", five(best.cosine))
        }
    };
    let how = match (gap < 1e-9, best.exact) {
        (true, _) => "a bound is met: no packing is better".to_string(),
        (false, true) => format!(
            "an exact construction, {} above the best bound: no search beat it, but nothing here proves that none could",
            excess(gap)
        ),
        (false, false) => format!("{} above the best bound: a better packing may exist", excess(gap)),
    };
    format!("{what}; {how}.")
}

/// How far above: rounding is none.
pub(super) fn excess(gap: f64) -> String {
    if gap.abs() < 1e-9 { "0".into() } else { format!("{gap:.1e}").replace('-', "−") }
}

fn angle(cosine: f64) -> String {
    format!("{:.3}°", cosine.clamp(-1.0, 1.0).acos().to_degrees())
}

/// The cosines of all pairs in descending order.
fn sorted(best: &Best, bounds: &[Bound]) -> crate::report::Figure {
    let n = best.packing.n();
    let rows: Vec<Vec<f64>> = (0..n).map(|i| best.packing.row(i)).collect();
    let size = |c: f64| if best.kind == Kind::Lines { c.abs() } else { c };
    let dot = |i: usize, j: usize| size(rows[i].iter().zip(&rows[j]).map(|(a, b)| a * b).sum());
    let mut all: Vec<f64> = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| dot(i, j)).collect();
    all.sort_by(|a, b| b.total_cmp(a));
    let shown = all.len().min(CURVE);
    let at = |k: usize| k * (all.len() - 1) / (shown - 1).max(1);
    let points = (0..shown).map(|k| ((at(k) + 1) as f64, all[at(k)])).collect();
    let counted = cosine(best.kind);
    let series = [Series { name: format!("{counted} of a pair"), points, line: true }];
    // Of bounds whose labels would overlap only the strongest is drawn; the table has them all.
    let mut strongest_first = bounds.to_vec();
    strongest_first.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
    let top = strongest_first.first().map_or(all[0], |b| b.cosine.max(all[0]));
    let label = LABEL * (top - all[all.len() - 1].min(0.0));
    let mut levels: Vec<(f64, String)> = Vec::new();
    for b in strongest_first {
        if levels.last().is_none_or(|above| above.0 - b.cosine > label) {
            levels.push((b.cosine, format!("bound: {}", bound_name(b.name))));
        }
    }
    figures::sweep(&figures::Sweep {
        name: "sorted-cosines",
        title: "How close do pairs come?",
        caption: "All pairs, the closest first. A long step at the top is what a good packing looks like: many pairs share the \
                  largest cosine, since otherwise it could be made smaller. No packing lies below a bound; of bounds close together \
                  the strongest is drawn.",
        x: &Axis::linear("pairs, the closest first"),
        y: &Axis::linear(counted),
        series: &series,
        levels: &levels,
    })
}
