//! The few words that a newcomer needs.

use maud::{Markup, html};

use crate::{
    diagnose::Verdict,
    report::{figures::glyph, svg::Sheet},
};

const WORDS: [(&str, Option<Verdict>, &str); 9] = [
    ("Neuron", None, "One unit of the network: here, one column of the activations."),
    (
        "Feature",
        None,
        "A direction in activation space that stands for one thing and is seldom active. It may or may not lie along a neuron.",
    ),
    (
        "Monosemantic",
        Some(Verdict::Monosemantic),
        "A neuron that carries one feature; a layer where every feature has a neuron to itself.",
    ),
    (
        "Polysemantic",
        None,
        "A neuron that carries several features. This is what one observes; the verdict is about why.",
    ),
    (
        "Superposition",
        Some(Verdict::Superposition),
        "One reason: there are more features than dimensions, so that they cannot all stand at right angles and must share neurons.",
    ),
    (
        "Orthogonal, rotated",
        Some(Verdict::Orthogonal),
        "Another reason: the features fit at right angles, but their axes are turned away from the neurons.",
    ),
    (
        "Inconclusive",
        Some(Verdict::Inconclusive),
        "The inputs hold no sparse directions that beat chance, or too few rows to tell the explanations apart.",
    ),
    (
        "Dictionary",
        None,
        "A set of feature directions, a few of which rebuild each row. Complete: no more of them than dimensions; overcomplete: more.",
    ),
    (
        "Null",
        None,
        "What a statistic looks like where the hypothesis is false by construction, for instance in noise of the same covariance. Evidence is what lies outside it.",
    ),
];

pub fn glossary() -> Markup {
    html! {
        section {
            h2 { "The words" }
            dl.glossary {
                @for (word, verdict, text) in WORDS {
                    div {
                        dt { @if let Some(verdict) = verdict { (sign(verdict)) } (word) }
                        dd { (text) }
                    }
                }
            }
            p.note { "In the little drawings the grey axes are neurons and the blue arrows are features." }
        }
    }
}

/// A verdict's glyph, for decoration: its word stands beside it.
pub fn sign(verdict: Verdict) -> Markup {
    const SIZE: f64 = 48.0;
    let mut sheet = Sheet::blank(SIZE, SIZE);
    glyph(&mut sheet, verdict, (SIZE / 2.0, SIZE / 2.0), SIZE - 4.0);
    sheet.ornament()
}
