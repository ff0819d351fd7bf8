//! One file per hypothesis: its statistic, its null, and what both say.

mod adequacy;
mod alignment;
mod codes;
mod curved;
mod dictionary;
mod directions;
mod labelled;
mod mixture;
mod overcomplete;

pub(super) use adequacy::adequacy;
pub(super) use alignment::{alignment, alignment_null, shares};
pub(super) use codes::{By, codes};
pub(super) use curved::{bits, circles, computed};
pub(super) use dictionary::{Given, dictionary};
pub(super) use directions::directions;
pub(super) use labelled::labelled;
pub(super) use mixture::mixture;
pub(super) use overcomplete::{curve, overcomplete};

use super::finding::Hypothesis;
use super::rays::{NARROW, Rays};
use superlens_tensor::{Mat, Rng};

/// What a hypothesis may look at.
pub(super) struct Evidence<'a> {
    /// Held-out rows in white coordinates.
    pub held_out: &'a Mat,
    /// Search rows in white coordinates.
    pub searched: &'a Mat,
    pub rays: &'a Rays,
    /// Directions of the lines in neuron coordinates `[lines, d]`.
    pub in_neurons: &'a Mat,
    /// Columns that vary.
    pub live: &'a [usize],
    pub draws: usize,
    pub rng: &'a Rng,
}

impl Evidence<'_> {
    /// The first held-out rows, `most` of them where rows are narrow: wide rows say more each, and there every draw of a null costs as much.
    fn first_rows(&self, most: usize) -> Mat {
        let fair = (most * NARROW / self.held_out.cols().max(1)).max(most / 4).min(most);
        self.held_out.select_rows(&(0..self.held_out.rows().min(fair)).collect::<Vec<_>>())
    }
}

/// Which end of the null speaks for the hypothesis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Large,
    Small,
}

/// A statistic held against its null's draws: mean, 5 % point on the hypothesis' side, and p = (1 + as extreme) / (1 + draws).
pub(super) struct Against {
    pub mean: f64,
    pub edge: f64,
    pub p: f64,
    pub draws: Vec<f64>,
}

pub(super) fn against(statistic: f64, mut draws: Vec<f64>, side: Side) -> Against {
    draws.sort_by(f64::total_cmp);
    let n = draws.len();
    let extreme = draws.iter().filter(|&&d| if side == Side::Large { d >= statistic } else { d <= statistic }).count();
    let at = |q: f64| draws[((n - 1) as f64 * q).round() as usize];
    Against {
        mean: draws.iter().sum::<f64>() / n as f64,
        edge: at(if side == Side::Large { 0.95 } else { 0.05 }),
        p: (1 + extreme) as f64 / (1 + n) as f64,
        draws,
    }
}

/// A hypothesis that could not be put to a test, and why.
fn untested(id: &str, measures: &str, says: &str) -> Hypothesis {
    Hypothesis {
        id: id.into(),
        measures: measures.into(),
        statistic: 0.0,
        null_mean: 0.0,
        null_high: 0.0,
        null_draws: 0,
        p_value: 1.0,
        supports: false,
        says: says.into(),
        null: "not drawn: there was nothing to test".into(),
        draws: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_is_never_zero_and_counts_the_right_end() {
        let a = against(9.0, (0..99).map(f64::from).collect(), Side::Large);
        assert!((a.p - 0.91).abs() < 1e-12 && (a.edge - 93.0).abs() < 1.5);
        let b = against(-1.0, (0..99).map(f64::from).collect(), Side::Small);
        assert!((b.p - 0.01).abs() < 1e-12 && (b.edge - 5.0).abs() < 1.5);
    }
}
