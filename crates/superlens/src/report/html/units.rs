//! The page on single units: what each responds to, by its examples.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};

use super::{clean, page};
use crate::neurons::Record;

/// Everything on the page.
#[derive(Clone, Debug, Default)]
pub struct UnitsPage {
    /// What the units are of.
    pub name: String,
    /// "neuron", "latent" or "direction".
    pub word: String,
    /// What is true of all of them, a sentence each.
    pub about: Vec<String>,
    /// Heading, what it means, and the units under it.
    pub sections: Vec<(String, String, Vec<Card>)>,
}

/// One unit.
#[derive(Clone, Debug, Default)]
pub struct Card {
    pub unit: usize,
    /// Numbers, name and value.
    pub facts: Vec<(String, String)>,
    pub explanation: Option<String>,
    pub triggers: Vec<String>,
    /// Ends of each bin that holds rows, and how many.
    pub histogram: Vec<(f32, f32, u64)>,
    /// Largest value: the darkest shade.
    pub max: f32,
    /// Heading and examples.
    pub groups: Vec<(String, Vec<Example>)>,
}

/// One example.
#[derive(Clone, Debug)]
pub struct Example {
    pub value: f32,
    pub facet: Option<usize>,
    pub shows: Shows,
}

/// What there is to see of a row.
#[derive(Clone, Debug)]
pub enum Shows {
    /// Tokens with what the unit gives on each, and which of them the example is.
    Text {
        record: Record,
        at: usize,
    },
    /// A bitmap, and its name.
    Image {
        bitmap: Vec<u8>,
        name: String,
    },
    Row(u64),
}

pub fn units_page(content: &UnitsPage) -> String {
    page(
        &format!("{} – superlens neurons", content.name),
        html! {
            style { (PreEscaped(STYLE)) }
            header.top {
                p.brand { "superlens" span { "what " (content.word) "s respond to" } }
                p.input { (clean(&content.name)) }
            }
            main {
                section {
                    h1 { (clean(&content.name)) }
                    @for line in &content.about { p { (clean(line)) } }
                    p.note {
                        @if shows_texts(content) {
                            "Shades show how much the " (content.word) " responds to each token, the strongest at its largest value. "
                        }
                        "Facets are kinds of rows, told apart by what the rest of the layer does; examples carry the number of theirs."
                    }
                    @if content.sections.len() > 1 {
                        ul { @for (i, (title, _, cards)) in content.sections.iter().enumerate() {
                            li { a href=(format!("#part-{i}")) { (clean(title)) } " (" (cards.len()) ")" }
                        } }
                    }
                }
                @for (i, (title, about, cards)) in content.sections.iter().enumerate() {
                    h2 id=(format!("part-{i}")) { (clean(title)) }
                    @if !about.is_empty() { p.note { (clean(about)) } }
                    @for card in cards { (unit(card, &content.word)) }
                }
            }
        },
    )
}

/// Whether any example is a text.
fn shows_texts(content: &UnitsPage) -> bool {
    let cards = content.sections.iter().flat_map(|s| &s.2);
    let mut examples = cards.flat_map(|card| &card.groups).flat_map(|group| &group.1);
    examples.any(|e| matches!(e.shows, Shows::Text { .. }))
}

const STYLE: &str = "\
.unit .facts{display:flex;flex-wrap:wrap;gap:8px 28px;margin:6px 0 14px;border:0;padding:0}.unit .facts b{font-size:18px}\
.unit h3{margin:0 0 .3em;font-size:19px}.unit .split{display:grid;grid-template-columns:minmax(0,1fr) 250px;gap:24px}\
.example{display:grid;grid-template-columns:74px minmax(0,1fr);gap:10px;padding:5px 0;border-top:1px solid var(--rule);font-size:14.5px;line-height:1.6}\
.example .v{color:var(--soft);font-variant-numeric:tabular-nums;text-align:right}.example .v small{display:block;font-size:12px}\
.t{border-radius:3px;padding:1px 0;white-space:pre-wrap}.t.at{outline:1.5px solid var(--ink);outline-offset:1px}\
.images{display:flex;flex-wrap:wrap;gap:8px}.images figure{width:84px}.images img{width:84px;image-rendering:pixelated;border-radius:4px;display:block}\
.images figcaption{font-size:12px;margin:2px 0 0;line-height:1.3}.unit h4{margin:14px 0 4px;font-size:14px;color:var(--soft);font-weight:600}\
.histogram rect{fill:var(--ortho)}.histogram line{stroke:var(--rule)}.histogram text{fill:var(--soft);font:11px system-ui,sans-serif}\
@media (max-width:740px){.unit .split{grid-template-columns:minmax(0,1fr)}}";

fn unit(card: &Card, word: &str) -> Markup {
    html! {
        section.unit id=(format!("unit-{}", card.unit)) {
            h3 { (word) " " (card.unit) }
            div.split {
                div {
                    @if let Some(explanation) = &card.explanation { p { b { "By rules: " } (clean(explanation)) } }
                    @if !card.triggers.is_empty() {
                        p { b { "Triggers: " } @for (i, t) in card.triggers.iter().enumerate() { @if i > 0 { "; " } (clean(t)) } }
                    }
                    dl.facts { @for (name, value) in &card.facts { div { dt { (name) } dd { b { (value) } } } } }
                }
                (PreEscaped(histogram(&card.histogram)))
            }
            @for (title, examples) in &card.groups {
                @if !examples.is_empty() {
                    h4 { (clean(title)) }
                    @if examples.iter().all(|e| matches!(e.shows, Shows::Image { .. })) {
                        div.images { @for e in examples { (example(e, card.max)) } }
                    } @else {
                        @for e in examples { (example(e, card.max)) }
                    }
                }
            }
        }
    }
}

fn example(example: &Example, max: f32) -> Markup {
    let facet = example.facet.map(|f| format!("facet {}", f + 1));
    html! {
        @match &example.shows {
            Shows::Image { bitmap, name } => figure {
                img alt=(name) src=(format!("data:image/bmp;base64,{}", STANDARD.encode(bitmap)));
                figcaption { (name) br; (format!("{:.3}", example.value)) @if let Some(f) = facet { br; (f) } }
            },
            shows => div.example {
                div.v { (format!("{:.3}", example.value)) @if let Some(f) = facet { small { (f) } } }
                div { @match shows {
                    Shows::Text { record, at } => {
                        @for (i, (token, value)) in record.tokens.iter().zip(&record.activations).enumerate() {
                            (token_shaded(token, *value, max, i == *at))
                        }
                    }
                    Shows::Row(row) => { "row " (row) }
                    Shows::Image { .. } => {}
                } }
            },
        }
    }
}

fn token_shaded(token: &str, value: f32, max: f32, at: bool) -> Markup {
    let share = if max > 0.0 { (value / max).clamp(0.0, 1.0) } else { 0.0 };
    let shade = if share < 0.02 { String::new() } else { format!("background:rgba(234,88,12,{:.2})", 0.75 * share) };
    let text = token.replace('\n', "⏎");
    html! { span.t.at[at] style=[(!shade.is_empty()).then_some(shade)] title=(format!("{value:.3}")) { (clean(&text)) } }
}

/// Rows by value, on a logarithmic scale: the tail is what is of interest.
fn histogram(bins: &[(f32, f32, u64)]) -> String {
    const WIDE: f64 = 250.0;
    const TALL: f64 = 64.0;
    let bounds = bins.iter().flat_map(|(low, high, _)| [*low, *high]).filter(|v| v.is_finite());
    let (low, high) = bounds.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let most = bins.iter().map(|b| b.2).max().unwrap_or(0).max(1) as f64;
    if low >= high {
        return String::new();
    }
    let x = |v: f32| WIDE * f64::from((v.clamp(low, high) - low) / (high - low));
    let mut svg = format!(
        "<svg class=\"histogram\" viewBox=\"0 0 {WIDE} {}\" role=\"img\" aria-label=\"rows by value, logarithmic\">",
        TALL + 18.0
    );
    for (from, to, n) in bins {
        let tall = TALL * (1.0 + *n as f64).ln() / (1.0 + most).ln();
        let wide = (x(*to) - x(*from)).max(1.0);
        let _ = write!(
            svg,
            "<rect fill=\"#0a66b7\" x=\"{:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\"/>",
            x(*from),
            TALL - tall
        );
    }
    let zero = x(0.0);
    if (0.0..=WIDE).contains(&zero) && low < 0.0 {
        let _ = write!(svg, "<line stroke=\"#9aa4af\" x1=\"{zero:.1}\" x2=\"{zero:.1}\" y1=\"0\" y2=\"{TALL}\"/>");
    }
    let _ = write!(
        svg,
        "<text fill=\"#57606a\" font-size=\"11\" x=\"0\" y=\"{0}\">{low:.2}</text><text fill=\"#57606a\" font-size=\"11\" x=\"{WIDE}\" y=\"{0}\" text-anchor=\"end\">{high:.2}</text></svg>",
        TALL + 14.0
    );
    svg
}
