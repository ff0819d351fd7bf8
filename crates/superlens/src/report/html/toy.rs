//! The page on a toy: what was made, its pictures, and what was learned beside what theory says.

use maud::html;

use super::{clean, inputs, page, picture, prose};
use crate::{
    report::{Source, svg::Figure},
    toy::lab::{Outcome, Toy},
};

pub fn toy_page(toy: &Toy, outcome: &Outcome, figures: &[Figure], source: &Source) -> String {
    let (head, rows) = outcome.table.split_first().map_or((&[][..], &[][..]), |(head, rows)| (head.as_slice(), rows));
    page(
        &format!("{} – superlens toy", toy.name),
        html! {
            header.top {
                p.brand { "superlens" span { "the toy lab" } }
                p.input { (clean(toy.name)) }
            }
            main {
                section {
                    h1 { (clean(toy.name)) }
                    p { (clean(toy.about)) }
                    p.note { (clean(toy.source)) }
                    @for line in &outcome.says { p { (prose(line)) } }
                }
                @if !figures.is_empty() {
                    section {
                        h2 { "Pictures" }
                        div.toys { @for figure in figures { (picture(figure, "toy")) } }
                    }
                }
                section {
                    h2 { "What was learned" }
                    table.stack {
                        thead { tr { @for cell in head { th { (clean(cell)) } } } }
                        tbody {
                            @for row in rows {
                                tr { @for (name, cell) in head.iter().zip(row) { td data-label=(name) { (clean(cell)) } } }
                            }
                        }
                    }
                    p.note { "All numbers are in " code { "report.json" } ": " (clean(&toy.keys.join(" "))) }
                }
                (inputs::settings(None, source))
            }
        },
    )
}
