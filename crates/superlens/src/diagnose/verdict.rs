//! From the evidence to a verdict in words.

use super::finding::{Alternative, Hypothesis, Layer, Reason, thousands};
use super::posterior::{ANSWERS, Posterior};
use super::signs::Facts;
use super::zoo::Answer;
use crate::verdict::{Basis, Mechanism, Verdict};

/// Share of what speaks for `orthogonal` that one mechanism needs to be named.
const NAMED: f64 = 0.5;
/// What it costs to say superposition wrongly, where every other error costs one: it is the answer that people are too quick to give.
/// A choice, not learned: on the families that calibrate it hardly matters (3 of 1,350 at any cost up to it), on the test families it took four such errors
/// to one, so that there it isn't independent of what is measured.
const FALSE_SUPERPOSITION: f64 = 3.0;
/// Confidence that too few rows are too few.
const TOO_FEW: f64 = 0.98;
/// Reasons that are given against each alternative.
const REASONS: usize = 6;

/// The layer's verdict. `tests` are the outcomes of all tests.
pub(super) fn layer(f: &Facts, tests: &[Hypothesis]) -> Layer {
    let signs = f.signs();
    let p = probabilities(f, &signs);
    let (answer, confidence) = best(&p);
    let against = |other: Answer| if f.adequacy.supports { reasons(&signs, answer, other) } else { Vec::new() };
    let others = p.iter().copied().filter(|(a, _)| *a != answer);
    let mut alternatives: Vec<Alternative> = others
        .map(|((verdict, mechanism), probability)| Alternative {
            verdict,
            mechanism,
            probability,
            against: against((verdict, mechanism)),
        })
        .collect();
    alternatives.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    Layer {
        verdict: answer.0,
        mechanism: answer.1,
        confidence,
        would_settle: would_settle(f, answer, &alternatives),
        alternatives,
        basis: f.basis,
        n_features: f.count.clone(),
        effective_rank: f.rank as f64,
        polysemantic_fraction: f.polysemantic_fraction(),
        says: says(f, answer),
        because: because(f, answer, tests),
    }
}

/// Every answer with its probability. Without a basis neurons mean nothing, and what fits is `orthogonal` without a mechanism.
fn probabilities(f: &Facts, signs: &[f64]) -> Vec<(Answer, f64)> {
    let inconclusive = (Verdict::Inconclusive, None);
    if !f.adequacy.supports {
        let left = (1.0 - TOO_FEW) / (ANSWERS.len() - 1) as f64;
        return ANSWERS.iter().map(|a| (*a, if *a == inconclusive { TOO_FEW } else { left })).collect();
    }
    answers(Posterior::frozen().probabilities(signs), f.basis)
}

/// Probabilities in the order of [`ANSWERS`] with the answers that they are of.
pub(super) fn answers(p: Vec<f64>, basis: Basis) -> Vec<(Answer, f64)> {
    if basis != Basis::None {
        return ANSWERS.iter().copied().zip(p).collect();
    }
    let fits = |a: &Answer| matches!(a.0, Verdict::Monosemantic | Verdict::Orthogonal);
    let fitting: f64 = ANSWERS.iter().zip(&p).filter(|(a, _)| fits(a)).map(|(_, p)| p).sum();
    let others = ANSWERS.iter().copied().zip(p).filter(|(a, _)| !fits(a));
    std::iter::once(((Verdict::Orthogonal, None), fitting)).chain(others).collect()
}

/// The verdict that is least likely to be a costly error, its mechanism if one has most of its probability, and the probability of what is said.
pub(super) fn best(p: &[(Answer, f64)]) -> (Answer, f64) {
    let of = |verdict: Verdict| p.iter().filter(|(a, _)| a.0 == verdict).map(|(_, p)| p).sum::<f64>();
    let worth = |verdict: Verdict| {
        let cost = if verdict == Verdict::Superposition { FALSE_SUPERPOSITION } else { 1.0 };
        1.0 - cost * (1.0 - of(verdict))
    };
    let verdict = p.iter().map(|(a, _)| a.0).max_by(|a, b| worth(*a).total_cmp(&worth(*b))).expect("there are answers");
    let total = of(verdict);
    let likeliest = p.iter().filter(|(a, _)| a.0 == verdict).max_by(|a, b| a.1.total_cmp(&b.1));
    match likeliest {
        Some((answer, share)) if *share >= NAMED * total => (*answer, *share),
        _ => ((verdict, None), total),
    }
}

/// What tells the answer from another one, strongest first.
fn reasons(signs: &[f64], answer: Answer, other: Answer) -> Vec<Reason> {
    let place = |a: Answer| ANSWERS.iter().position(|b| *b == a).or_else(|| ANSWERS.iter().position(|b| b.0 == a.0));
    let (Some(own), Some(other)) = (place(answer), place(other)) else { return Vec::new() };
    let all = Posterior::frozen().reasons(signs, own, other);
    all.into_iter().take(REASONS).map(|(sign, log_odds)| Reason { sign, log_odds }).collect()
}

fn says(f: &Facts, answer: Answer) -> String {
    let count = f.count.as_ref();
    let least = if count.is_some_and(|c| c.lower_bound) { "at least " } else { "" };
    let n = count.map_or(0, |c| c.estimate);
    let fit = if n <= f.rank || f.basis == Basis::None {
        format!("{n} features in {} dimensions", f.rank)
    } else {
        format!("{n} features in {} neurons", f.live)
    };
    match answer {
        (Verdict::Monosemantic, _) => format!("Monosemantic: {fit}, each along a neuron of its own."),
        (Verdict::Superposition, _) => {
            format!("Superposition: this layer holds {least}{n} sparse features in {} dimensions.", f.rank)
        }
        (Verdict::Orthogonal, None) if f.basis == Basis::None => {
            format!("No superposition: {fit}, no more than fit without sharing.")
        }
        (Verdict::Orthogonal, Some(Mechanism::Rotated) | None) => {
            format!("Polysemantic without superposition: {fit}, which fit, but not along the neurons.")
        }
        (Verdict::Orthogonal, Some(Mechanism::Correlated)) => {
            "Polysemantic without superposition: concepts that come together, or exclude one another, share neurons."
                .into()
        }
        (Verdict::Orthogonal, Some(Mechanism::Incidental)) => {
            "Polysemantic without superposition: independent concepts met on the same neurons, though there was room."
                .into()
        }
        (Verdict::Orthogonal, Some(Mechanism::Computational)) => {
            "Polysemantic without superposition: the neurons compute with a few variables, which each of them mixes."
                .into()
        }
        (Verdict::Nonlinear, _) => "Non-linear: what is represented are no directions.".into(),
        (Verdict::Compositional, _) => "A code without features: only whole patterns mean anything.".into(),
        (Verdict::Inconclusive, _) => "These inputs can't tell why the neurons respond as they do.".into(),
    }
}

/// The outcomes of the tests that matter most for the answer.
fn because(f: &Facts, answer: Answer, tests: &[Hypothesis]) -> String {
    if !f.adequacy.supports {
        return f.adequacy.says.clone();
    }
    if f.count.is_none() && answer.0 == Verdict::Inconclusive {
        return "No direction stands out from noise of the same covariance.".into();
    }
    let ids: &[&str] = match answer {
        (Verdict::Superposition, _) => &["superposition", "sparse_code"],
        (Verdict::Monosemantic, _) => &["aligned", "sparse_code"],
        (Verdict::Orthogonal, Some(Mechanism::Computational)) => &["computational", "latents"],
        (Verdict::Orthogonal, Some(Mechanism::Correlated)) => &["correlated"],
        (Verdict::Orthogonal, Some(Mechanism::Incidental)) => &["incidental"],
        (Verdict::Orthogonal, _) if f.basis == Basis::None => &["sparse_code"],
        (Verdict::Orthogonal, _) => &["aligned", "sparse_code"],
        (Verdict::Nonlinear, _) => &["nonlinear", "circles", "interactions"],
        (Verdict::Compositional, _) => &["lookup", "bits"],
        (Verdict::Inconclusive, _) => &["directions", "sparse_code", "mixture", "superposition"],
    };
    // Of an answer, what supports it; of `inconclusive`, what fails.
    let wanted = |h: &&Hypothesis| {
        let rotated = answer == (Verdict::Orthogonal, Some(Mechanism::Rotated)) && h.id == "aligned";
        rotated || h.supports == (answer.0 != Verdict::Inconclusive)
    };
    let find = |id: &&str| tests.iter().find(|h| h.id == **id);
    let told: Vec<&str> = ids.iter().filter_map(find).filter(wanted).map(|h| h.says.as_str()).take(2).collect();
    match told.is_empty() {
        false => told.join(" "),
        true => "No single test decides; taken together they speak for it.".into(),
    }
}

fn would_settle(f: &Facts, answer: Answer, alternatives: &[Alternative]) -> Vec<String> {
    let mut out = Vec::new();
    if !f.adequacy.supports {
        let needed = thousands(f.adequacy.null_high as usize);
        return vec![format!("more rows: at least {needed} that don't repeat one another")];
    }
    if f.count.as_ref().is_some_and(|c| c.lower_bound) {
        out.push("more rows: the number of features still grows with them".into());
    }
    if f.basis == Basis::Unknown {
        out.push("--basis privileged if the columns come after a non-linearity, --basis none if they don't".into());
    }
    let rival = |verdict| alternatives.iter().any(|a| a.verdict == verdict && a.probability >= 0.02);
    if f.labels.is_none() {
        out.push(match answer.0 {
            Verdict::Superposition => {
                "--labels: concepts, which would rule out a lookup code of item identities".into()
            }
            Verdict::Inconclusive => {
                "--labels: concepts or latent variables show structure that activations alone don't".into()
            }
            Verdict::Monosemantic => "--labels: concepts, which would show two that share one direction".into(),
            Verdict::Nonlinear | Verdict::Compositional => {
                "--labels: concepts, which would show whether anything linear reads them".into()
            }
            Verdict::Orthogonal => {
                "--labels: concepts or the inputs of the layer, which would show why they miss the neurons".into()
            }
        });
    } else if rival(Verdict::Orthogonal) && answer.0 != Verdict::Orthogonal {
        out.push("labels of more concepts: those given may not be what the layer holds".into());
    }
    if answer == (Verdict::Orthogonal, Some(Mechanism::Rotated)) {
        out.push("the model, retrained from other seeds, which would show whether the rotation is chance".into());
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
    out.push("Features that were not active in these rows.".into());
    if f.labels.is_none() {
        out.push(
            "Features that share one direction (met by chance, or because they come together) from a single feature."
                .into(),
        );
        out.push(
            "Directions that stand for concepts from directions that stand for single items, as in a lookup code."
                .into(),
        );
        out.push(
            "Concepts that are regions, radii or parities: without labels most of these look like a dense cloud."
                .into(),
        );
    }
    if f.basis != Basis::None {
        out.push("Why a rotation exists: stuck training, chance, or a computation that mixes its inputs.".into());
    }
    if f.count.as_ref().is_some_and(|c| c.lower_bound) {
        out.push("The full number of features: it still grows with the rows, so the count is a lower bound.".into());
    }
    out
}
