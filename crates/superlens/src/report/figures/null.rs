//! One hypothesis: what was observed, on the distribution of its null or beside the number that a rule asks for.

use crate::{
    diagnose::Hypothesis,
    report::{
        grounds::Grounds,
        scale::{Scale, drawable, histogram},
        svg::{Area, Dot, Figure, Key, Sheet, WIDTH},
        words,
    },
};

/// `None` for a hypothesis that was not tested.
pub fn null(h: &Hypothesis) -> Option<Figure> {
    let grounds = Grounds::of(h);
    let small_supports = h.null_high < h.null_mean;
    let (against, limit) = match (grounds, small_supports) {
        (Grounds::Nothing, _) => return None,
        (Grounds::Rule, _) => ("what it is held to", "held to"),
        (Grounds::Draws, true) => ("its null", "null's 5th percentile"),
        (Grounds::Draws, false) => ("its null", "null's 95th percentile"),
    };
    let title = format!("{}: observed against {against}", words::title(&h.id));

    let mut sheet = Sheet::new(WIDTH, 262.0, &title);
    let mut legend = vec![
        (Key::Series("found-line", "found", Dot::Diamond), format!("observed {}", words::number(h.statistic))),
        (Key::Line("limit-dash"), format!("{limit} {}", words::number(h.null_high))),
    ];
    let draws: &[f64] = if grounds == Grounds::Draws { &h.draws } else { &[] };
    if !draws.is_empty() {
        legend.push((Key::Box("null"), words::counted(draws.len(), "null draw")));
    }
    let top = sheet.legend(&legend);
    let marks = [h.statistic, h.null_mean, h.null_high];
    let x = Scale::covering(draws.iter().copied().chain(marks), 6);
    let bins = Bins::of(draws);
    let y = Scale::covering_whole(bins.counts.iter().copied().chain([0.0]), 3);
    let area = sheet.area(top, &y, &h.measures);
    let (x, y) = (x.onto(area.left + 8.0, area.right - 8.0), y.onto(area.bottom, area.top));

    if !bins.counts.is_empty() {
        sheet.y_axis(&area, &y.ticks(), "null draws");
    }
    bins.draw(&mut sheet, &area, &x, &y);
    sheet.x_axis(&area, &x.ticks(), &h.measures);
    if drawable(h.null_high) {
        sheet.line("limit-dash", (x.at(h.null_high), area.top - 4.0), (x.at(h.null_high), area.bottom));
    }
    if drawable(h.statistic) {
        sheet.line("found-line", (x.at(h.statistic), area.top - 4.0), (x.at(h.statistic), area.bottom));
        sheet.dot("found", Dot::Diamond, (x.at(h.statistic), area.top - 4.0), 5.0);
    }
    let name = format!("null-{}", words::slug(&h.id));
    Some(sheet.finish(&name, &title, caption(grounds, small_supports), describe(h, grounds, limit)))
}

fn caption(grounds: Grounds, small_supports: bool) -> String {
    if grounds == Grounds::Rule {
        return "The observed value (diamond) and the number that it is held to (dashed): a rule, or a null that is too costly \
                to draw often. So there is no p-value."
            .to_owned();
    }
    let side = if small_supports { "left" } else { "right" };
    format!(
        "Grey: the same statistic where the hypothesis is false by construction. An observed value (diamond) far to the \
         {side} of the dashed line supports the hypothesis; one inside the grey is what chance gives."
    )
}

fn describe(h: &Hypothesis, grounds: Grounds, limit: &str) -> String {
    let [observed, mean, high] = [h.statistic, h.null_mean, h.null_high].map(words::number);
    match grounds {
        Grounds::Draws => {
            let p = words::p_value(h.p_value, h.null_draws);
            format!("Observed {observed}; null mean {mean}, {limit} {high}, p {p}.")
        }
        Grounds::Rule | Grounds::Nothing => format!("Observed {observed}, {limit} {high}."),
    }
}

/// Counts of the null's draws in equal bins over their own range, however far away the observed value lies.
struct Bins {
    lo: f64,
    hi: f64,
    counts: Vec<f64>,
}

impl Bins {
    fn of(draws: &[f64]) -> Self {
        let drawn: Vec<f64> = draws.iter().copied().filter(|&v| drawable(v)).collect();
        let lo = drawn.iter().copied().fold(f64::INFINITY, f64::min);
        let hi = drawn.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let bins = match drawn.len() {
            0 => 0,
            _ if hi <= lo => 1,
            n => ((n as f64).sqrt().ceil() as usize).clamp(5, 24),
        };
        let shares = if bins > 1 { histogram(&drawn, lo, hi, bins) } else { vec![1.0; bins] };
        Self { lo, hi, counts: shares.into_iter().map(|s| (s * drawn.len() as f64).round()).collect() }
    }

    fn draw(&self, sheet: &mut Sheet, area: &Area, x: &Scale, y: &Scale) {
        let width = (self.hi - self.lo) / self.counts.len().max(1) as f64;
        for (bin, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let (lo, hi) = (self.lo + bin as f64 * width, self.lo + (bin + 1) as f64 * width);
            let (left, right) = (x.at(lo), x.at(hi));
            let at = y.at(count);
            let tip =
                format!("{}: {} to {}", words::counted(count as usize, "draw"), words::number(lo), words::number(hi));
            // A null that is much narrower than the scale still shows as a line.
            let (left, shown) =
                if right - left < 3.0 { ((left + right) / 2.0 - 1.5, 3.0) } else { (left, right - left - 1.0) };
            sheet.bar("null", left, at, shown, area.bottom - at, &tip);
        }
    }
}
