//! Bars of parts that are stacked away from zero, panels below one another: norms of features, or the features of neurons.

use crate::{
    report::{
        scale::{Scale, drawable},
        svg::{Anchor, EDGE, Figure, Key, Sheet, WIDTH},
        words,
    },
    toy::lab::{Bars, BarsPanel},
};

/// Height of the bars of a panel, and of what stands above and below them.
const BARS: f64 = 96.0;
const ROUND: f64 = 34.0;
/// Panels side by side at most.
const ACROSS: usize = 2;
const MARGIN: f64 = 36.0;
const LOOKS: [&str; 5] = ["s1", "s2", "s3", "s4", "s5"];

pub fn bars(b: &Bars) -> Figure {
    let across = b.panels.len().clamp(1, ACROSS);
    let lines = b.panels.len().div_ceil(across);
    let mut sheet = Sheet::new(WIDTH, 104.0 + lines as f64 * (BARS + ROUND), &b.title);
    let top = sheet.legend(&[(Key::Box("s1"), b.dark.clone()), (Key::Box("s5"), b.pale.clone())]);
    // One scale for all panels, so that they can be compared.
    let heights = b.panels.iter().flat_map(|p| &p.bars).flat_map(|bar| reach(bar));
    let scale = Scale::covering(heights.chain([0.0]), 5);
    let width = (WIDTH - 2.0 * EDGE) / across as f64;
    for (k, p) in b.panels.iter().enumerate() {
        let left = EDGE + (k % across) as f64 * width + MARGIN;
        let y = top + 26.0 + (k / across) as f64 * (BARS + ROUND);
        sheet.text("b", Anchor::Start, left, y - 7.0, &p.label);
        panel(&mut sheet, p, &scale.onto(y + BARS, y), left, width - MARGIN - 12.0);
    }
    let foot = top + 26.0 + lines as f64 * (BARS + ROUND) - 8.0;
    sheet.text("soft", Anchor::Start, EDGE, foot, &format!("across: {}; up: {}", b.across, b.up));
    let each = |p: &BarsPanel| {
        let tallest = p.bars.iter().flat_map(|bar| reach(bar)).fold(0.0f64, |a, v| a.max(v.abs()));
        format!("{}: {} bars, the longest {}", p.label, p.bars.len(), words::number(tallest))
    };
    let description = b.panels.iter().map(each).collect::<Vec<_>>().join("; ");
    sheet.finish(b.name, &b.title, b.caption.clone(), description)
}

/// How far a bar reaches below and above zero.
fn reach(bar: &[(f64, f64)]) -> [f64; 2] {
    let sum = |sign: f64| bar.iter().map(|p| p.0).filter(|v| drawable(*v) && v * sign > 0.0).sum();
    [sum(-1.0), sum(1.0)]
}

fn panel(sheet: &mut Sheet, p: &BarsPanel, y: &Scale, left: f64, width: f64) {
    for tick in y.ticks() {
        sheet.line("grid", (left, tick.at), (left + width, tick.at));
        sheet.text("soft", Anchor::End, left - 6.0, tick.at + 4.5, &tick.label);
    }
    let step = width / p.bars.len().max(1) as f64;
    let thick = (0.8 * step).min(26.0);
    for (k, bar) in p.bars.iter().enumerate() {
        let x = left + (k as f64 + 0.5) * step - thick / 2.0;
        let mut ends = [0.0; 2];
        for &(value, shade) in bar.iter().filter(|(v, _)| drawable(*v) && *v != 0.0) {
            let end = &mut ends[usize::from(value > 0.0)];
            let (from, to) = (y.at(*end), y.at(*end + value));
            *end += value;
            let look = LOOKS[((shade.clamp(0.0, 1.0) * LOOKS.len() as f64) as usize).min(LOOKS.len() - 1)];
            // A hair between parts, where they are thick enough for it.
            let hair = if (to - from).abs() > 3.0 { 0.6 } else { 0.0 };
            sheet.rect(look, x, from.min(to) + hair / 2.0, thick, (to - from).abs() - hair);
        }
    }
    sheet.line("axis", (left, y.at(0.0)), (left + width, y.at(0.0)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stack_away_from_zero_and_nothing_breaks_the_drawing() {
        assert_eq!(reach(&[(1.0, 0.0), (-0.5, 0.2), (2.0, 1.0), (f64::NAN, 0.0)]), [-0.5, 3.0]);
        let of = |panels| Bars {
            name: "bars",
            title: "Bars".into(),
            caption: String::new(),
            across: "neurons".into(),
            up: "weight".into(),
            dark: "important".into(),
            pale: "less".into(),
            panels,
        };
        let panel = |bars| BarsPanel { label: "p".into(), bars };
        for panels in
            [vec![], vec![panel(vec![])], vec![panel(vec![vec![(1.0, f64::NAN), (f64::INFINITY, 2.0)]; 3]); 5]]
        {
            let svg = bars(&of(panels)).standalone();
            assert!(!svg.contains("NaN") && svg.contains("</svg>"));
        }
    }
}
