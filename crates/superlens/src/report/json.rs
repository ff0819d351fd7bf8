//! `report.json`: the diagnosis, pretty-printed.
//!
//! Floats are written as the shortest text that reads back as the same bits. JSON knows no NaN and no infinity:
//! `serde_json` would write `null`, which no reader of the schema expects, so they are refused here instead.

use serde::Serialize;

use super::{
    ReportError,
    demo::{Case, CaseRow},
};
use crate::diagnose::Diagnosis;
use crate::toy::lab::{Outcome, Toy};

/// The JSON text of a diagnosis, ending in a newline. It holds no times and no facts of the machine.
///
/// # Errors
/// [`ReportError::NotFinite`] where a number is NaN or infinite.
pub fn diagnosis_json(diagnosis: &Diagnosis) -> Result<String, ReportError> {
    check_finite(diagnosis)?;
    pretty(diagnosis)
}

/// The JSON text of a toy: its name, its instances and what else it says, without times. What a model in trouble made
/// infinite is `null`.
///
/// # Errors
/// None that a value of ours can cause.
pub fn toy_json(toy: &Toy, outcome: &Outcome) -> Result<String, ReportError> {
    #[derive(Serialize)]
    struct Whole<'a> {
        schema: u32,
        model: &'a str,
        #[serde(flatten)]
        keys: &'a serde_json::Map<String, serde_json::Value>,
        instances: &'a [serde_json::Map<String, serde_json::Value>],
    }
    pretty(&Whole { schema: 1, model: toy.name, keys: &outcome.keys, instances: &outcome.instances })
}

/// The JSON text of a demo: the rows of its table, each with the whole diagnosis.
///
/// # Errors
/// [`ReportError::NotFinite`] where a number is NaN or infinite.
pub fn demo_json(cases: &[Case]) -> Result<String, ReportError> {
    #[derive(Serialize)]
    struct Whole<'a> {
        #[serde(flatten)]
        row: CaseRow,
        about: &'a str,
        diagnosis: &'a Diagnosis,
    }
    impl<'a> Whole<'a> {
        fn of(case: &'a Case) -> Self {
            Self { row: case.row(), about: &case.about, diagnosis: &case.diagnosis }
        }
    }
    #[derive(Serialize)]
    struct Demo<'a> {
        schema: u32,
        cases: Vec<Whole<'a>>,
    }
    for case in cases {
        check_finite(&case.diagnosis)?;
    }
    pretty(&Demo { schema: 1, cases: cases.iter().map(Whole::of).collect() })
}

pub(super) fn pretty(value: &impl Serialize) -> Result<String, ReportError> {
    let unwritable = |e: serde_json::Error| ReportError::Unwritable { file: "report.json", message: e.to_string() };
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(unwritable)
}

/// Refuses a number that is NaN or infinite, and says where it is.
fn check_finite(diagnosis: &Diagnosis) -> Result<(), ReportError> {
    // TOML does write NaN, so its tree still tells one from a value that is missing; and no field that is added later
    // can be forgotten here.
    let tree = toml::Value::try_from(diagnosis)
        .map_err(|e| ReportError::Unwritable { file: "report.json", message: e.to_string() })?;
    match not_finite(&tree) {
        Some(key) => Err(ReportError::NotFinite { key: key.trim_start_matches('.').to_owned() }),
        None => Ok(()),
    }
}

/// Path to the first number that is not finite: `.hypotheses[1].statistic`.
fn not_finite(tree: &toml::Value) -> Option<String> {
    match tree {
        toml::Value::Float(v) if !v.is_finite() => Some(String::new()),
        toml::Value::Array(items) => {
            items.iter().enumerate().find_map(|(i, item)| not_finite(item).map(|rest| format!("[{i}]{rest}")))
        }
        toml::Value::Table(table) => {
            table.iter().find_map(|(key, value)| not_finite(value).map(|rest| format!(".{key}{rest}")))
        }
        _ => None,
    }
}
