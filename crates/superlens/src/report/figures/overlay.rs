//! Two histograms of shares on one axis from 0 to 1: what was found (bars) over its null (grey steps).

use crate::report::{
    scale::{self, Scale, drawable},
    svg::{Area, Figure, Key, Sheet, WIDTH},
    words,
};

const BINS: usize = 25;

/// What the two histograms show. Values lie in 0 to 1.
pub struct Overlay<'a> {
    pub name: &'a str,
    pub title: &'a str,
    pub axis: &'a str,
    pub found: (&'a str, &'a [f64]),
    pub null: (&'a str, &'a [f64]),
    pub caption: String,
}

/// `None` where nothing was found that could be drawn.
pub fn overlay(o: &Overlay) -> Option<Figure> {
    let found_mean = scale::mean(o.found.1)?;
    let null_mean = scale::mean(o.null.1);
    let found = scale::histogram(o.found.1, 0.0, 1.0, BINS);
    let null = scale::histogram(o.null.1, 0.0, 1.0, BINS);

    let mut sheet = Sheet::new(WIDTH, 340.0, o.title);
    let mut legend = vec![(Key::Box("found"), format!("{} (mean {})", o.found.0, words::number(found_mean)))];
    if let Some(mean) = null_mean {
        legend.push((Key::Box("null-soft"), format!("{} (mean {})", o.null.0, words::number(mean))));
    }
    let top = sheet.legend(&legend);
    let y = Scale::covering(found.iter().chain(&null).map(|s| 100.0 * s).chain([0.0]), 4);
    let area = sheet.area(top, &y, o.axis);
    let y = y.onto(area.bottom, area.top);
    let x = Scale::fixed(0.0, 1.0, 0.2).onto(area.left, area.right);

    sheet.y_axis(&area, &y.ticks(), "share of the directions, %");
    let n = o.found.1.iter().filter(|v| drawable(**v)).count();
    for (bin, share) in found.iter().enumerate().filter(|(_, share)| **share > 0.0) {
        let (lo, hi) = (bin as f64 / BINS as f64, (bin + 1) as f64 / BINS as f64);
        let at = y.at(100.0 * share);
        let features = words::counted((share * n as f64).round() as usize, "feature");
        let tip = format!("{features}: {} to {}", words::number(lo), words::number(hi));
        sheet.bar("found", x.at(lo) + 1.0, at, x.at(hi) - x.at(lo) - 2.0, area.bottom - at, &tip);
    }
    if null_mean.is_some() {
        steps(&mut sheet, &null, &area, &x, &y);
    }
    sheet.x_axis(&area, &x.ticks(), o.axis);
    let null_says = null_mean.map_or(String::new(), |m| format!(" {}: mean {}.", o.null.0, words::number(m)));
    let description = format!("{}: {n}, mean {}.{null_says}", o.found.0, words::number(found_mean));
    Some(sheet.finish(o.name, o.title, o.caption.clone(), description))
}

/// A filled outline, so that bars behind it stay visible.
fn steps(sheet: &mut Sheet, shares: &[f64], area: &Area, x: &Scale, y: &Scale) {
    let mut outline = vec![(area.left, area.bottom)];
    for (bin, share) in shares.iter().enumerate() {
        let at = y.at(100.0 * share);
        outline.push((x.at(bin as f64 / BINS as f64), at));
        outline.push((x.at((bin + 1) as f64 / BINS as f64), at));
    }
    outline.push((area.right, area.bottom));
    sheet.polygon("null-soft", &outline);
}
