//! Can concepts be read, and by which kind of probe?

use super::cut::{self, Clusters, Cut, evenly};
use super::{Concepts, GAP, TESTED};
use crate::probes::{Logistic, Nearest, Quadratic, column_aucs};
use superlens_tensor::{Mat, Rng};

/// Penalties of the probes: many features need more.
const LINEAR_RIDGE: f64 = 1e-3;
const QUADRATIC_RIDGE: f64 = 3e-3;
/// Neighbours that vote, and fewer where an item may have few copies.
const NEIGHBOURS: usize = 25;
const COPIES: usize = 9;
/// Draws of the null, the concepts of each, and the rows that its probes are fitted to: what is learnt from permuted labels is noise
/// whatever their number.
const DRAWS: usize = 19;
const DRAWN: usize = 6;
const DRAWN_ROWS: usize = 1500;
/// Concepts of the test on unseen clusters.
const LOOKED_UP: usize = 20;

/// AUCs on held-out rows, a number for each concept tested; `None` where they lack a class.
pub(super) struct Read {
    pub linear: Vec<Option<f64>>,
    pub quadratic: Vec<Option<f64>>,
    pub nearest: Vec<Option<f64>>,
}

/// The means of what is there; `empty` if nothing is.
pub(super) fn mean(of: &[Option<f64>], empty: f64) -> f64 {
    let there: Vec<f64> = of.iter().flatten().copied().collect();
    if there.is_empty() { empty } else { there.iter().sum::<f64>() / there.len() as f64 }
}

/// AUCs of linear probes of all `classes` `[rows, concepts]`.
pub(super) fn linear(white: &Mat, classes: &Mat, cut: &Cut) -> Vec<Option<f64>> {
    let fit = Logistic::fit(&white.select_rows(&cut.train), &classes.select_rows(&cut.train), LINEAR_RIDGE);
    column_aucs(&fit.scores(&white.select_rows(&cut.test)), &classes.select_rows(&cut.test))
}

/// AUCs of the probe of second order and of the nearest rows.
fn nonlinear(white: &Mat, classes: &Mat, cut: &Cut, k: usize, rng: &Rng) -> (Vec<Option<f64>>, Vec<Option<f64>>) {
    let (train, known) = (white.select_rows(&cut.train), classes.select_rows(&cut.train));
    let (new, wanted) = (white.select_rows(&cut.test), classes.select_rows(&cut.test));
    let quadratic = Quadratic::fit(&train, &known, QUADRATIC_RIDGE, &mut rng.fork("products"));
    let nearest = Nearest::fit(&train, &known, k);
    (column_aucs(&quadratic.scores(&new), &wanted), column_aucs(&nearest.scores(&new), &wanted))
}

/// All kinds of probes, on at most [`TESTED`] of the concepts; `linear` holds the AUCs of all.
pub(super) fn read(white: &Mat, concepts: &Concepts, linear: &[Option<f64>], cut: &Cut, rng: &Rng) -> Read {
    let tested = evenly(&(0..concepts.columns.len()).collect::<Vec<_>>(), TESTED);
    let (quadratic, nearest) =
        nonlinear(white, &concepts.classes.select_cols(&tested), cut, NEIGHBOURS.min(cut.train.len()), rng);
    Read { linear: tested.iter().map(|&c| linear[c]).collect(), quadratic, nearest }
}

impl Read {
    /// How far the better of the two is above the linear probe, for each concept.
    fn gaps(&self) -> Vec<Option<f64>> {
        (0..self.linear.len()).map(|c| Some(self.quadratic[c]?.max(self.nearest[c]?) - self.linear[c]?)).collect()
    }

    /// The mean of that, and the share of concepts where it is above [`GAP`].
    pub fn gap(&self) -> (f64, f64) {
        let gaps = self.gaps();
        let large: Vec<Option<f64>> = gaps.iter().map(|g| g.map(|g| f64::from(g > GAP))).collect();
        (mean(&gaps, 0.0), mean(&large, 0.0))
    }
}

/// The gap with permuted labels. All draws are fitted together, so that the rows are gone through once for all.
pub(super) fn gap_null(white: &Mat, concepts: &Concepts, cut: &Cut, rng: &Rng) -> Vec<f64> {
    let drawn = evenly(&(0..concepts.columns.len()).collect::<Vec<_>>(), DRAWN);
    if drawn.is_empty() {
        return Vec::new();
    }
    let few = concepts.classes.select_cols(&drawn);
    let stream = rng.fork("gap null");
    let orders: Vec<Vec<usize>> =
        (0..DRAWS).map(|k| cut::permuted(white.rows(), &mut stream.fork_index(k as u64))).collect();
    let permuted =
        Mat::from_fn(white.rows(), DRAWS * drawn.len(), |i, c| few[(orders[c / drawn.len()][i], c % drawn.len())]);
    let cut = Cut { train: evenly(&cut.train, DRAWN_ROWS), test: cut.test.clone() };
    let k = NEIGHBOURS.min(cut.train.len());
    let (quadratic, nearest) = nonlinear(white, &permuted, &cut, k, &stream);
    let read = Read { linear: linear(white, &permuted, &cut), quadratic, nearest };
    read.gaps().chunks(drawn.len()).map(|gaps| mean(gaps, 0.0)).collect()
}

/// AUC of the better non-linear probe on unseen clusters and, by the same means, within clusters. A code that looks its items up is read
/// from copies of an item, never from other items; a non-linear function is read from both.
pub(super) fn lookup(white: &Mat, concepts: &Concepts, clusters: &Clusters, rng: &Rng) -> (f64, f64) {
    let tested = evenly(&(0..concepts.columns.len()).collect::<Vec<_>>(), LOOKED_UP);
    if tested.is_empty() {
        return (0.5, 0.5);
    }
    let classes = concepts.classes.select_cols(&tested);
    // The better of two means, not the mean of the better: the latter is above one half where there is nothing.
    let best = |cuts: &[Cut]| -> f64 {
        let (mut quadratic, mut nearest) = (Vec::new(), Vec::new());
        for cut in cuts.iter().filter(|c| !c.train.is_empty() && !c.test.is_empty()) {
            let (q, n) = nonlinear(white, &classes, cut, COPIES.min(cut.train.len()), rng);
            quadratic.extend(q);
            nearest.extend(n);
        }
        mean(&quadratic, 0.5).max(mean(&nearest, 0.5))
    };
    (best(&clusters.unseen), best(std::slice::from_ref(&clusters.seen)))
}
