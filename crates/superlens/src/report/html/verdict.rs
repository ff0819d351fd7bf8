//! The verdict: in one sentence, how sure, why, what else it could be, and what would settle it.

use maud::{Markup, html};

use super::picture;
use crate::{
    diagnose::{Basis, Count, Diagnosis, Layer, Mechanism, Reason, Verdict},
    report::{
        figures::Figures,
        grounds::no_features,
        words::{self, prose},
    },
};

/// The top of a layer's report. `level` is that of its heading: 1 on a page of its own, 3 within a demo.
pub fn hero(diagnosis: &Diagnosis, figures: &Figures, scope: &str, level: u8) -> Markup {
    let layer = &diagnosis.layer;
    html! {
        section.hero {
            div.answer {
                p class={ "chip " (layer.verdict.id()) } { (words::verdict(layer.verdict, layer.mechanism)) }
                @if level == 1 { h1 { (prose(&layer.says)) } } @else { h3.says { (prose(&layer.says)) } }
                (sure(layer))
                p.because { (prose(&layer.because)) }
                p.meaning { (words::meaning(layer.verdict, layer.mechanism, layer.basis)) }
                (facts(diagnosis))
            }
            (picture(&figures.features, scope))
        }
    }
}

/// Confidence in words, as a number and as a bar that the alternatives share.
fn sure(layer: &Layer) -> Markup {
    html! {
        p.sure {
            "superlens is " b { (words::certainty(layer.confidence)) } ": "
            b { (words::probability(layer.confidence)) } " for this verdict."
            small { "The share of made cases with such evidence in which this answer is right, learned on families of known cause." }
        }
        div.bar role="img" aria-label={ "Probability " (words::probability(layer.confidence)) } {
            (segment(layer.verdict, layer.mechanism, layer.confidence))
            @for other in &layer.alternatives { (segment(other.verdict, other.mechanism, other.probability)) }
        }
    }
}

fn segment(verdict: Verdict, mechanism: Option<Mechanism>, probability: f64) -> Markup {
    let percent = if probability.is_finite() { 100.0 * probability.clamp(0.0, 1.0) } else { 0.0 };
    html! {
        span class=(verdict.id()) style={ "width:" (format!("{percent:.2}")) "%" }
            title={ (words::verdict(verdict, mechanism)) ": " (words::probability(probability)) } {}
    }
}

/// The key numbers.
fn facts(diagnosis: &Diagnosis) -> Markup {
    let layer = &diagnosis.layer;
    html! {
        dl.facts {
            @match &layer.n_features {
                Some(count) => {
                    (fact("features found", &format!("{}{}", at_least(count), words::count(count.estimate)),
                        &format!("90\u{a0}% interval {}–{}", words::count(count.low), words::count(count.high))))
                }
                None => { (fact("features found", "–", no_features(diagnosis))) }
            }
            (fact("dimensions in use", &words::number(layer.effective_rank), &format!("of {} columns", words::count(diagnosis.input.dims))))
            @if let Some(count) = layer.n_features.as_ref().filter(|_| layer.effective_rank > 0.0) {
                @let ratio = words::number(count.estimate as f64 / layer.effective_rank);
                (fact("features per dimension", &format!("{}{ratio}", at_least(count)), "clearly above 1 needs superposition"))
            }
            @if let Some(share) = layer.polysemantic_fraction {
                (fact("polysemantic neurons", &words::percent(share), "of the live neurons"))
            } @else if layer.basis == Basis::None {
                (fact("polysemantic neurons", "–", "the columns are not neurons"))
            }
        }
    }
}

/// What stands before a count that still grows with the rows.
fn at_least(count: &Count) -> &'static str {
    if count.lower_bound { "≥ " } else { "" }
}

fn fact(name: &str, value: &str, note: &str) -> Markup {
    html! { div { dt { (name) } dd { b { (value) } small { (note) } } } }
}

/// Alternatives below this are ruled out, as far as the evidence goes.
const RULED_OUT: f64 = 0.005;

/// What else it could be, why it is less likely, and what would settle it.
pub fn alternatives(diagnosis: &Diagnosis) -> Markup {
    let layer = &diagnosis.layer;
    html! {
        section {
            h2 { "What else could it be?" }
            table.plain.differential {
                thead { tr { th { "Explanation" } th.n { "Probability" } th { "What speaks against it" } th { "What speaks for it" } } }
                tbody {
                    (alternative(layer.verdict, layer.mechanism, layer.confidence, true, &[]))
                    @for other in &layer.alternatives {
                        (alternative(other.verdict, other.mechanism, other.probability, false, &other.against))
                    }
                }
            }
            p.note { "Numbers in brackets are log odds: +2.3 makes the verdict ten times as likely against that explanation." }
            h2 { "What would settle it?" }
            @if layer.would_settle.is_empty() {
                p { "Nothing that superlens could name: more rows of the same kind would only narrow the numbers." }
            } @else {
                ul { @for line in &layer.would_settle { li { (prose(line)) } } }
            }
        }
    }
}

fn alternative(
    verdict: Verdict,
    mechanism: Option<Mechanism>,
    probability: f64,
    chosen: bool,
    against: &[Reason],
) -> Markup {
    // Signs that read alike are one reason.
    let mut told: Vec<(String, f64)> = Vec::new();
    for reason in against {
        let word = words::sign(&reason.sign);
        match told.iter_mut().find(|(w, _)| *w == word) {
            Some((_, sum)) => *sum += reason.log_odds,
            None => told.push((word, reason.log_odds)),
        }
    }
    let reasons = |positive: bool| {
        let of = told.iter().filter(move |(_, odds)| (*odds > 0.0) == positive);
        of.map(|(word, odds)| format!("{word} ({odds:+.1})")).collect::<Vec<_>>().join("; ")
    };
    html! {
        tr.chosen[chosen] {
            td {
                span class={ "key " (verdict.id()) } {}
                @if chosen { b { (words::verdict(verdict, mechanism)) } " (the verdict)" }
                @else { (words::verdict(verdict, mechanism)) }
            }
            td.n {
                @if probability < RULED_OUT { "ruled out" } @else { (words::probability(probability)) }
            }
            td { (reasons(true)) }
            td { (reasons(false)) }
        }
    }
}
