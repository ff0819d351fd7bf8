//! Ways to choose the units of a sparse probe, one line each.

use superlens_tensor::Mat;

use super::ground::{Ground, Target};
use super::lasso;
use super::readout::RIDGE;
use crate::probes::Logistic;

/// Units that adaptive thresholding starts from, and the share of them that stays in a step.
const START: usize = 1024;
const STAYS: f64 = 0.7;

/// A way to choose units, on training rows alone.
pub struct Selector {
    pub id: &'static str,
    pub about: &'static str,
    /// For each of the ascending sizes the units, those that count most first.
    pub(super) pick: fn(&Ground, &Target, &[usize]) -> Vec<Vec<usize>>,
    /// Whether it sees nothing of the rows but the difference of the classes' means, so that a turned basis needs no turned rows.
    pub(super) by_difference: bool,
}

/// All of them; the first is the default.
pub const SELECTORS: [Selector; 5] = [
    Selector {
        id: "mean-difference",
        about: "largest difference between the means of both classes, in the units' own scale (Gurnee et al. 2023)",
        pick: |_, target, ks| nested(&target.difference, ks),
        by_difference: true,
    },
    Selector {
        id: "f-statistic",
        about: "most variance between the classes beside that within them: the difference of means in deviations",
        // F = (n − 2) r² / (1 − r²) rises with the correlation's size.
        pick: |ground, target, ks| nested(&ground.correlations(target), ks),
        by_difference: false,
    },
    Selector {
        id: "mutual-information",
        about: "most mutual information between the label and 16 bins of the unit",
        pick: |ground, target, ks| nested(&ground.bins().information(target), ks),
        by_difference: false,
    },
    Selector {
        id: "l1",
        about: "first on the path of the lasso on standardised units",
        pick: |ground, target, ks| lasso::supports(ground.gram().values(), &ground.correlations(target), ks),
        by_difference: false,
    },
    Selector {
        id: "adaptive",
        about: "adaptive thresholding: fit a probe, keep seven of ten units with the largest weights, and again",
        pick: adaptive,
        by_difference: false,
    },
];

/// By its id.
pub fn find(id: &str) -> Option<&'static Selector> {
    SELECTORS.iter().find(|s| s.id == id)
}

/// The `k` entries of the largest size, for each `k`; of equal ones the first.
fn nested(scores: &[f64], ks: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].abs().total_cmp(&scores[a].abs()).then(a.cmp(&b)));
    ks.iter().map(|k| order[..*k.min(&order.len())].to_vec()).collect()
}

/// From the 1,024 units of the largest F-statistics down.
fn adaptive(ground: &Ground, target: &Target, ks: &[usize]) -> Vec<Vec<usize>> {
    let most = ks.last().copied().unwrap_or(0);
    let Some(mut units) = nested(&ground.correlations(target), &[START.max(most)]).pop() else { return Vec::new() };
    let labels = target.column();
    let mut found = vec![Vec::new(); ks.len()];
    let smallest = ks.first().copied().unwrap_or(0).max(1);
    loop {
        let x = Mat::from_fn(ground.train.len(), units.len(), |i, j| ground.x[(ground.train[i], units[j])]);
        let fitted = Logistic::fit(&x, &labels, RIDGE);
        // In deviations, so that a unit's scale doesn't matter.
        let weights = fitted.weights.row(0).iter().zip(&units).map(|(w, &u)| f64::from(*w) * ground.deviation[u]);
        let weights: Vec<f64> = weights.collect();
        let Some(order) = nested(&weights, &[units.len()]).pop() else { break };
        units = order.iter().map(|&at| units[at]).collect();
        for (found, _) in found.iter_mut().zip(ks).filter(|(_, k)| **k == units.len()) {
            found.clone_from(&units);
        }
        if units.len() <= smallest {
            break;
        }
        let next = ((units.len() as f64 * STAYS) as usize).max(1);
        let asked = ks.iter().copied().filter(|k| *k < units.len()).max().unwrap_or(1);
        units.truncate(next.max(asked));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::split::Split;
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn every_selector_finds_the_units_that_hold_the_label() {
        let mut rng = Rng::new(1);
        let labels = Mat::from_fn(3000, 1, |_, _| f32::from(rng.chance(0.3)));
        let x = Mat::from_fn(3000, 12, |i, j| match j {
            7 => 2.0 * labels[(i, 0)] + 0.7 * rng.normal(),
            2 => -labels[(i, 0)] + 0.7 * rng.normal(),
            11 => 5.0,
            _ => rng.normal(),
        });
        let split = Split::new(3000, &rng);
        let ground = Ground::new(&x, &split);
        let target = ground.targets(&labels).remove(0);
        for selector in &SELECTORS {
            let found = (selector.pick)(&ground, &target, &[1, 2, 5, 12]);
            assert_eq!(found[0], [7], "{}", selector.id);
            assert_eq!(found[1], [7, 2], "{}", selector.id);
            assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 5, 12], "{}", selector.id);
            let mut all = found[3].clone();
            all.sort_unstable();
            assert_eq!(all, (0..12).collect::<Vec<_>>(), "{}", selector.id);
            assert_eq!(find(selector.id).map(|s| s.id), Some(selector.id));
        }
    }
}
