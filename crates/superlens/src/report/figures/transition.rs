//! The phase diagram of sparse recovery: which share of rows comes back at (δ, ρ), and where theory says that it falls.

use crate::{
    geometry::recover::phase::{Point, weak_threshold},
    report::{
        scale::Scale,
        svg::{Anchor, Dot, Figure, Key, Sheet, WIDTH},
        words,
    },
};

/// Classes of `figure.css` for shares of success from none to all.
const HEAT: [&str; 5] = ["zero", "m1", "m2", "m3", "m4"];
/// Points of the curve.
const CURVE: usize = 99;
/// Half the width of a column of squares, in δ.
const HALF: f64 = 0.018;

/// `method` is how the shares were measured, in words.
pub fn transition(points: &[Point], non_negative: bool, method: &str) -> Figure {
    let law = if non_negative { "non-negative" } else { "signed" };
    let title = format!("Where sparse recovery ends ({law})");
    let mut sheet = Sheet::new(WIDTH, 430.0, &title);
    let keys = [
        (Key::Line("limit-dash"), "theory: half succeed".to_string()),
        (Key::Series("none", "found-open", Dot::Round), "measured".to_string()),
        (Key::Box(HEAT[4]), "all succeed".to_string()),
        (Key::Box(HEAT[2]), "half".to_string()),
        (Key::Box(HEAT[0]), "none".to_string()),
    ];
    let top = sheet.legend(&keys);
    let curve: Vec<(f64, f64)> = (1..=CURVE)
        .map(|i| i as f64 / (CURVE + 1) as f64)
        .map(|delta| (delta, weak_threshold(delta, non_negative).0))
        .collect();
    let y = Scale::fixed(0.0, 1.0, 0.2);
    let x_name = "δ: dimensions over atoms";
    let area = sheet.area(top, &y, x_name);
    let (y, x) = (y.onto(area.bottom, area.top), Scale::fixed(0.0, 1.0, 0.2).onto(area.left, area.right - 8.0));
    sheet.y_axis(&area, &y.ticks(), "ρ: active atoms over dimensions");
    for point in points {
        squares(&mut sheet, point, &x, &y);
    }
    sheet.polyline("limit-dash", &curve.iter().map(|p| (x.at(p.0), y.at(p.1))).collect::<Vec<_>>());
    for point in points {
        if let Some(half) = point.half {
            sheet.dot("found-open", Dot::Round, (x.at(point.delta), y.at(half)), 5.0);
        }
    }
    sheet.x_axis(&area, &x.ticks(), x_name);
    sheet.text("soft", Anchor::End, area.right - 12.0, area.bottom - 10.0, "recovered");
    sheet.text("soft", Anchor::Start, area.left + 12.0, area.top + 16.0, "not recovered");
    let each = |p: &Point| {
        let [delta, theory] = [p.delta, p.theory].map(words::number);
        let half = p.half.map_or("was not seen".into(), |half| format!("succeed at ρ = {}", words::number(half)));
        format!("at δ = {delta} half {half}, theory {theory}")
    };
    let caption = format!(
        "Below the curve (Donoho and Tanner's weak threshold, from its formula) almost every row comes back, above it almost none. \
         Circles: where half of the rows did ({method}). Squares: the shares that were measured; nothing was tried elsewhere."
    );
    let description = points.iter().map(each).collect::<Vec<_>>().join("; ");
    sheet.finish("phase", &title, caption, description)
}

/// The shares at one δ, each from half way to the one below to half way to the one above.
fn squares(sheet: &mut Sheet, point: &Point, x: &Scale, y: &Scale) {
    let tried = &point.tried;
    let between = |i: usize, j: usize| 0.5 * (tried[i].0 + tried[j].0);
    for (i, &(rho, share)) in tried.iter().enumerate() {
        let (low, high) = match (i.checked_sub(1), (i + 1 < tried.len()).then_some(i + 1)) {
            (Some(below), Some(above)) => (between(i, below), between(i, above)),
            (Some(below), None) => (between(i, below), 2.0 * rho - between(i, below)),
            (None, Some(above)) => (2.0 * rho - between(i, above), between(i, above)),
            (None, None) => (rho - 0.01, rho + 0.01),
        };
        let class = HEAT[((share * 5.0) as usize).min(4)];
        let (left, right) = (x.at(point.delta - HALF), x.at(point.delta + HALF));
        let tip = format!("ρ = {}: {} recovered", words::number(rho), words::percent(share));
        sheet.bar(class, left, y.at(high), right - left, y.at(low) - y.at(high), &tip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_no_points_and_odd_ones() {
        let point = |tried: Vec<(f64, f64)>| Point { delta: 0.5, half: None, theory: 0.38, tried };
        for points in [vec![], vec![point(vec![])], vec![point(vec![(0.3, 1.0)]), point(vec![(0.3, 1.0), (0.4, 0.0)])]]
        {
            let svg = transition(&points, false, "AMP").standalone();
            assert!(!svg.contains("NaN") && svg.contains("</svg>"));
        }
    }
}
