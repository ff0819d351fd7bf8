//! The page on where heads look: the tokens of a text, and a picture for each layer.

use maud::html;

use super::{clean, page, picture};
use crate::report::svg::Figure;

/// `model` is what the page is of, `tokens` those of the text, in order.
pub fn attention_page(model: &str, tokens: &[String], figures: &[Figure]) -> String {
    page(
        &format!("{model} – superlens attention"),
        html! {
            header.top {
                p.brand { "superlens" span { "where heads look" } }
                p.input { (clean(model)) }
            }
            main {
                section {
                    h1 { "Attention over " (tokens.len()) " tokens" }
                    p {
                        @for (i, token) in tokens.iter().enumerate() {
                            span style="white-space:nowrap;margin-right:.6em" { sub { (i) } code { (clean(token)) } }
                            " "
                        }
                    }
                    p.note {
                        "A head that gives at least half of its attention to one place is named by it: the token before, the first token, or the "
                        "token itself. With the pointer on a row, its token and what it looks at are told. Less than 5 % is not drawn."
                    }
                }
                @for figure in figures { section { (picture(figure, "attention")) } }
            }
        },
    )
}
