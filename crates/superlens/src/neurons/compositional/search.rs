//! [`beam`] and [`exhaustive`]: the formula that fits a unit best.

use super::formula::Formula;
use super::mask::{Mask, Overlap};
use super::{Concepts, Found};
use rayon::prelude::*;
use std::collections::HashSet;

/// What a formula of some length is worth.
fn worth(iou: f64, length: usize, penalty: f64) -> f64 {
    iou * penalty.powi(length as i32 - 1)
}

fn found(formula: Formula, iou: f64, penalty: f64) -> Found {
    let length = formula.length();
    Found { score: worth(iou, length, penalty), iou, length, formula }
}

/// Formulas whose rows are known.
struct Known {
    formula: Formula,
    mask: Mask,
    iou: f64,
}

/// How much rows that a formula misses, and rows that it holds in besides, count where it is chosen to grow. The first is the IoU. The others forgive
/// what is missing, which an OR can add, or what is too much, which an AND can take away: some, and nearly all.
const AIMS: [(f64, f64); 5] = [(1.0, 1.0), (0.2, 1.0), (1.0, 0.2), (0.03, 1.0), (1.0, 0.03)];

/// Rows of the unit that a formula holds in, and other rows.
#[derive(Clone, Copy)]
struct Hits {
    hit: f64,
    besides: f64,
}

impl Hits {
    fn of(overlap: Overlap, on: f64) -> Hits {
        Hits { hit: overlap.both as f64, besides: overlap.either as f64 - on }
    }

    /// How well it serves an aim, 0 to 1.
    fn serves(self, on: f64, (missed, besides): (f64, f64)) -> f64 {
        self.hit / (self.hit + missed * (on - self.hit) + besides * self.besides).max(1.0)
    }
}

/// A formula that grew by one literal, before it is known to be worth keeping.
struct Grown {
    hits: Hits,
    /// Which of the front.
    from: usize,
    literal: usize,
    and: bool,
}

/// The best formula of up to `length` literals that a beam finds (after Mu and Andreas 2020, §2): the formulas of each length that are kept are joined
/// to every concept and every NOT of one by AND and OR.
///
/// As there, a formula grows by one literal at a time: `(a AND b) OR (c AND d)` is none that it can find. Unlike there, all literals begin, and
/// `width` formulas are kept for each of five [`AIMS`], not for the IoU alone: in `(a AND b) OR c` the part that must be found first covers few rows of
/// the unit. For an aim only those are kept that serve it better than what they grew from, and none whose rows another has.
pub fn beam(unit: &Mask, concepts: &Concepts, length: usize, width: usize, penalty: f64) -> Found {
    let on = unit.count() as f64;
    let literals: Vec<(Formula, &Mask)> = concepts.literals().collect();
    let hits_of = |mask: &Mask| Hits::of(unit.overlap(mask), on);
    let of_literals: Vec<Hits> = literals.iter().map(|(_, mask)| hits_of(mask)).collect();
    let mut seen: HashSet<Mask> = HashSet::new();
    let begin = literals.iter().filter(|(_, mask)| seen.insert((*mask).clone()));
    let mut front: Vec<Known> = begin
        .map(|(f, mask)| Known { formula: f.clone(), mask: (*mask).clone(), iou: unit.overlap(mask).iou() })
        .collect();
    let better = |a: Found, b: Found| if b.score > a.score { b } else { a };
    let all = |front: &[Known]| front.iter().map(|k| found(k.formula.clone(), k.iou, penalty)).reduce(better);
    let mut best = all(&front).expect("a concept at least");
    for _ in 1..length {
        let of_front: Vec<Hits> = front.iter().map(|k| hits_of(&k.mask)).collect();
        let grown = grow(unit, &front, &literals);
        let mut kept = Vec::new();
        for aim in AIMS {
            let serves = |hits: Hits| hits.serves(on, aim);
            let improves = |g: &&Grown| serves(g.hits) > serves(of_front[g.from]).max(serves(of_literals[g.literal]));
            let mut order: Vec<&Grown> = grown.iter().filter(improves).collect();
            order.sort_by(|a, b| serves(b.hits).total_cmp(&serves(a.hits)));
            let new = order.into_iter().filter_map(|g| {
                let (from, (literal, other)) = (&front[g.from], &literals[g.literal]);
                let mask = if g.and { from.mask.and(other) } else { from.mask.or(other) };
                let formula = || Formula::join(from.formula.clone(), literal.clone(), g.and);
                seen.insert(mask.clone()).then(|| Known { formula: formula(), iou: unit.overlap(&mask).iou(), mask })
            });
            kept.extend(new.take(width.max(1)));
        }
        let Some(here) = all(&kept) else { break };
        best = better(best, here);
        front = kept;
    }
    best
}

fn grow(unit: &Mask, front: &[Known], literals: &[(Formula, &Mask)]) -> Vec<Grown> {
    let on = unit.count() as f64;
    let mut grown = Vec::with_capacity(2 * front.len() * literals.len());
    for (from, known) in front.iter().enumerate() {
        for (literal, (_, mask)) in literals.iter().enumerate() {
            for and in [true, false] {
                let hits = Hits::of(unit.overlap_of(&known.mask, mask, and), on);
                grown.push(Grown { hits, from, literal, and });
            }
        }
    }
    grown
}

/// What the longest formulas may cost, which are only counted, and shorter ones, which are kept: pairs times words, and what a pair costs beside: seconds.
const MOST_COUNTED: u128 = 1 << 33;
const MOST_GROWN: u128 = 1 << 28;
const COUNTING: u128 = 4;
const GROWING: u128 = 64;
/// Words of masks that it keeps at most: 128 MB.
const MOST_KEPT: usize = 1 << 24;

/// The best of all formulas of up to `length` literals, of every shape; `None` where they are too many to try.
///
/// Formulas that hold in the same rows are tried once, as the shortest of them.
pub fn exhaustive(unit: &Mask, concepts: &Concepts, length: usize, penalty: f64) -> Option<Found> {
    let mut seen: HashSet<Mask> = HashSet::new();
    let literals = concepts.literals().filter(|(_, mask)| seen.insert((*mask).clone()));
    let literals: Vec<Known> =
        literals.map(|(formula, mask)| Known { formula, mask: mask.clone(), iou: unit.overlap(mask).iou() }).collect();
    let better = |a: Found, b: Found| if b.score > a.score { b } else { a };
    let mut best = literals.iter().map(|k| found(k.formula.clone(), k.iou, penalty)).reduce(better)?;
    let mut levels = vec![literals];
    let mut kept = seen.len() * unit.words();
    for n in 2..=length {
        let sizes = |i: usize| (levels[i - 1].len() as u128) * (levels[n - i - 1].len() as u128);
        let pairs = 2 * (1..=n / 2).map(sizes).sum::<u128>();
        let words = unit.words() as u128;
        if pairs * (words + COUNTING) > MOST_COUNTED || (n < length && pairs * (words + GROWING) > MOST_GROWN) {
            return None;
        }
        if let Some(here) = best_of_level(unit, &levels, n).map(|(formula, iou)| found(formula, iou, penalty)) {
            best = better(best, here);
        }
        if n < length {
            let level = level(unit, &levels, n, &mut seen, &mut kept)?;
            levels.push(level);
        }
    }
    Some(best)
}

/// Pairs of formulas whose lengths add up to `n`: level and place of the first, level of the second.
fn firsts(levels: &[Vec<Known>], n: usize) -> Vec<(usize, usize, usize)> {
    let of = |i: usize| (0..levels[i - 1].len()).map(move |a| (i - 1, a, n - i - 1));
    (1..=n / 2).flat_map(of).collect()
}

fn best_of_level(unit: &Mask, levels: &[Vec<Known>], n: usize) -> Option<(Formula, f64)> {
    let best_with = |&(level, a, other): &(usize, usize, usize)| {
        let first = &levels[level][a].mask;
        let from = if level == other { a + 1 } else { 0 };
        let mut best: Option<(f64, usize, bool)> = None;
        for (b, second) in levels[other].iter().enumerate().skip(from) {
            for and in [true, false] {
                let iou = unit.overlap_of(first, &second.mask, and).iou();
                if best.is_none_or(|best| iou > best.0) {
                    best = Some((iou, b, and));
                }
            }
        }
        best.map(|(iou, b, and)| (iou, level, a, other, b, and))
    };
    let each: Vec<_> = firsts(levels, n).par_iter().map(best_with).collect();
    let best = each.into_iter().flatten().reduce(|x, y| if y.0 > x.0 { y } else { x })?;
    let (iou, level, a, other, b, and) = best;
    Some((Formula::join(levels[level][a].formula.clone(), levels[other][b].formula.clone(), and), iou))
}

/// All formulas of `n` literals whose rows are new; `None` where they are too many to keep.
fn level(
    unit: &Mask,
    levels: &[Vec<Known>],
    n: usize,
    seen: &mut HashSet<Mask>,
    kept: &mut usize,
) -> Option<Vec<Known>> {
    let mut level = Vec::new();
    for (i, a, other) in firsts(levels, n) {
        let first = &levels[i][a];
        for second in levels[other].iter().skip(if i == other { a + 1 } else { 0 }) {
            for and in [true, false] {
                let mask = if and { first.mask.and(&second.mask) } else { first.mask.or(&second.mask) };
                if !seen.insert(mask.clone()) {
                    continue;
                }
                *kept += 2 * mask.words();
                if *kept > MOST_KEPT {
                    return None;
                }
                let formula = Formula::join(first.formula.clone(), second.formula.clone(), and);
                level.push(Known { formula, iou: unit.overlap(&mask).iou(), mask });
            }
        }
    }
    Some(level)
}
