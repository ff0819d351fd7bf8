//! The folder of a training run. It stands from the first step on, so that a run can be gone on with whatever ended it; each file in it
//! is complete or not there.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use superlens::sae::train::State;
use superlens_tensor::io::{remove_parts, write_atomic};

use super::train_plan::Plan;
use crate::failure::{Failure, say};

/// Checkpoints that are kept: the last, and the one before in case the last is broken.
const KEPT: usize = 2;

pub struct Folder {
    pub path: PathBuf,
    /// What `--resume` is to be given: the folder, or that of the sweep which it is in.
    pub resumes: PathBuf,
    /// What tells this run from any other.
    identity: String,
    metrics: String,
    /// Of this process alone, as long as it is open.
    _lock: File,
}

impl Folder {
    /// A folder that is not there yet, or empty.
    pub fn create(path: &Path, plan: &Plan) -> Result<Folder, Failure> {
        let wrong = |problem: &str| Failure::Input(format!("{}: {problem}", path.display()));
        match fs::read_dir(path).map(|entries| entries.count()) {
            Ok(1..) => {
                return Err(wrong("is not empty; name a new folder, or go on with the run in it: --resume"));
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(wrong(&format!("can't be the run folder: {e}"))),
        }
        fs::create_dir_all(path.join("checkpoints")).map_err(|e| wrong(&format!("can't be made: {e}")))?;
        let text = toml::to_string_pretty(plan).map_err(|e| Failure::Other(e.into()))?;
        let config = path.join("config.toml");
        write_atomic(&config, text.as_bytes())
            .map_err(|e| Failure::Other(anyhow::Error::msg(format!("{}: can't be written: {e}", config.display()))))?;
        let _lock = lock(path, &config)?;
        Ok(Folder { path: path.into(), resumes: path.into(), identity: text, metrics: String::new(), _lock })
    }

    /// A folder that [`create`](Self::create) made, and the plan in it.
    pub fn open(path: &Path) -> Result<(Folder, Plan), Failure> {
        let config = path.join("config.toml");
        if !config.exists() {
            let path = path.display();
            return Err(Failure::Input(format!(
                "{path}: holds no run: expected a config.toml in it, found none; name a folder that superlens train made"
            )));
        }
        let plan = Plan::read(&config)?;
        let _lock = lock(path, &config)?;
        for folder in [path, &path.join("checkpoints"), &path.join("sae")] {
            remove_parts(folder);
        }
        let identity = toml::to_string_pretty(&plan).map_err(|e| Failure::Other(e.into()))?;
        let metrics = fs::read_to_string(path.join("metrics.jsonl")).unwrap_or_default();
        Ok((Folder { path: path.into(), resumes: path.into(), identity, metrics, _lock }, plan))
    }

    /// Removes a folder in which no step was done, so that what was wrong can be mended and typed again.
    pub fn remove_if_unused(&self) {
        let checkpoints = self.checkpoints();
        if checkpoints.iter().all(|file| file.ends_with(checkpoint_name(0))) {
            let files = ["config.toml", "metrics.jsonl"].map(|name| self.path.join(name));
            checkpoints.iter().chain(&files).for_each(|file| _ = fs::remove_file(file));
            // Not with its content: nothing that is not ours goes.
            [self.path.join("checkpoints"), self.path.clone()].iter().for_each(|folder| _ = fs::remove_dir(folder));
        }
    }

    /// The last state that is whole; `None` where there is no checkpoint at all.
    pub fn last_state(&mut self) -> Result<Option<State>, Failure> {
        let mut broken = None;
        for file in self.checkpoints().into_iter().rev() {
            match State::read(&file, &self.identity) {
                Ok(state) => {
                    if let Some(error) = &broken {
                        say(&format!("warning: {error}; going on from step {}", state.step));
                    }
                    self.forget_after(state.step);
                    return Ok(Some(state));
                }
                Err(error) => broken = Some(error),
            }
        }
        match broken {
            Some(error) => Err(Failure::Input(format!(
                "{error}; no other checkpoint of the run is whole: begin it anew in another folder, with train {} --out DIR",
                self.path.join("config.toml").display()
            ))),
            None => Ok(None),
        }
    }

    /// Ascending in step.
    fn checkpoints(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path.join("checkpoints")).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
            .collect();
        files.sort();
        files
    }

    /// Writes the state and what was measured so far, then removes what is too old.
    pub fn checkpoint(&self, state: &State) -> Result<(), Failure> {
        // Lines beyond the last state are forgotten; missing ones could not be made again.
        self.write("metrics.jsonl", self.metrics.as_bytes()).map_err(|failure| self.unwritten(failure))?;
        let file = self.path.join("checkpoints").join(checkpoint_name(state.step));
        state
            .write(&file, &self.identity)
            .map_err(|error| self.unwritten(Failure::Other(anyhow::Error::msg(error))))?;
        let all = self.checkpoints();
        for old in &all[..all.len().saturating_sub(KEPT)] {
            // One too many does no harm.
            let _ = fs::remove_file(old);
        }
        Ok(())
    }

    /// The failure to write something, with what to do then: the last checkpoint is untouched.
    pub fn unwritten(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Other(error) if !self.checkpoints().is_empty() => Failure::Other(anyhow::Error::msg(format!(
                "{error:#}; the last checkpoint is whole: make room and go on with --resume {}",
                self.resumes.display()
            ))),
            other => other,
        }
    }

    /// Adds a line to the metrics; it reaches the disk with the next checkpoint.
    pub fn note(&mut self, line: &serde_json::Value) {
        self.metrics.push_str(&format!("{line}\n"));
    }

    /// Lines of steps that are to be done again.
    fn forget_after(&mut self, step: u64) {
        let before = |line: &&str| {
            let line: Result<serde_json::Value, _> = serde_json::from_str(line);
            line.is_ok_and(|line| line["step"].as_u64().is_some_and(|s| s < step))
        };
        self.metrics = self.metrics.lines().filter(before).map(|line| format!("{line}\n")).collect();
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let file = self.path.join(name);
        let told = |e| Failure::Other(anyhow::Error::msg(format!("{}: can't be written: {e}", file.display())));
        write_atomic(&file, bytes).map_err(told)
    }
}

fn checkpoint_name(step: u64) -> String {
    format!("step-{step:010}.safetensors")
}

/// Keeps other processes out of the run. Where files can't be locked, nothing is lost but this check.
fn lock(path: &Path, config: &Path) -> Result<File, Failure> {
    let told = |what: String| Failure::Input(format!("{}: {what}", path.display()));
    let file = File::open(config).map_err(|e| told(format!("config.toml can't be read: {e}")))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(told("another process trains in this folder; wait for it, or end it".into()))
        }
        _ => Ok(file),
    }
}
