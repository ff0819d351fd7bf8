//! [`stability`]: whether two dictionaries, of two seeds for instance, found the same directions.

use super::agreement::{Nearest, mcc, nearest};
use crate::geometry::recover::unit_rows;
use serde::Serialize;
use superlens_tensor::{Mat, Rng};

/// A one-to-one match is sought while fewer² · more latents are at most this many: minutes.
const MATCHED: u64 = 1 << 38;
/// The same for each draw of the null; one-to-one matches of random directions are the slowest.
const MATCHED_BY_CHANCE: u64 = 1 << 30;
/// Draws of the null: as many as make this many pairs, but one at least and [`MOST_DRAWS`] at most.
const NULL_PAIRS: usize = 1 << 26;
const MOST_DRAWS: usize = 20;

/// How far the latents of two dictionaries have partners in the other: |cos| of decoder rows, since a direction and its negative span the
/// same line. `_of_other` is the same from the other dictionary's side; a split latent shows there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Mean over the latents of the largest |cos| with any of the other dictionary.
    pub mean_max_cosine: f64,
    pub mean_max_cosine_of_other: f64,
    /// Share of the latents with a |cos| above 0.7, and above 0.9. (0.7 is where Leask et al. 2025 part latents that are in the smaller
    /// dictionary from those that are not.)
    pub over_70_percent: f64,
    pub over_90_percent: f64,
    pub over_70_percent_of_other: f64,
    pub over_90_percent_of_other: f64,
    /// Mean |cos| of the best one-to-one match, over the smaller number of latents: [`mcc`]. NaN where there are too many for it.
    pub mcc: f64,
}

/// [`Agreement`] of two dictionaries beside that of random ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Stability {
    /// Latents compared of the one and of the other dictionary.
    pub latents: usize,
    pub latents_of_other: usize,
    #[serde(flatten)]
    pub found: Agreement,
    /// The mean of `draws` pairs of sets of random directions, uniform on the sphere, of the same sizes; and the largest of them, number
    /// by number.
    pub null: Agreement,
    pub null_largest: Agreement,
    pub draws: usize,
}

/// Compares the rows of `a` `[n, d]` and `b` `[m, d]`, tile by tile; the one-to-one match alone holds `n · m` numbers, and is left out where
/// it would take long. Panics on different widths.
pub fn stability(a: &Mat, b: &Mat, rng: &Rng) -> Stability {
    let pairs = (a.rows() * b.rows()).max(1);
    let draws = (NULL_PAIRS / pairs).clamp(1, MOST_DRAWS);
    let by_chance: Vec<Agreement> = (0..draws)
        .map(|draw| {
            let mut rng = rng.fork_index(draw as u64);
            let directions = [a.rows(), b.rows()].map(|n| unit_rows(n, a.cols(), &mut rng));
            Agreement::of(&directions[0], &directions[1], MATCHED_BY_CHANCE)
        })
        .collect();
    Stability {
        latents: a.rows(),
        latents_of_other: b.rows(),
        found: Agreement::of(a, b, MATCHED),
        null: Agreement::merged(&by_chance, |values| values.iter().sum::<f64>() / values.len() as f64),
        null_largest: Agreement::merged(&by_chance, |values| values.iter().copied().fold(f64::NAN, f64::max)),
        draws,
    }
}

impl Agreement {
    fn of(a: &Mat, b: &Mat, matched: u64) -> Agreement {
        let (there, back) = (nearest(a, b), nearest(b, a));
        let (few, many) = (a.rows().min(b.rows()) as u64, a.rows().max(b.rows()) as u64);
        let matches = few.saturating_mul(few).saturating_mul(many) <= matched;
        Agreement {
            mean_max_cosine: mean(&there),
            mean_max_cosine_of_other: mean(&back),
            over_70_percent: above(&there, 0.7),
            over_90_percent: above(&there, 0.9),
            over_70_percent_of_other: above(&back, 0.7),
            over_90_percent_of_other: above(&back, 0.9),
            mcc: if matches { mcc(a, b) } else { f64::NAN },
        }
    }

    fn merged(all: &[Agreement], merge: impl Fn(&[f64]) -> f64) -> Agreement {
        let of = |number: fn(&Agreement) -> f64| merge(&all.iter().map(number).collect::<Vec<_>>());
        Agreement {
            mean_max_cosine: of(|a| a.mean_max_cosine),
            mean_max_cosine_of_other: of(|a| a.mean_max_cosine_of_other),
            over_70_percent: of(|a| a.over_70_percent),
            over_90_percent: of(|a| a.over_90_percent),
            over_70_percent_of_other: of(|a| a.over_70_percent_of_other),
            over_90_percent_of_other: of(|a| a.over_90_percent_of_other),
            mcc: of(|a| a.mcc),
        }
    }
}

/// NaN of no latents.
fn mean(nearest: &[Nearest]) -> f64 {
    nearest.iter().map(|n| n.absolute).sum::<f64>() / nearest.len() as f64
}

fn above(nearest: &[Nearest], least: f64) -> f64 {
    nearest.iter().filter(|n| n.absolute > least).count() as f64 / nearest.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three axes against the first of them, negated, and the diagonals of the other two.
    #[test]
    fn small_case_by_hand() {
        let a = Mat::from_vec(3, 3, vec![2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        let b = Mat::from_vec(2, 3, vec![-1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        let Stability { found, latents, latents_of_other, draws, .. } = stability(&a, &b, &Rng::new(0));
        let half = 0.5f64.sqrt();
        assert_eq!((latents, latents_of_other, draws), (3, 2, MOST_DRAWS));
        let close = |x: f64, y: f64| assert!((x - y).abs() < 1e-6, "{x} for {y}: {found:?}");
        close(found.mean_max_cosine, (1.0 + 2.0 * half) / 3.0);
        close(found.mean_max_cosine_of_other, (1.0 + half) / 2.0);
        close(found.mcc, (1.0 + half) / 2.0);
        close(found.over_70_percent, 1.0);
        close(found.over_90_percent, 1.0 / 3.0);
        close(found.over_90_percent_of_other, 0.5);
    }

    /// Shuffled, negated and stretched rows are the same dictionary; random rows are what the null says.
    #[test]
    fn the_same_dictionary_is_told_from_chance() {
        let mut rng = Rng::new(1);
        let a = Mat::from_fn(60, 24, |_, _| rng.normal());
        let b = Mat::from_fn(60, 24, |i, j| a[((i * 7 + 3) % 60, j)] * (i as f32 - 20.5));
        let same = stability(&a, &b, &rng);
        assert!(same.found.mcc > 1.0 - 1e-5 && same.found.over_90_percent == 1.0, "{same:?}");
        let other = Mat::from_fn(60, 24, |_, _| rng.normal());
        let Stability { found, null, null_largest, .. } = stability(&a, &other, &rng);
        assert!((found.mean_max_cosine - null.mean_max_cosine).abs() < 0.05, "{found:?} {null:?}");
        assert!((found.mcc - null.mcc).abs() < 0.05 && null.mcc < 0.6, "{found:?} {null:?}");
        assert!(null_largest.mcc > null.mcc && null_largest.mean_max_cosine > null.mean_max_cosine);
    }

    #[test]
    fn too_many_for_a_match_and_none_at_all() {
        let a = Mat::from_vec(2, 2, vec![1.0, 0.0, 0.0, 1.0]);
        assert!(Agreement::of(&a, &a, 7).mcc.is_nan() && Agreement::of(&a, &a, 8).mcc == 1.0);
        let none = stability(&Mat::zeros(0, 2), &a, &Rng::new(0));
        assert!(none.found.mean_max_cosine.is_nan() && none.found.mean_max_cosine_of_other == 0.0, "{none:?}");
    }
}
