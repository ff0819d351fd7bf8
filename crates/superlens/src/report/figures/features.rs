//! The headline: how many features were found, with how many rows, against the dimensions in use.

use crate::{
    diagnose::{Count, Diagnosis},
    report::{
        grounds::no_features,
        scale::{Scale, Tick, drawable},
        svg::{Anchor, Area, Dot, EDGE, Figure, Key, Sheet, WIDTH, text_width},
        words,
    },
};

const TITLE: &str = "Features found, against dimensions in use";

const ROWS: &str = "rows searched (logarithmic)";

/// A point of the picture: rows searched, features found.
type Point = (usize, usize);

pub fn features(diagnosis: &Diagnosis) -> Figure {
    let dims = diagnosis.layer.effective_rank;
    let count = diagnosis.layer.n_features.as_ref();
    let points = count.map(|c| points(c, diagnosis.input.rows_used)).unwrap_or_default();

    let mut sheet = Sheet::new(WIDTH, 380.0, TITLE);
    let top = sheet.legend(&legend(dims, count));
    let highest = count.map_or(0, |c| c.high.max(c.estimate)) as f64;
    let tallest = points.iter().map(|p| p.1 as f64).fold(highest, f64::max);
    // A tenth more than the tallest, so that the numbers above the points have room.
    let y = Scale::covering([0.0, tallest * 1.12, dims * 1.25], 5);
    let mut area = sheet.area(top, &y, ROWS);
    area.right -= 34.0;
    let y = y.onto(area.bottom, area.top);

    if drawable(dims) && dims > 0.0 {
        sheet.rect("zone", area.left, area.top, area.right - area.left, (y.at(dims) - area.top).max(0.0));
    }
    sheet.y_axis(&area, &y.ticks(), "features");
    if drawable(dims) && dims > 0.0 {
        per_dimension_axis(&mut sheet, &area, &y, dims);
        sheet.line("limit-dash", (area.left, y.at(dims)), (area.right, y.at(dims)));
    }
    let ticks = rows_axis(&points, &area);
    sheet.x_axis(&area, &ticks, if ticks.is_empty() { "" } else { ROWS });
    match count {
        Some(count) => draw_count(&mut sheet, count, &points, &ticks, &y, y.at(dims)),
        None => {
            let (x, y) = ((area.left + area.right) / 2.0, (area.top + area.bottom) / 2.0 + 26.0);
            sheet.text("soft b", Anchor::Middle, x, y, &words::sentence(no_features(diagnosis)));
        }
    }
    sheet.finish("features", TITLE, caption(count), describe(diagnosis, count))
}

/// The counts at fewer rows, oldest first, and the estimate itself last: where the growth ends, or else at all rows read.
fn points(count: &Count, rows_used: usize) -> Vec<Point> {
    let whole = count.growth.iter().filter(|p| p.1 == count.estimate).map(|p| p.0).max();
    let last = whole.filter(|&rows| count.growth.iter().all(|p| p.0 <= rows)).unwrap_or(rows_used).max(1);
    let mut points: Vec<Point> = count.growth.iter().copied().filter(|p| p.0 > 0 && p.0 < last).collect();
    points.sort_unstable();
    points.dedup_by_key(|p| p.0);
    points.push((last, count.estimate));
    points
}

fn legend(dims: f64, count: Option<&Count>) -> Vec<(Key, String)> {
    let mut legend = Vec::new();
    if let Some(count) = count {
        let text = if count.lower_bound { "features found (a lower bound)" } else { "features found" };
        legend.push((Key::Series("found-line", "found", Dot::Round), text.to_owned()));
        legend.push((Key::Bar("found-wide"), "90\u{a0}% interval".to_owned()));
    }
    legend.push((Key::Line("limit-dash"), format!("dimensions in use ({})", words::number(dims))));
    legend.push((Key::Box("zone"), "more features than dimensions".to_owned()));
    legend
}

/// Places the rows on a logarithmic axis: a quarter, a half and all of them stand evenly.
fn rows_axis(points: &[Point], area: &Area) -> Vec<Tick> {
    let log = |rows: usize| (rows as f64).log2();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let x = Scale::fixed(log(first.0), log(last.0), 1.0).onto(area.left + 60.0, area.right - 60.0);
    let middle = (area.left + area.right) / 2.0;
    let at = |rows| if points.len() == 1 { middle } else { x.at(log(rows)) };
    points.iter().map(|p| Tick { at: at(p.0), label: words::count(p.0) }).collect()
}

/// Ticks at the right edge: the same heights in features per dimension.
fn per_dimension_axis(sheet: &mut Sheet, area: &Area, y: &Scale, dims: f64) {
    sheet.text("soft", Anchor::End, WIDTH - EDGE, area.top - 17.0, "features per dimension");
    let ratio = Scale::covering([0.0, y.hi() / dims], 5);
    for tick in ratio.ticks().into_iter().skip(1) {
        // A tick of the ratio scale sits at the same share of its own range.
        let value = ratio.lo() + tick.at * (ratio.hi() - ratio.lo());
        if value * dims <= y.hi() * (1.0 + 1e-9) {
            let at = y.at(value * dims);
            sheet.line("axis", (area.right, at), (area.right + 5.0, at));
            sheet.text("soft", Anchor::Start, area.right + 9.0, at + 4.5, &tick.label);
        }
    }
}

fn draw_count(sheet: &mut Sheet, count: &Count, points: &[Point], ticks: &[Tick], y: &Scale, line: f64) {
    let places: Vec<_> = points.iter().zip(ticks).map(|(p, t)| (t.at, y.at(p.1 as f64))).collect();
    sheet.polyline("found-line", &places);
    let Some((&(x, at), earlier)) = places.split_last() else { return };
    let (low, high) = (y.at(count.low as f64), y.at(count.high as f64));
    sheet.line("found-wide", (x, low), (x, high));
    for end in [low, high] {
        sheet.line("found-wide", (x - 6.0, end), (x + 6.0, end));
    }
    sheet.dot("found", Dot::Round, (x, at), 6.0);
    let estimate = match count {
        Count { lower_bound: true, estimate, .. } => format!("≥ {}", words::count(*estimate)),
        Count { estimate, low, high, .. } => {
            format!("{} ({}–{})", words::count(*estimate), words::count(*low), words::count(*high))
        }
    };
    sheet.text("b", Anchor::Middle, x, clear_of(line, at.min(high) - 11.0, at.max(low) + 21.0), &estimate);
    // Earlier points say their number where it keeps clear of the next one's.
    let mut limit = x - text_width(&estimate, 14.0) / 2.0;
    for (&(x, at), point) in earlier.iter().zip(points).rev() {
        sheet.dot("found-open", Dot::Round, (x, at), 4.5);
        let text = words::count(point.1);
        let half = text_width(&text, 13.0) / 2.0;
        if x + half + 4.0 < limit {
            sheet.text("soft", Anchor::Middle, x, clear_of(line, at - 11.0, at + 21.0), &text);
            limit = x - half;
        }
    }
}

/// The base line for a text: `above`, unless the line of the dimensions in use would strike it through.
fn clear_of(line: f64, above: f64, below: f64) -> f64 {
    if (above - 12.0..above + 3.0).contains(&line) { below } else { above }
}

fn caption(count: Option<&Count>) -> String {
    let how = "The dashed line is the number of dimensions that the activations really use: as many features fit at right \
               angles. A count whose interval lies in the tinted zone above the line cannot do without superposition. ";
    match count {
        Some(count) if count.lower_bound => {
            format!(
                "{how}The count still rises with the rows (open points: what fewer would have shown), so it is a lower bound: more rows would show more."
            )
        }
        Some(_) => format!(
            "{how}Open points: as many of them as fewer rows would have shown. Where the curve has flattened, more rows would add little."
        ),
        None => format!("{how}Here there is no count to draw."),
    }
}

fn describe(diagnosis: &Diagnosis, count: Option<&Count>) -> String {
    let dims = words::number(diagnosis.layer.effective_rank);
    match count {
        Some(c) => format!(
            "{} features found (90 % interval {} to {}) in {dims} dimensions in use, from {} rows.",
            words::count(c.estimate),
            words::count(c.low),
            words::count(c.high),
            words::count(diagnosis.input.rows_used)
        ),
        None => format!("No count, {}; {dims} dimensions in use.", no_features(diagnosis)),
    }
}
