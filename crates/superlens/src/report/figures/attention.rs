//! Where the heads of a layer look: a square a head, queries down, keys across.

use std::fmt::Write;

use maud::{PreEscaped, html};
use superlens_tensor::Mat;

use crate::report::{
    svg::{Anchor, EDGE, Figure, Key, Sheet, px, text_width},
    words::clean,
};

/// Side of a square.
const SIDE: f64 = 190.0;
const GAP: f64 = 18.0;
/// Squares side by side at most; more go on to the next line.
const ACROSS: usize = 4;
/// Classes of `figure.css` for fifths of the attention of a query, from little to all.
const SHADES: [&str; 5] = ["p1", "p2", "p3", "p4", "p5"];
/// Less than this share of a query's attention is not drawn.
const LEAST: f32 = 0.05;
/// Tokens that are written beside their rows and above their columns; of more, their numbers.
const NAMED: usize = 16;
/// Room for a token's name, which is cut to fit.
const NAME: f64 = 62.0;
/// Keys that are told where the pointer rests on a query.
const TOLD: usize = 4;

/// How much of their attention the queries of a head give, on average over those that have such a key: the first token, the one before, themselves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Habits {
    pub first: f64,
    pub previous: f64,
    pub own: f64,
}

impl Habits {
    /// Of a pattern `[queries, keys]`. The first query has one key alone and says nothing.
    pub fn of(pattern: &Mat) -> Habits {
        let queries = pattern.rows().min(pattern.cols());
        let mean = |key: &dyn Fn(usize) -> usize| {
            (1..queries).map(|q| f64::from(pattern[(q, key(q))])).sum::<f64>() / queries.saturating_sub(1).max(1) as f64
        };
        Habits { first: mean(&|_| 0), previous: mean(&|q| q - 1), own: mean(&|q| q) }
    }

    /// The one that takes most of the attention, if any does.
    fn chief(self) -> Option<(&'static str, f64)> {
        let all = [("previous", self.previous), ("first", self.first), ("itself", self.own)];
        all.into_iter().find(|&(_, share)| share >= 0.5)
    }
}

/// The patterns of one layer, `[queries, keys]` a head, of these tokens.
pub fn attention(layer: usize, heads: &[Mat], tokens: &[String]) -> Figure {
    let named = tokens.len() <= NAMED;
    let (left, above) = if named { (NAME, NAME) } else { (24.0, 32.0) };
    let (across, wide) = (heads.len().clamp(1, ACROSS), left + SIDE + GAP);
    let tall = above + SIDE + 40.0;
    let (width, lines) = (2.0 * EDGE + across as f64 * wide - GAP, heads.len().div_ceil(ACROSS));
    let title = format!("Layer {layer}");
    let mut sheet = Sheet::new(width.max(400.0), 72.0 + lines as f64 * tall, &title);
    let keys = SHADES.iter().enumerate().map(|(i, class)| (Key::Box(class), format!("to {} %", 20 * (i + 1))));
    let top = sheet.legend(&keys.collect::<Vec<_>>()) + 22.0;
    let mut says = Vec::new();
    for (h, pattern) in heads.iter().enumerate() {
        let (x, y) = (EDGE + (h % ACROSS) as f64 * wide + left, top + (h / ACROSS) as f64 * tall + above);
        let chief = Habits::of(pattern).chief();
        let habit = chief.map_or(String::new(), |(what, share)| format!(": {what} {:.0} %", 100.0 * share));
        sheet.text("b", Anchor::Start, x, y - above + 4.0, &format!("head {h}{habit}"));
        names(&mut sheet, tokens, (x, y), named);
        square(&mut sheet, pattern, tokens, (x, y));
        if !habit.is_empty() {
            says.push(format!("head {h}{habit}"));
        }
    }
    let description = match says.is_empty() {
        true => format!("{} heads, none of which looks at the same place throughout", heads.len()),
        false => says.join("; "),
    };
    let caption = "Each row is a token that looks, each column one that is looked at; a row's shades add up to all of its attention.";
    sheet.finish(&format!("attention-{layer}"), &title, caption.into(), description)
}

/// Tokens beside and above a square, or the numbers of some.
fn names(sheet: &mut Sheet, tokens: &[String], (x, y): (f64, f64), named: bool) {
    let cell = SIDE / tokens.len().max(1) as f64;
    let every = if named { 1 } else { (tokens.len() / 6).next_power_of_two().max(10) / 10 * 10 };
    for (i, token) in tokens.iter().enumerate().step_by(every) {
        let middle = (i as f64 + 0.5) * cell;
        let name = if named { fitting(token) } else { i.to_string() };
        sheet.text("soft", Anchor::End, x - 5.0, y + middle + 4.5, &name);
        if named {
            // Upright, to be read from below.
            let at = format!("translate({} {}) rotate(-90)", px(x + middle + 4.5), px(y - 5.0));
            sheet.push(html! { text class="soft" transform=(at) { (clean(&name)) } });
        } else {
            sheet.text("soft", Anchor::Middle, x + middle, y - 4.0, &name);
        }
    }
}

fn fitting(token: &str) -> String {
    let mut name: String = token.chars().take(24).collect();
    while text_width(&name, 13.0) > NAME - 8.0 {
        name.pop();
    }
    if name.len() < token.len() {
        name.pop();
        name.push('…');
    }
    name
}

fn square(sheet: &mut Sheet, pattern: &Mat, tokens: &[String], (x, y): (f64, f64)) {
    let cell = SIDE / tokens.len().max(1) as f64;
    sheet.rect("zero", x, y, SIDE, SIDE);
    // One path a shade: a rectangle for each cell would be ten times as long.
    let mut paths = [const { String::new() }; SHADES.len()];
    for q in 0..pattern.rows() {
        for (k, &share) in pattern.row(q).iter().enumerate().filter(|(_, share)| **share >= LEAST) {
            let shade = ((share * 5.0).ceil() as usize).clamp(1, 5) - 1;
            let (left, top) = (px(x + k as f64 * cell), px(y + q as f64 * cell));
            let _ = write!(paths[shade], "M{left} {top}h{0}v{0}h-{0}z", px(cell));
        }
    }
    for (class, d) in SHADES.iter().zip(&paths).filter(|(_, d)| !d.is_empty()) {
        sheet.push(html! { path class=(class) d=(PreEscaped(d)) {} });
    }
    let told = |k: usize| tokens.get(k).map_or("", String::as_str);
    for q in 0..pattern.rows() {
        let row = pattern.row(q);
        let mut most: Vec<usize> = (0..row.len()).filter(|&k| row[k] >= LEAST).collect();
        most.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        let keys = most.iter().take(TOLD).map(|&k| format!("{k} {} {:.0} %", told(k), 100.0 * row[k]));
        let tip = format!("{q} {} → {}", told(q), keys.collect::<Vec<_>>().join(", "));
        sheet.bar("over", x, y + q as f64 * cell, SIDE, cell, &tip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_are_where_a_head_looks() {
        let previous = Mat::from_fn(5, 5, |q, k| f32::from(u8::from(k == q.saturating_sub(1))));
        let habits = Habits::of(&previous);
        assert_eq!((habits.previous, habits.own, habits.first), (1.0, 0.0, 0.25));
        assert_eq!(habits.chief(), Some(("previous", 1.0)));
        let even = Mat::from_fn(6, 6, |q, k| if k <= q { 1.0 / (q + 1) as f32 } else { 0.0 });
        assert_eq!(Habits::of(&even).chief(), None);
        assert_eq!(Habits::of(&Mat::from_vec(1, 1, vec![1.0])), Habits { first: 0.0, previous: 0.0, own: 0.0 });
    }

    #[test]
    fn every_text_has_a_picture() {
        for n in [0usize, 1, 16, 17, 200] {
            let tokens: Vec<String> = (0..n).map(|i| format!("<tok&en{i}>").repeat(1 + i % 9)).collect();
            let pattern = Mat::from_fn(n, n, |q, k| if k <= q { 1.0 / (q + 1) as f32 } else { 0.0 });
            let svg = attention(3, &vec![pattern; 5], &tokens).standalone();
            assert!(svg.contains("head 4") && !svg.contains("NaN") && !svg.contains("<tok&"), "{n}");
        }
    }
}
