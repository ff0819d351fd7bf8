//! Neurons, latents or directions, as the flags say.

use std::path::Path;

use superlens::neurons::Units;
use superlens_tensor::Rng;
use superlens_tensor::io::{ReadOptions, read_directions};

use super::eval::dictionary;
use crate::args::UnitsOf;
use crate::failure::Failure;

/// What is looked at in a layer of so many columns.
pub fn of(args: &UnitsOf, width: usize, seed: u64) -> Result<Units, Failure> {
    if let Some(path) = &args.sae {
        let sae = dictionary(path)?.sae;
        fits(path, "--sae", sae.d_in(), width)?;
        return Ok(Units::Latents(Box::new(sae)));
    }
    if let Some(path) = &args.directions {
        let read = read_directions(path, &ReadOptions::default()).map_err(Failure::input)?;
        fits(path, "--directions", read.mat.cols(), width)?;
        return Ok(Units::Directions(read.mat));
    }
    Ok(args.random.map_or(Units::Neurons(width), |n| Units::random(n, width, &Rng::new(seed))))
}

fn fits(path: &Path, flag: &str, found: usize, width: usize) -> Result<(), Failure> {
    if found == width {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::Input(format!("{flag} {path}: is of activations of width {found}, but these have {width} columns")))
}

/// The numbers that were asked for, all of them if none was. An error where there is no such unit.
pub fn chosen(asked: &[usize], units: &Units) -> Result<Vec<usize>, Failure> {
    if let Some(none) = asked.iter().find(|u| **u >= units.len()) {
        let (word, n) = (units.word(), units.len());
        return Err(Failure::Input(format!("--units {none}: there are {n} {word}s, counted from 0")));
    }
    Ok(if asked.is_empty() { (0..units.len()).collect() } else { asked.to_vec() })
}
