//! The lab: what `superlens toy NAME` can make, and what came of it.
//!
//! One file for each toy; `TOYS` is the list from which the command, its help and its table follow.

mod abs_value;
mod adversarial;
mod bit_extraction;
mod boolean_and;
mod circular;
mod compressed_computation;
mod correlated;
mod disentangle;
mod dynamics;
pub mod experiment;
mod grokking;
mod head_superposition;
mod hidden_layer;
mod incidental;
mod induction;
mod interference;
mod k_gon;
mod memoriser;
mod modular_addition;
mod one_neuron_resnet;
mod onion;
mod phase;
mod polytope;
mod product;
mod readout;
mod relu_hidden;
mod relu_output;
mod residual_mlp;
mod rotated;
mod settings;
mod skip_trigram;
mod snap;
mod sparsification;
mod stuck;
#[cfg(test)]
mod tests;
mod tied;
mod transformer_addition;

use super::{Made, ToyModel, make};
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;
use superlens_tensor::Rng;

pub use settings::{Setting, SettingError, Settings};

/// All toys, in the order of `superlens toy list`.
pub const TOYS: &[Toy] = &[
    relu_output::TOY,
    phase::TOY,
    snap::TOY,
    dynamics::TOY,
    k_gon::TOY,
    interference::TOY,
    adversarial::TOY,
    relu_hidden::TOY,
    abs_value::TOY,
    boolean_and::TOY,
    compressed_computation::TOY,
    residual_mlp::TOY,
    head_superposition::TOY,
    induction::TOY,
    readout::TOY,
    stuck::TOY,
    incidental::TOY,
    sparsification::TOY,
    correlated::TOY,
    product::TOY,
    modular_addition::TOY,
    transformer_addition::TOY,
    rotated::TOY,
    disentangle::TOY,
    skip_trigram::TOY,
    polytope::TOY,
    circular::TOY,
    onion::TOY,
    bit_extraction::TOY,
    one_neuron_resnet::TOY,
    memoriser::TOY,
];

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
    pub keys: &'static [&'static str],
    /// The model whose layer can be read and diagnosed, made with these settings; `None` where there is no single one.
    pub model: Option<ModelOf>,
    pub run: fn(&Settings, &Lab) -> Result<Outcome, ToyError>,
}

/// From settings to a model.
pub type ModelOf = fn(&Settings) -> Result<Box<dyn ToyModel>, SettingError>;

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

    /// Runs it. Settings that were given and that this run has no use for are refused before it begins its work: toys read all
    /// their settings before they first call the watcher.
    ///
    /// # Errors
    /// A setting that can't be, one that is not used, a training that diverged; or the watcher broke.
    pub fn work(&self, s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
        let unused = OnceLock::new();
        let watch = |share: f64, stage: &str| match unused.get_or_init(|| s.unused()) {
            Ok(()) => (lab.watch)(share, stage),
            Err(_) => ControlFlow::Break(()),
        };
        let result = (self.run)(s, &Lab { instances: lab.instances, rng: lab.rng.clone(), watch: &watch });
        match (unused.get(), result) {
            (Some(Err(e)), _) => Err(e.clone().into()),
            (None, Ok(outcome)) => Ok(s.unused().map(|()| outcome)?),
            (_, Err(ToyError::Diverged { instance })) => {
                let (i, of) = (instance + 1, lab.instances);
                let settings = s.of_instance(instance.min(of - 1), of);
                Err(SettingError::new(format!(
                    "training diverged in instance {i} of {of} ({settings}): its weights ran beyond all numbers; lower lr"
                ))
                .into())
            }
            (_, result) => result,
        }
    }

    /// Settings that make it quick, for tests and benches.
    pub fn small(&self) -> Vec<String> {
        let quick = [
            "steps=20",
            "batch=64",
            "cells=3",
            "starts=2",
            "restarts=2",
            "iterations=20",
            "trials=5",
            "ratios=4",
            "rows=100",
            "looks=5",
            "with=steps=20",
        ];
        // Without those of a circuit that is not the default; they say so first.
        let used = || self.settings.iter().filter(|s| !s.says.starts_with("trained:"));
        let has = |pair: &&str| used().any(|s| pair.split('=').next() == Some(s.key));
        quick.iter().filter(|s| has(s)).map(|s| s.to_string()).collect()
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

impl Lab<'_> {
    /// Makes `count` things side by side, each a task for the thread pool: thing `i` from `rng.fork_index(i)` alone, so that
    /// threads change no byte. `make` says what share of its own work is done as often as it likes, and ends without an answer
    /// where it is told to break, or where its training diverges. Costly things should come first.
    ///
    /// # Errors
    /// [`ToyError::Stopped`] if the watcher broke; else [`ToyError::Diverged`] if a thing could not be made.
    pub fn side_by_side<T: Send>(
        &self,
        count: usize,
        stage: &str,
        make: impl Fn(usize, &Rng, &mut dyn FnMut(f64) -> ControlFlow<()>) -> Option<T> + Sync,
    ) -> Result<Vec<T>, ToyError> {
        let (done, stopped) = (Mutex::new(0.0f64), AtomicBool::new(false));
        let one = |i: usize| {
            let mut mine = 0.0;
            let mut tell = |share: f64| {
                let all = {
                    let mut done = done.lock().unwrap_or_else(|e| e.into_inner());
                    *done += share - mine;
                    *done / count as f64
                };
                mine = share;
                let go = (self.watch)(all.clamp(0.0, 1.0), stage);
                stopped.fetch_or(go.is_break(), Ordering::Relaxed);
                go
            };
            tell(0.0).is_continue().then_some(())?;
            let made = make(i, &self.rng.fork_index(i as u64), &mut tell)?;
            tell(1.0).is_continue().then_some(made)
        };
        let all: Vec<Option<T>> = (0..count).into_par_iter().with_max_len(1).map(one).collect();
        // Several things may belong to one instance, one after the other.
        let instance = |k: usize| k / (count / self.instances.max(1)).max(1);
        let missing = all.iter().position(Option::is_none).map(instance);
        match missing {
            Some(_) if stopped.into_inner() => Err(ToyError::Stopped),
            Some(instance) => Err(ToyError::Diverged { instance }),
            None => Ok(all.into_iter().flatten().collect()),
        }
    }
}

/// The weights of `model`, for [`Lab::side_by_side`]: none where the training was told to break, or diverged.
fn made(model: &dyn ToyModel, rng: &Rng, tell: &mut dyn FnMut(f64) -> ControlFlow<()>) -> Option<Made> {
    make(model, rng, tell).filter(|made| !made.diverged())
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ToyError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error("stopped before the models were trained")]
    Stopped,
    /// From every start of this instance.
    #[error("training diverged in instance {instance}")]
    Diverged { instance: usize },
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
    /// What else belongs into the run folder, by name: trained models.
    pub files: Vec<(String, Vec<u8>)>,
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
    /// Values over an axis.
    Sweep {
        name: &'static str,
        title: String,
        caption: String,
        x: Axis,
        y: Axis,
        /// Values of x and y. `line` joins them.
        series: Vec<Series>,
        /// Where horizontal lines stand, and what they are.
        levels: Vec<(f64, String)>,
    },
    Grid(Grid),
    Heat(Heat),
    Bars(Bars),
}

/// An axis: what it shows, with its unit, and whether equal steps are equal factors.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub name: String,
    pub log: bool,
}

impl Axis {
    pub fn linear(name: impl Into<String>) -> Self {
        Axis { name: name.into(), log: false }
    }

    /// Values that are not above zero are left out.
    pub fn log(name: impl Into<String>) -> Self {
        Axis { name: name.into(), log: true }
    }
}

/// Matrices in colour, side by side: blue below zero, orange above, pale at zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    pub name: &'static str,
    pub title: String,
    pub caption: String,
    /// What runs across and what runs down.
    pub across: String,
    pub down: String,
    pub panels: Vec<HeatPanel>,
}

/// One matrix of a [`Heat`], its own scale of colour reaching to its largest absolute value.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatPanel {
    pub label: String,
    pub rows: Vec<Vec<f64>>,
}

/// Bars of parts, stacked away from zero, in panels of one scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    pub name: &'static str,
    pub title: String,
    pub caption: String,
    /// What a bar is, and what its height says.
    pub across: String,
    pub up: String,
    /// What the darkest and the palest shade mean.
    pub dark: String,
    pub pale: String,
    pub panels: Vec<BarsPanel>,
}

/// Some bars: each a list of parts, with the height of each and its shade from 0, dark, to 1, pale.
#[derive(Clone, Debug, PartialEq)]
pub struct BarsPanel {
    pub label: String,
    pub bars: Vec<Vec<(f64, f64)>>,
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
