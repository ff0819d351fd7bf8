//! Features within and across the heads of an attention layer.
//!
//! The columns of `hook_z` or `hook_result` are those of the heads, side by side. A feature of the layer lies within a head if nearly all of its
//! squared length is in that head's columns, and across heads otherwise: attention-head superposition (Jermyn, Olah and Henighan 2023) has features
//! that no head shows alone. Random directions are spread over all heads, which is what the features' spread is held against.

use serde::{Deserialize, Serialize};
use superlens_tensor::{Mat, Rng};

use super::Verdict;
use crate::verdict::Mechanism;

/// Share of a feature's squared length that makes it a head's own.
const OWN: f64 = 0.9;
/// Share from which a head carries some of a feature.
const CARRIED: f64 = 0.1;
/// Random directions that tell how far chance spreads.
const RANDOM: usize = 999;

/// Heads of a layer, and how features lie across them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heads {
    pub heads: Vec<Head>,
    /// Features with nine tenths of their squared length in one head.
    pub within: usize,
    /// All others.
    pub across: usize,
    /// Effective number of heads of each feature, 1 / Σ share²: 1 for a head's own.
    pub spread: Vec<f64>,
    /// The median of the same over random directions.
    pub spread_of_random: f64,
    pub says: String,
}

/// One head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub index: usize,
    /// Features of the layer with a tenth of their squared length here at least, and those that are its own.
    pub carries: usize,
    pub own: usize,
    /// What its columns show by themselves; `None` where they don't vary.
    pub alone: Option<Alone>,
}

/// The diagnosis of a head's columns alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alone {
    pub verdict: Verdict,
    pub mechanism: Option<Mechanism>,
    pub confidence: f64,
    /// Features found there.
    pub n_features: Option<usize>,
}

/// How `directions` `[features, columns]` lie across `count` heads of equally many columns; `alone` is what each head shows by itself. Panics unless
/// the columns are a multiple of the heads, and on another number of `alone`.
pub fn heads(directions: &Mat, count: usize, alone: Vec<Option<Alone>>, rng: &Rng) -> Heads {
    assert!(count > 0 && directions.cols().is_multiple_of(count), "{count} heads of {} columns", directions.cols());
    assert_eq!(alone.len(), count, "what each head shows alone");
    let shares: Vec<Vec<f64>> = (0..directions.rows()).map(|f| shares(directions.row(f), count)).collect();
    let own = |f: &Vec<f64>| f.iter().any(|s| *s >= OWN);
    let within = shares.iter().filter(|f| own(f)).count();
    let mut rng = rng.fork("heads");
    let mut random: Vec<f64> = (0..RANDOM)
        .map(|_| effective(&self::shares(&(0..directions.cols()).map(|_| rng.normal()).collect::<Vec<f32>>(), count)))
        .collect();
    random.sort_by(f64::total_cmp);
    let list = alone.into_iter().enumerate().map(|(h, alone)| Head {
        index: h,
        carries: shares.iter().filter(|f| f[h] >= CARRIED).count(),
        own: shares.iter().filter(|f| f[h] >= OWN).count(),
        alone,
    });
    let spread: Vec<f64> = shares.iter().map(|f| effective(f)).collect();
    let across = shares.len() - within;
    let says = says(within, across, &spread, random[RANDOM / 2]);
    Heads { heads: list.collect(), within, across, spread_of_random: random[RANDOM / 2], spread, says }
}

/// Shares of the squared length in each head.
fn shares(direction: &[f32], count: usize) -> Vec<f64> {
    let squares = |part: &[f32]| part.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let all = squares(direction).max(f64::MIN_POSITIVE);
    direction.chunks(direction.len() / count).map(|part| squares(part) / all).collect()
}

fn effective(shares: &[f64]) -> f64 {
    1.0 / shares.iter().map(|s| s * s).sum::<f64>().max(f64::MIN_POSITIVE)
}

fn says(within: usize, across: usize, spread: &[f64], random: f64) -> String {
    if spread.is_empty() {
        return "No features were found, so nothing can be said of how they lie across heads.".into();
    }
    let mut sorted = spread.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    format!(
        "{within} of the features lie within one head, {across} across several; half of them are spread over {median:.1} heads or fewer, where random directions are over {random:.1}."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_counted_where_they_lie() {
        // Four heads of two columns: one feature in the first, one over the first two, one over all.
        let rows = [[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [1.0; 8]];
        let directions = Mat::from_fn(3, 8, |i, j| rows[i][j]);
        let found = heads(&directions, 4, vec![None; 4], &Rng::new(1));
        assert_eq!((found.within, found.across), (1, 2));
        assert_eq!(found.spread, vec![1.0, 2.0, 4.0]);
        let carried: Vec<(usize, usize)> = found.heads.iter().map(|h| (h.carries, h.own)).collect();
        assert_eq!(carried, [(3, 1), (2, 0), (1, 0), (1, 0)]);
        assert!(found.spread_of_random > 1.5 && found.spread_of_random < 4.0);
        assert!(heads(&Mat::zeros(0, 8), 2, vec![None; 2], &Rng::new(1)).says.contains("No features"));
    }
}
