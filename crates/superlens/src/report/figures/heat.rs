//! Matrices in colour: one square a number, panels side by side.

use crate::{
    report::{
        scale::drawable,
        svg::{Anchor, EDGE, Figure, Key, Sheet},
        words,
    },
    toy::lab::{Heat, HeatPanel},
};

/// Width of a panel that stands alone, and of one among many.
const WIDE: f64 = 300.0;
const NARROW: f64 = 150.0;
const GAP: f64 = 20.0;
/// Panels side by side at most; more go on to further lines, as many on each.
const ACROSS: usize = 5;
/// Squares along a side at most: larger matrices are averaged down to this.
const SIDE: usize = 64;
/// Classes of `figure.css` for sizes from small to large, on both sides of zero.
const ABOVE: [&str; 5] = ["p1", "p2", "p3", "p4", "p5"];
const BELOW: [&str; 5] = ["m1", "m2", "m3", "m4", "m5"];
/// Smaller than this share of the largest counts as zero.
const ZERO: f64 = 0.05;

pub fn heat(h: &Heat) -> Figure {
    let n = h.panels.len().max(1);
    let size = if n == 1 { WIDE } else { NARROW.max(WIDE / n as f64) };
    let across = n.div_ceil(n.div_ceil(ACROSS));
    let width = (2.0 * EDGE + across as f64 * (size + GAP) - GAP).max(400.0);
    let tall = |p: &HeatPanel| size * (p.rows.len() as f64 / columns(p).max(1) as f64).clamp(0.2, 1.5);
    let lines: Vec<f64> =
        h.panels.chunks(across).map(|line| line.iter().map(tall).fold(0.0, f64::max) + 24.0).collect();
    let mut sheet = Sheet::new(width, lines.iter().sum::<f64>() + 118.0, &h.title);
    let top = sheet.legend(&keys(h));
    let mut y = top + 22.0;
    for (panels, height) in h.panels.chunks(across).zip(&lines) {
        for (k, p) in panels.iter().enumerate() {
            let x = EDGE + k as f64 * (size + GAP);
            sheet.text("b", Anchor::Middle, x + size / 2.0, y - 6.0, &p.label);
            panel(&mut sheet, p, x, y, size, tall(p));
        }
        y += height;
    }
    sheet.text("soft", Anchor::Start, EDGE, y + 6.0, &format!("across: {}; down: {}", h.across, h.down));
    let each = |p: &HeatPanel| {
        format!("{}: {} by {}, largest {}", p.label, p.rows.len(), columns(p), words::number(largest(&p.rows)))
    };
    let description = h.panels.iter().map(each).collect::<Vec<_>>().join("; ");
    sheet.finish(h.name, &h.title, h.caption.clone(), description)
}

/// What the colours stand for: with numbers where there is one panel, whose steps are known; without where each has its own.
fn keys(h: &Heat) -> Vec<(Key, String)> {
    if let [only] = &h.panels[..] {
        let rows = shrunk(&only.rows, columns(only));
        let has = |sign: f64| {
            rows.iter().flatten().any(|v| drawable(*v) && v * sign >= ZERO * largest(&rows).max(f64::MIN_POSITIVE))
        };
        let step = |k: usize| words::number(largest(&rows) * k as f64 / 5.0);
        let below = [4, 2, 0].map(|k| (Key::Box(BELOW[k]), format!("to −{}", step(k + 1))));
        let above = [0, 2, 4].map(|k| (Key::Box(ABOVE[k]), format!("to {}", step(k + 1))));
        let zero = [(Key::Box("zero"), "near zero".to_string())];
        let below = below.into_iter().filter(|_| has(-1.0));
        return below.chain(zero).chain(above.into_iter().filter(|_| has(1.0))).collect();
    }
    let keys = [("m4", "below zero"), ("zero", "near zero"), ("p4", "above zero")];
    keys.map(|(class, name)| (Key::Box(class), name.to_string())).to_vec()
}

fn columns(p: &HeatPanel) -> usize {
    p.rows.iter().map(Vec::len).max().unwrap_or(0)
}

fn largest(rows: &[Vec<f64>]) -> f64 {
    rows.iter().flatten().filter(|v| drawable(**v)).fold(0.0, |a, v| v.abs().max(a))
}

fn panel(sheet: &mut Sheet, p: &HeatPanel, left: f64, top: f64, width: f64, height: f64) {
    let rows = shrunk(&p.rows, columns(p));
    let scale = largest(&rows).max(f64::MIN_POSITIVE);
    let (down, across) = (rows.len().max(1) as f64, rows.first().map_or(1, |r| r.len().max(1)) as f64);
    let (w, h) = (width / across, height / down);
    // Small matrices show their squares apart; in large ones a hair of overlap keeps seams from showing.
    let edge = if w > 8.0 { -1.0 } else { 0.3 };
    sheet.rect("zero", left, top, width, height);
    for (i, row) in rows.iter().enumerate() {
        for (j, v) in row.iter().enumerate() {
            let share = v.abs() / scale;
            if drawable(*v) && share >= ZERO {
                let step = ((share * 5.0).ceil() as usize).clamp(1, 5) - 1;
                let class = if *v > 0.0 { ABOVE[step] } else { BELOW[step] };
                sheet.rect(class, left + j as f64 * w, top + i as f64 * h, w + edge, h + edge);
            }
        }
    }
}

/// The matrix with at most [`SIDE`] squares a side, each the mean of what it covers.
fn shrunk(rows: &[Vec<f64>], columns: usize) -> Vec<Vec<f64>> {
    let cut = |n: usize| {
        let parts = n.min(SIDE);
        (0..parts).map(move |k| k * n / parts..(k + 1) * n / parts)
    };
    let mean = |down: std::ops::Range<usize>, across: std::ops::Range<usize>| {
        let cells = rows[down].iter().flat_map(|r| r.get(across.clone()).unwrap_or_default());
        let (sum, n) = cells.filter(|v| drawable(**v)).fold((0.0, 0), |(sum, n), v| (sum + v, n + 1));
        sum / f64::from(n.max(1))
    };
    cut(rows.len()).map(|down| cut(columns).map(|across| mean(down.clone(), across)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_matrices_are_averaged_and_ragged_ones_stand() {
        let rows: Vec<Vec<f64>> = (0..128).map(|i| (0..256).map(|j| f64::from(i + j)).collect()).collect();
        let small = shrunk(&rows, 256);
        assert_eq!((small.len(), small[0].len()), (64, 64));
        assert_eq!(small[0][0], 2.0);
        let panel = |rows| HeatPanel { label: "W".into(), rows };
        let heat = |panels| Heat {
            name: "w",
            title: "W".into(),
            caption: String::new(),
            across: "x".into(),
            down: "y".into(),
            panels,
        };
        for panels in [vec![], vec![panel(vec![])], vec![panel(vec![vec![1.0], vec![f64::NAN, -2.0]]), panel(rows)]] {
            let svg = super::heat(&heat(panels)).standalone();
            assert!(!svg.contains("NaN") && svg.contains("</svg>"));
        }
    }
}
