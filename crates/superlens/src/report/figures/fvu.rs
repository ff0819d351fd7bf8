//! How well few active features rebuild held-out rows: complete against overcomplete dictionary, and rows
//! without directions.

use crate::{
    diagnose::{Evidence, FvuPoint},
    report::{
        scale::{Scale, drawable},
        svg::{Dot, Figure, Key, Sheet, WIDTH},
        words,
    },
};

const TITLE: &str = "Does it take more features than dimensions?";
const X_NAME: &str = "features allowed to be active in a row (k)";

/// A curve of the picture.
struct Curve {
    name: &'static str,
    line: &'static str,
    dot: &'static str,
    shape: Dot,
    of: fn(&FvuPoint) -> f64,
}

const CURVES: [Curve; 3] = [
    Curve {
        name: "rows without directions (radial null)",
        line: "null-dash",
        dot: "null",
        shape: Dot::Diamond,
        of: |p| p.gaussian,
    },
    Curve {
        name: "at most one feature a dimension",
        line: "limit-dash",
        dot: "limit",
        shape: Dot::Square,
        of: |p| p.complete,
    },
    Curve { name: "all features found", line: "found-line", dot: "found", shape: Dot::Round, of: |p| p.overcomplete },
];

/// `None` without points.
pub fn fvu(evidence: &Evidence) -> Option<Figure> {
    let mut points = evidence.fvu.clone();
    points.sort_by_key(|p| p.k);
    let (first, last) = (points.first()?, points.last()?);

    let mut sheet = Sheet::new(WIDTH, 360.0, TITLE);
    let entries = CURVES.iter().rev().map(|c| (Key::Series(c.line, c.dot, c.shape), c.name.to_owned()));
    let top = sheet.legend(&entries.collect::<Vec<_>>());
    let values = points.iter().flat_map(|p| CURVES.iter().map(|c| 100.0 * (c.of)(p)));
    let y = Scale::covering(values.chain([0.0]), 5);
    let area = sheet.area(top, &y, X_NAME);
    let y = y.onto(area.bottom, area.top);
    let x = Scale::covering_whole([first.k as f64, last.k as f64], 8).onto(area.left + 14.0, area.right - 14.0);

    sheet.y_axis(&area, &y.ticks(), "variance left unexplained on held-out rows, %");
    sheet.x_axis(&area, &x.ticks(), X_NAME);
    let places = CURVES.map(|curve| {
        let drawn = points.iter().filter(|p| drawable((curve.of)(p)));
        drawn.map(|p| (x.at(p.k as f64), y.at(100.0 * (curve.of)(p)))).collect::<Vec<_>>()
    });
    // Where the two dictionaries do equally well, dashes over a line and round points in square ones show both.
    for (curve, places) in CURVES.iter().zip(&places).rev() {
        sheet.polyline(curve.line, places);
    }
    for (curve, places) in CURVES.iter().zip(&places) {
        let radius = if curve.shape == Dot::Square { 6.5 } else { 4.0 };
        for place in places {
            sheet.dot(curve.dot, curve.shape, *place, radius);
        }
    }
    let caption =
        "Each row is rebuilt from its k best features, on rows that were not used to find them; lower is better. \
                   Where all features (round) stay well below the best set that has no more features than dimensions \
                   (square), the others explain what that set can't. Diamonds: the same features on rows that keep their \
                   lengths and lose their directions; curves near them show nothing sparse."
            .to_owned();
    Some(sheet.finish("fvu", TITLE, caption, describe(last)))
}

fn describe(p: &FvuPoint) -> String {
    format!(
        "With {} active features a row: {} unexplained with all features, {} with at most one feature a dimension, \
         {} for rows without directions.",
        p.k,
        words::percent(p.overcomplete),
        words::percent(p.complete),
        words::percent(p.gaussian)
    )
}
