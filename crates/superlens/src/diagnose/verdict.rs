//! From the evidence to a verdict in words.

use super::finding::{Alternative, Count, Layer, thousands};
use super::hypotheses::{ALIGNED, GAIN};
use super::signs::Facts;
use crate::verdict::{Basis, Mechanism, Verdict};

/// Features beyond the room for them, as a share, from which they count as too many to fit.
const EXCESS: f64 = 1.15;
/// Features a dimension below which what was found explains too little of the layer to judge it.
const COVERED: f64 = 0.5;
/// Share of the features that half of the rows must show as well, where no more are claimed than fit.
const STEADY: f64 = 0.6;
/// Share of polysemantic neurons below which a layer is monosemantic.
const POLYSEMANTIC_LAYER: f64 = 0.05;

struct Answer {
    verdict: Verdict,
    mechanism: Option<Mechanism>,
    confidence: f64,
    says: String,
    because: String,
    /// The verdict that is next best, which takes most of what confidence leaves.
    next: (Verdict, Option<Mechanism>),
}

/// The layer's verdict.
pub(super) fn layer(f: &Facts) -> Layer {
    let answer = answer(f);
    let left = 1.0 - answer.confidence;
    let mut alternatives =
        vec![Alternative { verdict: answer.next.0, mechanism: answer.next.1, probability: 0.7 * left }];
    if answer.verdict != Verdict::Inconclusive && answer.next.0 != Verdict::Inconclusive {
        alternatives.push(Alternative { verdict: Verdict::Inconclusive, mechanism: None, probability: 0.3 * left });
    }
    Layer {
        verdict: answer.verdict,
        mechanism: answer.mechanism,
        confidence: answer.confidence,
        alternatives,
        would_settle: would_settle(f, &answer),
        basis: f.basis,
        n_features: f.count.clone(),
        effective_rank: f.rank as f64,
        polysemantic_fraction: f.polysemantic_fraction(),
        says: answer.says,
        because: answer.because,
    }
}

fn answer(f: &Facts) -> Answer {
    let inconclusive = |confidence: f64, because: String, next| Answer {
        verdict: Verdict::Inconclusive,
        mechanism: None,
        confidence,
        says: "These inputs can't tell why the neurons respond as they do.".into(),
        because,
        next,
    };
    let superposed = (Verdict::Superposition, None);
    let rotated = (Verdict::Orthogonal, (f.basis != Basis::None).then_some(Mechanism::Rotated));
    if !f.adequacy.supports {
        return inconclusive(0.9, f.adequacy.says.clone(), superposed);
    }
    let Some(count) = &f.count else {
        return inconclusive(0.95, "No direction stands out from noise of the same covariance.".into(), rotated);
    };
    if !f.directions.supports {
        return inconclusive(0.9, f.directions.says.clone(), rotated);
    }
    let n = count.estimate as f64;
    let room = f.room() as f64;
    if n < COVERED * f.rank as f64 {
        let because = format!(
            "Only {} directions stand out in {} dimensions: too little of the layer is explained to judge it.",
            count.estimate, f.rank
        );
        return inconclusive(sure(0.6, COVERED * f.rank as f64 / n.max(1.0)), because, superposed);
    }
    if !f.code.supports {
        return inconclusive(0.8, f.code.says.clone(), superposed);
    }
    if !f.mixture.supports {
        return inconclusive(0.8, f.mixture.says.clone(), superposed);
    }
    if n >= EXCESS * room && f.overcomplete.supports && f.light.all >= 0.5 && !f.complete_code {
        let because = format!(
            "{} directions stand out in {} dimensions, but most of these have light tails, as values that are on as often as off, evenly spread or on a circle give: the directions may be corners, sums of all of them.",
            count.estimate, f.rank
        );
        return inconclusive(0.7, because, superposed);
    }
    if n >= EXCESS * room && f.overcomplete.supports {
        let gain = if f.overcomplete.null_draws > 0 { f.overcomplete.statistic / GAIN } else { 1.0 };
        let margin = (n / (EXCESS * room)).min(gain.max(1.05));
        let least = if count.lower_bound { "at least " } else { "" };
        return Answer {
            verdict: Verdict::Superposition,
            mechanism: None,
            confidence: sure(0.6, margin),
            says: format!(
                "Superposition: this layer holds {least}{} sparse features in {} dimensions.",
                count.estimate, f.rank
            ),
            because: format!("{} {}", f.overcomplete.says, f.code.says),
            next: (Verdict::Inconclusive, None),
        };
    }
    let with_half = count.growth.get(1).map_or(0, |g| g.1);
    if !f.complete_code && (with_half as f64) < STEADY * n {
        let because = format!(
            "{} directions stand out, but only {with_half} of them with half of the rows: they depend on the sample.",
            count.estimate
        );
        return inconclusive(0.7, because, rotated);
    }
    if !f.complete_code && count.lower_bound && count.high as f64 > EXCESS * room {
        let because = format!(
            "At least {} directions stand out, and more rows would show more: whether they fit in {room} dimensions is open.",
            count.estimate
        );
        return inconclusive(0.7, because, superposed);
    }
    complete(f, count, n / room)
}

/// No more features than fit: aligned with the neurons, or not.
fn complete(f: &Facts, count: &Count, crowding: f64) -> Answer {
    // Redundant neurons leave room for more features than there are dimensions in use.
    let fit = if count.estimate <= f.rank || f.basis == Basis::None {
        format!("{} features in {} dimensions", count.estimate, f.rank)
    } else {
        format!("{} features in {} neurons", count.estimate, f.live)
    };
    // Close to the limit of room, superposition is the rival.
    let crowded = crowding > 1.0;
    let doubt = if crowded { 0.8 } else { 1.0 };
    if f.basis == Basis::None {
        return Answer {
            verdict: Verdict::Orthogonal,
            mechanism: None,
            confidence: 0.85 * doubt,
            says: format!("No superposition: {fit}, no more than fit without sharing."),
            because: format!("{} There is no neuron basis here, so alignment means nothing.", f.code.says),
            next: (Verdict::Superposition, None),
        };
    }
    let share = f.aligned.statistic;
    let few = f.polysemantic_fraction().is_some_and(|p| p < POLYSEMANTIC_LAYER);
    if f.aligned.supports || (few && share > 0.5) {
        return Answer {
            verdict: Verdict::Monosemantic,
            mechanism: None,
            confidence: doubt * sure(0.6, (share / ALIGNED).max(1.0).powi(3)),
            says: format!("Monosemantic: {fit}, each along a neuron of its own."),
            because: f.aligned.says.clone(),
            next: if crowded {
                (Verdict::Superposition, None)
            } else {
                (Verdict::Orthogonal, Some(Mechanism::Rotated))
            },
        };
    }
    Answer {
        verdict: Verdict::Orthogonal,
        mechanism: Some(Mechanism::Rotated),
        confidence: doubt * sure(0.6, ALIGNED / share.max(0.1)),
        says: format!("Polysemantic without superposition: {fit}, which fit, but not along the neurons."),
        because: f.aligned.says.clone(),
        next: if crowded { (Verdict::Superposition, None) } else { (Verdict::Monosemantic, None) },
    }
}

/// A probability that starts at `least` where the margin is 1 and nears 0.98 from about twice the margin.
fn sure(least: f64, margin: f64) -> f64 {
    0.98 - (0.98 - least) * (-4.0 * (margin.max(1.0) - 1.0)).exp()
}

fn would_settle(f: &Facts, answer: &Answer) -> Vec<String> {
    let mut out = Vec::new();
    if !f.adequacy.supports {
        out.push(format!(
            "more rows: at least {} that don't repeat one another",
            thousands(f.adequacy.null_high as usize)
        ));
        return out;
    }
    if f.count.as_ref().is_some_and(|c| c.lower_bound) {
        out.push("more rows: the number of features still grows with them".into());
    }
    if f.basis == Basis::Unknown {
        out.push("--basis privileged if the columns come after a non-linearity, --basis none if they don't".into());
    }
    match answer.verdict {
        Verdict::Superposition => {
            out.push("concept labels, which would rule out a lookup code of item identities".into());
        }
        Verdict::Inconclusive => {
            out.push("concept labels or the model itself, which show structure that activations alone don't".into());
        }
        Verdict::Monosemantic => {
            out.push("concept labels, which would show two concepts that share one direction".into());
        }
        Verdict::Nonlinear | Verdict::Compositional => {
            out.push("concept labels, which would show whether anything linear reads the concepts".into());
        }
        Verdict::Orthogonal => {
            out.push("the model, retrained from other seeds, which would show whether the rotation is chance".into());
        }
    }
    out
}

/// The cause written to each polysemantic neuron.
pub(super) fn cause(layer: &Layer) -> Option<&'static str> {
    match layer.verdict {
        Verdict::Superposition | Verdict::Nonlinear | Verdict::Compositional => Some(layer.verdict.id()),
        Verdict::Orthogonal => layer.mechanism.map(Mechanism::id),
        Verdict::Monosemantic | Verdict::Inconclusive => None,
    }
}

/// What no number of such rows could show.
pub(super) fn cannot_tell(f: &Facts) -> Vec<String> {
    let mut out = Vec::new();
    if !f.adequacy.supports {
        out.push("Whether there are sparse features at all: the rows are too few to tell them from chance.".into());
    }
    out.push("A feature of both signs from two features in opposite directions: both are one line here.".into());
    out.push("Features that share one direction (always or never active together) from a single feature.".into());
    out.push("Features that were not active in these rows.".into());
    out.push(
        "Directions that stand for concepts from directions that stand for single items, as in a lookup code.".into(),
    );
    if f.basis != Basis::None {
        out.push("Why a rotation exists: stuck training, chance, or a computation that mixes its inputs.".into());
    }
    if f.count.as_ref().is_some_and(|c| c.lower_bound) {
        out.push("The full number of features: it still grows with the rows, so the count is a lower bound.".into());
    }
    out
}
