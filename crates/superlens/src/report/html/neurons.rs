//! The neurons: how many features each carries, and the most and least polysemantic ones.

use maud::{Markup, html};

use super::picture;
use crate::{
    diagnose::{Basis, Diagnosis, Neuron, Part},
    report::{
        figures::{Figures, group_names, least_polysemantic, most_polysemantic, ranked},
        grounds::no_features,
        words::{self, clean},
    },
};

pub fn neurons(diagnosis: &Diagnosis, figures: &Figures, scope: &str) -> Markup {
    let ranked = ranked(&diagnosis.neurons);
    let most = most_polysemantic(&ranked);
    let least = least_polysemantic(&ranked);
    let silent = diagnosis.neurons.iter().filter(|n| n.live && n.n_features == 0).count();
    html! {
        section {
            h2 { "The neurons" }
            @if diagnosis.layer.basis == Basis::None {
                p {
                    "The columns of this input are not neurons (a residual stream or a linear bottleneck has no privileged "
                    "basis), so nothing is said of single columns."
                }
            } @else if ranked.is_empty() {
                p { "Nothing can be said of what single neurons carry: " (no_features(diagnosis)) "." }
            } @else {
                @if diagnosis.layer.basis == Basis::Unknown {
                    p.note {
                        "It was not said whether the columns are neurons; this part takes them to be. "
                        "If they are not, read the rest only (" code { "--basis none" } ")."
                    }
                }
                (parts(&diagnosis.parts))
                div.pictures.tall-last {
                    @if let Some(figure) = &figures.alignment { (picture(figure, scope)) }
                    @if let Some(figure) = &figures.neurons { (picture(figure, scope)) }
                    @if let Some(figure) = &figures.shares { (picture(figure, scope)) }
                }
                (table(&most, &least))
                p.note {
                    "A feature counts for a neuron from 10 % of the variance that the dictionary explains in it. Where none "
                    "reaches half, small ones count too: as their effective number, 1 / Σ share²."
                }
                @if silent > 0 {
                    p.note { (words::counted(silent, "live neuron")) " without a feature that explains 10 % of it." }
                }
            }
        }
    }
}

/// Parts of the layer with a verdict of their own.
fn parts(parts: &[Part]) -> Markup {
    const SHOWN: usize = 16;
    let list = |neurons: &[usize]| {
        let shown: Vec<String> = neurons.iter().take(SHOWN).map(usize::to_string).collect();
        shown.join(", ") + if neurons.len() > SHOWN { ", …" } else { "" }
    };
    html! {
        @if !parts.is_empty() {
            p {
                "The layer falls into parts: groups of neurons that share no feature with the others and vary without them. Each was "
                "diagnosed by itself, and the causes below are its own."
            }
            table.stack {
                thead { tr { th { "Part" } th.n { "Neurons" } th { "Which" } th { "Verdict" } th.n { "Confidence" } } }
                tbody { @for (i, part) in parts.iter().enumerate() {
                    tr {
                        th scope="row" { (i + 1) }
                        td.n data-label="Neurons" { (part.neurons.len()) }
                        td data-label="Which" { (list(&part.neurons)) }
                        td data-label="Verdict" { b { (words::verdict(part.verdict, part.mechanism)) } ". " (clean(&part.says)) }
                        td.n data-label="Confidence" { (words::probability(part.confidence)) }
                    }
                } }
            }
        }
    }
}

fn table(most: &[&Neuron], least: &[&Neuron]) -> Markup {
    html! {
        table.stack {
            thead {
                tr {
                    th { "Neuron" } th.n { "Features" } th { "Their shares" } th.n { "Explained" } th { "Cause" }
                }
            }
            @for (group, neurons) in [(group_names(most).0, most), (group_names(most).1, least)] {
                @if !neurons.is_empty() { tbody { tr { th.group colspan="5" { (group) } } } }
                tbody { @for neuron in neurons {
                    tr {
                        th scope="row" { (neuron.index) }
                        td.n data-label="Features" { (neuron.n_features) }
                        td data-label="Their shares" { div { (features(neuron)) } }
                        td.n data-label="Explained" { (words::percent(neuron.explained)) }
                        td data-label="Cause" {
                            @match (&neuron.cause, neuron.polysemantic) {
                                (Some(cause), _) => (clean(cause)),
                                (None, true) => "not known",
                                (None, false) => "not polysemantic",
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn features(neuron: &Neuron) -> Markup {
    const SHOWN: usize = 10;
    html! {
        @for (i, (feature, share)) in neuron.features.iter().take(SHOWN).enumerate() {
            @if i > 0 { ", " }
            span.share { "#" (feature) " " b { (words::percent(*share)) } }
        }
        @if neuron.features.len() > SHOWN { ", …" }
        @if neuron.features.len() < neuron.n_features {
            @if neuron.features.is_empty() { "each below 10\u{a0}%" } @else { ", others below 10\u{a0}%" }
        }
    }
}
