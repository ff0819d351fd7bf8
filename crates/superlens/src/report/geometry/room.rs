//! How many almost-orthogonal directions fit: formulas, and random corners measured.

use super::{Answer, five, from_ln, row};
use crate::geometry::bounds::{Kind, Room, best_bound, room as formulas};
use crate::geometry::room::{ALL_PAIRS, Point, SUBSET};
use crate::report::{figures, words};
use crate::toy::lab::{Axis, Series};
use serde_json::{Map, Value, json};

/// What can be said of `d` dimensions in which no |cosine| may exceed `epsilon`.
pub fn room(d: usize, epsilon: f64, points: &[Point]) -> Answer {
    let formulas = formulas(d, epsilon);
    let mut keys = Map::new();
    keys.insert("dims".into(), d.into());
    keys.insert("epsilon".into(), epsilon.into());
    keys.insert("kind".into(), Kind::Lines.id().into());
    keys.insert(
        "bounds".into(),
        Value::Object(formulas.iter().map(|r| (r.name.to_string(), number(r.ln_n))).collect()),
    );
    keys.insert("measured".into(), points.iter().map(|p| point(d, p)).collect());
    Answer {
        title: format!("Room in {} dimensions at |cosine| ≤ {epsilon}", words::count(d)),
        keys,
        tables: vec![formulas_table(&formulas), points_table(d, epsilon, points)],
        says: says(d, epsilon, &formulas, points),
        figures: vec![curves(d, epsilon, points)],
    }
}

/// `{ln, n}`, `n` being null where it is beyond a double, and both where nothing is known.
fn number(ln: f64) -> Value {
    let finite = |v: f64| if v.is_finite() { json!(v) } else { Value::Null };
    json!({"ln": finite(ln), "n": finite(ln.exp())})
}

fn point(d: usize, p: &Point) -> Value {
    json!({
        "n": p.n,
        "pairs": p.exact.pairs,
        "exact_over": if p.drawn.is_some() { SUBSET } else { p.n },
        "max_abs_cos": p.exact.max_abs_cos,
        "rms_cos": p.rms(),
        "drawn_pairs": p.drawn.map(|m| m.pairs),
        "drawn_max_abs_cos": p.drawn.map(|m| m.max_abs_cos),
        "largest": p.largest(d),
        "largest_is": if p.drawn.is_some() { "estimated" } else { "exact" },
        "expected_max_abs_cos": p.expected,
        "union_max_abs_cos": p.union,
        "best_bound": best_bound(Kind::Lines, d, p.n),
    })
}

fn formulas_table(formulas: &[Room]) -> Vec<Vec<String>> {
    let mut table = vec![row(["argument", "directions", "says"])];
    for r in formulas {
        let (name, says) = match r.name {
            "union" => ("random corners, union bound e^(dε²/4)", "fit: a random set is fine with some luck"),
            "cap" => ("cap bound 1 / P(|u·v| > ε)", "fit: placed one after the other"),
            "johnson_lindenstrauss" => ("Johnson–Lindenstrauss", "fit: as random projections of a basis"),
            _ => ("upper bound (Levenshtein, or volume)", "fit at most"),
        };
        table.push(vec![name.into(), from_ln(r.ln_n), says.into()]);
    }
    table
}

fn points_table(d: usize, epsilon: f64, points: &[Point]) -> Vec<Vec<String>> {
    let mut table = vec![row([
        "corners",
        "largest |cosine|",
        "expected",
        "√(4 ln N / d)",
        "no packing below",
        "rms",
        "all within ε",
        "pairs",
    ])];
    for p in points {
        let largest = p.largest(d);
        let pairs = match p.drawn {
            Some(m) => format!("{} drawn, all of the first {}", words::number(m.pairs as f64), words::count(SUBSET)),
            None => "all".into(),
        };
        table.push(vec![
            words::count(p.n),
            format!("{}{}", if p.drawn.is_some() { "about " } else { "" }, five(largest)),
            five(p.expected),
            five(p.union),
            five(best_bound(Kind::Lines, d, p.n)),
            five(p.rms()),
            if largest <= epsilon { "yes" } else { "no" }.into(),
            pairs,
        ]);
    }
    table
}

fn says(d: usize, epsilon: f64, formulas: &[Room], points: &[Point]) -> Vec<String> {
    let of = |name: &str| formulas.iter().find(|r| r.name == name).map_or(f64::NAN, |r| r.ln_n);
    let sure = of("cap").max(of("union")).max((d as f64).ln());
    let mut says = vec![format!(
        "In {} dimensions at least {} lines keep every |cosine| (absolute, not signed) at or below {epsilon}, and at most {} do.",
        words::count(d),
        from_ln(sure),
        from_ln(of("upper"))
    )];
    if let Some(p) = points.iter().filter(|p| p.drawn.is_some()).max_by_key(|p| p.n) {
        says.push(format!(
            "Beyond {} corners the largest |cosine| is that of pairs drawn at random plus the step that extreme values make from so \
             many pairs to all: {} drawn pairs of {} corners reach {}, all pairs are expected to reach about {}.",
            words::count(ALL_PAIRS),
            words::number(p.drawn.map_or(0.0, |m| m.pairs as f64)),
            words::count(p.n),
            five(p.drawn.map_or(0.0, |m| m.max_abs_cos)),
            five(p.largest(d))
        ));
    }
    says
}

fn curves(d: usize, epsilon: f64, points: &[Point]) -> crate::report::Figure {
    let curve = |name: &str, of: &dyn Fn(&Point) -> f64| Series {
        name: name.into(),
        points: points.iter().map(|p| (p.n as f64, of(p))).collect(),
        line: true,
    };
    let series = [
        curve("random corners, measured", &|p| p.largest(d)),
        curve("union bound √(4 ln N / d)", &|p| p.union),
        curve("expected of random directions", &|p| p.expected),
        curve("no packing below (bounds)", &|p| best_bound(Kind::Lines, d, p.n).max(0.0)),
    ];
    figures::sweep(&figures::Sweep {
        name: "room",
        title: &format!("How close N directions come in {} dimensions", words::count(d)),
        caption: "The largest |cosine| of N random corners of the hypercube, beside what chance is expected to give, the union bound, \
                  and the bound below which no arrangement comes. It rises with the logarithm of N only: twice the directions cost \
                  hardly more interference.",
        x: &Axis::log("directions N"),
        y: &Axis::linear("largest |cosine|"),
        series: &series,
        levels: &[(epsilon, format!("ε = {epsilon}"))],
    })
}
