//! An experiment: a toy with its settings, and what a right implementation must show.
//!
//! One TOML file a figure of a paper. Each `[[expect]]` names a number in the toy's JSON and the range in which its median
//! over the seeds must lie, so that an experiment is its own golden test.

use super::{Lab, Outcome, Settings, Toy, ToyError};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use superlens_tensor::Rng;

/// A file of `experiments/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    pub title: String,
    /// Paper and section, or how the values were derived.
    pub source: String,
    pub toy: String,
    /// At most [`MOST_INSTANCES`].
    #[serde(default = "one", deserialize_with = "instances")]
    pub instances: usize,
    /// Seeds that follow one another, at most [`MOST_SEEDS`]; the median over them is judged.
    #[serde(default = "five", deserialize_with = "seeds")]
    pub seeds: u64,
    #[serde(default)]
    pub set: BTreeMap<String, toml::Value>,
    /// How long it takes on two cores.
    #[serde(default)]
    pub takes: Takes,
    pub expect: Vec<Expect>,
}

/// How long an experiment takes on two cores, and so when it is run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Takes {
    /// Under a minute: with every change.
    #[default]
    Seconds,
    /// With the gallery.
    Minutes,
    /// When somebody asks for it.
    Long,
}

/// Bounds of an experiment, those of `--instances` among them.
const MOST_INSTANCES: i64 = 100_000;
const MOST_SEEDS: i64 = 10_000;

fn instances<'de, D: Deserializer<'de>>(file: D) -> Result<usize, D::Error> {
    up_to("instances", MOST_INSTANCES, file).map(|v| v as usize)
}

fn seeds<'de, D: Deserializer<'de>>(file: D) -> Result<u64, D::Error> {
    up_to("seeds", MOST_SEEDS, file).map(|v| v as u64)
}

fn up_to<'de, D: Deserializer<'de>>(key: &str, most: i64, file: D) -> Result<i64, D::Error> {
    let value = i64::deserialize(file)?;
    let wrong = || Error::custom(format!("{key} = {value}: expected a whole number from 1 to {most}"));
    (1..=most).contains(&value).then_some(value).ok_or_else(wrong)
}

fn one() -> usize {
    1
}

fn five() -> u64 {
    5
}

/// One claim, and the number that decides it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    pub claim: String,
    /// `published`, `derived`, or `report` for what is not to be judged.
    pub provenance: Provenance,
    /// The value as the source has it, in words.
    pub value: String,
    /// A key of an instance, or else of the document; of nested lists all numbers are taken.
    pub key: String,
    /// Only this instance; without it all of them.
    pub instance: Option<usize>,
    /// What becomes of several numbers.
    #[serde(default)]
    pub over: Over,
    #[serde(default = "lowest")]
    pub low: f64,
    #[serde(default = "highest")]
    pub high: f64,
    /// Known not to be met, and why: it stays in the table as missed, and fails no run.
    pub miss: Option<String>,
}

fn lowest() -> f64 {
    f64::NEG_INFINITY
}

fn highest() -> f64 {
    f64::INFINITY
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    Published,
    Derived,
    Report,
}

/// From several numbers to one.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    #[default]
    Mean,
    Min,
    Max,
    Sum,
    Median,
    /// The largest step down from one number to the next; 0 where they never fall.
    LargestFall,
    /// The largest step up.
    LargestRise,
    /// How many are above one half.
    CountAboveHalf,
    /// The least, over instances, of the largest within each.
    MinOfMax,
    /// The share of true values.
    Share,
}

/// What came of a claim.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    pub claim: String,
    pub provenance: Provenance,
    pub value: String,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Ours, seed by seed.
    pub seeds: Vec<f64>,
    pub median: f64,
    /// Whether the median lies in the range; `None` where it is only reported.
    pub met: Option<bool>,
    /// Why it is known not to be met.
    pub miss: Option<String>,
}

impl Judged {
    /// Whether it is missed though nothing says that it would be.
    pub fn surprises(&self) -> bool {
        self.met == Some(false) && self.miss.is_none()
    }
}

/// Why an experiment can't be run.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    #[error("{0}")]
    Wrong(String),
    #[error("stopped before the experiment was done")]
    Stopped,
}

impl Experiment {
    /// Reads the text of a file; `file` is its name for the messages.
    ///
    /// # Errors
    /// What isn't TOML or has another form, in one line.
    pub fn parse(file: &str, text: &str) -> Result<Self, ExperimentError> {
        let wrong = |e: toml::de::Error| {
            let line = e.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            ExperimentError::Wrong(format!("{file}: line {line}: {}", e.message().replace('\n', " ")))
        };
        let experiment: Experiment = toml::from_str(text).map_err(wrong)?;
        if experiment.expect.is_empty() {
            return Err(ExperimentError::Wrong(format!("{file}: expected at least one [[expect]]")));
        }
        // The k-th claim begins at the k-th heading.
        let lines = (1..).zip(text.lines()).filter(|(_, line)| line.trim_start().starts_with("[[expect]]"));
        for (expect, (line, _)) in experiment.expect.iter().zip(lines) {
            expect
                .check()
                .map_err(|e| ExperimentError::Wrong(format!("{file}: line {line}: expect {:?}: {e}", expect.claim)))?;
        }
        Ok(experiment)
    }

    /// Runs the toy for every seed, from `first` on, and judges each claim.
    ///
    /// # Errors
    /// A toy or setting that doesn't exist, a key that its JSON lacks, or `watch` breaking.
    pub fn run(
        &self,
        first: u64,
        watch: &(dyn Fn(f64, &str) -> ControlFlow<()> + Sync),
    ) -> Result<Vec<Judged>, ExperimentError> {
        let wrong = |e: &dyn std::fmt::Display| ExperimentError::Wrong(e.to_string());
        let toy = Toy::find(&self.toy).map_err(|e| wrong(&e))?;
        let pairs: Vec<String> = self.set.iter().map(|(key, value)| format!("{key}={}", typed(value))).collect();
        let settings = Settings::parse(toy.name, toy.settings, &pairs).map_err(|e| wrong(&e))?;
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); self.expect.len()];
        for seed in 0..self.seeds {
            let stage = format!("seed {} of {}", seed + 1, self.seeds);
            let watch = |share: f64, _: &str| watch((seed as f64 + share) / self.seeds as f64, &stage);
            let rng = Rng::new(first.wrapping_add(seed)).fork("toy").fork(toy.name);
            let lab = Lab { instances: self.instances, rng, watch: &watch };
            let outcome = toy.work(&settings, &lab).map_err(|e| match e {
                ToyError::Stopped => ExperimentError::Stopped,
                e => wrong(&e),
            })?;
            for (expect, values) in self.expect.iter().zip(&mut values) {
                values.push(expect.of(&outcome).map_err(ExperimentError::Wrong)?);
            }
        }
        Ok(self.expect.iter().zip(values).map(|(expect, seeds)| expect.judge(seeds)).collect())
    }
}

/// A TOML value as it would be typed after `--set key=`.
fn typed(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(list) => list.iter().map(typed).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

impl Expect {
    /// Whether this is a claim at all.
    fn check(&self) -> Result<(), String> {
        let (low, high) = (self.low, self.high);
        match self.provenance {
            _ if low.is_nan() => Err("low = nan: expected a number".into()),
            _ if high.is_nan() => Err("high = nan: expected a number".into()),
            _ if low > high => Err(format!("low = {low} lies above high = {high}: nothing could meet it")),
            Provenance::Published | Provenance::Derived if low == lowest() && high == highest() => {
                Err("a claim that is to be judged has neither low nor high; \"report\" is not judged".into())
            }
            _ => Ok(()),
        }
    }

    /// The number of this claim in the outcome of one run.
    fn of(&self, outcome: &Outcome) -> Result<f64, String> {
        let instances = &outcome.instances;
        let chosen: Vec<_> = match self.instance {
            _ if outcome.keys.contains_key(&self.key) => vec![&outcome.keys],
            Some(i) => instances.iter().skip(i).take(1).collect(),
            None => instances.iter().collect(),
        };
        if let Some(i) = self.instance.filter(|_| chosen.is_empty()) {
            return Err(format!("expect: instance = {i}: the toy has {} instances, counted from 0", instances.len()));
        }
        let mut groups: Vec<Vec<f64>> = Vec::new();
        if chosen.iter().all(|instance| !instance.contains_key(&self.key)) {
            return Err(format!("expect: the toy has no key {:?}", self.key));
        }
        // Some instances may know more than others.
        for value in chosen.iter().filter_map(|instance| instance.get(&self.key)) {
            let mut numbers = Vec::new();
            flatten(value, &mut numbers);
            groups.push(numbers);
        }
        let all = groups.concat();
        if all.is_empty() {
            return Err(format!("expect: {:?} holds no number in the instances asked for", self.key));
        }
        Ok(self.over.reduce(&all, &groups))
    }

    fn judge(&self, seeds: Vec<f64>) -> Judged {
        let median = median(&seeds);
        let finite = |v: f64| v.is_finite().then_some(v);
        Judged {
            claim: self.claim.clone(),
            provenance: self.provenance,
            value: self.value.clone(),
            miss: self.miss.clone(),
            low: finite(self.low),
            high: finite(self.high),
            median,
            seeds,
            met: (self.provenance != Provenance::Report).then_some((self.low..=self.high).contains(&median)),
        }
    }
}

/// All numbers in a value; true is 1 and false is 0.
fn flatten(value: &Value, out: &mut Vec<f64>) {
    match value {
        Value::Number(n) => out.extend(n.as_f64()),
        Value::Bool(b) => out.push(f64::from(*b)),
        Value::Array(list) => list.iter().for_each(|v| flatten(v, out)),
        _ => {}
    }
}

impl Over {
    fn reduce(self, all: &[f64], groups: &[Vec<f64>]) -> f64 {
        let steps = || all.windows(2).map(|w| w[1] - w[0]);
        let max = |v: &[f64]| v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match self {
            Over::Mean | Over::Share => all.iter().sum::<f64>() / all.len() as f64,
            Over::Min => all.iter().copied().fold(f64::INFINITY, f64::min),
            Over::Max => max(all),
            Over::Sum => all.iter().sum(),
            Over::Median => median(all),
            Over::LargestFall => -steps().fold(0.0, f64::min),
            Over::LargestRise => steps().fold(0.0, f64::max),
            Over::CountAboveHalf => all.iter().filter(|v| **v > 0.5).count() as f64,
            Over::MinOfMax => groups.iter().map(|g| max(g)).fold(f64::INFINITY, f64::min),
        }
    }
}

/// The middle number, or the mean of the two.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { 0.5 * (sorted[half - 1] + sorted[half]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
title = "an antipodal pair"
source = "derived"
toy = "relu_output"
instances = 2
seeds = 3
[set]
n_features = 2
d_hidden = 1
importance = 1
density = 0.1
steps = 1500
lr = 5e-3
restarts = 4
[[expect]]
claim = "two features on a line cost p²/6 each"
provenance = "derived"
value = "p²/6"
key = "loss"
over = "max"
low = 0.00155
high = 0.00175
[[expect]]
claim = "never met"
provenance = "derived"
value = "0"
key = "loss"
high = 0.0
"#;

    #[test]
    fn claims_are_judged_by_the_median_over_seeds() {
        let judged = Experiment::parse("pair.toml", TEXT).unwrap().run(0, &|_, _| ControlFlow::Continue(())).unwrap();
        assert_eq!((judged[0].met, judged[1].met), (Some(true), Some(false)), "{judged:?}");
        assert_eq!(judged[0].seeds.len(), 3);
        assert!(judged[0].median == median(&judged[0].seeds));
        assert!(judged[1].surprises() && !judged[0].surprises());
        let known = TEXT.replace("high = 0.0\n", "high = 0.0\nmiss = \"no loss is zero\"\nlow = -1\n");
        let known = Experiment::parse("pair.toml", &known.replace("steps = 1500", "steps = 2")).unwrap();
        let judged = known.run(0, &|_, _| ControlFlow::Continue(())).unwrap();
        assert!(judged[1].met == Some(false) && !judged[1].surprises());
    }

    #[test]
    fn what_is_wrong_names_the_file_and_the_line() {
        let error = |text: &str| Experiment::parse("x.toml", text).unwrap_err().to_string();
        assert!(error("title = 3").starts_with("x.toml: line 1: "), "{}", error("title = 3"));
        let misspelt = TEXT.replace("seeds", "sedes");
        assert!(error(&misspelt).contains("sedes"), "{}", error(&misspelt));
        let run = |text: &str| {
            let experiment = Experiment::parse("x.toml", text).unwrap();
            experiment.run(0, &|_, _| ControlFlow::Continue(())).unwrap_err().to_string()
        };
        assert!(run(&TEXT.replace("relu_output", "relu")).contains("no toy called"));
        assert!(run(&TEXT.replace("d_hidden", "hidden")).contains("no setting"));
        assert!(
            run(&TEXT.replace("key = \"loss\"", "key = \"los\"").replace("steps = 1500", "steps = 2"))
                .contains("\"los\"")
        );
    }

    #[test]
    fn what_can_be_no_claim_is_refused_with_its_reason() {
        let error =
            |from: &str, to: &str| Experiment::parse("x.toml", &TEXT.replacen(from, to, 1)).unwrap_err().to_string();
        for (key, value) in
            [("instances = 2", "100001"), ("instances = 2", "0"), ("seeds = 3", "10001"), ("seeds = 3", "-1")]
        {
            let name = key.split(' ').next().unwrap();
            let got = error(key, &format!("{name} = {value}"));
            let line = if name == "seeds" { 6 } else { 5 };
            let want = format!("x.toml: line {line}: {name} = {value}: expected a whole number from 1 to ");
            assert!(got.starts_with(&want), "{got}");
        }
        let claim = "expect \"two features on a line cost p²/6 each\": ";
        for (from, to, why) in [
            ("low = 0.00155", "low = nan", "low = nan: expected a number"),
            ("high = 0.00175", "high = nan", "high = nan: expected a number"),
            ("high = 0.00175", "high = 0.001", "low = 0.00155 lies above high = 0.001"),
            ("low = 0.00155\nhigh = 0.00175", "", "a claim that is to be judged has neither low nor high"),
        ] {
            let got = error(from, to);
            assert!(got.starts_with(&format!("x.toml: line 15: {claim}{why}")), "{got}");
        }
        let beyond = TEXT.replace("steps = 1500", "steps = 2").replacen("over = \"max\"", "instance = 2", 1);
        let experiment = Experiment::parse("x.toml", &beyond).unwrap();
        let got = experiment.run(0, &|_, _| ControlFlow::Continue(())).unwrap_err().to_string();
        assert_eq!(got, "expect: instance = 2: the toy has 2 instances, counted from 0");
    }

    #[test]
    fn seeds_follow_the_first() {
        let text = TEXT.replace("steps = 1500", "steps = 3");
        let from = |first: u64| {
            let experiment = Experiment::parse("pair.toml", &text).unwrap();
            experiment.run(first, &|_, _| ControlFlow::Continue(())).unwrap()[0].seeds.clone()
        };
        let (zero, one) = (from(0), from(1));
        assert_eq!(zero[1..], one[..2]);
        assert!(zero[0] != one[0]);
    }

    #[test]
    fn numbers_are_reduced() {
        let groups = [vec![1.0, 3.0], vec![2.0, 0.0]];
        let all = groups.concat();
        let of = |over: Over| over.reduce(&all, &groups);
        assert_eq!((of(Over::Mean), of(Over::Min), of(Over::Max), of(Over::Sum)), (1.5, 0.0, 3.0, 6.0));
        assert_eq!((of(Over::Median), of(Over::LargestFall), of(Over::LargestRise)), (1.5, 2.0, 2.0));
        assert_eq!((of(Over::CountAboveHalf), of(Over::MinOfMax)), (3.0, 2.0));
    }
}
