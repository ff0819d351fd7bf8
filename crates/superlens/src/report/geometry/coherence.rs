//! How a set of directions shares its space, beside random directions and bounds.

use super::{Answer, bound_name, bounds_json, cosine, five, row};
use crate::geometry::bounds::{Bound, Kind};
use crate::geometry::coherence::Coherence;
use crate::geometry::polytopes::{APART, Cluster};
use crate::report::figures::{self, Cosines};
use crate::report::{Figure, words};
use serde_json::{Map, Value, json};

/// Of random sets, one in forty has no pair where so many are expected, and one in forty has one where so few are.
const MANY: f64 = 3.7;
const FEW: f64 = 0.025;
/// Groups that a table lists.
const LISTED: usize = 12;

/// What can be said of directions; `orientation` is how they lay in the file.
pub fn coherence(c: &Coherence, orientation: &str) -> Answer {
    let mut keys = Map::new();
    let mut put = |key: &str, value: Value| keys.insert(key.into(), value);
    put("n", c.n.into());
    put("dims", c.dims.into());
    put("zero_rows", c.zero_rows.len().into());
    put("zero_rows_at", json!(c.zero_rows));
    put("orientation", orientation.into());
    put("sampled", c.sampled.into());
    put("pairs", c.pairs.into());
    put("max_abs_cos", c.max_abs_cos.into());
    put("max_abs_cos_is", if c.sampled { "of drawn pairs" } else { "exact" }.into());
    put("max_cos", c.max_cos.into());
    put("min_cos", c.min_cos.into());
    put("rms_cos", c.rms_cos.into());
    put("sum_capacity", c.sum_capacity.into());
    put("rank", c.rank.into());
    put("frame_bounds", json!([c.frame_bounds.1, c.frame_bounds.0]));
    put("participation_ratio", c.participation_ratio.into());
    put("stable_rank", c.stable_rank.into());
    put("bounds", json!({"lines": bounds_json(&c.lines_bounds), "signed": bounds_json(&c.points_bounds)}));
    put("signed_histogram", json!({"from": -1, "to": 1, "shares": c.signed_histogram}));
    put("absolute_histogram", json!({"from": 0, "to": 1, "shares": c.absolute_histogram}));
    put(
        "random",
        json!({
            "n": c.random.n,
            "closer_by_chance": c.closer_by_chance(),
            "max_abs_cos": c.random.max_abs_cos,
            "expected_max_abs_cos": c.random.expected_max_abs_cos,
            "rms_cos": c.random.rms_cos,
            "signed_histogram": c.random.signed_histogram,
            "absolute_histogram": c.random.absolute_histogram,
        }),
    );
    put("polytopes", c.clusters.as_deref().map_or(Value::Null, polytopes));
    put("capacity", json!(c.capacity));
    let mut tables = vec![cosines_table(c), shares_table(c)];
    tables.extend(c.clusters.as_deref().map(clusters_table));
    Answer {
        title: format!("{} in {}", words::counted(c.n, "direction"), words::counted(c.dims, "dimension")),
        keys,
        tables,
        says: says(c, orientation),
        figures: vec![histogram(c, Kind::Signed), histogram(c, Kind::Lines)],
    }
}

fn best(bounds: &[Bound]) -> Option<&Bound> {
    bounds.iter().max_by(|a, b| a.cosine.total_cmp(&b.cosine))
}

fn cosines_table(c: &Coherence) -> Vec<Vec<String>> {
    let least =
        |bounds: &[Bound]| best(bounds).map_or("–".into(), |b| format!("{} {}", bound_name(b.name), five(b.cosine)));
    vec![
        row([if c.sampled { "over drawn pairs" } else { "over all pairs" }, "these", "random", "no packing below"]),
        vec![
            "largest |cosine| (lines)".into(),
            five(c.max_abs_cos),
            format!("about {}", five(c.random.expected_max_abs_cos)),
            least(&c.lines_bounds),
        ],
        vec!["largest signed cosine".into(), five(c.max_cos), "–".into(), least(&c.points_bounds)],
        vec!["least signed cosine".into(), five(c.min_cos), "–".into(), "–".into()],
        vec!["root mean square cosine".into(), five(c.rms_cos), five(c.random.rms_cos), "–".into()],
    ]
}

fn shares_table(c: &Coherence) -> Vec<Vec<String>> {
    let (low, high) =
        c.capacity.iter().filter(|v| **v > 0.0).fold((1.0f64, 0.0f64), |(l, h), v| (l.min(*v), h.max(*v)));
    vec![
        row(["how space is shared", ""]),
        vec!["rank".into(), c.rank.to_string()],
        vec!["sum of the capacities D_i (at most the rank)".into(), words::number(c.sum_capacity)],
        vec!["capacity of one direction".into(), format!("{} to {}", words::number(low), words::number(high))],
        vec![
            "frame bounds of the rows with their lengths".into(),
            format!("{} to {}", words::number(c.frame_bounds.1), words::number(c.frame_bounds.0)),
        ],
        vec!["participation ratio".into(), words::number(c.participation_ratio)],
        vec!["stable rank".into(), words::number(c.stable_rank)],
    ]
}

fn clusters_table(clusters: &[Cluster]) -> Vec<Vec<String>> {
    let mut table = vec![row(["group", "directions", "dimensions", "nearest polytope", "off by (rms cosine)"])];
    for (k, c) in clusters.iter().take(LISTED).enumerate() {
        let (name, off) =
            c.polytope.map_or(("none near".to_string(), "–".to_string()), |(name, off)| (name.into(), five(off)));
        let dims = c.dims.map_or("–".into(), |d| d.to_string());
        table.push(vec![(k + 1).to_string(), c.members.len().to_string(), dims, name, off]);
    }
    if clusters.len() > LISTED {
        let left = format!("{} more", clusters.len() - LISTED);
        table.push(vec!["…".into(), left, String::new(), String::new(), String::new()]);
    }
    table
}

/// `{threshold, clusters, counts, product}`: `product` names the tegum product if every group has a name.
fn polytopes(clusters: &[Cluster]) -> Value {
    let one = |c: &Cluster| {
        json!({
            "members": c.members,
            "dims": c.dims,
            "nearest": c.polytope.map(|p| p.0),
            "distance": c.polytope.map(|p| p.1),
        })
    };
    let mut counts: Map<String, Value> = Map::new();
    for name in clusters.iter().filter_map(|c| c.polytope.map(|p| p.0)) {
        let n = counts.get(name).and_then(Value::as_u64).unwrap_or(0);
        counts.insert(name.into(), (n + 1).into());
    }
    json!({
        "threshold": APART,
        "clusters": clusters.iter().map(one).collect::<Vec<_>>(),
        "counts": counts,
        "product": product(clusters),
    })
}

/// "pentagon × 2 digons"; `None` where a group has no name.
fn product(clusters: &[Cluster]) -> Option<String> {
    let mut parts: Vec<(&str, usize)> = Vec::new();
    for c in clusters {
        let name = c.polytope?.0;
        match parts.iter_mut().find(|p| p.0 == name) {
            Some(part) => part.1 += 1,
            None => parts.push((name, 1)),
        }
    }
    let one = |(name, n): &(&str, usize)| match n {
        1 => (*name).to_string(),
        n => format!("{n} {}", plural(name)),
    };
    (!parts.is_empty()).then(|| parts.iter().map(one).collect::<Vec<_>>().join(" × "))
}

fn plural(name: &str) -> String {
    match name {
        "simplex" => "simplices".into(),
        name => format!("{name}s"),
    }
}

fn says(c: &Coherence, orientation: &str) -> Vec<String> {
    let mut says = vec![format!("Read as {orientation}; a cosine is that of two directions, whatever their lengths.")];
    let welch = best(&c.lines_bounds).map_or(0.0, |b| b.cosine);
    let (n, d) = (words::counted(c.n, "direction"), words::counted(c.dims, "dimension"));
    let share = c.sum_capacity / c.n as f64;
    says.push(if c.max_abs_cos < 1e-3 {
        format!("{n} in {d} stand at right angles: each has a dimension to itself.")
    } else if c.n <= c.rank {
        format!(
            "{n} in {d} could all stand at right angles, but do not: the largest |cosine| is {}. That is no superposition by itself.",
            five(c.max_abs_cos)
        )
    } else {
        let random = c.random.expected_max_abs_cos;
        let beside = match c.closer_by_chance() {
            _ if c.dims == 1 => "as close as",
            v if v > MANY => "further apart than",
            v if v < FEW => "closer than",
            _ => "about as close as",
        };
        format!(
            "{n} share {d}, {} of one each on average; their closest {}pair (|cosine| {}; signed, {}) is {beside} that of random directions (about \
             {}), and no {} lines could do better than {}.",
            words::percent(share),
            if c.sampled { "drawn " } else { "" },
            five(c.max_abs_cos),
            five(c.max_cos),
            five(random),
            words::count(c.n),
            five(welch)
        )
    });
    if let Some(product) = c.clusters.as_deref().and_then(product) {
        says.push(format!(
            "Groups that share no subspace: {product} (cosines up to {APART} are taken for right angles)."
        ));
    }
    if c.sampled {
        says.push("Too many for all pairs: the cosines are those of 20 million drawn pairs, so the largest of all may be larger.".into());
    }
    if !c.zero_rows.is_empty() {
        says.push(format!(
            "{} left out: they are zero beside the others and have no direction.",
            words::counted(c.zero_rows.len(), "row")
        ));
    }
    says
}

fn histogram(c: &Coherence, kind: Kind) -> Figure {
    let (found, random, from, bounds, largest) = match kind {
        Kind::Signed => (&c.signed_histogram, &c.random.signed_histogram, -1.0, &c.points_bounds, c.max_cos),
        Kind::Lines => (&c.absolute_histogram, &c.random.absolute_histogram, 0.0, &c.lines_bounds, c.max_abs_cos),
    };
    let mut marks = vec![(
        largest,
        format!("largest {}, {}", if c.sampled { "drawn" } else { "here" }, five(largest)),
        "found-wide",
    )];
    if kind == Kind::Lines {
        let expected = c.random.expected_max_abs_cos;
        marks.push((expected, format!("largest of random ones, about {}", five(expected)), "null-dash"));
    }
    if let Some(b) = best(bounds) {
        let label = format!("bound {} ({})", five(b.cosine), bound_name(b.name));
        marks.push((b.cosine, label, "limit-dash"));
    }
    let (name, title) = match kind {
        Kind::Signed => ("cosines-signed", "Signed cosines of all pairs"),
        Kind::Lines => ("cosines-absolute", "Sizes of the cosines of all pairs"),
    };
    figures::cosines(&Cosines {
        name,
        title,
        axis: cosine(kind),
        from,
        found,
        random,
        marks: &marks,
        caption: format!(
            "The {} of {} pairs of directions (bars), and of random directions (grey). The largest \
             cosine of any set of as many directions lies at or right of the dashed bound.",
            cosine(kind),
            if c.sampled { "drawn" } else { "all" }
        ),
    })
}
