//! F1, the threshold at which it is taken, and intervals from held-out blocks.

use serde::Serialize;
use superlens_tensor::Rng;

/// Draws of the bootstrap, and the share that an interval leaves out on each side.
const DRAWS: usize = 400;
const TAIL: f64 = 0.025;
/// Blocks from which on an interval is told.
const BLOCKS: usize = 5;

/// Rows by what was said of them, without those that are rightly called negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    pub hits: usize,
    pub false_alarms: usize,
    pub misses: usize,
}

impl Confusion {
    /// Of rows that are called positive where the score is `threshold` at least.
    pub fn new(scores: &[f32], labels: &[bool], threshold: f32) -> Confusion {
        let mut counts = Confusion::default();
        for (score, label) in scores.iter().zip(labels) {
            match (*score >= threshold, *label) {
                (true, true) => counts.hits += 1,
                (true, false) => counts.false_alarms += 1,
                (false, true) => counts.misses += 1,
                (false, false) => {}
            }
        }
        counts
    }

    /// The harmonic mean of precision and recall; 0 where nothing is positive.
    pub fn f1(&self) -> f64 {
        let all = 2 * self.hits + self.false_alarms + self.misses;
        if all == 0 { 0.0 } else { 2.0 * self.hits as f64 / all as f64 }
    }

    fn add(&mut self, other: &Confusion) {
        self.hits += other.hits;
        self.false_alarms += other.false_alarms;
        self.misses += other.misses;
    }
}

/// The threshold with the best F1 on `scores`, between two of them; of equal ones that which calls the fewest rows positive. Positive
/// infinity where no label is.
///
/// Panics where the numbers of scores and labels differ.
pub fn best_threshold(scores: &[f32], labels: &[bool]) -> f32 {
    assert_eq!(scores.len(), labels.len(), "scores and labels");
    // Scores as whole numbers in the same order, the label beside them: the sort is most of the work.
    let mut keys: Vec<u64> =
        scores.iter().zip(labels).map(|(s, l)| (u64::from(ordered(*s)) << 1) | u64::from(*l)).collect();
    keys.sort_unstable();
    let positives = labels.iter().filter(|l| **l).count();
    let (mut best, mut threshold, mut hits) = (0.0, f32::INFINITY, 0);
    for at in (0..keys.len()).rev() {
        hits += (keys[at] & 1) as usize;
        let here = value((keys[at] >> 1) as u32);
        let below = at.checked_sub(1).map(|b| value((keys[b] >> 1) as u32));
        if below == Some(here) {
            continue;
        }
        let f1 = 2.0 * hits as f64 / (keys.len() - at + positives) as f64;
        if f1 > best {
            best = f1;
            let middle = below.map_or(here, |b| b + (here - b) / 2.0);
            threshold = if below.is_none_or(|b| middle > b) && middle <= here { middle } else { here };
        }
    }
    threshold
}

/// Bits of a float as a whole number in the order of the floats; −0 is 0.
fn ordered(x: f32) -> u32 {
    let bits = (x + 0.0).to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// A number with the interval that holds 95 % of what resampled held-out blocks give; `None` with fewer than five blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    pub value: f64,
    pub interval: Option<[f64; 2]>,
}

/// F1 and AUC on rows that lie in blocks of the given lengths. Intervals come from drawing blocks with replacement (Künsch 1989, *The jackknife
/// and the bootstrap for general stationary observations*); they hold the choice of held-out rows, not that of the training rows. The
/// AUC is `None` where one class is missing.
pub(super) fn judged(
    scores: &[f32],
    labels: &[bool],
    blocks: &[usize],
    threshold: f32,
    rng: &Rng,
) -> (Measured, Option<Measured>) {
    let mut rng = rng.fork("intervals");
    let draws: Vec<Vec<u32>> = (0..DRAWS)
        .map(|_| {
            let mut times = vec![0u32; blocks.len()];
            (0..blocks.len()).for_each(|_| times[rng.below(blocks.len())] += 1);
            times
        })
        .collect();
    let mut from = 0;
    let parts: Vec<Confusion> = blocks
        .iter()
        .map(|len| {
            let rows = from..from + len;
            from = rows.end;
            Confusion::new(&scores[rows.clone()], &labels[rows], threshold)
        })
        .collect();
    let drawn_f1 = |times: &Vec<u32>| {
        let mut all = Confusion::default();
        for (part, times) in parts.iter().zip(times) {
            (0..*times).for_each(|_| all.add(part));
        }
        all.f1()
    };
    let f1 = Measured {
        value: Confusion::new(scores, labels, threshold).f1(),
        interval: interval(draws.iter().map(drawn_f1).collect(), blocks.len()),
    };
    let ranked = Ranked::new(scores, labels, blocks);
    let auc = ranked.auc(&vec![1; blocks.len()]).map(|value| Measured {
        value,
        interval: interval(draws.iter().filter_map(|times| ranked.auc(times)).collect(), blocks.len()),
    });
    (f1, auc)
}

fn interval(mut drawn: Vec<f64>, blocks: usize) -> Option<[f64; 2]> {
    if blocks < BLOCKS || drawn.is_empty() {
        return None;
    }
    drawn.sort_unstable_by(f64::total_cmp);
    let cut = (TAIL * drawn.len() as f64) as usize;
    Some([drawn[cut], drawn[drawn.len() - 1 - cut]])
}

/// Rows in the order of their scores: label, block, and whether the next row has the same score.
struct Ranked(Vec<(bool, u32, bool)>);

impl Ranked {
    fn new(scores: &[f32], labels: &[bool], blocks: &[usize]) -> Ranked {
        let block_of: Vec<u32> =
            blocks.iter().enumerate().flat_map(|(b, len)| std::iter::repeat_n(b as u32, *len)).collect();
        let mut order: Vec<(u32, u32)> = scores.iter().enumerate().map(|(i, s)| (ordered(*s), i as u32)).collect();
        order.sort_unstable();
        let tied = |at: usize| order.get(at + 1).is_some_and(|next| next.0 == order[at].0);
        let row = |at: usize| (labels[order[at].1 as usize], block_of[order[at].1 as usize], tied(at));
        Ranked((0..order.len()).map(row).collect())
    }

    /// With each block's rows so many times.
    fn auc(&self, times: &[u32]) -> Option<f64> {
        let (mut below, mut twice, mut yes) = (0u64, 0u64, 0u64);
        let (mut tied_yes, mut tied_no) = (0u64, 0u64);
        for (label, block, tied) in &self.0 {
            let weight = u64::from(times[*block as usize]);
            if *label {
                tied_yes += weight
            } else {
                tied_no += weight
            }
            if !tied {
                twice += tied_yes * (2 * below + tied_no);
                below += tied_no;
                yes += tied_yes;
                (tied_yes, tied_no) = (0, 0);
            }
        }
        (yes > 0 && below > 0).then(|| twice as f64 / (2.0 * yes as f64 * below as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::auc;

    #[test]
    fn the_best_threshold_is_the_best_of_all() {
        let mut rng = Rng::new(1);
        for _ in 0..200 {
            let n = 1 + rng.below(12);
            let scores: Vec<f32> = (0..n).map(|_| rng.below(5) as f32 - 2.0).collect();
            let labels: Vec<bool> = (0..n).map(|_| rng.chance(0.4)).collect();
            let found = Confusion::new(&scores, &labels, best_threshold(&scores, &labels)).f1();
            let all = (-30..=30).map(|t| Confusion::new(&scores, &labels, t as f32 / 10.0).f1());
            assert_eq!(found, all.fold(0.0, f64::max), "{scores:?} {labels:?}");
        }
        assert_eq!(best_threshold(&[1.0, 3.0], &[false, true]), 2.0);
        assert_eq!(best_threshold(&[1.0, 3.0], &[false, false]), f32::INFINITY);
    }

    #[test]
    fn ranks_give_the_same_area_and_blocks_an_interval() {
        let mut rng = Rng::new(2);
        let labels: Vec<bool> = (0..600).map(|_| rng.chance(0.3)).collect();
        let scores: Vec<f32> = labels.iter().map(|l| (f32::from(*l) + rng.normal()).round()).collect();
        let blocks = vec![60; 10];
        let (f1, area) = judged(&scores, &labels, &blocks, 1.0, &rng);
        let area = area.unwrap();
        assert_eq!(area.value, auc(&scores, &labels).unwrap());
        for told in [f1, area] {
            let [low, high] = told.interval.unwrap();
            assert!(low < told.value && told.value < high && high - low < 0.3, "{told:?}");
        }
        assert_eq!(judged(&scores, &labels, &[300, 300], 1.0, &rng).0.interval, None);
    }

    #[test]
    fn an_interval_holds_the_truth_about_as_often_as_it_says() {
        // Scores are the labels, turned over with chance 0.2: the F1 of ever more rows is 0.8 where half are positive.
        let root = Rng::new(3);
        let holds = |draw: u64| {
            let mut rng = root.fork_index(draw);
            let labels: Vec<bool> = (0..900).map(|_| rng.chance(0.5)).collect();
            let scores: Vec<f32> = labels.iter().map(|l| f32::from(*l != rng.chance(0.2))).collect();
            let [low, high] = judged(&scores, &labels, &[30; 30], 0.5, &rng).0.interval.unwrap();
            low <= 0.8 && 0.8 <= high
        };
        let held = (0..200).filter(|draw| holds(*draw)).count();
        assert!((180..=198).contains(&held), "{held} of 200");
    }
}
