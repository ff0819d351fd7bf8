//! How far a command is: a bar on standard error if that is a terminal, otherwise nothing.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Steps of the bar: fine enough to move every second of a minute.
const STEPS: u64 = 1000;

/// A bar from 0 to 1 with the name of what is being done.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub fn new(quiet: bool) -> Self {
        let visible = !quiet && stderr().is_terminal();
        let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(STEPS), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// `fraction` of the whole is done, 0 to 1; now at `stage`.
    pub fn at(&self, fraction: f64, stage: &str) {
        self.bar.set_position((fraction.clamp(0.0, 1.0) * STEPS as f64) as u64);
        if self.bar.message() != stage {
            self.bar.set_message(stage.to_string());
        }
    }

    /// Runs `print`, which writes to the terminal, with the bar out of its way.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
