//! The most and the least polysemantic neurons, each as a bar of the features that it carries.

use std::cmp::Ordering;

use crate::{
    diagnose::Neuron,
    report::{
        svg::{Anchor, EDGE, Figure, Key, Sheet, WIDTH, text_width},
        words,
    },
};

const TITLE: &str = "Which features make up a neuron?";
const EACH: usize = 8;
const ROW: f64 = 24.0;
const GAP: f64 = 34.0;

/// Live neurons that carry features, most polysemantic first: by number of features, then by how little the largest
/// says, then by index.
pub fn ranked(neurons: &[Neuron]) -> Vec<&Neuron> {
    let mut ranked: Vec<_> = neurons.iter().filter(|n| n.live && n.n_features > 0).collect();
    let largest = |n: &Neuron| n.features.first().map_or(0.0, |f| f.1);
    ranked.sort_by(|a, b| {
        let by_share = largest(a).partial_cmp(&largest(b)).unwrap_or(Ordering::Equal);
        b.n_features.cmp(&a.n_features).then(by_share).then(a.index.cmp(&b.index))
    });
    ranked
}

/// Up to eight of the most polysemantic, most first.
pub fn most_polysemantic<'a>(ranked: &[&'a Neuron]) -> Vec<&'a Neuron> {
    ranked.iter().take(EACH.min(ranked.len().div_ceil(2))).copied().collect()
}

/// Up to eight of the least polysemantic, least last; never one of [`most_polysemantic`].
pub fn least_polysemantic<'a>(ranked: &[&'a Neuron]) -> Vec<&'a Neuron> {
    ranked[ranked.len() - EACH.min(ranked.len() / 2)..].to_vec()
}

/// What the two ends of [`ranked`] are called, given the first of them.
pub fn group_names(most: &[&Neuron]) -> (&'static str, &'static str) {
    if most.iter().any(|n| n.polysemantic) {
        ("Most polysemantic", "Least polysemantic")
    } else {
        ("None is polysemantic. The most mixed", "The least mixed")
    }
}

/// `None` where no neuron carries a feature.
pub fn shares(neurons: &[Neuron]) -> Option<Figure> {
    let ranked = ranked(neurons);
    let most = most_polysemantic(&ranked);
    let least = least_polysemantic(&ranked);
    let first = *most.first()?;

    let groups = group_names(&most);
    let gaps = if least.is_empty() { 1.0 } else { 2.0 };
    let height = 84.0 + ROW * (most.len() + least.len()) as f64 + GAP * gaps + 48.0;
    let mut sheet = Sheet::new(WIDTH, height, TITLE);
    let top = sheet.legend(&[
        (Key::Box("s1"), "largest feature".to_owned()),
        (Key::Box("s2"), "2nd".to_owned()),
        (Key::Box("s3"), "3rd".to_owned()),
        (Key::Box("s4"), "4th".to_owned()),
        (Key::Box("s5"), "5th and on".to_owned()),
        (Key::Box("s6"), "features under 10 %".to_owned()),
    ]);
    let names = most.iter().chain(&least).map(|n| text_width(&name(n), 13.0)).fold(0.0, f64::max);
    let bars = (EDGE + names + 10.0, WIDTH - EDGE - 8.0);
    let mut y = top + GAP;
    sheet.text("b", Anchor::Start, EDGE, y - 8.0, groups.0);
    for neuron in &most {
        bar(&mut sheet, neuron, bars, y);
        y += ROW;
    }
    if !least.is_empty() {
        y += GAP;
        sheet.text("b", Anchor::Start, EDGE, y - 8.0, groups.1);
        for neuron in &least {
            bar(&mut sheet, neuron, bars, y);
            y += ROW;
        }
    }
    percent_axis(&mut sheet, bars, y);
    let caption = "One bar a neuron; its pieces are the shares of the neuron's explained variance that single features \
                   bring, largest first, with the feature's number where it fits. A monosemantic neuron is one long piece; a \
                   polysemantic one is cut in many. Grey: features that bring less than 10 % each; where no feature reaches half, \
                   the effective number of all of them, 1 / Σ share², is written there."
        .to_owned();
    let description = format!(
        "{} carries {}, the most of all.",
        words::title(&name(first)),
        words::counted(first.n_features, "feature")
    );
    Some(sheet.finish("shares", TITLE, caption, description))
}

fn name(neuron: &Neuron) -> String {
    format!("neuron {}", neuron.index)
}

fn bar(sheet: &mut Sheet, neuron: &Neuron, (left, right): (f64, f64), y: f64) {
    const CLASSES: [(&str, &str); 5] = [("s1", "on1"), ("s2", "on2"), ("s3", "on3"), ("s4", "on4"), ("s5", "on5")];
    let height = ROW - 6.0;
    sheet.text("soft", Anchor::End, left - 10.0, y + height - 4.5, &name(neuron));
    let mut x = left;
    for (rank, &(feature, share)) in neuron.features.iter().enumerate() {
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        let width = (share * (right - left)).min(right - x);
        if width < 0.5 {
            continue;
        }
        let (class, on) = CLASSES[rank.min(CLASSES.len() - 1)];
        sheet.bar(class, x, y, width - 1.0, height, &format!("feature {feature}: {}", words::percent(share)));
        let text = feature.to_string();
        if text_width(&text, 13.0) + 8.0 < width {
            sheet.text(on, Anchor::Middle, x + width / 2.0, y + height - 4.5, &text);
        }
        x += width;
    }
    if right - x > 0.5 {
        sheet.bar("s6", x, y, right - x, height, "features under 10 % each");
        // Where small features make up a neuron, their effective number says what the grey can't.
        let text = format!("{} features in all", words::count(neuron.n_features));
        if neuron.n_features > neuron.features.len() && text_width(&text, 13.0) + 8.0 < right - x {
            sheet.text("soft", Anchor::Middle, (x + right) / 2.0, y + height - 4.5, &text);
        }
    }
}

fn percent_axis(sheet: &mut Sheet, (left, right): (f64, f64), y: f64) {
    sheet.line("axis", (left, y), (right, y));
    for quarter in 0..=4 {
        let x = left + (right - left) * quarter as f64 / 4.0;
        sheet.line("axis", (x, y), (x, y + 5.0));
        sheet.text("soft", Anchor::Middle, x, y + 19.0, &(25 * quarter).to_string());
    }
    let name = "share of the neuron's explained variance, %";
    sheet.text("soft", Anchor::Middle, (left + right) / 2.0, y + 39.0, name);
}
