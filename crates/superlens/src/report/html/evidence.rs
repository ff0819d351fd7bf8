//! Each hypothesis against its null, and the pictures of the dictionary.

use maud::{Markup, html};

use super::picture;
use crate::{
    diagnose::{Diagnosis, Hypothesis},
    report::{
        figures::Figures,
        grounds::{Grounds, no_features},
        svg::Figure,
        words::{self, clean, prose},
    },
};

/// One table over all hypotheses, then one part for each.
pub fn hypotheses(diagnosis: &Diagnosis, figures: &Figures, scope: &str) -> Markup {
    html! {
        section {
            h2 { "The evidence" }
            @if diagnosis.hypotheses.is_empty() {
                p { "No hypothesis could be tested on these inputs." }
            } @else {
                p.lead {
                    "Each hypothesis is one number, held against its " em { "null" } ": the same number where the hypothesis is "
                    "false by construction. A small p-value says that chance seldom gives as much. Some are held to a rule instead; "
                    "some can't be tested because an earlier one left nothing to test."
                }
                (table(&diagnosis.hypotheses))
                @for (h, figure) in diagnosis.hypotheses.iter().zip(&figures.nulls).filter(|(h, _)| !untested(h)) {
                    (one(h, figure.as_ref(), scope))
                }
                @if diagnosis.hypotheses.iter().any(untested) {
                    article.hypothesis {
                        div {
                            h3 { "Not tested" }
                            ul {
                                @for h in diagnosis.hypotheses.iter().filter(|h| untested(h)) {
                                    li { b { (words::title(&h.id)) } ": " (prose(&h.says)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn untested(h: &Hypothesis) -> bool {
    !h.supports && Grounds::of(h) == Grounds::Nothing
}

/// A hypothesis in full. One that holds without a statistic has its sentence and nothing else.
fn one(h: &Hypothesis, figure: Option<&Figure>, scope: &str) -> Markup {
    html! {
        article.hypothesis {
            div {
                h3 { (words::title(&h.id)) " " (badge(h)) }
                p.says { (prose(&h.says)) }
                @if Grounds::of(h) != Grounds::Nothing {
                    dl.pairs {
                        dt { "Measures" } dd { (clean(&h.measures)) }
                        dt { "Held against" } dd { (clean(&h.null)) }
                        @if Grounds::of(h) == Grounds::Draws {
                            dt { "p-value" } dd {
                                (words::p_value(h.p_value, h.null_draws)) " from " (words::counted(h.null_draws, "null draw"))
                            }
                        }
                    }
                }
            }
            @if let Some(figure) = figure { (picture(figure, scope)) }
        }
    }
}

fn table(hypotheses: &[Hypothesis]) -> Markup {
    html! {
        table.stack {
            thead {
                tr {
                    th { "Hypothesis" } th { "What is measured" } th.n { "Observed" } th.n { "Null mean" }
                    th.n { "Limit" } th.n { "p-value" } th { "Supported?" }
                }
            }
            tbody {
                @for h in hypotheses {
                    tr {
                        th scope="row" { (words::title(&h.id)) }
                        td data-label="What is measured" { (clean(&h.measures)) }
                        @let [observed, mean, limit, p] = numbers(h);
                        td.n data-label="Observed" { b { (observed) } }
                        td.n data-label="Null mean" { (mean) }
                        td.n data-label="Limit" { (limit) }
                        td.n data-label="p-value" { (p) }
                        td data-label="Supported?" { (badge(h)) }
                    }
                }
            }
        }
        p.note {
            "The limit is the null's 95th percentile, or its 5th where small values support the hypothesis; without a null "
            "mean it is what a rule asks for."
        }
    }
}

/// Observed, null mean, limit and p-value, each only where there is one.
fn numbers(h: &Hypothesis) -> [String; 4] {
    let none = || "–".to_owned();
    let [observed, mean, limit] = [h.statistic, h.null_mean, h.null_high].map(words::number);
    match Grounds::of(h) {
        Grounds::Draws => [observed, mean, limit, words::p_value(h.p_value, h.null_draws)],
        Grounds::Rule => [observed, none(), limit, none()],
        Grounds::Nothing => [none(), none(), none(), none()],
    }
}

fn badge(h: &Hypothesis) -> Markup {
    match (h.supports, Grounds::of(h)) {
        (true, _) => html! { span.badge.yes { "✓ supported" } },
        (false, Grounds::Nothing) => html! { span.badge.no { "not tested" } },
        (false, _) => html! { span.badge.no { "– not supported" } },
    }
}

/// What the dictionary looks like.
pub fn pictures(diagnosis: &Diagnosis, figures: &Figures, scope: &str) -> Markup {
    let shown: Vec<_> = [&figures.fvu, &figures.coherence].into_iter().flatten().collect();
    html! {
        section {
            h2 { "The features that were found" }
            @if shown.is_empty() {
                p { "Nothing can be drawn here: " (no_features(diagnosis)) "." }
            } @else {
                div.pictures { @for figure in shown { (picture(figure, scope)) } }
            }
        }
    }
}
