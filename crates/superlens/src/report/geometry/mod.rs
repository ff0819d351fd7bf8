//! What `superlens geometry` says: one [`Answer`] a command, from which terminal, JSON and page are made.

mod coherence;
mod pack;
mod readout;
mod room;
mod table;

pub use coherence::coherence;
pub use pack::pack;
pub use readout::{exact, readout};
pub use room::room;
pub use table::{Entry, table};

use super::{Figure, ReportError, RunFolder, Source, html, json, write_figures};
use crate::geometry::bounds::{Bound, Kind};
use serde_json::{Map, Value};

/// The answer to one question about directions.
#[derive(Clone, Debug)]
pub struct Answer {
    pub title: String,
    /// The keys of the JSON document, without times.
    pub keys: Map<String, Value>,
    /// Tables, the heading of each first.
    pub tables: Vec<Vec<Vec<String>>>,
    /// What it means, in sentences.
    pub says: Vec<String>,
    pub figures: Vec<Figure>,
}

impl Answer {
    /// The JSON text, ending in a newline.
    ///
    /// # Errors
    /// None that a value of ours can cause.
    pub fn json(&self) -> Result<String, ReportError> {
        json::pretty(&self.keys)
    }
}

/// Writes `report.json`, `report.html` and the pictures.
///
/// # Errors
/// A file that cannot be written.
pub fn write_geometry(run: &RunFolder, answer: &Answer, source: &Source) -> Result<(), ReportError> {
    run.write("report.json", answer.json()?.as_bytes())?;
    write_figures(run, answer.figures.iter(), "")?;
    run.write("report.html", html::geometry_page(answer, source).as_bytes())
}

/// The word for what is counted.
fn cosine(kind: Kind) -> &'static str {
    match kind {
        Kind::Lines => "|cosine|",
        Kind::Signed => "signed cosine",
    }
}

/// Bounds by name: `null` for those that say nothing of so many directions of this kind.
fn bounds_json(bounds: &[Bound]) -> Value {
    let of = |name: &str| bounds.iter().find(|b| b.name == name).map_or(Value::Null, |b| b.cosine.into());
    ["welch", "orthoplex", "second", "rankin", "levenshtein", "pigeonhole"]
        .map(|name| (name.to_string(), of(name)))
        .into_iter()
        .collect()
}

/// What a bound is called in a text.
fn bound_name(name: &str) -> &str {
    match name {
        "welch" => "Welch",
        "orthoplex" => "orthoplex",
        "second" => "second Welch (Levenshtein)",
        "rankin" => "Rankin",
        "levenshtein" => "Levenshtein",
        other => other,
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(String::from).to_vec()
}

/// A cosine with five digits behind the point.
fn five(v: f64) -> String {
    format!("{:.5}", v + 0.0).replace('-', "−")
}

/// A number from its logarithm: exact where it is small, as a power of ten where it is large.
fn from_ln(ln: f64) -> String {
    match ln {
        v if !v.is_finite() => "–".into(),
        v if v < 20.0 => super::words::number(v.exp()),
        v => format!("10^{:.1}", v / std::f64::consts::LN_10),
    }
}
