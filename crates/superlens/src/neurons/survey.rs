//! The survey: one pass over all rows for every unit's profile, then its examples, its facets, and the triggers in its texts.

use std::ops::{ControlFlow, Range};

use rayon::prelude::*;
use superlens_lm::store::Tokens;
use superlens_tensor::{Mat, Rng};

use super::facets::facets;
use super::patterns::{Background, Patterns, WINDOW, patterns};
use super::profile::{Pass, Peak, Profile, candidates};
use super::{Source, Units};

/// Numbers of a block of rows in memory.
const BLOCK: usize = 1 << 22;
/// Rows that tell the scale of every column, and the background of patterns.
const BACKGROUND: u64 = 4096;
/// Examples among the largest that facets and patterns are found in; as many again come from below.
const LARGEST: usize = 48;

/// How examples are chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// Examples around the largest values.
    pub top: usize,
    /// Groups of the rows above zero, between quantiles, and examples of each.
    pub groups: usize,
    pub each: usize,
    /// Rows that two examples are apart at least.
    pub apart: u64,
    /// Only what the pass over the rows keeps: no facets, no patterns.
    pub quick: bool,
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { top: 20, groups: 4, each: 5, apart: 8, quick: false, seed: 0 }
    }
}

/// What was found of one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    pub profile: Profile,
    /// The largest, largest first, each with its facet.
    pub top: Vec<(Peak, Option<usize>)>,
    /// Boundaries of groups of the rows above zero, lowest first, and examples of each group.
    pub boundaries: Vec<f32>,
    pub groups: Vec<Vec<Peak>>,
    /// How many facets the examples on which it clearly responds fall into, and how many examples those were; `None` where none were looked for.
    pub facets: Option<usize>,
    pub examples: usize,
    /// Where the rows have tokens.
    pub patterns: Option<Patterns>,
}

impl Study {
    /// What its profile says alone.
    fn plain(mut profile: Profile, options: &Options) -> Study {
        let (boundaries, groups) = profile.by_quantile(options.groups, options.each);
        let top = profile.spaced_top(options.top, options.apart);
        profile.bins.forget_rows();
        let top = top.into_iter().map(|p| (p, None)).collect();
        Study { profile, top, boundaries, groups, facets: None, examples: 0, patterns: None }
    }

    /// On more than one kind of row.
    pub fn polysemantic(&self) -> bool {
        self.facets.is_some_and(|n| n > 1)
    }
}

/// Surveys all `units` over `source`; `watch` hears the share that is done and may end it.
///
/// # Errors
/// What `watch` ends it with, and a row that isn't finite.
pub fn survey(
    source: Source<'_>,
    units: &Units,
    tokens: Option<&Tokens>,
    options: &Options,
    watch: &mut dyn FnMut(f64, &'static str) -> ControlFlow<()>,
) -> Result<Vec<Study>, SurveyError> {
    let profiles = pass(source, units, candidates(options.top), options.seed, watch)?;
    if watch(0.9, "looking at examples").is_break() {
        return Err(SurveyError::Stopped);
    }
    if options.quick {
        return Ok(profiles.into_par_iter().map(|profile| Study::plain(profile, options)).collect());
    }
    let ground = Ground::of(source, tokens, options.seed);
    Ok(profiles.into_par_iter().map(|profile| study(source, units, tokens, &ground, profile, options)).collect())
}

/// Why there is no survey.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SurveyError {
    #[error("stopped")]
    Stopped,
    #[error("row {row} (counted from 0) holds NaN or infinite values")]
    NotFinite { row: u64 },
}

/// The profiles of all units, from every row once.
pub fn pass(
    source: Source<'_>,
    units: &Units,
    top: usize,
    seed: u64,
    watch: &mut dyn FnMut(f64, &'static str) -> ControlFlow<()>,
) -> Result<Vec<Profile>, SurveyError> {
    let mut pass = Pass::new(units, top, seed);
    for rows in blocks(source.len(), source.width().max(units.len().min(1 << 13))) {
        let block = source.range(rows.clone());
        finite(&block, rows.start)?;
        pass.add(&block);
        if watch(0.9 * rows.end as f64 / source.len() as f64, "reading rows").is_break() {
            return Err(SurveyError::Stopped);
        }
    }
    Ok(pass.finish())
}

fn finite(block: &Mat, first: u64) -> Result<(), SurveyError> {
    let width = block.cols().max(1);
    let bad = block.data().par_chunks(width).position_first(|row| row.iter().any(|v| !v.is_finite()));
    bad.map_or(Ok(()), |i| Err(SurveyError::NotFinite { row: first + i as u64 }))
}

/// Blocks of rows whose sizes are multiples of the stretches that profiles add up: only so is a profile the same however it is cut.
fn blocks(rows: u64, width: usize) -> impl Iterator<Item = Range<u64>> {
    let each = ((BLOCK / width.max(1)) as u64 / 64).max(1) * 64;
    (0..rows.div_ceil(each)).map(move |b| b * each..((b + 1) * each).min(rows))
}

/// What is ordinary: the mean and scale of every column, and random contexts.
struct Ground {
    mean: Vec<f64>,
    scale: Vec<f64>,
    texts: Option<Background>,
}

impl Ground {
    fn of(source: Source<'_>, tokens: Option<&Tokens>, seed: u64) -> Ground {
        let rows = source.sample(BACKGROUND, 1, &Rng::new(seed).fork("background"));
        let (mean, scale) = crate::probes::column_scales(&source.select(&rows));
        let texts = tokens.map(|t| Background::of(&rows.iter().map(|&row| words(t, row)).collect::<Vec<_>>()));
        Ground { mean, scale, texts }
    }
}

/// The words up to a row, in its document.
fn words(tokens: &Tokens, row: u64) -> Vec<u32> {
    let rows = tokens.around(row, WINDOW as u64 - 1, 0);
    rows.map(|at| tokens.word(at)).collect()
}

fn study(
    source: Source<'_>,
    units: &Units,
    tokens: Option<&Tokens>,
    ground: &Ground,
    profile: Profile,
    options: &Options,
) -> Study {
    let examples = responding(&profile, options.apart);
    let rows: Vec<u64> = examples.iter().map(|p| p.row).collect();
    let found = facets(&rest_of_layer(source, units, profile.unit, ground, &rows));
    let of = |peak: &Peak| rows.iter().position(|row| *row == peak.row).map(|i| found.of[i]);
    let mut study = Study::plain(profile, options);
    study.top.iter_mut().for_each(|(peak, facet)| *facet = of(peak));
    study.facets = Some(if examples.is_empty() { 0 } else { found.count });
    study.examples = examples.len();
    study.patterns = tokens.zip(ground.texts.as_ref()).map(|(tokens, texts)| {
        let contexts: Vec<Vec<u32>> = rows.iter().map(|&row| words(tokens, row)).collect();
        patterns(&contexts, texts, options.seed)
    });
    study
}

/// Examples on which the unit clearly responds: the largest, and some from below, where another meaning may hide.
///
/// Clearly: above a sixth of its largest value and well above its usual ones, but half of the largest is always enough.
fn responding(profile: &Profile, apart: u64) -> Vec<Peak> {
    if profile.dead() {
        return Vec::new();
    }
    let usual = profile.mean + 1.5 * profile.variance.sqrt();
    let least = (f64::from(profile.max) / 6.0).max(usual).min(f64::from(profile.max) / 2.0) as f32;
    let mut chosen: Vec<Peak> = profile.bins.rows_from(least);
    let far = |chosen: &[Peak], peak: &Peak| chosen.iter().all(|c| c.row.abs_diff(peak.row) >= apart);
    let below = std::mem::take(&mut chosen);
    below.into_iter().for_each(|peak| {
        if far(&chosen, &peak) {
            chosen.push(peak)
        }
    });
    let mut added = 0;
    for peak in profile.top.iter().filter(|p| p.value >= least) {
        if added == LARGEST {
            break;
        }
        if far(&chosen, peak) {
            chosen.push(*peak);
            added += 1;
        }
    }
    chosen
}

/// What the layer does at these rows besides this unit, `[rows, d]`, in deviations of each column from what is usual.
fn rest_of_layer(source: Source<'_>, units: &Units, unit: usize, ground: &Ground, rows: &[u64]) -> Mat {
    let mut x = source.select(rows);
    let direction = match units {
        Units::Neurons(_) => None,
        Units::Latents(sae) => (sae.d_out() == sae.d_in()).then(|| sae.w_dec.row(unit)),
        Units::Directions(directions) => Some(directions.row(unit)),
    };
    let length = direction.map_or(0.0, |d| d.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>());
    for row in x.data_mut().chunks_mut(ground.mean.len().max(1)) {
        for (v, (m, s)) in row.iter_mut().zip(ground.mean.iter().zip(&ground.scale)) {
            *v = ((f64::from(*v) - m) / s) as f32;
        }
        match direction {
            None => row[unit] = 0.0,
            // Along the direction as it is in these units.
            Some(d) if length > 0.0 => {
                let scaled = |j: usize| f64::from(d[j]) / ground.scale[j];
                let own: f64 = (0..row.len()).map(|j| scaled(j).powi(2)).sum();
                let along: f64 = (0..row.len()).map(|j| scaled(j) * f64::from(row[j])).sum::<f64>() / own.max(1e-30);
                (0..row.len()).for_each(|j| row[j] -= (along * scaled(j)) as f32);
            }
            Some(_) => {}
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sparse features along random directions, one of which is that of neuron 0 together with others.
    fn planted(carried: usize) -> Mat {
        let (n, d, features) = (20_000, 48, 40);
        let mut rng = Rng::new(3).fork("survey test").fork_index(carried as u64);
        let directions = Mat::from_fn(features, d, |f, j| match j {
            0 if f < carried => 0.6 + 0.4 * rng.uniform(),
            0 => 0.0,
            _ => rng.normal() / (d as f32).sqrt(),
        });
        let mut x = Mat::from_fn(n, d, |_, _| 0.03 * rng.normal());
        for i in 0..n {
            for f in 0..features {
                if rng.chance(0.01) {
                    let size = 0.5 + rng.uniform();
                    (0..d).for_each(|j| x[(i, j)] += size * directions[(f, j)]);
                }
            }
        }
        x
    }

    /// The largest values of a sum come where several of its features are on at once, which blurs the facets: within one, mostly.
    #[test]
    fn a_neuron_has_about_as_many_facets_as_features() {
        let mut watch = |_: f64, _: &'static str| ControlFlow::Continue(());
        for carried in 1..=3 {
            let x = planted(carried);
            let found = survey(Source::Matrix(&x), &Units::Neurons(48), None, &Options::default(), &mut watch).unwrap();
            let facets = found[0].facets.unwrap();
            assert!(facets.abs_diff(carried) <= 1, "{facets} facets of {carried} features");
            assert!(found[0].examples > 40 && found[0].top.iter().all(|(_, facet)| facet.is_none_or(|f| f < facets)));
        }
    }

    #[test]
    fn what_is_not_finite_is_told() {
        let mut x = planted(1);
        x[(17, 3)] = f32::NAN;
        let watch = &mut |_: f64, _: &'static str| ControlFlow::Continue(());
        let found = survey(Source::Matrix(&x), &Units::Neurons(48), None, &Options::default(), watch);
        assert_eq!(found, Err(SurveyError::NotFinite { row: 17 }));
    }
}
