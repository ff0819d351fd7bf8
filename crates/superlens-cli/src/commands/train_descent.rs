//! One training that goes step by step, among others on the same rows.

use std::time::Instant;

use superlens::sae::train::{self, Batch, Source, Step, Trainer};
use superlens::sae::{FitError, Sae, metrics};
use superlens_tensor::Rng;

use super::memory::Peak;
use super::train::{MEASURED, Report};
use super::train_folder::Folder;
use super::train_plan::Plan;
use super::train_rows::Rows;
use crate::failure::Failure;
use crate::progress::Progress;

/// Looks that are noted in the metrics over the whole run, about.
const LOOKS: u64 = 200;
/// Steps that are not timed.
pub const UNTIMED: u64 = 2;

pub struct Descent<'a> {
    plan: &'a Plan,
    /// Where the rows come from, in words.
    name: &'a str,
    trainer: Trainer,
    at_once: u64,
    /// The step that this process began with.
    first: u64,
    seconds: f64,
    timed: u64,
    peak: Peak,
    last: Option<Step>,
}

impl<'a> Descent<'a> {
    /// From the last checkpoint in the folder, if there is one.
    pub fn start(
        plan: &'a Plan,
        rows: &'a Rows,
        source: &mut dyn Source,
        folder: &mut Folder,
        rng: &Rng,
    ) -> Result<Self, Failure> {
        let name = rows.name(plan);
        let Some(entry) = train::find(&plan.arch) else { return Err(Failure::Input(plan.arch.clone())) };
        let (recipe, objective, rng) = (plan.recipe(), (entry.build)(&plan.options()), rng.fork(&plan.arch));
        let trainer = match folder.last_state()? {
            Some(state) => Trainer::resume(recipe, objective, source, &rng, state),
            None => Trainer::new(recipe, objective, source, &rng),
        }
        .map_err(|error| failed(name, error))?;
        let first = trainer.state().step;
        if first == 0 {
            folder.checkpoint(trainer.state())?;
        }
        let (at_once, peak) = (source.batch_rows() as u64, Peak::new());
        Ok(Descent { plan, name, trainer, at_once, first, seconds: 0.0, timed: 0, peak, last: None })
    }

    pub fn done(&self) -> bool {
        self.trainer.done()
    }

    /// The step that comes next.
    pub fn step_number(&self) -> u64 {
        self.trainer.state().step
    }

    /// One step on the batch of [`step_number`](Self::step_number), which took `reading` seconds to get.
    pub fn step(
        &mut self,
        batch: &Batch,
        reading: f64,
        folder: &mut Folder,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let (steps, every) = (self.plan.steps.unwrap_or(1), self.plan.checkpoint_every.unwrap_or(1));
        let start = Instant::now();
        let told = self.trainer.step(batch).map_err(|error| failed(self.name, error))?;
        if told.step >= self.first + UNTIMED {
            self.seconds += reading + start.elapsed().as_secs_f64();
            self.timed += self.at_once;
        }
        if told.step.is_multiple_of((steps / LOOKS).max(1)) || self.done() {
            folder.note(&serde_json::json!({
                "step": told.step, "loss": told.loss, "fvu": told.fvu, "l0": told.l0, "dead_fraction": told.dead,
                "dense_fraction": told.dense,
            }));
            self.peak.look();
        }
        let rate = if self.seconds > 0.0 { format!(", {:.0} rows a second", self.rate()) } else { String::new() };
        let (dead, dense) = (100.0 * told.dead, 100.0 * told.dense);
        let arch = &self.plan.arch;
        let stage =
            format!("{arch}: FVU {:.3}, L0 {:.1}, {dead:.0} % dead, {dense:.0} % dense{rate}", told.fvu, told.l0);
        progress.at((told.step + 1) as f64 / steps as f64, &stage);
        if (told.step + 1).is_multiple_of(every) || self.done() {
            folder.checkpoint(self.trainer.state())?;
        }
        self.last = Some(told);
        Ok(())
    }

    fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.timed as f64 / self.seconds } else { 0.0 }
    }

    pub fn finish(self, source: &mut dyn Source, rows: &Rows) -> Result<(Sae, Report), Failure> {
        let sae = self.trainer.finish(source).map_err(|error| failed(self.name, error))?;
        let (x, y) = rows.spread(self.plan.seed, MEASURED);
        let measured = metrics::evaluate_against(&sae, &x, y.as_ref().unwrap_or(&x));
        let dead_after = self.plan.dead_after.unwrap_or(1);
        let silent = &self.trainer.state().silent;
        let dead = silent.iter().filter(|s| **s >= dead_after).count() as f64 / silent.len() as f64;
        let steps = self.step_number();
        let report = Report {
            arch: self.plan.arch.clone(),
            steps,
            tokens: steps * self.at_once,
            seconds: self.seconds,
            tokens_per_s: self.rate(),
            peak_anon_mb: self.peak.mb(),
            fvu: measured.fvu,
            l0: measured.l0,
            dead_fraction: self.last.map_or(dead, |told| told.dead),
        };
        Ok((sae, report))
    }
}

fn failed(name: &str, error: FitError) -> Failure {
    match error {
        FitError::NotFinite { .. } => Failure::Input(format!("{name}: {error}")),
        other => Failure::input(other),
    }
}
