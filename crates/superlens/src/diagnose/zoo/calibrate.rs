//! Learning the verdict's weights from outcomes of the families that calibrate.

use super::exam::Outcome;
use super::{Answer, Split, families};
use crate::diagnose::posterior::{Lesson, Posterior};
use crate::verdict::Verdict;

/// Pull of the weights towards zero; chosen by leaving out a family at a time.
const RIDGE: f64 = 3e-4;

/// The weights as the text of the file that the program is built with, from `outcomes` of which only those of families that
/// calibrate are used. `made_by` says how to make it again.
///
/// # Errors
/// Where no outcome is of such a family.
pub fn calibrate(outcomes: &[Outcome], made_by: &str) -> Result<String, String> {
    let lessons = lessons(outcomes);
    if lessons.is_empty() {
        return Err("no outcome is of a family that calibrates".into());
    }
    let learned = Posterior::learn(&lessons, RIDGE, made_by.into());
    serde_json::to_string(&learned).map_err(|error| error.to_string())
}

/// Every cause counts alike, however many families it has; and within it every case.
fn lessons(outcomes: &[Outcome]) -> Vec<Lesson> {
    let calibrates = |id: &str| families().iter().any(|f| f.id == id && f.split == Split::Calibrate);
    let used: Vec<&Outcome> = outcomes.iter().filter(|o| calibrates(&o.family) && !o.signs.is_empty()).collect();
    let count = |truth: Answer| used.iter().filter(|o| o.truth == truth).count() as f64;
    let lesson = |o: &&Outcome| Lesson {
        signs: o.signs.clone(),
        // Without a basis an answer that fits has no mechanism: every one of them is right.
        defended: o.defended.iter().flat_map(|d| spelled_out(*d)).collect(),
        weight: 1.0 / count(o.truth),
    };
    used.iter().map(lesson).collect()
}

/// `orthogonal` without a mechanism stands for what fits, whatever the neurons.
fn spelled_out(answer: Answer) -> Vec<Answer> {
    match answer {
        (Verdict::Orthogonal, None) => {
            let fits = |a: &&Answer| matches!(a.0, Verdict::Monosemantic | Verdict::Orthogonal);
            crate::diagnose::posterior::ANSWERS.iter().filter(fits).copied().collect()
        }
        other => vec![other],
    }
}
