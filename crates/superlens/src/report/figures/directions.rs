//! Feature directions in the plane, a panel an instance: the headline picture of Elhage et al. 2022.

use crate::{
    report::svg::{Anchor, EDGE, Figure, Sheet},
    toy::lab::Panel,
};

const PANEL: f64 = 132.0;
/// Panels side by side.
const ACROSS: usize = 5;
/// Height of a panel with its label.
const TALL: f64 = PANEL + 26.0;

pub fn directions(name: &str, title: &str, caption: &str, panels: &[Panel]) -> Figure {
    let across = panels.len().clamp(1, ACROSS);
    let down = panels.len().div_ceil(across);
    let width = (2.0 * EDGE + across as f64 * PANEL).max(320.0);
    let mut sheet = Sheet::new(width, 46.0 + down as f64 * TALL + 8.0, title);
    let longest = panels.iter().flat_map(|p| &p.points).map(|[x, y]| x.hypot(*y)).fold(1.0, f64::max);
    let scale = 0.42 * PANEL / longest.min(10.0);
    for (k, panel) in panels.iter().enumerate() {
        let x = EDGE + (k % across) as f64 * PANEL + PANEL / 2.0;
        let y = 46.0 + (k / across) as f64 * TALL + PANEL / 2.0;
        sheet.line("grid", (x - 0.46 * PANEL, y), (x + 0.46 * PANEL, y));
        sheet.line("grid", (x, y - 0.46 * PANEL), (x, y + 0.46 * PANEL));
        // The most important features, which come first, are drawn last and darkest.
        for (i, [dx, dy]) in panel.points.iter().enumerate().rev() {
            let at = (x + scale * dx, y - scale * dy);
            let shade = 1 + (4 * i) / panel.points.len().max(1);
            sheet.line(&format!("arrow a{shade}"), (x, y), at);
            sheet.dot(&format!("s{shade}"), crate::report::svg::Dot::Round, at, 4.5);
        }
        sheet.text("soft", Anchor::Middle, x, y + PANEL / 2.0 + 13.0, &panel.label);
    }
    let each = |p: &Panel| {
        let long = p.points.iter().filter(|[x, y]| x.hypot(*y) > 0.5).count();
        format!("{}: {long} of {} features are longer than a half", p.label, p.points.len())
    };
    let description = panels.iter().map(each).collect::<Vec<_>>().join("; ");
    sheet.finish(name, title, caption.to_owned(), description)
}
