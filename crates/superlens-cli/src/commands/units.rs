//! Neurons, latents or directions, as the flags say.

use std::collections::BTreeSet;

use superlens::neurons::Units;
use superlens_tensor::Rng;
use superlens_tensor::io::{ReadOptions, read_directions};

use super::eval::dictionary;
use crate::args::UnitsOf;
use crate::failure::Failure;

/// Latents or directions where a file holds them: they are known before it is known how wide the rows are.
pub fn named(args: &UnitsOf) -> Result<Option<Units>, Failure> {
    if let Some(path) = &args.sae {
        return Ok(Some(Units::Latents(Box::new(dictionary(path)?.sae))));
    }
    let read = args.directions.as_deref().map(|path| read_directions(path, &ReadOptions::default()));
    Ok(read.transpose().map_err(Failure::input)?.map(|read| Units::Directions(read.mat)))
}

/// What is looked at in a layer of so many columns, `named` being what [`named`] read.
pub fn of(named: Option<Units>, args: &UnitsOf, width: usize, seed: u64) -> Result<Units, Failure> {
    let Some(units) = named else {
        return Ok(args.random.map_or(Units::Neurons(width), |n| Units::random(n, width, &Rng::new(seed))));
    };
    if units.d_in() == width {
        return Ok(units);
    }
    let (flag, path) = match (&args.sae, &args.directions) {
        (Some(path), _) => ("--sae", path.display().to_string()),
        (None, path) => ("--directions", path.as_ref().map_or(String::new(), |path| path.display().to_string())),
    };
    let found = units.d_in();
    Err(Failure::Input(format!("{flag} {path}: is of activations of width {found}, but these have {width} columns")))
}

/// The numbers that were asked for, all of them if none was.
pub fn chosen(asked: Option<&str>, units: &Units) -> Result<Vec<usize>, Failure> {
    match asked {
        None => Ok((0..units.len()).collect()),
        Some(list) => numbers(list, units.len(), units.word()),
    }
}

/// The numbers below `n` that a list like 0,5,10-19 names, each once, in order; `word` is what they count.
pub fn numbers(list: &str, n: usize, word: &str) -> Result<Vec<usize>, Failure> {
    let mut chosen = BTreeSet::new();
    for part in list.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let [from, to] = [from, to].map(|text| text.trim().parse::<usize>().ok().filter(|u| *u < n));
        match (from, to) {
            (Some(from), Some(to)) if from <= to => chosen.extend(from..=to),
            _ => {
                return Err(Failure::Input(format!(
                    "--units {list}: expected numbers and ranges of {word}s below {n}, as in 0,5,10-19, found {part:?}"
                )));
            }
        }
    }
    Ok(chosen.into_iter().collect())
}
