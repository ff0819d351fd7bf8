//! All that is asked of concepts, in its order.

use std::ops::Range;

use rayon::prelude::*;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

use super::concept::{Compared, Concept, Exact, Study};
use super::exact;
use super::f1::judged;
use super::ground::{Ground, Target};
use super::nulls::{Draws, Null, WIDEST, rotated, shifted};
use super::readout::{RIDGE, Scores};
use super::selectors::{SELECTORS, Selector};
use super::split::Split;
use super::{LARGEST, f1};
use crate::probes::Logistic;

/// Rows of each class that both parts must have.
const FEWEST: usize = 10;
/// Concepts between two looks at the progress.
const AT_ONCE: usize = 8;

/// What is asked.
#[derive(Clone)]
pub struct Options {
    /// Sizes of supports; those beyond the units, or [`LARGEST`], are left out.
    pub ks: Vec<usize>,
    pub selector: &'static Selector,
    /// Whether all selectors are tried beside it.
    pub compare: bool,
    /// Supports of every size up to this one are searched exactly, at most [`exact::MOST`], and nodes of each search.
    pub exact: usize,
    pub nodes: u64,
    /// Draws of each null, and the size of the probes in them.
    pub draws: usize,
    pub null_k: usize,
    /// Whether the units are axes that can be turned; the reason is told where they are not.
    pub rotate: Result<(), String>,
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ks: default_ks(LARGEST),
            selector: &SELECTORS[0],
            compare: false,
            exact: 0,
            nodes: 100_000,
            draws: 39,
            null_k: 1,
            rotate: Ok(()),
            seed: 0,
        }
    }
}

/// Powers of two up to the number of units and 256.
pub fn default_ks(units: usize) -> Vec<usize> {
    (0..).map(|p| 1usize << p).take_while(|k| *k <= units.min(LARGEST)).collect()
}

/// Asks about every column of `labels` `[rows, concepts]`, zeros and ones, in `x` `[rows, units]`, finite. `names` `[concepts]`; `watch` hears the
/// share that is done and what is being done. The same bytes on any number of threads.
///
/// Panics where rows or names don't match.
pub fn study(
    x: &Mat,
    labels: &Mat,
    names: &[String],
    options: &Options,
    watch: &mut dyn FnMut(f64, &'static str),
) -> Study {
    assert_eq!(x.rows(), labels.rows(), "rows of {:?} and {:?}", x.shape(), labels.shape());
    assert_eq!(names.len(), labels.cols(), "names for labels {:?}", labels.shape());
    let rng = Rng::new(options.seed).fork("probe");
    let split = Split::new(x.rows(), &rng);
    watch(0.0, "comparing classes");
    let ground = Ground::new(x, &split);
    let targets = ground.targets(labels);
    let mut concepts: Vec<Concept> = targets.iter().zip(names).map(|(t, name)| begun(t, name)).collect();
    // Those that have enough rows are looked at; labels without the others keep their order.
    let alive: Vec<usize> = (0..concepts.len()).filter(|&c| concepts[c].note.is_none()).collect();
    let asked = Asked {
        labels: &labels.select_cols(&alive),
        targets: &alive.iter().map(|&c| &targets[c]).collect::<Vec<_>>(),
        blocks: split.held_out.iter().map(Range::len).collect(),
        ground: &ground,
        options,
        rng,
    };
    let mut found: Vec<Concept> = alive.iter().map(|&c| std::mem::take(&mut concepts[c])).collect();
    let mut rotation_note = options.rotate.clone().err();
    if !alive.is_empty() {
        watch(0.05, "fitting dense probes");
        asked.dense(&mut found);
        asked.sparse(&mut found, &mut |share| watch(0.3 + 0.3 * share, "fitting sparse probes"));
        rotation_note = asked.nulls(&mut found, &mut |share| watch(0.6 + 0.4 * share, "drawing nulls"));
    }
    alive.iter().zip(found).for_each(|(&c, told)| concepts[c] = told);
    Study {
        rows: x.rows(),
        units: x.cols(),
        train_rows: ground.train.len(),
        held_out_rows: ground.held_out.len(),
        held_out_blocks: split.held_out.len(),
        draws: options.draws,
        null_k: options.null_k,
        rotation_note,
        seed: options.seed,
        concepts,
    }
}

/// How frequent a concept is, and a note where that is too rare, or too frequent.
fn begun(target: &Target, name: &str) -> Concept {
    let [train, held_out] = [&target.train, &target.held_out].map(|labels| (Target::count(labels), labels.len()));
    let (positives, rows) = (train.0 + held_out.0, train.1 + held_out.1);
    let fewest = |of: (usize, usize)| of.0.min(of.1 - of.0);
    let note = if positives == 0 || positives == rows {
        Some(format!("every row is {}", if positives == 0 { "negative" } else { "positive" }))
    } else if fewest(train) < FEWEST || fewest(held_out) < FEWEST {
        let rare = if 2 * positives <= rows { "positive" } else { "negative" };
        let (fit, judge) =
            if 2 * positives <= rows { (train.0, held_out.0) } else { (train.1 - train.0, held_out.1 - held_out.0) };
        Some(format!("too few {rare} rows: {fit} to fit to and {judge} to judge by, of each {FEWEST} are needed"))
    } else {
        None
    };
    Concept {
        name: name.into(),
        positives,
        balance: positives as f64 / rows.max(1) as f64,
        train_positives: train.0,
        held_out_positives: held_out.0,
        note,
        ..Concept::default()
    }
}

/// The concepts that are looked at: `labels` `[rows, concepts]` and `targets` `[concepts]` side by side.
struct Asked<'a> {
    labels: &'a Mat,
    targets: &'a [&'a Target],
    /// Lengths of the held-out blocks.
    blocks: Vec<usize>,
    ground: &'a Ground<'a>,
    options: &'a Options,
    rng: Rng,
}

impl Asked<'_> {
    fn dense(&self, concepts: &mut [Concept]) {
        let ground = self.ground;
        let scale: Vec<f64> = ground.deviation.iter().map(|s| if *s > 0.0 { *s } else { 1.0 }).collect();
        let fitted = Logistic::fit_standardised(
            &ground.standardised(),
            (&ground.mean, &scale),
            &self.labels.select_rows(&ground.train),
            RIDGE,
        );
        let of = |blocks: &[Range<usize>]| -> Vec<Mat> {
            blocks.iter().map(|b| matmul(ground.x.rows_view(b.start, b.end), fitted.weights.t())).collect()
        };
        let (train, held_out) = (of(&ground.split.train), of(&ground.split.held_out));
        concepts.par_iter_mut().enumerate().for_each(|(c, concept)| {
            let column = |parts: &[Mat]| -> Vec<f32> {
                let one = |part: &Mat| (0..part.rows()).map(|i| part[(i, c)]).collect::<Vec<_>>();
                parts.iter().flat_map(one).collect()
            };
            let scores = Scores { train: column(&train), held_out: column(&held_out) };
            let (f1, auc) = self.judged(&scores, self.targets[c]);
            (concept.dense_f1, concept.dense_f1_interval) = (Some(f1.value), f1.interval);
            (concept.dense_auc, concept.dense_auc_interval) = (auc.map(|a| a.value), auc.and_then(|a| a.interval));
            let share = concept.held_out_positives as f64 / ground.held_out.len() as f64;
            concept.always_f1 = Some(2.0 * share / (1.0 + share));
        });
    }

    fn judged(&self, scores: &Scores, target: &Target) -> (f1::Measured, Option<f1::Measured>) {
        judged(&scores.held_out, &target.held_out, &self.blocks, scores.threshold(target), &self.rng)
    }

    fn ks(&self) -> Vec<usize> {
        let most = self.ground.x.cols().min(LARGEST);
        let mut ks: Vec<usize> = self.options.ks.iter().copied().filter(|k| (1..=most).contains(k)).collect();
        ks.sort_unstable();
        ks.dedup();
        ks
    }

    fn sparse(&self, concepts: &mut [Concept], watch: &mut dyn FnMut(f64)) {
        let (ks, all) = (self.ks(), concepts.len());
        for (at, (concepts, targets)) in concepts.chunks_mut(AT_ONCE).zip(self.targets.chunks(AT_ONCE)).enumerate() {
            watch((at * AT_ONCE) as f64 / all as f64);
            concepts.par_iter_mut().zip(targets).for_each(|(concept, target)| {
                self.one(concept, target, &ks);
            });
        }
    }

    /// Sparse probes of one concept.
    fn one(&self, concept: &mut Concept, target: &Target, ks: &[usize]) {
        let (ground, selector) = (self.ground, self.options.selector);
        concept.selector = selector.id.into();
        concept.k = ks.to_vec();
        concept.supports = (selector.pick)(ground, target, ks);
        for support in &concept.supports {
            let (f1, auc) = self.judged(&Scores::of_units(ground, target, support), target);
            concept.f1.push(Some(f1.value));
            concept.f1_interval.push(f1.interval);
            concept.auc.push(auc.map(|a| a.value));
            concept.auc_interval.push(auc.and_then(|a| a.interval));
        }
        concept.support = concept.fewest().map(|at| concept.supports[at].clone()).unwrap_or_default();
        if self.options.compare {
            let read = |support: &Vec<usize>| Scores::of_units(ground, target, support).f1(target);
            let told = |s: &Selector| Compared {
                selector: s.id.into(),
                f1: (s.pick)(ground, target, ks).iter().map(read).collect(),
            };
            concept.compared = SELECTORS.iter().map(told).collect();
        }
        if self.options.exact > 0 {
            concept.exact = self.exact(target);
        }
    }

    /// The best supports of every size up to the one asked for. All selectors' are where the search begins.
    fn exact(&self, target: &Target) -> Vec<Exact> {
        let ground = self.ground;
        let sizes: Vec<usize> = (1..=self.options.exact.min(exact::MOST).min(ground.x.cols())).collect();
        let picked: Vec<Vec<Vec<usize>>> = SELECTORS.iter().map(|s| (s.pick)(ground, target, &sizes)).collect();
        let cross = ground.correlations(target);
        let one = |(at, k): (usize, &usize)| {
            let starts: Vec<Vec<usize>> = picked.iter().map(|supports| supports[at].clone()).collect();
            let certificate = exact::search(ground.gram(), &cross, *k, &starts, self.options.nodes)?;
            let f1 = Scores::of_units(ground, target, &certificate.support).f1(target);
            Some(Exact { certificate, f1 })
        };
        sizes.iter().enumerate().filter_map(one).collect()
    }

    /// Both nulls. Says why the first was not drawn, where it wasn't.
    fn nulls(&self, concepts: &mut [Concept], watch: &mut dyn FnMut(f64)) -> Option<String> {
        let Options { selector, null_k, draws, rotate, .. } = self.options;
        let k = (*null_k).clamp(1, self.ground.x.cols().min(LARGEST));
        let draws = |name: &str| Draws { selector, k, draws: *draws, rng: self.rng.fork(name) };
        let real = |target: &&Target| {
            let support = (selector.pick)(self.ground, target, &[k]).pop().unwrap_or_default();
            Scores::of_units(self.ground, target, &support).f1(target)
        };
        let real: Vec<f64> = self.targets.par_iter().map(real).collect();
        let turned = rotate.clone().and_then(|()| {
            rotated(self.ground, self.targets, self.labels, &draws("rotation"), &mut |share| watch(0.5 * share))
                .ok_or_else(|| {
                    let id = selector.id;
                    format!("more than {WIDEST} units: turned for {} only, not for {id}", SELECTORS[0].id)
                })
        });
        let moved = shifted(self.ground, self.labels, &draws("permutation"), &mut |share| watch(0.5 + 0.5 * share));
        let told = |null: Option<&Null>, real: f64| (null.and_then(|n| n.p(real)), null.and_then(Null::mean));
        for (c, concept) in concepts.iter_mut().enumerate() {
            (concept.rotation_p, concept.rotation_f1) = told(turned.as_ref().ok().map(|t| &t[c]), real[c]);
            concept.rotation_effect = concept.rotation_f1.map(|null| real[c] - null);
            (concept.permutation_p, concept.permutation_f1) = told(Some(&moved[c]), real[c]);
        }
        turned.err()
    }
}
