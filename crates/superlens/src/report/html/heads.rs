//! Attention heads: features within and across them, and each by itself.

use maud::{Markup, html};

use crate::{
    diagnose::{Alone, Heads},
    report::words::{self, clean},
};

pub fn heads(found: &Heads) -> Markup {
    html! {
        section {
            h2 { "The heads" }
            p { (clean(&found.says)) }
            table.stack {
                thead { tr { th { "Head" } th.n { "Carries" } th.n { "Its own" } th { "By itself" } th.n { "Features there" } } }
                tbody { @for head in &found.heads {
                    tr {
                        th scope="row" { (head.index) }
                        td.n data-label="Carries" { (head.carries) }
                        td.n data-label="Its own" { (head.own) }
                        td data-label="By itself" { (verdict(head.alone.as_ref())) }
                        td.n data-label="Features there" {
                            (head.alone.as_ref().and_then(|a| a.n_features).map_or("–".into(), words::count))
                        }
                    }
                } }
            }
            p.note {
                "A head carries a feature from a tenth of its squared length on; from nine tenths on it is the head's own. Features found in one "
                "head's columns alone need not be features of the layer: what lies across heads looks like something else in each."
            }
        }
    }
}

fn verdict(alone: Option<&Alone>) -> String {
    match alone {
        Some(a) => format!("{}, {}", words::verdict(a.verdict, a.mechanism), words::probability(a.confidence)),
        None => "does not vary".into(),
    }
}
