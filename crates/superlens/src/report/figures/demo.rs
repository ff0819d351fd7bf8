//! Several diagnosed cases side by side: features per dimension, alignment with the neurons, and the verdict.

use super::glyph::glyph;
use crate::{
    diagnose::{Count, Diagnosis},
    report::{
        demo::Case,
        scale::{self, Scale, drawable},
        svg::{Anchor, Area, Dot, EDGE, Figure, Key, Sheet, wrap},
        words,
    },
};

const TITLE: &str = "Layers of known cause, diagnosed as if nothing were known";
const WIDTH: f64 = 860.0;
const HEAD: f64 = 100.0;
const ROW: f64 = 64.0;
const NAMES: f64 = 80.0;
const COUNTS: (f64, f64) = (266.0, 500.0);
const ALIGNMENT: (f64, f64) = (540.0, 652.0);
const VERDICTS: f64 = 676.0;

/// The picture of the README: truth at the left, evidence in the middle, verdict at the right.
pub fn demo(cases: &[Case]) -> Figure {
    let mut sheet = Sheet::new(WIDTH, HEAD + ROW * cases.len() as f64 + 66.0, TITLE);
    let legend = [
        (Key::Series("found-line", "found", Dot::Round), "found, 90\u{a0}% interval".to_owned()),
        (Key::Line("limit-dash"), "one feature a dimension".to_owned()),
        (Key::Box("zone"), "more features than dimensions".to_owned()),
        (Key::Bar("null-line"), "rotated at random".to_owned()),
    ];
    let top = sheet.legend(&legend) + 44.0;
    let area = Area { left: COUNTS.0, right: COUNTS.1, top: top - 6.0, bottom: top + ROW * cases.len() as f64 };
    let ratios = Scale::covering(cases.iter().flat_map(|c| highest(&c.diagnosis)).chain([0.0, 1.5]), 5)
        .onto(area.left, area.right);
    let aligned = Scale::fixed(0.0, 1.0, 0.5).onto(ALIGNMENT.0, ALIGNMENT.1);
    headers(&mut sheet, area.top - 8.0);
    panels(&mut sheet, &area, &ratios, &aligned);
    for (i, case) in cases.iter().enumerate() {
        let y = top + ROW * (i as f64 + 0.5);
        if i > 0 {
            sheet.line("grid", (EDGE, y - ROW / 2.0), (WIDTH - EDGE, y - ROW / 2.0));
        }
        glyph(&mut sheet, case.truth, (EDGE + 26.0, y), 44.0);
        name(&mut sheet, case, y);
        count(&mut sheet, &case.diagnosis, &ratios, y);
        alignment(&mut sheet, &case.diagnosis, &aligned, y);
        verdict(&mut sheet, case, y);
    }
    let right = cases.iter().filter(|c| c.is_right()).count();
    let caption = format!(
        "One row a layer. At the left what was built in (axes: neurons, arrows: features); then how many features were \
         found in each dimension that is in use; then how far the features lie along single neurons (1: each is a neuron); at \
         the right the verdict and its probability. {right} of {} are right.",
        cases.len()
    );
    let description = if cases.is_empty() {
        "No cases.".to_owned()
    } else {
        cases.iter().map(sentence).collect::<Vec<_>>().join(" ")
    };
    sheet.finish("demo", TITLE, caption, description)
}

/// Top of a case's interval, in features per dimension.
fn highest(diagnosis: &Diagnosis) -> Option<f64> {
    Some(1.15 * per_dimension(diagnosis)?.2)
}

/// Low end, estimate and high end of the count, each over the dimensions in use.
fn per_dimension(diagnosis: &Diagnosis) -> Option<(f64, f64, f64)> {
    let rank = diagnosis.layer.effective_rank;
    let Count { estimate, low, high, .. } = diagnosis.layer.n_features.as_ref()?;
    let [low, estimate, high] = [low, estimate, high].map(|&n| n as f64 / rank);
    (rank > 0.0 && drawable(high)).then_some((low, estimate, high.max(estimate)))
}

fn headers(sheet: &mut Sheet, y: f64) {
    sheet.text("b", Anchor::Start, NAMES, y, "Layer and its truth");
    sheet.text("b", Anchor::Start, COUNTS.0, y, "Features per dimension");
    sheet.text("b", Anchor::Start, ALIGNMENT.0, y, "Along neurons");
    sheet.text("b", Anchor::Start, VERDICTS, y, "Verdict");
}

/// The two grounds behind all rows, and their axes below the last.
fn panels(sheet: &mut Sheet, area: &Area, ratios: &Scale, aligned: &Scale) {
    let one = ratios.at(1.0);
    sheet.rect("zone", one, area.top, area.right - one, area.bottom - area.top);
    for tick in ratios.ticks().iter().chain(&aligned.ticks()) {
        sheet.line("grid", (tick.at, area.top), (tick.at, area.bottom));
    }
    sheet.line("limit-dash", (one, area.top), (one, area.bottom));
    let neurons = Area { left: ALIGNMENT.0, right: ALIGNMENT.1, ..*area };
    sheet.x_axis(area, &ratios.ticks(), "features per dimension in use");
    sheet.x_axis(&neurons, &aligned.ticks(), "share in one neuron");
}

fn name(sheet: &mut Sheet, case: &Case, y: f64) {
    sheet.text("b", Anchor::Start, NAMES, y - 2.0, &wrap(&words::title(&case.name), 172.0, 1).concat());
    let truth = words::verdict(case.truth, case.truth_mechanism);
    sheet.text("soft", Anchor::Start, NAMES, y + 17.0, &wrap(&truth, 172.0, 1).concat());
}

fn count(sheet: &mut Sheet, diagnosis: &Diagnosis, x: &Scale, y: f64) {
    let Some((low, estimate, high)) = per_dimension(diagnosis) else {
        sheet.text("soft", Anchor::Start, x.at(1.0) + 12.0, y + 4.5, "none found");
        return;
    };
    sheet.line("found-wide", (x.at(low), y), (x.at(high), y));
    for end in [low, high] {
        sheet.line("found-wide", (x.at(end), y - 5.0), (x.at(end), y + 5.0));
    }
    sheet.dot("found", Dot::Round, (x.at(estimate), y), 6.0);
    sheet.text("", Anchor::Start, x.at(high) + 12.0, y + 4.5, &format!("{estimate:.2}"));
}

fn alignment(sheet: &mut Sheet, diagnosis: &Diagnosis, x: &Scale, y: f64) {
    let evidence = &diagnosis.evidence;
    let Some(mean) = scale::mean(&evidence.alignment) else {
        sheet.text("soft", Anchor::Start, ALIGNMENT.0 + 8.0, y + 4.5, "–");
        return;
    };
    if let Some(null) = scale::mean(&evidence.alignment_null) {
        sheet.line("null-line", (x.at(null), y - 15.0), (x.at(null), y + 15.0));
    }
    sheet.dot("found", Dot::Round, (x.at(mean), y), 6.0);
    // On the side with more room.
    let (anchor, shift) = if mean < 0.5 { (Anchor::Start, 12.0) } else { (Anchor::End, -12.0) };
    sheet.text("", anchor, x.at(mean) + shift, y + 4.5, &format!("{mean:.2}"));
}

fn verdict(sheet: &mut Sheet, case: &Case, y: f64) {
    let layer = &case.diagnosis.layer;
    let (class, sign) = if case.is_right() { ("b", "✓") } else { ("limit b", "✗") };
    sheet.text(class, Anchor::Start, VERDICTS, y - 2.0, sign);
    sheet.text(class, Anchor::Start, VERDICTS + 18.0, y - 2.0, &words::verdict(layer.verdict, layer.mechanism));
    sheet.text("soft", Anchor::Start, VERDICTS + 18.0, y + 17.0, &words::probability(layer.confidence));
}

fn sentence(case: &Case) -> String {
    let layer = &case.diagnosis.layer;
    format!(
        "{}: made as {}, diagnosed as {} ({}).",
        words::title(&case.name),
        words::verdict(case.truth, case.truth_mechanism),
        words::verdict(layer.verdict, layer.mechanism),
        words::probability(layer.confidence)
    )
}
