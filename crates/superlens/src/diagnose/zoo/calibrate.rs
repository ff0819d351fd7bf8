//! Learning the verdict's weights from outcomes of the families that calibrate.

use super::exam::Outcome;
use super::{Answer, Split, families};
use crate::diagnose::posterior::{Lesson, Posterior};
use crate::diagnose::verdict::{answers, best};
use crate::verdict::Verdict;

/// Pull of the weights towards zero; chosen by leaving out a family at a time.
const RIDGE: f64 = 3e-4;
/// Factors that are tried.
const FACTORS: [f64; 8] = [1.0, 1.1, 1.25, 1.4, 1.5, 1.6, 1.8, 2.0];

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
    let learned = surest(&Posterior::learn(&lessons, RIDGE, made_by.into()), outcomes);
    serde_json::to_string(&learned).map_err(|error| error.to_string())
}

/// The pull towards zero makes small weights, and with them probabilities that are too timid. All scores are multiplied by the factor at which the
/// confidence of what is said is nearest to whether it is right (its Brier score); after Guo et al. 2017, *On Calibration of Modern Neural Networks*.
fn surest(learned: &Posterior, outcomes: &[Outcome]) -> Posterior {
    let used: Vec<&Outcome> = outcomes.iter().filter(|o| calibrates(&o.family) && !o.signs.is_empty()).collect();
    let brier = |posterior: &Posterior| {
        let off = |o: &&Outcome| {
            let (said, confidence) = best(&answers(posterior.probabilities(&o.signs), o.basis));
            let right = o.defended.iter().any(|d| d.0 == said.0 && (d.1.is_none() || d.1 == said.1));
            (confidence - f64::from(u8::from(right))).powi(2)
        };
        used.iter().map(off).sum::<f64>()
    };
    let tried = FACTORS.map(|factor| learned.times(factor));
    tried.into_iter().min_by(|a, b| brier(a).total_cmp(&brier(b))).expect("factors")
}

fn calibrates(id: &str) -> bool {
    families().iter().any(|f| f.id == id && f.split == Split::Calibrate)
}

/// Every cause counts alike, however many families it has; and within it every case.
fn lessons(outcomes: &[Outcome]) -> Vec<Lesson> {
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
