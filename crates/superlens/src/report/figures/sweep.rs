//! Values over an axis: points, lines, and levels that theory names.

use crate::{
    report::{
        scale::{Scale, Tick, drawable},
        svg::{Anchor, Dot, Figure, Key, Sheet, WIDTH},
        words,
    },
    toy::lab::{Axis, Series},
};

/// Class of a line, class of a dot and its shape, in turns.
const LOOKS: [(&str, &str, Dot); 8] = [
    ("found-line", "found", Dot::Round),
    ("limit-dash", "limit", Dot::Square),
    ("null-dash", "null", Dot::Diamond),
    ("null-line", "null", Dot::Round),
    ("found-line", "found", Dot::Square),
    ("limit-dash", "limit", Dot::Diamond),
    ("null-dash", "null", Dot::Square),
    ("found-line", "found", Dot::Diamond),
];

pub struct Sweep<'a> {
    pub name: &'a str,
    pub title: &'a str,
    pub caption: &'a str,
    pub x: &'a Axis,
    pub y: &'a Axis,
    pub series: &'a [Series],
    pub levels: &'a [(f64, String)],
}

/// A line of more points than this is drawn without dots.
const MANY: usize = 60;

pub fn sweep(s: &Sweep) -> Figure {
    let mut sheet = Sheet::new(WIDTH, 340.0, s.title);
    let look = |k: usize| LOOKS[k % LOOKS.len()];
    let key = |(k, series): (usize, &Series)| {
        let (line, dot, shape) = look(k);
        (Key::Series(if series.line { line } else { "none" }, dot, shape), series.name.clone())
    };
    let top = sheet.legend(&s.series.iter().enumerate().map(key).collect::<Vec<_>>());
    let shown = |p: &&(f64, f64)| shows(s.x, p.0) && shows(s.y, p.1);
    let all = || s.series.iter().flat_map(|series| &series.points).filter(shown);
    let levels = || s.levels.iter().filter(|l| shows(s.y, l.0));
    // A linear axis shows how large values are, so it starts at zero.
    let zero = (!s.y.log).then_some(0.0);
    let y = scale(s.y, all().map(|p| p.1).chain(levels().map(|l| l.0)).chain(zero));
    let area = sheet.area_beside(top, &ticks(s.y, &y), &s.x.name);
    let y = y.onto(area.bottom, area.top);
    let x = scale(s.x, all().map(|p| p.0)).onto(area.left + 8.0, area.right - 24.0);
    sheet.y_axis(&area, &ticks(s.y, &y), &named(s.y));
    for (level, label) in levels() {
        let at = y.at(place(s.y, *level));
        sheet.line("null-dash", (area.left, at), (area.right, at));
        sheet.text("soft", Anchor::End, area.right, at - 4.0, label);
    }
    let at = |p: &(f64, f64)| (x.at(place(s.x, p.0)), y.at(place(s.y, p.1)));
    for (k, series) in s.series.iter().enumerate() {
        let (line, dot, shape) = look(k);
        let mut points: Vec<(f64, f64)> = series.points.iter().filter(shown).copied().collect();
        if series.line {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            sheet.polyline(line, &points.iter().map(&at).collect::<Vec<_>>());
        }
        // Dots on a line of many points would hide it.
        let dots = if series.line && points.len() > MANY { &[][..] } else { &points };
        for p in dots {
            sheet.dot(dot, shape, at(p), if series.line { 4.0 } else { 2.5 });
        }
    }
    sheet.x_axis(&area, &ticks(s.x, &x), &named(s.x));
    let each = |series: &Series| {
        let (lo, hi) =
            series.points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), p| (lo.min(p.1), hi.max(p.1)));
        format!("{}: {} points from {} to {}", series.name, series.points.len(), words::number(lo), words::number(hi))
    };
    let description = s.series.iter().map(each).collect::<Vec<_>>().join("; ");
    sheet.finish(s.name, s.title, s.caption.to_owned(), description)
}

fn shows(axis: &Axis, v: f64) -> bool {
    drawable(v) && (!axis.log || v > 0.0)
}

/// Where a value lies on its scale.
fn place(axis: &Axis, v: f64) -> f64 {
    if axis.log { v.log10() } else { v }
}

fn scale(axis: &Axis, values: impl IntoIterator<Item = f64>) -> Scale {
    if axis.log { Scale::covering_log(values) } else { Scale::covering(values, 5) }
}

fn ticks(axis: &Axis, scale: &Scale) -> Vec<Tick> {
    if axis.log { scale.log_ticks() } else { scale.ticks() }
}

fn named(axis: &Axis) -> String {
    if axis.log { format!("{} (logarithmic)", axis.name) } else { axis.name.clone() }
}
