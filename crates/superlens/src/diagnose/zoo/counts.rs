//! How well features are counted: layers of sparse features with even densities, where a count can be held to the truth, and others, where it can only
//! be a lower bound.

use super::codes::{Code, Magnitude, power_law};
use super::layers::{aligned, packed, random, rotated};
use crate::diagnose::{Options, diagnose};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Rows where a count is held to the truth: so many for each time that the rarest feature is on in one, and at least.
const ROWS_A_FEATURE: f64 = 100.0;
const LEAST_ROWS: f64 = 10_000.0;
/// Noise beside features whose strengths are of size one.
const NOISE: f32 = 0.02;
/// How far a count may be from the truth, as a share of it.
const NEAR: f64 = 0.10;

/// How the directions lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    Aligned,
    Rotated,
    Random,
    /// Pushed apart.
    Packed,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    pub lie: Lie,
    pub dims: usize,
    /// Features a dimension.
    pub ratio: f64,
    /// Features that are on in a row, on average.
    pub active: f64,
    /// Exponent of the densities: 0 is even.
    pub exponent: f64,
    /// Rows, as a share of what the rarest feature asks for.
    pub rows: f64,
}

/// Settings in which a count is held to the truth.
pub fn kept_to() -> Vec<Setting> {
    let mut out = Vec::new();
    for dims in [16, 32, 64] {
        for active in [1.0, 2.0, 4.0] {
            let setting = |lie, ratio| Setting { lie, dims, ratio, active, exponent: 0.0, rows: 1.0 };
            out.extend([setting(Lie::Aligned, 1.0), setting(Lie::Rotated, 1.0)]);
            for ratio in [1.5, 2.0, 3.0, 4.0] {
                out.extend([setting(Lie::Random, ratio), setting(Lie::Packed, ratio)]);
            }
        }
    }
    out
}

/// Settings in which it can only be a lower bound: eight features a dimension, rare features, few rows.
pub fn beyond() -> Vec<Setting> {
    let mut out = Vec::new();
    for dims in [16, 32, 64] {
        let setting = |lie, ratio, exponent, rows| Setting { lie, dims, ratio, active: 2.0, exponent, rows };
        out.extend([
            setting(Lie::Random, 8.0, 0.0, 1.0),
            setting(Lie::Random, 2.0, 1.0, 0.1),
            setting(Lie::Rotated, 1.0, 1.0, 0.1),
            setting(Lie::Random, 3.0, 0.0, 0.2),
        ]);
    }
    out
}

/// What was counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CountOutcome {
    pub setting: Setting,
    pub number: u64,
    pub rows: usize,
    pub n_features: usize,
    /// Estimate, 90 % interval, and whether it was said to be a lower bound; `None` where nothing was counted.
    pub found: Option<(usize, usize, usize, bool)>,
}

impl CountOutcome {
    fn estimate(&self) -> usize {
        self.found.map_or(0, |f| f.0)
    }

    pub fn is_near(&self) -> bool {
        let n = self.n_features as f64;
        (self.estimate() as f64 - n).abs() <= NEAR * n
    }

    pub fn is_covered(&self) -> bool {
        self.found.is_some_and(|(_, low, high, _)| (low..=high).contains(&self.n_features))
    }

    /// Whether it says more than there are, by more than a tenth.
    pub fn is_above(&self) -> bool {
        self.estimate() as f64 > (1.0 + NEAR) * self.n_features as f64
    }

    /// Whether a count that fell short was said to be a lower bound, or none was given.
    pub fn is_honest(&self) -> bool {
        self.is_near() || self.found.is_none_or(|f| f.3)
    }
}

/// One layer: its rows, and how many features they hold.
pub fn layer(setting: &Setting, rng: &Rng) -> (Mat, usize) {
    let d = setting.dims;
    let n = (setting.ratio * d as f64).round() as usize;
    let mut stream = rng.fork("directions");
    let directions = match setting.lie {
        Lie::Aligned => aligned(n, d, &mut stream),
        Lie::Rotated => rotated(n, d, &mut stream),
        Lie::Random => random(n, d, &mut stream),
        Lie::Packed => packed(n, d, &mut stream),
    };
    let density = power_law(n, setting.active, setting.exponent);
    let rarest = density.iter().copied().fold(1.0, f64::min);
    let rows = (setting.rows * (ROWS_A_FEATURE / rarest).max(LEAST_ROWS)) as usize;
    let features = Code { magnitude: Magnitude::Strong, ..Code::new(density) }.draw(rows, &rng.fork("features"));
    // A feature that is never on is not in the rows.
    let seen = (0..n).filter(|&j| (0..rows).any(|i| features[(i, j)] != 0.0)).count();
    let mut x = matmul(&features, &directions);
    let mut noise = rng.fork("noise");
    x.data_mut().iter_mut().for_each(|v| *v += NOISE * noise.normal());
    (x, seen)
}

/// Counts `cases` layers of each setting; `done` is told how many are.
pub fn exam(settings: &[Setting], seed: u64, cases: u64, done: &(dyn Fn(usize) + Sync)) -> Vec<CountOutcome> {
    let all: Vec<(usize, u64)> = (0..settings.len()).flat_map(|s| (0..cases).map(move |c| (s, c))).collect();
    let finished = AtomicUsize::new(0);
    all.into_par_iter()
        .with_max_len(1)
        .map(|(s, number)| {
            let (setting, stream) =
                (settings[s], Rng::new(seed).fork("counts").fork_index(s as u64).fork_index(number));
            let (x, n_features) = layer(&setting, &stream);
            let options = Options { seed: number, null_draws: 19, parts: false, ..Options::default() };
            let found = diagnose(&x, &options, &mut |_| ControlFlow::Continue(())).ok();
            let found = found.and_then(|d| d.layer.n_features).map(|c| (c.estimate, c.low, c.high, c.lower_bound));
            done(finished.fetch_add(1, Ordering::Relaxed) + 1);
            CountOutcome { setting, number, rows: x.rows(), n_features, found }
        })
        .collect()
}

/// A page that says how well; `command` made it.
pub fn markdown(kept: &[CountOutcome], beyond: &[CountOutcome], command: &str) -> String {
    let share = |a: usize, b: usize| format!("{a} of {b}, {:.0} %", 100.0 * a as f64 / b.max(1) as f64);
    let of = |list: &[CountOutcome], what: fn(&CountOutcome) -> bool| {
        share(list.iter().filter(|o| what(o)).count(), list.len())
    };
    let mut out = format!(
        "# How well features are counted\n\n    {command}\n\nSparse features of strengths between ½ and 1½, with noise of {NOISE} beside them. Rows: {ROWS_A_FEATURE} for each \
         time that the rarest feature is on in one, and {LEAST_ROWS} at least. Truth is the number of features that are on in some row.\n\n| even densities, up to four features a dimension | |\n|---|---|\n| within 10 % | {} |\n| interval covers the truth | {} |\n| more than 10 % above it | {} |\n\n\
         | eight a dimension, densities as 1/i, or too few rows | |\n|---|---|\n| within 10 %, or said to be a lower bound | {} |\n| more than 10 % above the truth | {} |\n\n\
         | directions | dimensions | features a dimension | on in a row | densities | rows | n̂/n | within 10 % | covered | lower bound |\n|---|---|---|---|---|---|---|---|---|---|\n",
        of(kept, CountOutcome::is_near),
        of(kept, CountOutcome::is_covered),
        of(kept, CountOutcome::is_above),
        of(beyond, CountOutcome::is_honest),
        of(beyond, CountOutcome::is_above),
    );
    for list in [kept, beyond] {
        for same in list.chunk_by(|a, b| a.setting == b.setting) {
            let s = same[0].setting;
            let mut ratios: Vec<f64> = same.iter().map(|o| o.estimate() as f64 / o.n_features as f64).collect();
            ratios.sort_by(f64::total_cmp);
            let densities = if s.exponent == 0.0 { "even" } else { "1/i" };
            let count = |what: fn(&CountOutcome) -> bool| same.iter().filter(|o| what(o)).count();
            out += &format!(
                "| {} | {} | {} | {} | {densities} | {} | {:.2} to {:.2} | {} of {} | {} | {} |\n",
                format!("{:?}", s.lie).to_lowercase(),
                s.dims,
                s.ratio,
                s.active,
                same[0].rows,
                ratios[0],
                ratios[ratios.len() - 1],
                count(CountOutcome::is_near),
                same.len(),
                count(CountOutcome::is_covered),
                same.iter().filter(|o| o.found.is_some_and(|f| f.3)).count(),
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_covered_and_honest() {
        let of = |found| CountOutcome { setting: kept_to()[0], number: 0, rows: 10, n_features: 100, found };
        let near = of(Some((95, 85, 99, false)));
        assert!(near.is_near() && !near.is_covered() && near.is_honest() && !near.is_above());
        let short = of(Some((60, 50, 120, true)));
        assert!(!short.is_near() && short.is_covered() && short.is_honest());
        assert!(
            !of(Some((60, 50, 120, false))).is_honest()
                && of(None).is_honest()
                && of(Some((111, 1, 200, true))).is_above()
        );
        let page = markdown(&[near], &[short], "command");
        assert!(page.contains("| within 10 % | 1 of 1, 100 % |") && page.contains("0.95 to 0.95"), "{page}");
    }

    #[test]
    fn few_features_are_counted() {
        let setting = Setting { lie: Lie::Random, dims: 8, ratio: 2.0, active: 1.0, exponent: 0.0, rows: 0.5 };
        let found = exam(&[setting], 1, 2, &|_| {});
        assert!(found.iter().all(|o| o.n_features == 16 && o.is_near()), "{found:?}");
    }
}
