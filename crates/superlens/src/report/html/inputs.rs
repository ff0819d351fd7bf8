//! The limits of what was said, and what it was said from.

use maud::{Markup, html};

use crate::{
    diagnose::{Basis, Diagnosis},
    report::{
        Source,
        words::{self, clean, prose},
    },
};

pub fn cannot_tell(diagnosis: &Diagnosis) -> Markup {
    html! {
        section.limits {
            h2 { "What these inputs can’t tell" }
            @if diagnosis.cannot_tell.is_empty() {
                p { "Nothing in particular stands out for this input." }
            } @else {
                ul { @for line in &diagnosis.cannot_tell { li { (prose(line)) } } }
            }
        }
    }
}

/// The facts of the input (on the page of a single diagnosis), the settings and the version.
pub fn settings(diagnosis: Option<&Diagnosis>, source: &Source) -> Markup {
    html! {
        section {
            h2 { "Input and settings" }
            dl.pairs {
                (pair("Source", &clean(&source.name)))
                @if let Some(diagnosis) = diagnosis { (facts(diagnosis)) }
                (pair("Seed", &source.seed.to_string()))
                @for (name, value) in &source.settings { (pair(&clean(name), &clean(value))) }
                (pair("superlens", env!("CARGO_PKG_VERSION")))
            }
            @if diagnosis.is_some() {
                p.note {
                    "All numbers are in " code { "report.json" } " and the pictures in " code { "figures/" }
                    ", beside this file."
                }
            }
        }
    }
}

/// What was looked at.
pub fn facts(diagnosis: &Diagnosis) -> Markup {
    let input = &diagnosis.input;
    let rows = if input.rows_used < input.rows {
        format!("{}, of which {} were read by the tests", words::count(input.rows), words::count(input.rows_used))
    } else {
        words::count(input.rows)
    };
    let basis = match diagnosis.layer.basis {
        Basis::Privileged => "privileged: the columns are neurons",
        Basis::None => "none: the columns are not neurons",
        Basis::Unknown => "not said",
    };
    let effective =
        format!("{} (neighbouring rows that resemble each other count less)", words::number(input.effective_rows));
    html! {
        (pair("Rows", &rows))
        (pair("Rows that count", &effective))
        (pair("Columns", &words::count(input.dims)))
        (pair("Constant columns", &constant(&input.constant_columns)))
        (pair("Columns of labels", &words::count(input.labels)))
        (pair("Basis", basis))
    }
}

fn constant(columns: &[usize]) -> String {
    const NAMED: usize = 20;
    if columns.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<_> = columns.iter().take(NAMED).map(usize::to_string).collect();
    let more = if columns.len() > NAMED { ", …" } else { "" };
    format!("{}, left out of every test: {}{more}", words::count(columns.len()), names.join(", "))
}

fn pair(name: &str, value: &str) -> Markup {
    html! { dt { (name) } dd { (value) } }
}
