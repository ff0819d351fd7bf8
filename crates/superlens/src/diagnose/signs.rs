//! What the verdict weighs: every test's outcome as a number of about the size of one, by name.
//!
//! A sign that has no meaning for an input (labels that were not given, a count of nothing) is 0, and another says so.

use super::clusters::Clustered;
use super::completion::{Completion, DETERMINED};
use super::finding::{Count, Hypothesis, Neuron};
use super::hypotheses::By;
use super::labelled::LabelEvidence;
use super::light::Light;
use crate::verdict::Basis;

/// The names, in order.
pub(super) const NAMES: [&str; COUNT] = [
    "rows",
    "found",
    "crowding",
    "overcrowding",
    "uncovered",
    "covered",
    "height",
    "beyond_mixture_half",
    "beyond_mixture",
    "gain",
    "gain_beyond_random",
    "one_hot",
    "code",
    "together",
    "complete_code",
    "steady",
    "no_basis",
    "share",
    "high_share",
    "polysemantic",
    "bits",
    "circles",
    "light",
    "varied_bits",
    "clustered",
    "completed",
    "determined",
    "bend",
    "neuron_tails",
    "direction_tails",
    "privileged_tails",
    "labels",
    "binary",
    "linear",
    "gap",
    "gap_share",
    "unseen",
    "memorised",
    "interactions",
    "latents",
    "latents_bend",
    "label_crowding",
    "label_share",
    "sharing",
    "sharing_correlated",
    "sharing_independent",
];
pub(super) const COUNT: usize = 46;

/// What is known of a layer when the verdict is drawn.
pub(super) struct Facts<'a> {
    pub basis: Basis,
    pub rank: usize,
    pub live: usize,
    pub count: Option<Count>,
    /// Whether the features were found to be a complete sparse code.
    pub complete_code: bool,
    pub neurons: &'a [Neuron],
    pub adequacy: &'a Hypothesis,
    pub directions: &'a Hypothesis,
    pub code: &'a Hypothesis,
    pub code_by: By,
    pub mixture: &'a Hypothesis,
    pub overcomplete: &'a Hypothesis,
    pub aligned: &'a Hypothesis,
    pub completion: Option<&'a Completion>,
    pub light: Light,
    pub clustered: Clustered,
    pub tails: Tails,
    pub labels: Option<&'a LabelEvidence>,
    /// Of concepts that share a direction, how many do so although (not because) they come together; see [`super::sharing`].
    pub sharing: Sharing,
}

/// Median kurtosis of the neurons and of random directions of the whitened rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tails {
    pub neurons: f64,
    pub directions: f64,
}

/// Shares of the concepts that share a line with another one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sharing {
    /// With one that they come together with, or exclude, more than chance would.
    pub correlated: f64,
    /// With one that is independent of them.
    pub independent: f64,
}

fn log_ratio(a: f64, b: f64, limit: f64) -> f64 {
    (a.max(1e-9) / b.max(1e-9)).ln().clamp(-limit, limit)
}

impl Facts<'_> {
    /// Features that would fit without superposition. Centring costs a dimension and neurons may be redundant, so where
    /// columns are neurons there is room for one feature in each of them.
    pub fn room(&self) -> usize {
        if self.basis == Basis::None { self.rank } else { self.rank.max(self.live) }
    }

    /// Share of the live neurons that carry several features; `None` without a basis or a dictionary.
    pub fn polysemantic_fraction(&self) -> Option<f64> {
        let some = self.basis != Basis::None && self.count.is_some() && self.live > 0;
        some.then(|| self.neurons.iter().filter(|n| n.polysemantic).count() as f64 / self.live as f64)
    }

    /// The signs, in the order of [`NAMES`].
    pub fn signs(&self) -> Vec<f64> {
        let n = self.count.as_ref().map_or(0.0, |c| c.estimate as f64);
        let found = n > 0.0;
        let flag = |on: bool| f64::from(u8::from(on));
        let if_found = |value: f64| if found { value } else { 0.0 };
        let crowding = log_ratio(n, self.room() as f64, 2.5);
        let covered = n / self.rank as f64;
        let at = |k: usize| self.count.as_ref().and_then(|c| c.growth.get(k)).map_or(0.0, |g| g.1 as f64);
        let null_found = self.mixture.null_mean;
        let drawn = self.mixture.null_draws > 0;
        let gained = self.overcomplete.null_draws > 0;
        let random_gain = (self.overcomplete.null_mean - 1.0).max(0.005);
        let coded = self.code_by == By::Rest;
        let share = if self.basis == Basis::None { 0.0 } else { self.aligned.statistic };
        let completed = self.completion.map_or(0.0, |c| c.smooth);
        let bend = self.completion.map_or(0.0, Completion::gain);
        let labels = self.labels;
        let of = |f: fn(&LabelEvidence) -> f64| labels.map_or(0.0, f);
        let binary = of(|l| f64::from(u8::from(l.binary)));
        let real = labels.is_some_and(|l| !l.binary);
        vec![
            log_ratio(self.adequacy.statistic, self.adequacy.null_mean, 2.0),
            flag(found),
            if_found(crowding),
            if_found((crowding - 0.1).max(0.0)),
            if_found((0.6 - covered).max(0.0)),
            if_found(covered.min(1.0)),
            if_found(log_ratio(self.directions.statistic.max(1e-9), self.directions.null_high, 2.0)),
            if drawn { log_ratio(at(1) + 1.0, null_found + 1.0, 2.5) } else { 0.0 },
            if drawn { log_ratio(n + 1.0, null_found + 1.0, 2.5) } else { 0.0 },
            if gained { self.overcomplete.statistic.ln().clamp(0.0, 1.5) } else { 0.0 },
            if gained { log_ratio(self.overcomplete.statistic - 1.0, random_gain, 2.0) } else { 0.0 },
            flag(self.code_by == By::OneHot),
            if coded { 3.0 * log_ratio(self.code.null_mean, self.code.statistic, 0.5) } else { 0.0 },
            flag(self.code_by == By::Together),
            flag(self.complete_code),
            if_found(at(1) / n.max(1.0)),
            flag(self.basis == Basis::None),
            if_found(share),
            if_found((share - 0.6).max(0.0) * 2.5),
            self.polysemantic_fraction().unwrap_or(0.0),
            self.light.bits,
            self.light.circles,
            self.light.all,
            self.light.bits * self.light.variety.min(1.0),
            3.0 * (self.clustered.explained - self.clustered.by_chance).clamp(0.0, 0.5),
            completed,
            flag(completed >= DETERMINED),
            bend,
            log_ratio(self.tails.neurons, 3.0, 2.0),
            log_ratio(self.tails.directions, 3.0, 2.0),
            log_ratio(self.tails.neurons, self.tails.directions, 2.0),
            flag(labels.is_some()),
            binary,
            binary * of(|l| 2.0 * l.linear_auc - 1.0),
            binary * of(|l| 5.0 * l.gap.clamp(-0.05, 0.4)),
            binary * of(|l| l.gap_share),
            binary * of(|l| 2.0 * l.unseen_auc - 1.0),
            binary * of(|l| 3.0 * (l.seen_auc - l.unseen_auc).clamp(-0.1, 0.5)),
            of(|l| 5.0 * l.interactions.min(l.interactions_unseen).clamp(0.0, 0.3)),
            if real { of(|l| l.latents_r2.clamp(0.0, 1.0)) } else { 0.0 },
            if real { of(|l| 3.0 * (l.latents_r2 - l.linear_r2).clamp(0.0, 0.5)) } else { 0.0 },
            labels.map_or(0.0, |l| log_ratio(l.decodable as f64 + 1.0, l.decodable_rank as f64 + 1.0, 1.5)),
            if self.basis == Basis::None { 0.0 } else { of(|l| l.alignment) },
            self.sharing.correlated + self.sharing.independent,
            self.sharing.correlated,
            self.sharing.independent,
        ]
    }
}
