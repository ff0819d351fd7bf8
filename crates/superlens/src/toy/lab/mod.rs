//! The lab: what `superlens toy NAME` can make, and what came of it.
//!
//! One file for each toy; `TOYS` is the list from which the command, its help and its table follow.

mod boolean_and;
pub mod experiment;
mod incidental;
mod phase;
mod product;
mod relu_hidden;
mod relu_output;
mod settings;
mod tied;

use serde_json::{Map, Value};
use std::ops::ControlFlow;
use std::time::Duration;
use superlens_tensor::Rng;

pub use settings::{Setting, SettingError, Settings};

/// All toys, in the order of `superlens toy list`.
pub const TOYS: &[Toy] =
    &[relu_output::TOY, phase::TOY, relu_hidden::TOY, boolean_and::TOY, incidental::TOY, product::TOY];

/// A toy as the command shows it.
#[derive(Clone, Copy, Debug)]
pub struct Toy {
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    pub settings: &'static [Setting],
    /// What its JSON holds beyond the keys that all toys share, for `--help`.
    pub keys: &'static str,
    pub run: fn(&Settings, &Lab) -> Result<Outcome, ToyError>,
}

impl Toy {
    /// The toy called `name`.
    ///
    /// # Errors
    /// There is none; the message lists those there are.
    pub fn find(name: &str) -> Result<&'static Toy, SettingError> {
        TOYS.iter().find(|toy| toy.name == name).ok_or_else(|| {
            let names: Vec<&str> = TOYS.iter().map(|toy| toy.name).collect();
            SettingError::new(format!("there is no toy called {name:?}; there are {}", names.join(", ")))
        })
    }
}

/// What a run of a toy is given.
pub struct Lab<'a> {
    /// Models trained side by side.
    pub instances: usize,
    pub rng: Rng,
    /// Told the share done and what is being done; breaking ends the run.
    pub watch: &'a (dyn Fn(f64, &str) -> ControlFlow<()> + Sync),
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ToyError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("stopped before the models were trained")]
    Stopped,
}

/// What came of a toy.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// One JSON object an instance.
    pub instances: Vec<Map<String, Value>>,
    /// Further keys of the document.
    pub keys: Map<String, Value>,
    /// What was learned beside what theory says: the heading first.
    pub table: Vec<Vec<String>>,
    /// How to read the table, and what stands out.
    pub says: Vec<String>,
    pub pictures: Vec<Picture>,
    /// Training steps over all instances and restarts, and the time that they took.
    pub steps: u64,
    pub training: Duration,
}

/// A picture in numbers; `report` draws it.
#[derive(Clone, Debug, PartialEq)]
pub enum Picture {
    /// Feature directions in the plane, a panel an instance.
    Directions {
        name: &'static str,
        title: String,
        caption: String,
        panels: Vec<Panel>,
    },
    /// Values over a logarithmic axis.
    Sweep {
        name: &'static str,
        title: String,
        caption: String,
        x_name: String,
        y_name: String,
        /// Values of x and y. `line` joins them.
        series: Vec<Series>,
        /// Where horizontal lines stand, and what they are.
        levels: Vec<(f64, String)>,
    },
    Grid(Grid),
}

/// Cells of two logarithmic axes, each of one class, in one panel or several.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    pub name: &'static str,
    pub title: String,
    pub caption: String,
    pub x_name: String,
    pub y_name: String,
    pub x: Vec<f64>,
    pub y: Vec<f64>,
    /// At most four.
    pub classes: Vec<String>,
    /// Label, and the class of each cell, row after row of `y`.
    pub panels: Vec<(String, Vec<usize>)>,
}

/// One instance's feature directions in the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    pub label: String,
    pub points: Vec<[f64; 2]>,
}

/// Some points of a [`Picture::Sweep`].
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    pub line: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_toy_runs_with_its_defaults_made_small() {
        for toy in TOYS {
            let small: Vec<String> =
                ["steps=20", "batch=64", "cells=3", "starts=2", "restarts=2", "iterations=20", "trials=5"]
                    .iter()
                    .filter(|s| has(toy, s))
                    .map(|s| s.to_string())
                    .collect();
            let settings = Settings::parse(toy.name, toy.settings, &small).unwrap();
            let watch = |_: f64, _: &str| ControlFlow::Continue(());
            let lab = Lab { instances: 3, rng: Rng::new(0), watch: &watch };
            let outcome = (toy.run)(&settings, &lab).unwrap();
            assert!(!outcome.instances.is_empty(), "{}", toy.name);
            let columns = outcome.table[0].len();
            assert!(outcome.table.len() > 1 && outcome.table.iter().all(|row| row.len() == columns));
            assert!(!outcome.says.is_empty() && outcome.instances.iter().all(|i| i.contains_key("loss")));
        }
    }

    fn has(toy: &Toy, pair: &str) -> bool {
        toy.settings.iter().any(|s| pair.starts_with(s.key))
    }

    #[test]
    fn names_are_told_apart_and_unknown_ones_listed() {
        assert_eq!(Toy::find("relu_output").unwrap().name, "relu_output");
        let error = Toy::find("relu").unwrap_err().to_string();
        assert!(error.starts_with("there is no toy called \"relu\"; there are relu_output, "), "{error}");
    }
}
