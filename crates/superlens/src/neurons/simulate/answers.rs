//! Reading what a model answered. Tolerant of what stands around an answer, strict about what it is: as many numbers as were asked for, in their range.
//! A number that is missing is an error and never a guess.

use super::TOP_LEVEL;

/// Characters of an explanation at most; the rest is cut.
const LONGEST: usize = 500;

/// An explanation as one line without control characters.
///
/// # Errors
/// Nothing is left.
pub fn explanation(answer: &str) -> Result<String, String> {
    let words: Vec<&str> = after_thoughts(answer).split(|c: char| c.is_whitespace() || hidden(c)).collect();
    let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
    let line: String = words.join(" ").chars().take(LONGEST).collect();
    let line = line.trim_matches(|c: char| c == '"' || c == '`' || c.is_whitespace()).to_owned();
    if line.is_empty() { Err("the explanation is empty".into()) } else { Ok(line) }
}

/// Control characters, and those that turn the direction of text or have no width.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A level from 0 to 10 for each of `tokens`: a JSON array, or lines `token<TAB>level` with these tokens.
///
/// # Errors
/// Neither, another number of levels than of tokens, a line of another token, a level outside of the range.
pub fn levels(answer: &str, tokens: &[String]) -> Result<Vec<f32>, String> {
    let answer = after_thoughts(answer);
    let numbers = match last_array::<f64>(answer) {
        Some(numbers) => numbers,
        None => lines(answer, tokens)?,
    };
    if numbers.len() != tokens.len() {
        return Err(format!("{} activations for {} tokens", numbers.len(), tokens.len()));
    }
    match numbers.iter().find(|level| !(0.0..=f64::from(TOP_LEVEL)).contains(*level)) {
        Some(level) => Err(format!("activation {level} is outside of 0 to {TOP_LEVEL}")),
        None => Ok(numbers.into_iter().map(|level| level as f32).collect()),
    }
}

fn lines(answer: &str, tokens: &[String]) -> Result<Vec<f64>, String> {
    let mut numbers = Vec::new();
    for (token, number) in answer.lines().filter_map(|line| line.rsplit_once('\t')) {
        let Ok(number) = number.trim().parse::<f64>() else {
            return Err(format!("no number stands after token {}", numbers.len() + 1));
        };
        let said: Option<String> = serde_json::from_str(token.trim()).ok();
        let said = said.as_deref().unwrap_or(token).trim();
        if tokens.get(numbers.len()).is_none_or(|t| t.trim() != said) {
            return Err(format!("line {} is of another token than token {}", numbers.len() + 1, numbers.len() + 1));
        }
        numbers.push(number);
    }
    if numbers.is_empty() { Err("neither a JSON array nor lines with a tab".into()) } else { Ok(numbers) }
}

/// Yes (1, true) or no (0, false) to each of `n` questions, as a JSON array.
///
/// # Errors
/// No array, another number of answers, anything but yes and no.
pub fn yes_or_no(answer: &str, n: usize) -> Result<Vec<bool>, String> {
    let answer = after_thoughts(answer);
    let said: Vec<bool> = match last_array::<bool>(answer) {
        Some(said) => said,
        None => {
            let numbers = last_array::<f64>(answer).ok_or("no JSON array of zeros and ones")?;
            let one = |v: f64| {
                if v == 1.0 {
                    Ok(true)
                } else if v == 0.0 {
                    Ok(false)
                } else {
                    Err(v)
                }
            };
            let said: Result<Vec<bool>, f64> = numbers.into_iter().map(one).collect();
            said.map_err(|v| format!("{v} is neither 0 nor 1"))?
        }
    };
    if said.len() == n { Ok(said) } else { Err(format!("{} answers to {n} questions", said.len())) }
}

/// Which of `n` texts, told from 1 on, as a JSON array of one number or as that number alone; from 0 on here.
///
/// # Errors
/// No such number, several.
pub fn place(answer: &str, n: usize) -> Result<usize, String> {
    let answer = after_thoughts(answer);
    let numbers = last_array::<f64>(answer).or_else(|| answer.trim().trim_matches('.').parse().ok().map(|v| vec![v]));
    match numbers.ok_or("no JSON array of one number")?.as_slice() {
        [place] if place.fract() == 0.0 && (1.0..=n as f64).contains(place) => Ok(*place as usize - 1),
        [place] => Err(format!("{place} is none of the texts 1 to {n}")),
        several => Err(format!("{} numbers instead of one", several.len())),
    }
}

/// What stands after the thoughts that some models tell before they answer.
fn after_thoughts(answer: &str) -> &str {
    answer.rsplit_once("</think>").map_or(answer, |(_, after)| after)
}

/// The last array of such elements with one at least that stands anywhere in a text. Linear in its length: an attempt ends at the next bracket.
fn last_array<T: serde::de::DeserializeOwned>(text: &str) -> Option<Vec<T>> {
    let starts = text.match_indices('[').map(|(at, _)| at);
    let array = |at: usize| serde_json::Deserializer::from_str(&text[at..]).into_iter::<Vec<T>>().next()?.ok();
    starts.filter_map(array).rfind(|array| !array.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(n: usize) -> Vec<String> {
        (0..n).map(|i| format!(" t{i}")).collect()
    }

    #[test]
    fn answers_are_found_in_what_stands_around_them() {
        for answer in [
            "[0, 5, 10]",
            "```json\n[0, 5.0, 10]\n```",
            "Sure! Of [the] three tokens: [ 0,5,10 ] as asked.",
            "<think>[1, 2, 3]</think>[0, 5, 10]",
            "{\"activations\": [0, 5, 10]}",
            " t0\t0\n t1\t5\n t2\t10",
            "\" t0\"\t0\n\" t1\"\t5\nt2\t10\n",
        ] {
            assert_eq!(levels(answer, &tokens(3)), Ok(vec![0.0, 5.0, 10.0]), "{answer}");
        }
        assert_eq!(yes_or_no("[1, 0]", 2), Ok(vec![true, false]));
        assert_eq!(yes_or_no("answer: [true, false]", 2), Ok(vec![true, false]));
        assert_eq!((place("[3]", 5), place("3.", 5), place(" 1\n", 5)), (Ok(2), Ok(2), Ok(0)));
        assert_eq!(explanation(" \"words\x1b[31m about\n\nrivers\u{202e}\" ").unwrap(), "words [31m about rivers");
        assert_eq!(explanation(&"ab ".repeat(10_000)).unwrap().len(), 500);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let deep = "[".repeat(200_000);
        let many = format!("[{}1]", "1,".repeat(200_000));
        for answer in [
            "",
            "no",
            "[]",
            "[0, 5]",
            "[0, 5, 10, 0]",
            "[0, 5, 11]",
            "[0, 5, -1]",
            "[0, 5, NaN]",
            "[0, 5, null]",
            "[0, \"5\", 1]",
            "[0, 5, 1e999]",
            "[0, 5,",
            "[[0], [5], [10]]",
            " t0\t0\n t1\t5",
            " t0\t0\n t2\t5\n t1\t1",
            " t0\t0\n t1\tx\n t2\t1",
            &deep,
            &many,
            "\0\0",
            "[0 5 10]",
            "</think>",
        ] {
            let said = levels(answer, &tokens(3));
            assert!(said.as_ref().is_err_and(|e| e.len() < 100 && !e.contains('\n')), "{:.40}: {said:?}", answer);
        }
        for answer in ["", "[]", "[1]", "[1, 0, 1]", "[1, 2]", "[1, \"yes\"]", &deep] {
            assert!(yes_or_no(answer, 2).is_err(), "{:.40}", answer);
        }
        for answer in ["", "[0]", "[6]", "[1.5]", "[1, 2]", "99999999999999999999999", "-1", &deep] {
            assert!(place(answer, 5).is_err(), "{:.40}", answer);
        }
        assert!(explanation(" \n\0\u{200b} ").is_err() && explanation("<think>x</think>").is_err());
    }
}
