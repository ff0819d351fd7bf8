//! The page on an answer about directions: what it means, its pictures, its tables.

use maud::html;

use super::{clean, inputs, page, picture, prose};
use crate::report::{Source, geometry::Answer};

pub fn geometry_page(answer: &Answer, source: &Source) -> String {
    page(
        &format!("{} – superlens geometry", answer.title),
        html! {
            header.top {
                p.brand { "superlens" span { "the mathematics of room" } }
                p.input { (clean(&source.name)) }
            }
            main {
                section {
                    h1 { (clean(&answer.title)) }
                    @for line in &answer.says { p { (prose(line)) } }
                }
                @if !answer.figures.is_empty() {
                    section {
                        h2 { "Pictures" }
                        div.toys { @for figure in &answer.figures { (picture(figure, "geometry")) } }
                    }
                }
                section {
                    h2 { "Numbers" }
                    @for (head, rows) in answer.tables.iter().filter_map(|table| table.split_first()) {
                        table.stack.wide {
                            thead { tr { @for cell in head { th { (clean(cell)) } } } }
                            tbody {
                                @for row in rows {
                                    tr { @for (name, cell) in head.iter().zip(row) { td data-label=(clean(name)) { (clean(cell)) } } }
                                }
                            }
                        }
                    }
                    p.note { "All numbers are in " code { "report.json" } "." }
                }
                (inputs::settings(None, source))
            }
        },
    )
}
