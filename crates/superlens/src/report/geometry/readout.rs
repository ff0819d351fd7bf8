//! What can be read from a layer, by which notion; and what each notion allows, shown exactly.

use super::{Answer, five, row};
use crate::geometry::readout::exact::Exact;
use crate::geometry::readout::{HALF, Notion, READABLE, Readout, SILENT, Test, Values};
use crate::report::{figures, words};
use crate::toy::lab::{Axis, Series};
use serde_json::{Map, Value, json};

const NAMES: [&str; 3] = ["linear", "ReLU-linear", "threshold-linear"];

/// What can be said of directions and activations.
pub fn readout(r: &Readout, orientation: &str) -> Answer {
    let three = |of: &dyn Fn(usize) -> Value| -> Value {
        Notion::ALL.iter().enumerate().map(|(k, notion)| (notion.id().to_string(), of(k))).collect::<Map<_, _>>().into()
    };
    let finite = |v: f64| if v.is_finite() { json!(v) } else { Value::Null };
    let mut keys = Map::new();
    let mut put = |key: &str, value: Value| keys.insert(key.into(), value);
    put("n", r.n.into());
    put("dims", r.dims.into());
    put("rank", r.rank.into());
    put("orientation", orientation.into());
    put("max_cos", r.max_cos.into());
    // A count is written as one where a double holds it exactly.
    let count = |v: f64| if v < 9e15 { json!(v as u64) } else { finite(v) };
    put("allows", three(&|k| count(r.allows[k])));
    put("threshold_at", json!(r.max_cos.max(0.0)));
    put("by_angles", three(&|k| r.by_angles[k].into()));
    put("least_linear_error", json!(r.n - r.rank));
    put(
        "values",
        r.test.as_ref().map_or(Value::Null, |t| if t.values == Values::Given { "given" } else { "decoded" }.into()),
    );
    put("notion", json!(r.test.as_ref().and_then(|t| t.notion.map(Notion::id))));
    put("judged", json!(r.test.as_ref().map(|t| t.judged)));
    put("readable", r.test.as_ref().map_or(Value::Null, |t| three(&|k| t.readable[k].into())));
    put("readable_at", READABLE.into());
    put("unexplained", json!(r.test.as_ref().and_then(|t| t.unexplained)));
    put("mean_l0", json!(r.test.as_ref().and_then(|t| t.mean_l0)));
    put("rows", json!(r.test.as_ref().map(|t| t.rows)));
    put("cannot_tell", json!(r.cannot_tell));
    let per =
        |t: &Test| Value::Array(t.r2.iter().map(|r2| r2.map_or(Value::Null, |r2| three(&|k| finite(r2[k])))).collect());
    put("r2", r.test.as_ref().map_or(Value::Null, per));
    Answer {
        title: format!(
            "What can be read of {} in {}",
            words::counted(r.n, "feature"),
            words::counted(r.rank, "dimension")
        ),
        keys,
        tables: vec![counts(r)],
        says: says(r, orientation),
        figures: r.test.as_ref().filter(|t| t.judged > 0).map(curve).into_iter().collect(),
    }
}

fn counts(r: &Readout) -> Vec<Vec<String>> {
    let mut table =
        vec![row(["notion of a feature", "allowed at most", "read by angles, one at a time", "read on held-out rows"])];
    for k in 0..3 {
        let read = r.test.as_ref().map_or("–".into(), |t| format!("{} of {}", t.readable[k], t.judged));
        let allowed = if r.allows[k].is_finite() { words::number(r.allows[k]) } else { "not known".into() };
        table.push(vec![NAMES[k].into(), allowed, format!("{} of {}", r.by_angles[k], r.n), read]);
    }
    table
}

fn says(r: &Readout, orientation: &str) -> Vec<String> {
    let mut says = vec![format!(
        "Directions read as {orientation}. Allowed: {} linear (the rank), {} behind a ReLU (signed cosines of at most 0), and behind a \
         threshold as many as have signed cosines of at most {}, the largest here. By angles: outside the span of the others; no signed \
         cosine above {SILENT}; none above {HALF}.",
        r.rank,
        2 * r.rank,
        five(r.max_cos.max(0.0))
    )];
    match (&r.test, &r.cannot_tell) {
        (_, Some(why)) => says.push(format!("How the features can be read can't be told: {why}.")),
        (None, None) => says.push(
            "Without activations, only the angles speak: how often features are on together decides the rest.".into(),
        ),
        (Some(t), None) => {
            let what = match t.notion {
                _ if t.judged == 0 => "No feature was on often enough to be judged".into(),
                Some(notion) => {
                    format!("The features are {} readable", NAMES[notion as usize].replace("linear", "linearly"))
                }
                None => "No notion reads 95 % of the features".to_string(),
            };
            says.push(format!(
                "{what}: a feature counts as read if {} of its variance is explained on held-out rows; {} of {} features could be judged.",
                words::percent(READABLE),
                t.judged,
                t.r2.len()
            ));
            if t.values == Values::Decoded {
                says.push(format!(
                    "The values were not given but decoded from the same activations (non-negative sparse coefficients, {} on in a row, \
                     {} of the squares unexplained): this says how well a read-out stands in for that decoder, not that the features are \
                     real.",
                    words::number(t.mean_l0.unwrap_or(0.0)),
                    words::percent(t.unexplained.unwrap_or(0.0))
                ));
            }
        }
    }
    says
}

/// The features' shares of explained variance, sorted, a curve a notion.
fn curve(t: &Test) -> crate::report::Figure {
    let sorted = |k: usize| {
        let mut all: Vec<f64> = t.r2.iter().flatten().map(|r| r[k].max(0.0)).collect();
        all.sort_by(|a, b| b.total_cmp(a));
        all.into_iter().enumerate().map(|(i, v)| ((i + 1) as f64, v)).collect()
    };
    let series: Vec<Series> = (0..3).map(|k| Series { name: NAMES[k].into(), points: sorted(k), line: true }).collect();
    figures::sweep(&figures::Sweep {
        name: "readable",
        title: "How much of each feature can be read?",
        caption: "The share of a feature's variance that the best read-out of each notion explains on held-out rows, the best read \
                  feature first (below zero is drawn at zero). A curve above the line counts the features that its notion reads.",
        x: &Axis::linear("features, the best read first"),
        y: &Axis::linear("share of variance explained"),
        series: &series,
        levels: &[(READABLE, "read".into())],
    })
}

/// The exact demonstrations.
pub fn exact(e: &Exact) -> Answer {
    let n = 2 * e.dims;
    let mut keys = Map::new();
    keys.insert("dims".into(), e.dims.into());
    keys.insert("rows".into(), e.rows.into());
    keys.insert("allows".into(), json!({"linear": e.dims, "relu": n}));
    keys.insert("pair_error".into(), e.pair_error.into());
    let one = |(p, got, law): &(f64, f64, f64)| json!({"density": p, "error": got, "law": law});
    keys.insert("coactivity".into(), e.coactivity.iter().map(one).collect());
    keys.insert("max_cos_2d".into(), e.at_2d.into());
    keys.insert("max_cos_2d_plus_1".into(), e.beyond_2d.into());
    keys.insert("max_cos_d_plus_2".into(), e.beyond_simplex.into());
    keys.insert("linear_error".into(), e.linear_error.into());
    keys.insert("pair_linear_error".into(), e.pair_linear_error.into());
    keys.insert("linear_floor".into(), e.linear_floor.into());
    let mut table = vec![row(["claim", "theory", "found"])];
    let mut line = |claim: String, theory: String, found: String| table.push(vec![claim, theory, found]);
    line(
        format!("[I, −I] behind a ReLU, {n} features: error without antipodal pairs"),
        "0".into(),
        words::number(e.pair_error),
    );
    for (p, got, law) in &e.coactivity {
        line(format!("its error per feature at density {p}: p²/6"), words::number(*law), words::number(*got));
    }
    line(format!("largest signed cosine of {n} directions, searched"), "0".into(), five(e.at_2d));
    line(format!("of {} directions", n + 1), "> 0".into(), five(e.beyond_2d));
    line(format!("of {} directions (all negative is impossible)", e.dims + 2), "≥ 0".into(), five(e.beyond_simplex));
    line(
        format!("‖1 − WᵀW‖² of {n} linear features, searched"),
        words::number(e.linear_floor),
        words::number(e.linear_error),
    );
    line("the same of [I, −I] / √2".into(), words::number(e.linear_floor), words::number(e.pair_linear_error));
    Answer {
        title: format!("What {} dimensions allow", e.dims),
        keys,
        tables: vec![table],
        says: vec![format!(
            "{} dimensions carry {} features that are linear and {n} that are ReLU-linear: as many as directions with no positive signed \
             cosine, at the price of p²/6 for each where antipodes are on together. A count of features must name its notion.",
            e.dims, e.dims
        )],
        figures: vec![coactivity(e)],
    }
}

/// The error of `[I, −I]` behind a ReLU over how often features are on, beside its law.
fn coactivity(e: &Exact) -> crate::report::Figure {
    let curve = |name: &str, of: &dyn Fn(&(f64, f64, f64)) -> f64, line| Series {
        name: name.into(),
        points: e.coactivity.iter().map(|c| (c.0, of(c))).collect(),
        line,
    };
    let fine = (0..=100).map(|i| 0.01 * f64::from(i)).map(|p| (p, p * p / 6.0)).collect();
    figures::sweep(&figures::Sweep {
        name: "coactivity",
        title: "What two features a dimension cost",
        caption: "The squared error per feature of 2d features in d dimensions, antipodes behind a ReLU, over the share of rows in which \
                  a feature is on. Only antipodes that are on together are confused: p² of the rows.",
        x: &Axis::linear("density p"),
        y: &Axis::linear("squared error per feature"),
        series: &[Series { name: "law p²/6".into(), points: fine, line: true }, curve("found", &|c| c.1, false)],
        levels: &[],
    })
}
