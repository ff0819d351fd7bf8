//! From signs to probabilities of every answer: multinomial logistic regression, learned on the zoo and frozen.
//!
//! Each answer has a score, its bias plus a weight for each sign; probabilities are the softmax of the scores. So what a sign adds to the odds
//! of one answer against another can be read off ([`Posterior::reasons`]). Cases that defend several answers count by the sum of their
//! probabilities, so that nothing is learned that their inputs can't tell.

use super::zoo::Answer;
use crate::verdict::{Mechanism, Verdict};
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use superlens_tensor::lbfgs::{Stop, minimise};

/// Every answer, in the order of the probabilities.
pub(super) const ANSWERS: [Answer; 9] = [
    (Verdict::Monosemantic, None),
    (Verdict::Superposition, None),
    (Verdict::Orthogonal, Some(Mechanism::Rotated)),
    (Verdict::Orthogonal, Some(Mechanism::Correlated)),
    (Verdict::Orthogonal, Some(Mechanism::Incidental)),
    (Verdict::Orthogonal, Some(Mechanism::Computational)),
    (Verdict::Nonlinear, None),
    (Verdict::Compositional, None),
    (Verdict::Inconclusive, None),
];

/// Pairs of signs whose product is a sign of its own: one matters only beside the other.
const TOGETHER: [(&str, &str); 14] = [
    ("complete_code", "share"),
    ("complete_code", "high_share"),
    ("complete_code", "covered"),
    ("overcrowding", "gain"),
    ("overcrowding", "code"),
    ("overcrowding", "beyond_mixture_half"),
    ("code", "share"),
    ("found", "covered"),
    ("determined", "bend"),
    ("light", "overcrowding"),
    ("gap", "unseen"),
    ("gap", "memorised"),
    ("no_basis", "complete_code"),
    ("linear", "overcrowding"),
];

/// The frozen weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Posterior {
    /// How the weights were made.
    pub made_by: String,
    pub cases: usize,
    /// Names of the signs, products included.
    pub signs: Vec<String>,
    /// For each answer its bias and weights, rounded to four decimals.
    pub bias: Vec<f64>,
    pub weights: Vec<Vec<f64>>,
}

/// A case to learn from.
pub(super) struct Lesson {
    /// As [`super::signs::Facts::signs`] gives them.
    pub signs: Vec<f64>,
    pub defended: Vec<Answer>,
    pub weight: f64,
}

static FROZEN: LazyLock<Posterior> = LazyLock::new(|| {
    let file = include_str!("calibration.json");
    serde_json::from_str(file).expect("the frozen weights are checked by a test")
});

/// Names of the signs with those of their products.
fn names() -> Vec<String> {
    let products = TOGETHER.iter().map(|(a, b)| format!("{a} × {b}"));
    super::signs::NAMES.iter().map(|n| n.to_string()).chain(products).collect()
}

/// Signs with their products.
fn expand(signs: &[f64]) -> Vec<f64> {
    let at = |name: &str| super::signs::NAMES.iter().position(|n| *n == name).expect("a sign's name");
    let products = TOGETHER.iter().map(|(a, b)| signs[at(a)] * signs[at(b)]);
    signs.iter().copied().chain(products).collect()
}

/// Softmax.
fn normalise(scores: &[f64]) -> Vec<f64> {
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let raised: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
    let sum: f64 = raised.iter().sum();
    raised.iter().map(|r| r / sum).collect()
}

impl Posterior {
    /// The weights that are part of this program.
    pub fn frozen() -> &'static Posterior {
        &FROZEN
    }

    /// Probabilities, in the order of [`ANSWERS`].
    pub fn probabilities(&self, signs: &[f64]) -> Vec<f64> {
        let signs = expand(signs);
        let score = |k: usize| self.bias[k] + self.weights[k].iter().zip(&signs).map(|(w, s)| w * s).sum::<f64>();
        normalise(&(0..ANSWERS.len()).map(score).collect::<Vec<_>>())
    }

    /// What each sign adds to the log odds of answer `a` against answer `b`, largest first; those that add nothing are left out.
    pub fn reasons(&self, signs: &[f64], a: usize, b: usize) -> Vec<(String, f64)> {
        let signs = expand(signs);
        let mut out: Vec<(String, f64)> = (0..signs.len())
            .map(|i| (self.signs[i].clone(), (self.weights[a][i] - self.weights[b][i]) * signs[i]))
            .filter(|(_, added)| added.abs() > 0.05)
            .collect();
        out.sort_by(|x, y| y.1.abs().total_cmp(&x.1.abs()));
        out
    }

    /// The same with all scores so many times as large: surer for a factor above one.
    pub fn times(&self, factor: f64) -> Posterior {
        let all = |w: &[f64]| w.iter().map(|v| (v * factor * 1e4).round() / 1e4).collect();
        Posterior { bias: all(&self.bias), weights: self.weights.iter().map(|w| all(w)).collect(), ..self.clone() }
    }

    /// Learns from cases. `ridge` is the strength of the pull of all weights towards zero.
    pub fn learn(lessons: &[Lesson], ridge: f64, made_by: String) -> Posterior {
        let expanded: Vec<Vec<f64>> = lessons.iter().map(|l| expand(&l.signs)).collect();
        let (n, k) = (names().len(), ANSWERS.len());
        let defended: Vec<Vec<bool>> =
            lessons.iter().map(|l| ANSWERS.iter().map(|a| l.defended.contains(a)).collect()).collect();
        let total: f64 = lessons.iter().map(|l| l.weight).sum();
        let width = n + 1;
        let mut loss = |w: &[f64], g: &mut [f64]| {
            g.fill(0.0);
            let mut sum = 0.0;
            for ((signs, defended), lesson) in expanded.iter().zip(&defended).zip(lessons) {
                let score = |c: usize| {
                    let own = &w[c * width..(c + 1) * width];
                    own[n] + own.iter().zip(signs).map(|(w, s)| w * s).sum::<f64>()
                };
                let p = normalise(&(0..k).map(score).collect::<Vec<_>>());
                let right: f64 = (0..k).filter(|&c| defended[c]).map(|c| p[c]).sum::<f64>().max(1e-300);
                let share = lesson.weight / total;
                sum -= share * right.ln();
                for c in 0..k {
                    // The gradient of −ln Σ p over the defended by the scores: p minus what the defended have of one another.
                    let slope = share * (p[c] - if defended[c] { p[c] / right } else { 0.0 });
                    let own = &mut g[c * width..(c + 1) * width];
                    own[n] += slope;
                    own[..n].iter_mut().zip(signs).for_each(|(g, s)| *g += slope * s);
                }
            }
            for c in 0..k {
                for i in 0..n {
                    let at = c * width + i;
                    sum += 0.5 * ridge * w[at] * w[at];
                    g[at] += ridge * w[at];
                }
            }
            sum
        };
        let mut w = vec![0.0; k * width];
        minimise(&mut loss, &mut w, Stop { iterations: 3000, ..Stop::default() });
        let round = |v: f64| (v * 1e4).round() / 1e4;
        let row = |c: usize| w[c * width..c * width + n].iter().map(|v| round(*v)).collect();
        Posterior {
            made_by,
            cases: lessons.len(),
            signs: names(),
            bias: (0..k).map(|c| round(w[c * width + n])).collect(),
            weights: (0..k).map(row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frozen_weights_are_whole_and_of_these_signs() {
        let frozen = Posterior::frozen();
        assert_eq!(frozen.signs, names(), "signs have changed: calibrate again");
        assert_eq!((frozen.bias.len(), frozen.weights.len()), (ANSWERS.len(), ANSWERS.len()));
        assert!(frozen.weights.iter().all(|w| w.len() == names().len() && w.iter().all(|v| v.is_finite())));
    }

    #[test]
    fn what_signs_tell_is_learned_and_what_they_cannot_is_left_open() {
        let mut lessons = Vec::new();
        for i in 0..200 {
            let mut signs = vec![0.0; super::super::signs::COUNT];
            signs[7] = if i % 2 == 0 { 1.0 } else { -1.0 };
            let defended = if i % 2 == 0 { vec![ANSWERS[1]] } else { vec![ANSWERS[0], ANSWERS[3]] };
            lessons.push(Lesson { signs, defended, weight: 1.0 });
        }
        let learned = Posterior::learn(&lessons, 1e-3, String::new());
        let p = learned.probabilities(&lessons[0].signs);
        assert!(p[1] > 0.9, "{p:?}");
        let q = learned.probabilities(&lessons[1].signs);
        assert!(q[0] + q[3] > 0.9 && (q[0] - q[3]).abs() < 1e-3, "{q:?}");
        let reasons = learned.reasons(&lessons[0].signs, 1, 0);
        assert_eq!(reasons[0].0, super::super::signs::NAMES[7]);
        assert!(reasons[0].1 > 0.0);
    }
}
