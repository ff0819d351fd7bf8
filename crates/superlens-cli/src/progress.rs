//! How far a command is: a bar on standard error if that is a terminal, otherwise a line now and then.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::say;

/// Steps of the bar: fine enough to move every second of a minute.
const STEPS: u64 = 1000;
/// Between two looks at a bar.
const REDRAW: Duration = Duration::from_millis(50);
/// When the first line comes where there is no bar; each wait after it is twice as long, up to the longest.
const FIRST_LINE: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Below this share done, the time left is a guess and not told.
const TELLING: f64 = 0.01;

/// How far something is, from 0 to 1, and what is being done.
pub struct Progress {
    quiet: bool,
    /// `None` where lines are written instead.
    bar: Option<ProgressBar>,
    start: Instant,
    /// When to show something again.
    next: Cell<Instant>,
    wait: Cell<Duration>,
}

impl Progress {
    pub fn new(quiet: bool) -> Self {
        let start = Instant::now();
        let bar = (stderr().is_terminal() || quiet).then(|| {
            let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
            let bar = ProgressBar::with_draw_target(Some(STEPS), target);
            match ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let next = if bar.is_some() { start } else { start + FIRST_LINE };
        Self { quiet, bar, start, next: Cell::new(next), wait: Cell::new(FIRST_LINE) }
    }

    /// `fraction` of the whole is done, 0 to 1; now at `stage`.
    pub fn at(&self, fraction: f64, stage: &str) {
        let now = Instant::now();
        if self.quiet || now < self.next.get() {
            return;
        }
        let fraction = fraction.clamp(0.0, 1.0);
        let left = self.left(fraction, now);
        match &self.bar {
            Some(bar) => {
                self.next.set(now + REDRAW);
                bar.set_position((fraction * STEPS as f64) as u64);
                bar.set_message(format!("{stage}{left}"));
            }
            None => {
                self.next.set(now + self.wait.get());
                self.wait.set((2 * self.wait.get()).min(LONGEST_WAIT));
                say(&format!("{:3.0} %  {stage}{left}", 100.0 * fraction));
            }
        }
    }

    /// How long the rest takes if it goes on as so far; nothing while that can't be told.
    fn left(&self, fraction: f64, now: Instant) -> String {
        if fraction < TELLING {
            return String::new();
        }
        let left = (now - self.start).mul_f64((1.0 - fraction) / fraction);
        format!(", {:#} left", HumanDuration(Duration::from_secs(left.as_secs_f64().ceil() as u64)))
    }

    /// Runs `print`, which writes to the terminal, with the bar out of its way.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_time_gone() {
        let progress = Progress::new(true);
        let after = |seconds| progress.start + Duration::from_secs(seconds);
        assert_eq!(progress.left(0.25, after(10)), ", 30s left");
        assert_eq!(progress.left(0.001, after(10)), "");
        assert_eq!(progress.left(1.0, after(90)), ", 0s left");
    }
}
