//! The demo: a table of cases, one picture over all of them, and each case folded away.

use maud::{Markup, html};

use super::{glossary::sign, inputs, picture, sections, verdict};
use crate::report::{
    demo::{Case, prefixes},
    figures::Figures,
    svg::Figure,
    words::{self, clean},
};

pub fn overview(cases: &[Case], overview: &Figure) -> Markup {
    let right = cases.iter().filter(|c| c.is_right()).count();
    html! {
        section {
            h1 { (right) " of " (words::counted(cases.len(), "known cause")) " recognised" }
            p.lead {
                "Small layers were made whose neurons carry features for a known reason, or for none. Each was then diagnosed "
                "as if nothing were known about it."
            }
            table.stack.demo {
                thead { tr { th { "Case" } th { "Truth" } th { "Verdict" } th.n { "Confidence" } } }
                tbody {
                    @for (case, id) in cases.iter().zip(prefixes(cases)) {
                        @let layer = &case.diagnosis.layer;
                        tr {
                            th scope="row" { a href={ "#" (id) } { (words::title(&case.name)) } }
                            td data-label="Truth" { (words::verdict(case.truth, case.truth_mechanism)) }
                            td data-label="Verdict" {
                                div {
                                    span class={ "chip " (layer.verdict.id()) } { (words::verdict(layer.verdict, layer.mechanism)) }
                                    @if case.is_right() { span.badge.yes { "✓ right" } } @else { span.badge.wrong { "✗ wrong" } }
                                }
                            }
                            td.n data-label="Confidence" { (words::probability(layer.confidence)) }
                        }
                    }
                }
            }
            div.wide { (picture(overview, "overview")) }
        }
    }
}

pub fn folded(cases: &[Case], figures: &[Figures]) -> Markup {
    html! {
        h2 { "Each case in full" }
        @for ((case, figures), id) in cases.iter().zip(figures).zip(prefixes(cases)) {
            details.case id=(id) {
                summary {
                    (sign(case.truth))
                    span {
                        b { (words::title(&case.name)) }
                        small { (clean(&case.about)) }
                    }
                }
                (verdict::hero(&case.diagnosis, figures, &id, 3))
                (sections(&case.diagnosis, figures, &id))
                section {
                    h2 { "Input" }
                    dl.pairs { (inputs::facts(&case.diagnosis)) }
                }
            }
        }
    }
}
