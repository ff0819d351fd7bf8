//! Cosines of all pairs of directions (bars) over those of random ones (grey steps), with what bounds and theory say as marks.

use crate::report::{
    scale::Scale,
    svg::{Anchor, EDGE, Figure, Key, Sheet, WIDTH, text_width},
    words,
};

/// Where the marks' labels begin, and how far one is from the next.
const LABEL: f64 = 15.0;

pub struct Cosines<'a> {
    pub name: &'a str,
    pub title: &'a str,
    pub axis: &'a str,
    /// The cosine at which the first bin begins; the last ends at 1.
    pub from: f64,
    pub found: &'a [f64],
    pub random: &'a [f64],
    /// Value, label, class of the line.
    pub marks: &'a [(f64, String, &'static str)],
    pub caption: String,
}

pub fn cosines(c: &Cosines) -> Figure {
    let bins = c.found.len();
    let edge = |bin: usize| c.from + (1.0 - c.from) * bin as f64 / bins as f64;
    // Only as far as there is something to see.
    let used: Vec<usize> = (0..bins).filter(|&b| c.found[b] > 0.0 || c.random[b] > 0.0).collect();
    let ends = [used.first().map_or(c.from, |b| edge(*b)), used.last().map_or(1.0, |b| edge(b + 1))];
    let shown = ends.into_iter().chain(c.marks.iter().map(|m| m.0));
    let x = Scale::covering(shown.chain((c.from == 0.0).then_some(0.0)), 6);

    let tall = 340.0 + LABEL * c.marks.len() as f64;
    let mut sheet = Sheet::new(WIDTH, tall, c.title);
    let keys = [(Key::Box("found"), "these directions"), (Key::Box("null-soft"), "random directions")];
    let top = sheet.legend(&keys.map(|(key, name)| (key, name.to_string())));
    let y = Scale::covering(c.found.iter().chain(c.random).map(|s| 100.0 * s).chain([0.0]), 4);
    let mut area = sheet.area(top, &y, c.axis);
    let labels = area.top;
    area.top += LABEL * c.marks.len() as f64;
    let (y, x) = (y.onto(area.bottom, area.top), x.onto(area.left, area.right));

    let ticks = y.ticks();
    sheet.text("soft", Anchor::Start, EDGE, labels - 17.0, "share of the pairs, %");
    for tick in &ticks {
        sheet.line("grid", (area.left, tick.at), (area.right, tick.at));
        sheet.text("soft", Anchor::End, area.left - 8.0, tick.at + 4.5, &tick.label);
    }
    for b in used.iter().copied().filter(|&b| c.found[b] > 0.0) {
        let (left, right, at) = (x.at(edge(b)), x.at(edge(b + 1)), y.at(100.0 * c.found[b]));
        let tip =
            format!("{} to {}: {}", words::number(edge(b)), words::number(edge(b + 1)), words::percent(c.found[b]));
        sheet.bar("found", left + 0.5, at, (right - left - 1.0).max(0.5), area.bottom - at, &tip);
    }
    let mut outline = vec![(x.at(ends[0]), area.bottom)];
    for b in (0..bins).filter(|&b| edge(b) >= ends[0] - 1e-9 && edge(b + 1) <= ends[1] + 1e-9) {
        let at = y.at(100.0 * c.random[b]);
        outline.extend([(x.at(edge(b)), at), (x.at(edge(b + 1)), at)]);
    }
    outline.push((x.at(ends[1]), area.bottom));
    sheet.polygon("null-soft", &outline);
    // Where a label stands: to the right of its line where there is room.
    let spot = |k: usize| {
        let (at, wide) = (x.at(c.marks[k].0), text_width(&c.marks[k].1, 13.0));
        if at + 6.0 + wide < WIDTH - EDGE { (at + 6.0, at + 6.0 + wide) } else { (at - 6.0 - wide, at - 6.0) }
    };
    // A line begins below the labels of others that it would strike through.
    let begins = |k: usize| {
        let at = x.at(c.marks[k].0);
        let struck = (k + 1..c.marks.len()).filter(|&j| spot(j).0 - 2.0 < at && at < spot(j).1 + 2.0).max();
        labels + LABEL * struck.map_or(k as f64 - 0.6, |j| j as f64 + 0.3)
    };
    for (k, (value, label, class)) in c.marks.iter().enumerate() {
        let (at, high) = (x.at(*value), labels + LABEL * k as f64);
        sheet.line(class, (at, begins(k)), (at, area.bottom));
        sheet.text("soft", Anchor::Start, spot(k).0, high, label);
    }
    sheet.x_axis(&area, &x.ticks(), c.axis);
    let told: Vec<String> = c.marks.iter().map(|m| m.1.clone()).collect();
    sheet.finish(c.name, c.title, c.caption.clone(), told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_odd_values_stand() {
        for (found, random) in [(vec![0.0; 10], vec![0.0; 10]), (vec![0.1; 10], vec![0.0; 10])] {
            for marks in [vec![], vec![(f64::NAN, "odd".to_string(), "limit-dash"), (0.3, "bound".into(), "null-dash")]]
            {
                let c = Cosines {
                    name: "c",
                    title: "c",
                    axis: "cosine",
                    from: -1.0,
                    found: &found,
                    random: &random,
                    marks: &marks,
                    caption: String::new(),
                };
                let svg = cosines(&c).standalone();
                assert!(!svg.contains("NaN") && svg.ends_with("</svg>\n"));
            }
        }
    }
}
