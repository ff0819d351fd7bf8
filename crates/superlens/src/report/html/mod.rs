//! `report.html`: one file that opens offline, with its styles and pictures inside and no scripts.

mod attention;
mod evidence;
mod geometry;
mod glossary;
mod heads;
mod inputs;
mod neurons;
mod overview;
mod toy;
mod units;
mod verdict;

pub use attention::attention_page;
pub use geometry::geometry_page;
pub use toy::toy_page;
pub use units::{Card, Example, Shows, UnitsPage, units_page};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    Source,
    demo::Case,
    figures::Figures,
    svg::{self, Figure},
    words::{self, clean, prose},
};
use crate::diagnose::Diagnosis;

const STYLE: &str = include_str!("page.css");

/// Nothing is loaded and nothing runs, whatever a string from outside might hold.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The page on one diagnosis.
pub fn diagnosis_page(diagnosis: &Diagnosis, figures: &Figures, source: &Source) -> String {
    let layer = &diagnosis.layer;
    let title = format!("{} – {}", words::verdict(layer.verdict, layer.mechanism), source.name);
    page(
        &title,
        html! {
            header.top {
                p.brand { "superlens" span { "why are these neurons polysemantic?" } }
                p.input { (clean(&source.name)) }
            }
            main {
                (verdict::hero(diagnosis, figures, "layer", 1))
                (sections(diagnosis, figures, "layer"))
                (glossary::glossary())
                (inputs::settings(Some(diagnosis), source))
            }
        },
    )
}

/// The page on several cases of known truth: the table and the overview picture first, then each case folded away.
pub fn demo_page(cases: &[Case], figures: &[Figures], overview: &Figure, source: &Source) -> String {
    page(
        "superlens demo",
        html! {
            header.top {
                p.brand { "superlens" span { "why are these neurons polysemantic?" } }
                p.input { (clean(&source.name)) }
            }
            main {
                (overview::overview(cases, overview))
                (overview::folded(cases, figures))
                (glossary::glossary())
                (inputs::settings(None, source))
            }
        },
    )
}

/// Everything on one layer below its verdict. `scope` keeps ids apart where a page shows several layers.
fn sections(diagnosis: &Diagnosis, figures: &Figures, scope: &str) -> Markup {
    html! {
        (verdict::alternatives(diagnosis))
        (evidence::hypotheses(diagnosis, figures, scope))
        (evidence::pictures(diagnosis, figures, scope))
        (neurons::neurons(diagnosis, figures, scope))
        @if let Some(found) = &diagnosis.heads { (heads::heads(found)) }
        (inputs::cannot_tell(diagnosis))
    }
}

fn page(title: &str, body: Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (clean(title)) }
                style { (PreEscaped(STYLE)) (PreEscaped(svg::STYLE)) }
            }
            body {
                (body)
                footer { "Written by superlens " (env!("CARGO_PKG_VERSION")) ". This file needs no network." }
            }
        }
    }
    .into_string()
}

/// A picture and how to read it.
fn picture(figure: &Figure, scope: &str) -> Markup {
    html! {
        figure {
            (figure.inline(scope))
            figcaption { (prose(&figure.caption)) }
        }
    }
}
