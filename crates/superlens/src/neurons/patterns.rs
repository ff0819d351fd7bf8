//! Patterns: the distinct triggers in the texts on which a unit responds (after Geva et al. 2021, *Transformer feed-forward layers are
//! key-value memories*, where people found them by reading).
//!
//! A trigger is a run of up to three words that ends at the example or just before it, or a word somewhere near before it. Triggers are taken
//! one by one, each the one that covers more of the examples not yet covered than chance would, in the measure in which it would not.

use std::collections::{BTreeMap, BTreeSet};

use superlens_tensor::Rng;

/// Words of a context that are looked at, the example's own the last.
pub const WINDOW: usize = 9;
/// Words before the example's own of which a run may be the last.
const BACK: usize = 2;
/// Words of a run, at most.
const RUN: usize = 3;
/// Examples that a trigger covers at least: as in the source.
const LEAST: usize = 3;
/// Probability at which a trigger would be found where there is none, over all that are tried.
const ALPHA: f64 = 0.01;
/// Draws of four fifths of the examples that tell how stable triggers are.
const DRAWS: usize = 20;

/// What makes a unit respond. Words are numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trigger {
    /// These words in a row, the last so many words before the example's own.
    Run { back: usize, words: Vec<u32> },
    /// This word, anywhere in the window before the example's own.
    Near(u32),
}

/// A trigger that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    pub trigger: Trigger,
    /// Examples that it alone covers or covers first.
    pub covers: usize,
    /// Share of random contexts that have it.
    pub background: f64,
    /// Share of draws of four fifths of the examples in which it is found again.
    pub stability: f64,
}

/// Triggers of one unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patterns {
    pub found: Vec<Pattern>,
    /// Share of the examples that one of them covers.
    pub covered: f64,
    /// Share of the draws with the same number of triggers.
    pub stability: f64,
}

/// How often triggers are met in random contexts.
#[derive(Clone, Debug, Default)]
pub struct Background {
    counts: BTreeMap<Trigger, u32>,
    contexts: usize,
}

impl Background {
    /// From contexts drawn at random, each the words up to a row.
    pub fn of(contexts: &[Vec<u32>]) -> Background {
        let mut counts = BTreeMap::new();
        for context in contexts {
            triggers(context).into_iter().for_each(|t| *counts.entry(t).or_insert(0) += 1);
        }
        Background { counts, contexts: contexts.len() }
    }

    /// Share of contexts that have it; never zero, since what wasn't met may be.
    fn share(&self, trigger: &Trigger) -> f64 {
        let met = self.counts.get(trigger).copied().unwrap_or(0);
        (f64::from(met) + 0.5) / (self.contexts as f64 + 1.0)
    }
}

/// All triggers that a context has.
fn triggers(context: &[u32]) -> BTreeSet<Trigger> {
    let context = &context[context.len().saturating_sub(WINDOW)..];
    let mut all = BTreeSet::new();
    for back in 0..=BACK.min(context.len().saturating_sub(1)) {
        let end = context.len() - back;
        for length in 1..=RUN.min(end) {
            all.insert(Trigger::Run { back, words: context[end - length..end].to_vec() });
        }
    }
    let before = context.len().saturating_sub(1);
    all.extend(context[..before].iter().map(|w| Trigger::Near(*w)));
    all
}

/// The triggers of examples, each the words of its context up to where the unit responds, beside a background of random ones.
pub fn patterns(examples: &[Vec<u32>], background: &Background, seed: u64) -> Patterns {
    let has: Vec<BTreeSet<Trigger>> = examples.iter().map(|e| triggers(e)).collect();
    let all: Vec<usize> = (0..examples.len()).collect();
    let mut found = cover(&has, &all, background);
    let mut rng = Rng::new(seed).fork("patterns");
    let (mut again, mut same) = (vec![0usize; found.len()], 0);
    for _ in 0..DRAWS {
        let kept = &rng.permutation(examples.len())[..examples.len() * 4 / 5];
        let drawn = cover(&has, kept, background);
        same += usize::from(drawn.len() == found.len());
        for (n, pattern) in again.iter_mut().zip(&found) {
            *n += usize::from(drawn.iter().any(|d| d.trigger == pattern.trigger));
        }
    }
    found.iter_mut().zip(again).for_each(|(pattern, n)| pattern.stability = n as f64 / DRAWS as f64);
    let covered = found.iter().map(|p| p.covers).sum::<usize>() as f64 / examples.len().max(1) as f64;
    Patterns { found, covered, stability: same as f64 / DRAWS as f64 }
}

/// Triggers one by one until none covers more of what is left than chance.
fn cover(has: &[BTreeSet<Trigger>], of: &[usize], background: &Background) -> Vec<Pattern> {
    let mut left: Vec<usize> = of.to_vec();
    let mut found = Vec::new();
    while left.len() >= LEAST {
        let mut counts: BTreeMap<&Trigger, usize> = BTreeMap::new();
        for &i in &left {
            has[i].iter().for_each(|t| *counts.entry(t).or_insert(0) += 1);
        }
        let tried = counts.len() as f64;
        let surprise = |(trigger, n): (&&Trigger, &usize)| surprise(*n, left.len(), background.share(trigger));
        let scored = counts.iter().filter(|(_, n)| **n >= LEAST).map(|entry| (surprise(entry), *entry.0, *entry.1));
        // Of equal ones the first in order.
        let best = scored.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)));
        let Some((surprise, trigger, covers)) = best else { break };
        if surprise < (tried / ALPHA).ln() {
            break;
        }
        found.push(Pattern { trigger: trigger.clone(), covers, background: background.share(trigger), stability: 0.0 });
        left.retain(|&i| !has[i].contains(trigger));
    }
    found
}

/// Minus the logarithm of a bound on the probability of `k` or more of `n` by chance, each with probability `p` (Chernoff 1952); 0 where that is
/// no more than expected.
fn surprise(k: usize, n: usize, p: f64) -> f64 {
    let q = k as f64 / n as f64;
    if q <= p {
        return 0.0;
    }
    let other = if k == n { 0.0 } else { (1.0 - q) * ((1.0 - q) / (1.0 - p)).ln() };
    n as f64 * (q * (q / p).ln() + other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words with a Zipf law, as texts have.
    fn word(rng: &mut Rng) -> u32 {
        let u = rng.uniform_f64();
        (500f64.powf(u) - 1.0) as u32
    }

    fn context(rng: &mut Rng) -> Vec<u32> {
        (0..WINDOW).map(|_| word(rng)).collect()
    }

    #[test]
    fn planted_triggers_are_counted() {
        let mut rng = Rng::new(7).fork("patterns test");
        let background = Background::of(&(0..4000).map(|_| context(&mut rng)).collect::<Vec<_>>());
        let (mut exact, mut near) = (0, 0);
        for case in 0..60 {
            let q = 1 + case % 5;
            // A word, a run of two or three, or a word near by, each of its own words.
            let planted: Vec<(usize, Vec<u32>)> = (0..q)
                .map(|k| (rng.below(4), (0..3).map(|w| 20 + (40 * k + 7 * w) as u32 + rng.below(7) as u32).collect()))
                .collect();
            let examples: Vec<Vec<u32>> = (0..60)
                .map(|_| {
                    let mut example = context(&mut rng);
                    // A tenth has no trigger at all.
                    if !rng.chance(0.1) {
                        let (kind, words) = &planted[rng.below(q)];
                        match kind {
                            0 => example[WINDOW - 1] = words[0],
                            1 => example[WINDOW - 2..].copy_from_slice(&words[..2]),
                            2 => example[WINDOW - 4..WINDOW - 1].copy_from_slice(words),
                            _ => example[rng.below(WINDOW - 4)] = words[0] + 300,
                        }
                    }
                    example
                })
                .collect();
            let found = patterns(&examples, &background, 1);
            exact += usize::from(found.found.len() == q);
            near += usize::from(found.found.len().abs_diff(q) <= 1);
        }
        assert!(exact >= 48, "{exact} of 60 exact");
        assert!(near >= 57, "{near} of 60 within one");
    }

    #[test]
    fn random_contexts_have_no_triggers() {
        let mut rng = Rng::new(8).fork("patterns test");
        let background = Background::of(&(0..4000).map(|_| context(&mut rng)).collect::<Vec<_>>());
        let any = (0..100).filter(|_| {
            let examples: Vec<Vec<u32>> = (0..60).map(|_| context(&mut rng)).collect();
            !patterns(&examples, &background, 1).found.is_empty()
        });
        let any = any.count();
        assert!(any <= 5, "{any} of 100");
        assert_eq!(patterns(&[], &background, 1), Patterns { stability: 1.0, ..Patterns::default() });
    }
}
