//! What a person sees of a diagnosis: a run folder with `report.json`, one offline `report.html`, and `figures/*.svg`.
//!
//! The same diagnosis gives the same bytes of JSON, HTML and SVG. Times and facts of the machine are in `manifest.json`
//! alone.

mod coefficients;
mod demo;
mod figures;
pub mod geometry;
mod grounds;
mod html;
mod json;
mod manifest;
pub mod pareto;
mod run_folder;
mod scale;
mod svg;
pub mod words;

pub use demo::{Case, CaseRow};
pub use figures::recovery::{coefficients as coefficients_figure, path as path_figure, rest as rest_figure};
pub use figures::transition::transition as transition_figure;
pub use figures::{Figures, Habits, attention as attention_figure, demo as demo_figure, toy as toy_figure};
pub use geometry::write_geometry;
pub use grounds::{Grounds, no_features};
pub use html::{Card, Example, Shows, UnitsPage, attention_page, demo_page, diagnosis_page, toy_page, units_page};
pub use json::{demo_json, diagnosis_json, toy_json};
pub use manifest::{InputFile, Manifest, Settings};
pub use run_folder::{NewFolder, RunFolder, Staging};
pub use svg::Figure;

use std::{io, path::PathBuf};

use crate::diagnose::Diagnosis;
use crate::geometry::recover::Sparse;
use crate::toy::lab::{Outcome, Toy};

/// What a page says of the run beside the diagnosis.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// What was diagnosed: a file name, or the name of a made case.
    pub name: String,
    pub seed: u64,
    /// Further settings to list, name and value.
    pub settings: Vec<(String, String)>,
}

/// Why a report could not be written. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("{}: {doing}: {source}", path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    /// Refused, so that nobody's files are lost.
    #[error("{}: not an empty folder nor a superlens run, so it is left alone ({found}); name another folder or move it away", path.display())]
    NotARun { path: PathBuf, found: String },
    #[error("{}: already there and not an empty folder, so it is left alone; name another folder or move it away", path.display())]
    NotFree { path: PathBuf },
    /// The folder itself cannot be swapped for another one.
    #[error("{}: is {what}, which cannot be replaced as a whole; name a new folder inside it", path.display())]
    Fixed { path: PathBuf, what: &'static str },
    #[error("{}: names no folder; expected a path like runs/first", path.display())]
    NoName { path: PathBuf },
    #[error("stopped before the report was whole; nothing was written")]
    Stopped,
    /// A number that is not finite reached the report: an error in the analysis, not in the input.
    #[error("report.json: {key} is not a finite number; this is a bug of superlens, please report it")]
    NotFinite { key: String },
    #[error("{file}: {message}")]
    Unwritable { file: &'static str, message: String },
}

/// Writes `report.json`, `report.html` and `figures/*.svg` of one diagnosis.
///
/// # Errors
/// A number that is not finite, or a file that cannot be written.
pub fn write_diagnosis(run: &RunFolder, diagnosis: &Diagnosis, source: &Source) -> Result<(), ReportError> {
    run.write("report.json", diagnosis_json(diagnosis)?.as_bytes())?;
    let figures = Figures::of(diagnosis);
    write_figures(run, figures.all(), "")?;
    run.write("report.html", diagnosis_page(diagnosis, &figures, source).as_bytes())
}

/// Writes the report on several cases of known truth: the same files, with `figures/demo.svg` as the overview and the
/// figures of each case under its name, `figures/<case>-<figure>.svg`.
///
/// # Errors
/// A number that is not finite, or a file that cannot be written.
pub fn write_demo(run: &RunFolder, cases: &[Case], source: &Source) -> Result<(), ReportError> {
    run.write("report.json", demo_json(cases)?.as_bytes())?;
    let overview = demo_figure(cases);
    write_figures(run, std::iter::once(&overview), "")?;
    let figures: Vec<_> = cases.iter().map(|case| Figures::of(&case.diagnosis)).collect();
    for (prefix, figures) in demo::prefixes(cases).iter().zip(&figures) {
        write_figures(run, figures.all(), &format!("{prefix}-"))?;
    }
    run.write("report.html", demo_page(cases, &figures, &overview, source).as_bytes())
}

/// Writes the report on a toy: `report.json`, `report.html`, its pictures and what files it brings.
///
/// # Errors
/// A file that cannot be written.
pub fn write_toy(run: &RunFolder, toy: &Toy, outcome: &Outcome, source: &Source) -> Result<(), ReportError> {
    run.write("report.json", toy_json(toy, outcome)?.as_bytes())?;
    let figures: Vec<Figure> = outcome.pictures.iter().map(toy_figure).collect();
    write_figures(run, figures.iter(), "")?;
    for (name, bytes) in &outcome.files {
        run.write(name, bytes)?;
    }
    run.write("report.html", toy_page(toy, outcome, &figures, source).as_bytes())
}

/// Writes `report.json` and the pictures of a command whose answer is a JSON document.
///
/// # Errors
/// A file that cannot be written.
pub fn write_document(run: &RunFolder, document: &serde_json::Value, figures: &[Figure]) -> Result<(), ReportError> {
    run.write("report.json", json::pretty(document)?.as_bytes())?;
    write_figures(run, figures.iter(), "")
}

/// Writes `report.json` and `report.html` on single units.
///
/// # Errors
/// A file that cannot be written.
pub fn write_units(run: &RunFolder, document: &serde_json::Value, page: &UnitsPage) -> Result<(), ReportError> {
    run.write("report.json", json::pretty(document)?.as_bytes())?;
    run.write("report.html", units_page(page).as_bytes())
}

/// Writes sparse coefficients as `coefficients.safetensors`: `offsets`, `atoms` and `values` of a matrix by rows.
///
/// # Errors
/// A file that cannot be written.
pub fn write_coefficients(run: &RunFolder, rows: &[Sparse]) -> Result<(), ReportError> {
    run.write(coefficients::FILE, &coefficients::coefficients(rows)?)
}

fn write_figures<'a>(
    run: &RunFolder,
    figures: impl Iterator<Item = &'a Figure>,
    prefix: &str,
) -> Result<(), ReportError> {
    for figure in figures {
        run.write(&format!("figures/{prefix}{}.svg", figure.name), figure.standalone().as_bytes())?;
    }
    Ok(())
}
