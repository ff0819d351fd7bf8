//! Toys trained from scratch, and their layers diagnosed as if nothing were known of the weights: each cause as training makes it.

use super::{
    Answer, COMPOSITIONAL, COMPUTATIONAL, INCIDENTAL, MONOSEMANTIC, NONLINEAR, ROTATED, SUPERPOSITION, score::word,
};
use crate::diagnose::{Options, diagnose};
use crate::toy::lab::{Settings, Toy};
use crate::toy::{Made, make};
use crate::verdict::Basis;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use superlens_tensor::{Mat, Rng};

/// What the diagnosis is told of the rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    /// What the toy's features are in each row.
    Features,
    /// Which of its features are on.
    Presence,
}

/// A toy that is trained.
struct Recipe {
    name: &'static str,
    toy: &'static str,
    set: &'static [&'static str],
    rows: usize,
    told: Told,
    /// What can be defended if training ends where it should.
    defended: &'static [Answer],
}

const RECIPES: [Recipe; 7] = [
    Recipe {
        name: "ReLU output",
        toy: "relu_output",
        set: &["n_features=60", "density=0.02", "d_hidden=20", "steps=1500", "batch=512", "lr=0.01"],
        rows: 20_000,
        told: Told::Nothing,
        defended: &[SUPERPOSITION],
    },
    Recipe {
        name: "incidental",
        toy: "incidental",
        set: &["n_features=64", "d_hidden=96", "density=0.05"],
        rows: 20_000,
        told: Told::Presence,
        defended: &[INCIDENTAL],
    },
    Recipe {
        name: "stuck",
        toy: "stuck",
        set: &["task=abs", "n_inputs=10", "d_hidden=20", "density=0.2"],
        rows: 20_000,
        told: Told::Nothing,
        defended: &[ROTATED],
    },
    Recipe {
        name: "product x·y",
        toy: "product",
        set: &[],
        rows: 20_000,
        told: Told::Features,
        defended: &[COMPUTATIONAL],
    },
    Recipe {
        name: "modular addition",
        toy: "modular_addition",
        set: &[],
        rows: 20_000,
        told: Told::Features,
        defended: &[COMPUTATIONAL],
    },
    Recipe { name: "circular", toy: "circular", set: &[], rows: 20_000, told: Told::Nothing, defended: &[NONLINEAR] },
    Recipe {
        name: "memoriser",
        toy: "memoriser",
        set: &["labels=8"],
        rows: 20_000,
        told: Told::Presence,
        defended: &[COMPOSITIONAL],
    },
];

/// What was said of one trained toy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainedOutcome {
    pub name: String,
    pub seed: u64,
    /// What its weights show.
    pub truth: String,
    pub defended: Vec<Answer>,
    pub said: Answer,
    pub confidence: f64,
    pub neurons: usize,
}

impl TrainedOutcome {
    pub fn is_right(&self) -> bool {
        self.defended.contains(&self.said)
    }
}

impl Recipe {
    fn examine(&self, seed: u64) -> TrainedOutcome {
        let toy = Toy::find(self.toy).expect("a toy of the lab");
        let pairs: Vec<String> = self.set.iter().map(|s| s.to_string()).collect();
        let settings = Settings::parse(toy.name, toy.settings, &pairs).expect("settings of the toy");
        let model = (toy.model.expect("a toy with a layer"))(&settings).expect("settings that go together");
        let stream = Rng::new(seed).fork("trained").fork(self.name);
        let made = make(model.as_ref(), &stream, &mut |_| ControlFlow::Continue(()));
        let Made { params, .. } = made.expect("nobody broke");
        let truth = model.truth(&params).label();
        let sample = model.sample(&params, self.rows, &stream.fork("rows"));
        let labels = match self.told {
            Told::Nothing => None,
            Told::Features => Some(sample.features),
            Told::Presence => {
                let (rows, columns) = sample.features.shape();
                Some(Mat::from_fn(rows, columns, |i, j| f32::from(sample.features[(i, j)] > 0.0)))
            }
        };
        let options = Options { basis: Basis::Unknown, seed, labels, parts: false, ..Options::default() };
        let found = diagnose(&sample.activations, &options, &mut |_| ControlFlow::Continue(()));
        let (said, confidence) = found.map_or(((crate::verdict::Verdict::Inconclusive, None), 1.0), |d| {
            ((d.layer.verdict, d.layer.mechanism), d.layer.confidence)
        });
        // Where chance kept all features apart there is nothing to find but that.
        let apart = self.defended == [INCIDENTAL] && truth == word(MONOSEMANTIC);
        TrainedOutcome {
            name: self.name.into(),
            seed,
            truth,
            defended: if apart { vec![MONOSEMANTIC] } else { self.defended.to_vec() },
            said,
            confidence,
            neurons: sample.activations.cols(),
        }
    }
}

/// Toys that [`exam`] trains.
pub fn count() -> usize {
    RECIPES.len()
}

/// Every toy from `seeds` seeds, the first of them `seed`; `done` is told how many are through.
pub fn exam(seed: u64, seeds: u64, done: &(dyn Fn(usize) + Sync)) -> Vec<TrainedOutcome> {
    let all: Vec<(&Recipe, u64)> = RECIPES.iter().flat_map(|r| (0..seeds).map(move |k| (r, seed + k))).collect();
    let finished = AtomicUsize::new(0);
    all.into_par_iter()
        .with_max_len(1)
        .map(|(recipe, seed)| {
            let outcome = recipe.examine(seed);
            done(finished.fetch_add(1, Ordering::Relaxed) + 1);
            outcome
        })
        .collect()
}

/// A page that says what came of each; `command` made it.
pub fn markdown(outcomes: &[TrainedOutcome], command: &str) -> String {
    let mut out = format!(
        "# Trained toys, diagnosed\n\n    {command}\n\nEach toy is trained from every seed, its layer is sampled and diagnosed with nothing known of the weights. \
         The truth is what the weights show. In the stuck networks most neurons have one input: the layer is near monosemantic, and often said to be.\n\n| toy | what is told | neurons | right | said | truths by the weights |\n|---|---|---|---|---|---|\n"
    );
    let tally = |words: Vec<String>| {
        let mut counted: Vec<(String, usize)> = Vec::new();
        for word in words {
            match counted.iter_mut().find(|(other, _)| *other == word) {
                Some((_, n)) => *n += 1,
                None => counted.push((word, 1)),
            }
        }
        counted.into_iter().map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
    };
    for same in outcomes.chunk_by(|a, b| a.name == b.name) {
        let told = match RECIPES.iter().find(|r| r.name == same[0].name).map(|r| r.told) {
            Some(Told::Features) => "activations, and the inputs as labels",
            Some(Told::Presence) => "activations, and concepts as labels",
            _ => "activations",
        };
        out += &format!(
            "| {} | {told} | {} | {} of {} | {} | {} |\n",
            same[0].name,
            same[0].neurons,
            same.iter().filter(|o| o.is_right()).count(),
            same.len(),
            tally(same.iter().map(|o| word(o.said)).collect()),
            tally(same.iter().map(|o| o.truth.clone()).collect()),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trained_layer_is_diagnosed_and_told() {
        let product = RECIPES.iter().find(|r| r.toy == "product").unwrap();
        let outcome = product.examine(1);
        assert_eq!((outcome.truth.as_str(), outcome.neurons), ("orthogonal/computational", 4));
        let page = markdown(&[outcome], "command");
        assert!(page.contains("| product x·y | activations, and the inputs as labels | 4 |"), "{page}");
    }

    #[test]
    fn every_toy_is_one_of_the_lab() {
        for recipe in &RECIPES {
            let toy = Toy::find(recipe.toy).unwrap();
            let pairs: Vec<String> = recipe.set.iter().map(|s| s.to_string()).collect();
            let settings = Settings::parse(toy.name, toy.settings, &pairs).unwrap();
            assert!(toy.model.unwrap()(&settings).is_ok(), "{}", recipe.name);
        }
    }
}
