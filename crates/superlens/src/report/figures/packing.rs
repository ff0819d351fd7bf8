//! Directions on a circle or a sphere, with those that come closest joined; beyond three dimensions their cosines.

use crate::{
    geometry::{bounds::Kind, pack::Best},
    report::svg::{Anchor, Dot, EDGE, Figure, Sheet, WIDTH},
    report::words,
    toy::lab::{Heat, HeatPanel},
};

/// Radius of the circle or the sphere.
const RADIUS: f64 = 170.0;
/// Cosines this close to the largest are as close as any.
const CONTACT: f64 = 1e-4;
/// More points than this are a ball of ink.
pub const MOST: usize = 400;
/// From where the sphere is seen: turned about its axis, then tipped towards the reader.
const TURN: f64 = 0.35;
const TIP: f64 = 0.42;

/// A packing in two or three dimensions; `None` in others, and where it would be too dense to see.
pub fn packing(best: &Best) -> Option<Figure> {
    let (n, d) = (best.packing.n(), best.packing.d());
    if !(2..=3).contains(&d) || n > MOST {
        return None;
    }
    let what = if best.kind == Kind::Lines { "lines" } else { "directions" };
    let title = format!("{n} {what} in {d} dimensions");
    let mut sheet = Sheet::new(WIDTH, 2.0 * RADIUS + 132.0, &title);
    let centre = (WIDTH / 2.0, 52.0 + RADIUS + 8.0);
    let points = ends(best);
    if d == 2 {
        circle(&mut sheet, centre, &points, best)
    } else {
        sphere(&mut sheet, centre, &points, best)
    }
    let counted = if best.kind == Kind::Lines { "largest |cosine|" } else { "largest signed cosine" };
    let angle = best.cosine.clamp(-1.0, 1.0).acos().to_degrees();
    let below = format!("{counted} {:.5}: {angle:.2}° between nearest neighbours", best.cosine);
    sheet.text("soft", Anchor::Middle, WIDTH / 2.0, centre.1 + RADIUS + 36.0, &below);
    let caption = if best.kind == Kind::Lines {
        "Each line through the origin has two ends. Strokes join ends that come as close as any two do. Only the size of a cosine \
         counts: a line and its opposite are the same."
    } else {
        "Strokes join directions that come as close as any two do. Cosines count with their sign: opposite directions are as far \
         apart as can be."
    };
    let description = format!("{n} {what}, {}; {below}.", best.method);
    Some(sheet.finish("packing", &title, caption.to_owned(), description))
}

/// Points to draw: the directions, and for lines their other ends too.
fn ends(best: &Best) -> Vec<Vec<f64>> {
    let rows = (0..best.packing.n()).map(|i| best.packing.row(i));
    match best.kind {
        Kind::Signed => rows.collect(),
        Kind::Lines => rows.flat_map(|r| [r.iter().map(|v| -v).collect(), r]).collect(),
    }
}

/// Pairs of points that come as close as any.
fn contacts(points: &[Vec<f64>], cosine: f64) -> Vec<(usize, usize)> {
    let dot = |i: usize, j: usize| points[i].iter().zip(&points[j]).map(|(a, b)| a * b).sum::<f64>();
    (0..points.len()).flat_map(|i| (0..i).map(move |j| (i, j))).filter(|&(i, j)| dot(i, j) > cosine - CONTACT).collect()
}

fn circle(sheet: &mut Sheet, centre: (f64, f64), points: &[Vec<f64>], best: &Best) {
    let at = |p: &[f64]| (centre.0 + RADIUS * p[0], centre.1 - RADIUS * p[1]);
    let ring: Vec<(f64, f64)> = (0..=96).map(|k| (k as f64 / 96.0 * std::f64::consts::TAU).sin_cos()).collect();
    sheet.polyline("null-line", &ring.iter().map(|(s, c)| at(&[*c, *s])).collect::<Vec<_>>());
    for (i, j) in contacts(points, best.cosine) {
        sheet.line("null-line", at(&points[i]), at(&points[j]));
    }
    for p in points {
        sheet.line("arrow a2", centre, at(p));
        sheet.dot("s1", Dot::Round, at(p), 6.0);
    }
}

fn sphere(sheet: &mut Sheet, centre: (f64, f64), points: &[Vec<f64>], best: &Best) {
    // x to the right, y away from the reader, z up; then turned and tipped.
    let seen = |p: &[f64]| {
        let (x, y) = (TURN.cos() * p[0] - TURN.sin() * p[1], TURN.sin() * p[0] + TURN.cos() * p[1]);
        let (up, away) = (TIP.cos() * p[2] + TIP.sin() * y, TIP.cos() * y - TIP.sin() * p[2]);
        ((centre.0 + RADIUS * x, centre.1 - RADIUS * up), away)
    };
    let ring = |of: &dyn Fn(f64) -> [f64; 3]| -> Vec<((f64, f64), f64)> {
        (0..=96).map(|k| seen(&of(k as f64 / 96.0 * std::f64::consts::TAU))).collect()
    };
    let outline: Vec<(f64, f64)> = (0..=96)
        .map(|k| (k as f64 / 96.0 * std::f64::consts::TAU).sin_cos())
        .map(|(s, c)| (centre.0 + RADIUS * c, centre.1 - RADIUS * s))
        .collect();
    sheet.polyline("null-line", &outline);
    // The equator, its far half in the colour of the grid.
    for pair in ring(&|t| [t.cos(), t.sin(), 0.0]).windows(2) {
        sheet.line(if pair[0].1 > 0.0 { "grid" } else { "axis" }, pair[0].0, pair[1].0);
    }
    let far = |i: usize| seen(&points[i]).1 > 1e-9;
    let (hidden, shown): (Vec<_>, Vec<_>) =
        contacts(points, best.cosine).into_iter().partition(|&(i, j)| far(i) || far(j));
    let draw = |sheet: &mut Sheet, class: &str, pairs: &[(usize, usize)]| {
        pairs.iter().for_each(|&(i, j)| sheet.line(class, seen(&points[i]).0, seen(&points[j]).0));
    };
    draw(sheet, "axis", &hidden);
    if best.kind == Kind::Lines {
        points.chunks(2).for_each(|ends| sheet.line("arrow a4", seen(&ends[0]).0, seen(&ends[1]).0));
    }
    (0..points.len()).filter(|&i| far(i)).for_each(|i| sheet.dot("s4", Dot::Round, seen(&points[i]).0, 4.5));
    draw(sheet, "found-line", &shown);
    (0..points.len()).filter(|&i| !far(i)).for_each(|i| sheet.dot("s1", Dot::Round, seen(&points[i]).0, 6.5));
    sheet.text("soft", Anchor::Start, EDGE, centre.1 + RADIUS + 56.0, "pale: on the far side");
}

/// The matrix of cosines.
pub fn gram(best: &Best) -> Figure {
    let n = best.packing.n().min(MOST);
    let rows: Vec<Vec<f64>> = (0..n).map(|i| best.packing.row(i)).collect();
    let dot = |i: usize, j: usize| rows[i].iter().zip(&rows[j]).map(|(a, b)| a * b).sum::<f64>();
    let size = |c: f64| if best.kind == Kind::Lines { c.abs() } else { c };
    // Its own cosine of 1 would drown the others.
    let cell = |i: usize, j: usize| if i == j { 0.0 } else { size(dot(i, j)) };
    let cosines = (0..n).map(|i| (0..n).map(|j| cell(i, j)).collect()).collect();
    let (what, counted) =
        if best.kind == Kind::Lines { ("lines", "|cosines|") } else { ("directions", "signed cosines") };
    let whole = if n < best.packing.n() { format!("the first {n} of ") } else { String::new() };
    let heat = Heat {
        name: "gram",
        title: format!("The {counted} of all pairs"),
        caption: format!(
            "The {counted} of {whole}{} {what} in {} dimensions, each its own left out. The darkest is {} in size. More than 64 are \
             shown as means of neighbours.",
            words::count(best.packing.n()),
            best.packing.d(),
            words::number(best.cosine.abs()),
        ),
        across: "direction".into(),
        down: "direction".into(),
        panels: vec![HeatPanel { label: "off the diagonal".into(), rows: cosines }],
    };
    super::heat::heat(&heat)
}
