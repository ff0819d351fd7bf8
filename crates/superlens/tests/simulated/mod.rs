//! Units whose truth is known, and a partner for conversations that can read.

use std::collections::BTreeMap;

use superlens::neurons::{Examples, Record};
use superlens_tensor::Rng;

/// Words that occur.
const WORDS: usize = 120;

/// Units that respond to two words each, to one of them half as much, with a little noise.
pub fn units(n: usize, rng: &Rng) -> Vec<Examples> {
    (0..n).map(|unit| unit_of(unit, &mut rng.fork_index(unit as u64))).collect()
}

fn unit_of(unit: usize, rng: &mut Rng) -> Examples {
    let mut record = |top: bool| {
        let mut words: Vec<usize> = (0..32).map(|_| rng.below(WORDS)).collect();
        if top {
            words[rng.below(32)] = 2 * unit;
            words[rng.below(32)] = 2 * unit + 1;
            words[rng.below(32)] = 2 * unit;
        }
        let level = |w: usize| {
            if w == 2 * unit {
                4.0
            } else if w == 2 * unit + 1 {
                2.0
            } else {
                0.0
            }
        };
        let activations = words.iter().map(|w| level(*w) + 0.05 * rng.normal()).collect();
        Record { tokens: words.iter().map(|w| format!(" w{w}")).collect(), activations }
    };
    let top = (0..20).map(|_| record(true)).collect();
    Examples { unit, top, random: (0..40).map(|_| record(false)).collect(), ..Examples::default() }
}

/// The answer of whoever reads what they are asked and answers well: with what the active tokens have in common, and with what a description says.
pub fn answer(user: &str) -> String {
    let mut lines = user.lines();
    let first = lines.next().unwrap_or_default();
    let Some(description) = first.strip_prefix("Description: ") else {
        return if first.starts_with("Texts") { intruder(lines) } else { explanation(lines) };
    };
    // " w4=10  w5=5"
    let description: String = serde_json::from_str(description).unwrap();
    let levels: BTreeMap<&str, &str> = description.split(' ').filter_map(|part| part.split_once('=')).collect();
    let level = |token: &str| levels.get(token.trim()).copied().unwrap_or("0").to_owned();
    let about = lines.nth(1).unwrap_or_default();
    let rows =
        lines.map(|line| line.split_once('\t').unwrap().1).map(|text| serde_json::from_str::<String>(text).unwrap());
    let answers: Vec<String> = if about.starts_with("Tokens") {
        rows.map(|token| level(&token)).collect()
    } else {
        let judge = |text: String| {
            let (marked, words) = (marked(&text), text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
            let known = |word: &String| level(word) != "0";
            let yes = if marked.is_empty() { words.iter().any(known) } else { marked.iter().all(known) };
            u8::from(yes).to_string()
        };
        rows.map(judge).collect()
    };
    format!("[{}]", answers.join(", "))
}

/// The mean level of each token that is often active.
fn explanation<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut levels: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in lines {
        let parts: Vec<&str> = line.split('\t').collect();
        if let [_, token, level] = parts[..] {
            let token: String = serde_json::from_str(token).unwrap();
            levels.entry(token.trim().to_owned()).or_default().push(level.parse().unwrap());
        }
    }
    let mean = |all: &[f64]| (all.iter().sum::<f64>() / all.len() as f64).round();
    let words = levels.iter().filter(|(_, all)| mean(all) > 0.0).map(|(word, all)| format!("{word}={}", mean(all)));
    words.collect::<Vec<_>>().join(" ")
}

/// The text whose marked words are rarest among the marked words of all.
fn intruder<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let texts: Vec<Vec<String>> =
        lines.map(|line| marked(&serde_json::from_str::<String>(line.split_once('\t').unwrap().1).unwrap())).collect();
    let known = |word: &String| texts.iter().filter(|text| text.contains(word)).count();
    let score = |text: &Vec<String>| text.iter().map(known).max().unwrap_or(0);
    let least = (0..texts.len()).min_by_key(|&i| score(&texts[i])).unwrap();
    format!("[{}]", least + 1)
}

fn marked(text: &str) -> Vec<String> {
    text.split("<<").skip(1).filter_map(|part| part.split_once(">>")).map(|(word, _)| word.trim().to_owned()).collect()
}
