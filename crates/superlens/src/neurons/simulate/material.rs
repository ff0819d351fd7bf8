//! [`Material`]: the records of a unit, split, and put together for each test.
//!
//! Top records, random ones and those of each group of quantiles are dealt out in turns to train, calibration, valid and test, as neuron records are. Words
//! come from train, the line of calibration from calibration, scores from test alone. Valid is left to whoever tries out prompts.

use super::{BATCH, COMPANY, Options, TOP_LEVEL};
use crate::neurons::{Examples, Record};
use superlens_tensor::Rng;

const SPLITS: usize = 4;
const TRAIN: usize = 0;
const CALIBRATION: usize = 1;
const TEST: usize = 3;
/// A token is marked if the unit is at this share of its maximum in that text.
const MARKED: f32 = 0.3;

/// A text with levels 0 to 10.
pub(super) struct Shown {
    pub tokens: Vec<String>,
    pub levels: Vec<u8>,
}

/// Texts of which something is true or not.
pub(super) struct Question {
    pub text: String,
    pub truth: bool,
}

/// Texts of which one does not belong.
pub(super) struct Trial {
    pub texts: Vec<String>,
    /// Which.
    pub intruder: usize,
}

pub(super) struct Material<'a> {
    /// The activation that is level 10, the largest of train.
    pub scale: f32,
    pub train: Vec<Shown>,
    pub calibration: Vec<&'a Record>,
    pub test: Vec<&'a Record>,
    pub detection: Result<Vec<Question>, String>,
    pub fuzzing: Result<Vec<Question>, String>,
    pub intruder: Result<Vec<Trial>, String>,
}

fn split(records: &[Record], split: usize) -> impl Iterator<Item = &Record> {
    records.iter().skip(split).step_by(SPLITS).filter(|r| !r.tokens.is_empty())
}

/// The level of an activation: negative ones are 0.
fn level(activation: f32, scale: f32) -> u8 {
    (TOP_LEVEL * activation.max(0.0) / scale).round().min(TOP_LEVEL) as u8
}

impl<'a> Material<'a> {
    /// # Errors
    /// Why the unit can't be scored: too few records, or a unit that is never above zero.
    pub fn new(examples: &'a Examples, options: &Options, rng: &Rng) -> Result<Material<'a>, String> {
        if examples.top.len() < SPLITS || examples.random.len() < SPLITS {
            let (top, random) = (examples.top.len(), examples.random.len());
            return Err(format!(
                "{top} top records and {random} random ones; {SPLITS} of each are needed for the splits"
            ));
        }
        let n = options.examples;
        let train: Vec<&Record> = split(&examples.top, TRAIN).take(n).collect();
        let scale = train.iter().map(|r| r.max()).fold(0.0, f32::max);
        if scale <= 0.0 || train.is_empty() {
            return Err("the unit is not above zero in its top records".into());
        }
        let both = |which| -> Vec<&Record> {
            split(&examples.top, which).take(n).chain(split(&examples.random, which).take(n)).collect()
        };
        let active = |r: &&Record| level(r.max(), scale) > 0;
        let groups = examples.by_quantile.iter().rev().flat_map(|group| split(group, TEST).take(1));
        let responds: Vec<&Record> = alternate(split(&examples.top, TEST), groups).filter(active).collect();
        let silent: Vec<&Record> = split(&examples.random, TEST).filter(|r| !active(r)).collect();
        let shown = |r: &Record| Shown {
            tokens: r.tokens.clone(),
            levels: r.activations.iter().map(|a| level(*a, scale)).collect(),
        };
        let rng = rng.fork("material");
        Ok(Material {
            scale,
            train: train.into_iter().map(shown).collect(),
            calibration: both(CALIBRATION),
            test: both(TEST),
            detection: detection(&responds, &silent, n, &mut rng.fork("detection")),
            fuzzing: fuzzing(&responds, scale, n, &mut rng.fork("fuzzing")),
            intruder: intruder(&responds, &silent, n, &mut rng.fork("intruder")),
        })
    }
}

/// One of each in turns, then the rest of the longer.
fn alternate<'a>(
    a: impl Iterator<Item = &'a Record>,
    b: impl Iterator<Item = &'a Record>,
) -> impl Iterator<Item = &'a Record> {
    let (mut a, mut b) = (a.fuse(), b.fuse());
    let mut turn = false;
    std::iter::from_fn(move || {
        turn = !turn;
        if turn { a.next().or_else(|| b.next()) } else { b.next().or_else(|| a.next()) }
    })
}

fn detection(responds: &[&Record], silent: &[&Record], n: usize, rng: &mut Rng) -> Result<Vec<Question>, String> {
    let each = n.min(responds.len()).min(silent.len());
    if each == 0 {
        return Err(format!("{} held-out texts with and {} without the unit active", responds.len(), silent.len()));
    }
    let question = |r: &&Record, truth| Question { text: r.tokens.concat(), truth };
    let yes = responds[..each].iter().map(|r| question(r, true));
    Ok(shuffled(yes.chain(silent[..each].iter().map(|r| question(r, false))).collect(), rng))
}

/// Each text once, with the right tokens marked or as many at which the unit is not active.
fn fuzzing(responds: &[&Record], scale: f32, n: usize, rng: &mut Rng) -> Result<Vec<Question>, String> {
    let mut questions = Vec::new();
    for record in responds.iter().take(2 * n) {
        let right = marks(record);
        let idle: Vec<usize> = (0..record.tokens.len()).filter(|&t| level(record.activations[t], scale) == 0).collect();
        let truth = questions.len().is_multiple_of(2) || idle.is_empty();
        let marked = if truth { right } else { some(&idle, right.len(), rng) };
        questions.push(Question { text: with_marks(record, &marked), truth });
    }
    let right = questions.iter().filter(|q| q.truth).count();
    match (right, questions.len() - right) {
        (0, _) | (_, 0) => Err(format!("{} held-out texts with the unit active; two are needed", responds.len())),
        _ => Ok(shuffled(questions, rng)),
    }
}

fn intruder(responds: &[&Record], silent: &[&Record], n: usize, rng: &mut Rng) -> Result<Vec<Trial>, String> {
    if responds.len() < COMPANY || silent.is_empty() {
        let (with, without) = (responds.len(), silent.len());
        return Err(format!(
            "{with} held-out texts with and {without} without the unit active; {COMPANY} and 1 are needed"
        ));
    }
    let trial = |i: usize| {
        let order = rng.permutation(responds.len());
        let company = order[..COMPANY].iter().map(|&k| responds[k]);
        let mut texts: Vec<String> = company.clone().map(|r| with_marks(r, &marks(r))).collect();
        let stranger = silent[i % silent.len()];
        let marked = company.map(|r| marks(r).len()).sum::<usize>().div_ceil(COMPANY);
        let any: Vec<usize> = (0..stranger.tokens.len()).collect();
        let place = rng.below(COMPANY + 1);
        texts.insert(place, with_marks(stranger, &some(&any, marked, rng)));
        Trial { texts, intruder: place }
    };
    Ok((0..n.min(silent.len())).map(trial).collect())
}

/// Tokens at which the unit is most active.
fn marks(record: &Record) -> Vec<usize> {
    let least = MARKED * record.max();
    (0..record.tokens.len()).filter(|&t| record.activations[t] >= least && record.activations[t] > 0.0).collect()
}

/// `n` of `all`, or all where they are fewer.
fn some(all: &[usize], n: usize, rng: &mut Rng) -> Vec<usize> {
    rng.permutation(all.len()).into_iter().take(n.max(1)).map(|k| all[k]).collect()
}

fn with_marks(record: &Record, marked: &[usize]) -> String {
    let token = |(t, token): (usize, &String)| {
        if marked.contains(&t) { format!("<<{token}>>") } else { token.clone() }
    };
    record.tokens.iter().enumerate().map(token).collect()
}

fn shuffled(questions: Vec<Question>, rng: &mut Rng) -> Vec<Question> {
    let mut questions: Vec<Option<Question>> = questions.into_iter().map(Some).collect();
    rng.permutation(questions.len()).into_iter().filter_map(|i| questions[i].take()).collect()
}

/// In pieces of one request each.
pub(super) fn batches(questions: &[Question]) -> impl Iterator<Item = (Vec<&str>, Vec<bool>)> {
    let piece = |batch: &'_ [Question]| batch.iter().map(|q| q.truth).collect::<Vec<bool>>();
    questions.chunks(BATCH).map(move |batch| (batch.iter().map(|q| q.text.as_str()).collect(), piece(batch)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str, active: &[usize]) -> Record {
        let tokens: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        let activations = (0..tokens.len()).map(|t| if active.contains(&t) { 2.0 } else { -0.1 }).collect();
        Record { tokens, activations }
    }

    #[test]
    fn scores_come_from_texts_that_nothing_was_explained_from() {
        let top = (0..20).map(|i| record(&format!("top{i} and more words"), &[0])).collect();
        let random = (0..20).map(|i| record(&format!("random{i} and more"), &[])).collect();
        let examples = Examples { unit: 0, top, random, ..Examples::default() };
        let material = Material::new(&examples, &Options::default(), &Rng::new(1)).unwrap();
        assert_eq!((material.train.len(), material.scale, material.train[1].levels[0]), (5, 2.0, 10));
        let place =
            |word: &str| word.trim_start_matches(|c: char| !c.is_numeric()).trim_end().parse::<usize>().unwrap();
        for (set, which) in [(&material.calibration, 1), (&material.test, 3)] {
            assert!(set.len() == 10 && set.iter().all(|r| place(&r.tokens[0]) % 4 == which));
        }
        let detection = material.detection.unwrap();
        assert!(detection.len() == 10 && detection.iter().all(|q| q.text.starts_with("top") == q.truth));
        let fuzzing = material.fuzzing.unwrap();
        assert!(fuzzing.len() == 5 && fuzzing.iter().all(|q| q.text.starts_with("<<top") == q.truth));
        for trial in material.intruder.unwrap() {
            let told: Vec<bool> = trial.texts.iter().map(|t| t.contains("random")).collect();
            assert!(told.len() == 5 && (0..5).all(|i| told[i] == (i == trial.intruder)));
            assert!(trial.texts.iter().all(|t| t.matches("<<").count() == 1));
        }
    }

    #[test]
    fn too_little_is_said_and_not_scored() {
        let empty = Examples::default();
        assert!(Material::new(&empty, &Options::default(), &Rng::new(1)).is_err_and(|e| e.contains("0 top records")));
        let silent =
            Examples { top: vec![record("a b", &[]); 4], random: vec![record("a b", &[]); 4], ..Examples::default() };
        assert!(Material::new(&silent, &Options::default(), &Rng::new(1)).is_err_and(|e| e.contains("not above zero")));
        let tokenless =
            Examples { top: vec![Record::default(); 9], random: vec![Record::default(); 9], ..Examples::default() };
        assert!(Material::new(&tokenless, &Options::default(), &Rng::new(1)).is_err());
    }
}
