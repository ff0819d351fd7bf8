//! A phase diagram: cells of two logarithmic axes in the colour of their class, panels side by side.

use crate::{
    report::{
        scale::Scale,
        svg::{Anchor, Area, EDGE, Figure, Key, Sheet},
        words,
    },
    toy::lab::Grid,
};

const PANEL: f64 = 300.0;
/// Room at the left of each panel for the labels of its axis.
const MARGIN: f64 = 52.0;
/// Classes of `figure.css`, in the order of the grid's classes; dark to light, so that they stay apart in grey.
const LOOKS: [&str; 4] = ["s6", "limit", "s2", "s4"];

pub fn grid(g: &Grid) -> Figure {
    let width = (2.0 * EDGE + g.panels.len() as f64 * (PANEL + MARGIN)).max(400.0);
    let mut sheet = Sheet::new(width, PANEL + 138.0, &g.title);
    let look = |class: usize| LOOKS[class % LOOKS.len()];
    let keys: Vec<_> = g.classes.iter().enumerate().map(|(k, name)| (Key::Box(look(k)), name.clone())).collect();
    let top = sheet.legend(&keys) + 40.0;
    for (k, (label, classes)) in g.panels.iter().enumerate() {
        let left = EDGE + k as f64 * (PANEL + MARGIN) + MARGIN;
        let area = Area { left, right: left + PANEL - 8.0, top, bottom: top + PANEL - 8.0 };
        panel(&mut sheet, g, classes, &area, &look);
        sheet.text("b", Anchor::Middle, (area.left + area.right) / 2.0, top - 8.0, label);
        sheet.text("soft", Anchor::Middle, (area.left + area.right) / 2.0, area.bottom + 39.0, &g.x_name);
    }
    sheet.text("soft", Anchor::Start, EDGE, top - 26.0, &g.y_name);
    let share = |(label, classes): &(String, Vec<usize>)| {
        let of = |k: usize| classes.iter().filter(|c| **c == k).count() as f64 / classes.len().max(1) as f64;
        let parts: Vec<String> =
            g.classes.iter().enumerate().map(|(k, name)| format!("{name} {}", words::percent(of(k)))).collect();
        format!("{label}: {}", parts.join(", "))
    };
    let description = g.panels.iter().map(share).collect::<Vec<_>>().join("; ");
    sheet.finish(g.name, &g.title, g.caption.clone(), description)
}

fn panel(sheet: &mut Sheet, g: &Grid, classes: &[usize], area: &Area, look: &dyn Fn(usize) -> &'static str) {
    let (columns, rows) = (g.x.len().max(1), g.y.len().max(1));
    let (w, h) = ((area.right - area.left) / columns as f64, (area.bottom - area.top) / rows as f64);
    for (i, &class) in classes.iter().enumerate() {
        let (row, column) = (i / columns, i % columns);
        // A hair of overlap keeps seams from showing.
        let (x, y) = (area.left + column as f64 * w, area.bottom - (row + 1) as f64 * h);
        sheet.rect(look(class), x, y, w + 0.3, h + 0.3);
    }
    for (values, across) in [(&g.x, true), (&g.y, false)] {
        let scale = Scale::covering_log(values.iter().copied());
        let ends = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
        for tick in scale.log_ticks() {
            let share = share_of(tick.at, &scale, ends);
            if !(-1e-6..=1.0 + 1e-6).contains(&share) {
                continue;
            }
            if across {
                let x = area.left + share * (area.right - area.left);
                sheet.line("axis", (x, area.bottom), (x, area.bottom + 5.0));
                sheet.text("soft", Anchor::Middle, x, area.bottom + 19.0, &tick.label);
            } else {
                let y = area.bottom - share * (area.bottom - area.top);
                sheet.line("axis", (area.left - 5.0, y), (area.left, y));
                sheet.text("soft", Anchor::End, area.left - 8.0, y + 4.5, &tick.label);
            }
        }
    }
}

/// Where a tick of `scale` (0 to 1 on it) lies between the `ends` of the values, by logarithm.
fn share_of(at: f64, scale: &Scale, (lo, hi): (f64, f64)) -> f64 {
    let log = scale.lo() + at * (scale.hi() - scale.lo());
    (log - lo.log10()) / (hi.log10() - lo.log10()).max(1e-9)
}
