//! The loop: explanations first, then every score.

use super::material::{Material, Question, batches};
use super::{Chat, ChatError, Options, Request, answers, prompts};
use crate::neurons::Examples;
use crate::neurons::score::{Intruder, Judged, Simulated, simulated};
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use superlens_tensor::Rng;

/// Characters that an explanation is taken to have where it isn't known yet.
const USUAL_EXPLANATION: usize = 120;
/// Characters a token, about.
const PER_TOKEN: u64 = 4;

/// What a run asks at most if every answer can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Estimate {
    pub requests: u64,
    /// Characters that are sent, by 4.
    pub tokens_in: u64,
    /// Tokens of answers in the form that was asked for, without thoughts before them.
    pub tokens_out: u64,
}

/// A score that there is none of, and why.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Missing {
    pub score: &'static str,
    pub reason: String,
}

/// How well one explanation tells what one unit does. What was not asked for is missing without a reason.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Scores {
    pub simulation: Option<Simulated>,
    pub detection: Option<Judgement>,
    pub fuzzing: Option<Judgement>,
    pub missing: Vec<Missing>,
}

/// Yes and no, counted.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Judgement {
    pub accuracy: Option<f64>,
    pub balanced_accuracy: Option<f64>,
    #[serde(flatten)]
    pub counts: Judged,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Scored {
    pub unit: usize,
    /// `None` where it can't be had; `missing` says why.
    pub explanation: Option<String>,
    #[serde(flatten)]
    pub scores: Scores,
    /// Whether texts that the unit responds to have something in common that can be seen; no explanation is used.
    pub intruder: Option<Intruder>,
    /// The same with the explanation of another unit.
    pub shuffled: Option<Scores>,
    /// Answers that could not be read, also where a later one could.
    pub unreadable: usize,
}

/// Explains units, of which those `given` have an explanation already, and scores all explanations. `done` is told after each request.
///
/// `examples` and `given` are of the same length. The same answers give the same scores on any number of threads; as many requests are under way as the
/// pool has threads.
///
/// # Errors
/// What [`ChatError::Ended`] said.
pub fn simulate(
    examples: &[Examples],
    given: &[Option<String>],
    chat: &dyn Chat,
    options: &Options,
    rng: &Rng,
    done: &(dyn Fn() + Sync),
) -> Result<Vec<Scored>, String> {
    assert_eq!(examples.len(), given.len(), "units and explanations that are given");
    let units: Vec<Unit> = examples.iter().map(|e| Unit::new(e, chat, options, rng, done)).collect();
    let explained = units.par_iter().zip(given).map(|(unit, given)| unit.explain(given.as_deref()));
    let explained = explained.collect::<Result<Vec<_>, String>>()?;
    let others = others(&explained, rng);
    let score = |i: usize| -> Result<Scored, String> {
        let (unit, explanation) = (&units[i], &explained[i]);
        let mut scores = unit.score(explanation.as_ref().map(String::as_str).map_err(String::as_str))?;
        let (intruder, reason) = unit.intruder()?;
        scores.missing.extend(reason.map(|reason| Missing { score: "intruder", reason }));
        let other = others[i].filter(|_| options.shuffled).and_then(|other| explained[other].as_deref().ok());
        let shuffled = other.map(|other| unit.score(Ok(other))).transpose()?;
        let unreadable = unit.unreadable.load(Ordering::Relaxed);
        let explanation = explanation.clone().ok();
        Ok(Scored { unit: examples[i].unit, explanation, scores, intruder, shuffled, unreadable })
    };
    (0..units.len()).into_par_iter().map(score).collect()
}

/// Of each unit with an explanation another one with one; `None` where there is no other.
fn others(explained: &[Result<String, String>], rng: &Rng) -> Vec<Option<usize>> {
    let with: Vec<usize> = (0..explained.len()).filter(|&i| explained[i].is_ok()).collect();
    let order = rng.fork("others").permutation(with.len());
    let mut others = vec![None; explained.len()];
    for k in 0..order.len() {
        let next = with[order[(k + 1) % order.len()]];
        others[with[order[k]]] = Some(next).filter(|_| order.len() > 1);
    }
    others
}

struct Unit<'a> {
    material: Result<Material<'a>, String>,
    chat: &'a dyn Chat,
    options: &'a Options,
    done: &'a (dyn Fn() + Sync),
    unreadable: AtomicUsize,
}

/// An answer that was read, or why none could be.
type Read<T> = Result<T, String>;

impl<'a> Unit<'a> {
    fn new(
        examples: &'a Examples,
        chat: &'a dyn Chat,
        options: &'a Options,
        rng: &Rng,
        done: &'a (dyn Fn() + Sync),
    ) -> Unit<'a> {
        let material = Material::new(examples, options, &rng.fork_index(examples.unit as u64));
        Unit { material, chat, options, done, unreadable: AtomicUsize::new(0) }
    }

    /// Asks until an answer can be read. The outer error ends everything.
    fn ask<T>(&self, mut request: Request, read: impl Fn(&str) -> Read<T>) -> Result<Read<T>, String> {
        let mut why = String::new();
        for attempt in 0..self.options.attempts.max(1) {
            request.attempt = attempt;
            let answer = match self.chat.ask(&request) {
                Ok(answer) => read(&answer),
                Err(ChatError::Unreadable(why)) => Err(why),
                Err(ChatError::Ended(why)) => return Err(why),
            };
            match answer {
                Ok(answer) => {
                    (self.done)();
                    return Ok(Ok(answer));
                }
                Err(reason) => why = reason,
            }
            self.unreadable.fetch_add(1, Ordering::Relaxed);
        }
        (self.done)();
        Ok(Err(format!("{why} ({} answers)", self.options.attempts.max(1))))
    }

    fn explain(&self, given: Option<&str>) -> Result<Read<String>, String> {
        match (given, &self.material) {
            (Some(given), _) => Ok(answers::explanation(given)),
            (None, Ok(material)) => self.ask(prompts::explain(&material.train), answers::explanation),
            (None, Err(why)) => Ok(Err(why.clone())),
        }
    }

    fn score(&self, explanation: Result<&str, &str>) -> Result<Scores, String> {
        let mut scores = Scores::default();
        let o = self.options;
        let mut missing = |score, reason: String| scores.missing.push(Missing { score, reason });
        let (explanation, material) = match (explanation, &self.material) {
            (Ok(explanation), Ok(material)) => (explanation, material),
            (Err(why), _) => {
                missing("explanation", why.to_owned());
                return Ok(scores);
            }
            (_, Err(why)) => {
                missing("records", why.clone());
                return Ok(scores);
            }
        };
        if o.simulation {
            match self.simulation(explanation, material)? {
                Ok(simulation) => {
                    if simulation.correlation.is_none() {
                        missing("correlation", "the simulation or the unit does not vary on the held-out texts".into());
                    }
                    scores.simulation = Some(simulation);
                }
                Err(why) => missing("simulation", why),
            }
        }
        if o.detection {
            match self.judge(explanation, &material.detection, prompts::detect)? {
                Ok(judged) => scores.detection = Some(judged),
                Err(why) => scores.missing.push(Missing { score: "detection", reason: why }),
            }
        }
        if o.fuzzing {
            match self.judge(explanation, &material.fuzzing, prompts::fuzz)? {
                Ok(judged) => scores.fuzzing = Some(judged),
                Err(why) => scores.missing.push(Missing { score: "fuzzing", reason: why }),
            }
        }
        Ok(scores)
    }

    fn simulation(&self, explanation: &str, material: &Material) -> Result<Read<Simulated>, String> {
        let records: Vec<_> = material.calibration.iter().chain(&material.test).collect();
        let one = |record: &&&crate::neurons::Record| {
            let request = prompts::simulate(explanation, &record.tokens);
            self.ask(request, |answer| answers::levels(answer, &record.tokens))
        };
        let said = records.par_iter().map(one).collect::<Result<Vec<_>, String>>()?;
        let said: Read<Vec<Vec<f32>>> = said.into_iter().collect();
        Ok(said.map(|said| {
            let (calibration, test) = said.split_at(material.calibration.len());
            let real = |records: &[&crate::neurons::Record]| -> Vec<f32> {
                records.iter().flat_map(|r| r.activations.iter().copied()).collect()
            };
            simulated(
                (&real(&material.test), &test.concat()),
                (&real(&material.calibration), &calibration.concat()),
                material.scale / super::TOP_LEVEL,
            )
        }))
    }

    fn judge(
        &self,
        explanation: &str,
        questions: &Result<Vec<Question>, String>,
        prompt: fn(&str, &[&str]) -> Request,
    ) -> Result<Read<Judgement>, String> {
        let questions = match questions {
            Ok(questions) => questions,
            Err(why) => return Ok(Err(why.clone())),
        };
        let all: Vec<_> = batches(questions).collect();
        let one = |(texts, _): &(Vec<&str>, Vec<bool>)| {
            self.ask(prompt(explanation, texts), |answer| answers::yes_or_no(answer, texts.len()))
        };
        let said = all.par_iter().map(one).collect::<Result<Vec<_>, String>>()?;
        let said: Read<Vec<Vec<bool>>> = said.into_iter().collect();
        let truth: Vec<bool> = questions.iter().map(|q| q.truth).collect();
        Ok(said.map(|said| {
            let counts = Judged::of(&truth, &said.concat());
            Judgement { accuracy: counts.accuracy(), balanced_accuracy: counts.balanced_accuracy(), counts }
        }))
    }

    /// The score, or why there is none; neither where it was not asked for.
    fn intruder(&self) -> Result<(Option<Intruder>, Option<String>), String> {
        let trials = match &self.material {
            Ok(material) if self.options.intruder => &material.intruder,
            _ => return Ok((None, None)),
        };
        let trials = match trials {
            Ok(trials) => trials,
            Err(why) => return Ok((None, Some(why.clone()))),
        };
        let texts = trials.first().map_or(0, |t| t.texts.len());
        let one = |trial: &super::material::Trial| {
            let texts: Vec<&str> = trial.texts.iter().map(String::as_str).collect();
            self.ask(prompts::intrude(&texts), |answer| answers::place(answer, texts.len()))
        };
        let said = trials.par_iter().map(one).collect::<Result<Vec<_>, String>>()?;
        let truth: Vec<usize> = trials.iter().map(|t| t.intruder).collect();
        Ok(match said.into_iter().collect::<Read<Vec<usize>>>() {
            Ok(said) => (Some(Intruder::of(&truth, &said, texts)), None),
            Err(why) => (None, Some(why)),
        })
    }
}

/// What [`simulate`] will ask. Explanations that are not known yet count as 120 characters; what is asked again is not counted.
pub fn estimate(examples: &[Examples], given: &[Option<String>], options: &Options, rng: &Rng) -> Estimate {
    let mut estimate = Estimate::default();
    let usual = "x".repeat(USUAL_EXPLANATION);
    let again = if options.shuffled && examples.len() > 1 { 2 } else { 1 };
    for (examples, given) in examples.iter().zip(given) {
        let Ok(material) = Material::new(examples, options, &rng.fork_index(examples.unit as u64)) else { continue };
        let mut add = |request: &Request, times: u64| {
            let characters = (request.system.chars().count() + request.user.chars().count()) as u64;
            estimate.requests += times;
            estimate.tokens_in += times * characters.div_ceil(PER_TOKEN);
            estimate.tokens_out += times * u64::from(request.expected_tokens);
        };
        if given.is_none() {
            add(&prompts::explain(&material.train), 1);
        }
        let explanation = given.as_deref().unwrap_or(&usual);
        if options.simulation {
            let records = material.calibration.iter().chain(&material.test);
            records.for_each(|r| add(&prompts::simulate(explanation, &r.tokens), again));
        }
        if let (true, Ok(questions)) = (options.detection, &material.detection) {
            batches(questions).for_each(|(texts, _)| add(&prompts::detect(explanation, &texts), again));
        }
        if let (true, Ok(questions)) = (options.fuzzing, &material.fuzzing) {
            batches(questions).for_each(|(texts, _)| add(&prompts::fuzz(explanation, &texts), again));
        }
        if let (true, Ok(trials)) = (options.intruder, &material.intruder) {
            for trial in trials {
                add(&prompts::intrude(&trial.texts.iter().map(String::as_str).collect::<Vec<_>>()), 1);
            }
        }
    }
    estimate
}
