//! Values over a logarithmic axis: points, lines, and levels that theory names.

use crate::{
    report::{
        scale::{Scale, Tick, drawable},
        svg::{Anchor, Dot, Figure, Key, Sheet, WIDTH},
        words,
    },
    toy::lab::Series,
};

/// Class of a line, class of a dot and its shape, in turns.
const LOOKS: [(&str, &str, Dot); 4] = [
    ("found-line", "found", Dot::Round),
    ("limit-dash", "limit", Dot::Square),
    ("null-dash", "null", Dot::Diamond),
    ("null-line", "null", Dot::Round),
];

pub struct Sweep<'a> {
    pub name: &'a str,
    pub title: &'a str,
    pub caption: &'a str,
    pub x_name: &'a str,
    pub y_name: &'a str,
    pub series: &'a [Series],
    pub levels: &'a [(f64, String)],
}

pub fn sweep(s: &Sweep) -> Figure {
    let mut sheet = Sheet::new(WIDTH, 340.0, s.title);
    let look = |k: usize| LOOKS[k % LOOKS.len()];
    let key = |(k, series): (usize, &Series)| {
        let (line, dot, shape) = look(k);
        (Key::Series(if series.line { line } else { "none" }, dot, shape), series.name.clone())
    };
    let top = sheet.legend(&s.series.iter().enumerate().map(key).collect::<Vec<_>>());
    let all = || s.series.iter().flat_map(|series| &series.points).filter(|p| p.0 > 0.0 && drawable(p.0));
    let values = all().map(|p| p.1).chain(s.levels.iter().map(|l| l.0)).chain([0.0]);
    let y = Scale::covering(values, 5);
    let area = sheet.area(top, &y, s.x_name);
    let y = y.onto(area.bottom, area.top);
    let x = Scale::covering_log(all().map(|p| p.0)).onto(area.left + 8.0, area.right - 24.0);
    sheet.y_axis(&area, &y.ticks(), s.y_name);
    for (level, label) in s.levels {
        sheet.line("null-dash", (area.left, y.at(*level)), (area.right, y.at(*level)));
        sheet.text("soft", Anchor::End, area.right, y.at(*level) - 4.0, label);
    }
    let at = |p: &(f64, f64)| (x.at(p.0.log10()), y.at(p.1));
    for (k, series) in s.series.iter().enumerate() {
        let (line, dot, shape) = look(k);
        let mut points: Vec<(f64, f64)> =
            series.points.iter().filter(|p| p.0 > 0.0 && drawable(p.0) && drawable(p.1)).copied().collect();
        if series.line {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            sheet.polyline(line, &points.iter().map(&at).collect::<Vec<_>>());
        }
        for p in &points {
            sheet.dot(dot, shape, at(p), if series.line { 4.0 } else { 2.5 });
        }
    }
    let ticks: Vec<Tick> = x.log_ticks();
    sheet.x_axis(&area, &ticks, s.x_name);
    let each = |series: &Series| {
        let (lo, hi) =
            series.points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), p| (lo.min(p.1), hi.max(p.1)));
        format!("{}: {} points from {} to {}", series.name, series.points.len(), words::number(lo), words::number(hi))
    };
    let description = s.series.iter().map(each).collect::<Vec<_>>().join("; ");
    sheet.finish(s.name, s.title, s.caption.to_owned(), description)
}
