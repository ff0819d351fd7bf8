//! How far a command is: a bar on standard error if that is a terminal, otherwise a line now and then.

use std::io::{IsTerminal, stderr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
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
/// The ticker never looks more often than this.
const LEAST_WAIT: Duration = Duration::from_millis(20);
/// Below this share done, the time left is a guess and not told.
const TELLING: f64 = 0.01;
/// Of work whose share done is known, and of other work.
const MEASURED: &str = "{bar:32} {percent:>3} %  {msg}";
const UNMEASURED: &str = "{spinner} {msg}";

/// How far something is, from 0 to 1, and what is being done. Shown also while nothing new is told: work may be long between two looks.
pub struct Progress {
    quiet: bool,
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Told when the state is over.
    over: Condvar,
}

struct State {
    /// `None` where lines are written instead.
    bar: Option<ProgressBar>,
    /// Since when the share grows: loading a model tells nothing of how long running it takes.
    start: Instant,
    /// When to show something again.
    next: Instant,
    wait: Duration,
    /// `None` while it is not known how much there is to do.
    fraction: Option<f64>,
    stage: String,
    over: bool,
}

impl Progress {
    pub fn new(quiet: bool) -> Self {
        let start = Instant::now();
        let bar = (stderr().is_terminal() && !quiet).then(|| {
            let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
            restyle(&bar, UNMEASURED);
            bar
        });
        let state = State {
            next: if bar.is_some() { start } else { start + FIRST_LINE },
            bar,
            start,
            wait: FIRST_LINE,
            fraction: None,
            stage: "working".into(),
            over: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), over: Condvar::new() });
        let ticker = (!quiet).then(|| {
            let shared = shared.clone();
            thread::spawn(move || shared.tick())
        });
        Self { quiet, shared, ticker }
    }

    /// `fraction` of the whole is done, 0 to 1; now at `stage`.
    pub fn at(&self, fraction: f64, stage: &str) {
        if self.quiet {
            return;
        }
        self.shared.lock().turn(Some(fraction.clamp(0.0, 1.0)), stage);
    }

    /// Now at `stage`, of which nobody knows how long it takes.
    pub fn stage(&self, stage: &str) {
        if !self.quiet {
            self.shared.lock().turn(None, stage);
        }
    }

    /// Runs `print`, which writes to the terminal, with the bar out of its way.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        let bar = self.shared.lock().bar.clone();
        match bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the state whenever it is time, until it is over.
    fn tick(&self) {
        let mut state = self.lock();
        while !state.over {
            let now = Instant::now();
            state.show(now);
            let wait = (state.next - now).max(LEAST_WAIT);
            state = self.over.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn restyle(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

impl State {
    fn turn(&mut self, fraction: Option<f64>, stage: &str) {
        let now = Instant::now();
        if self.fraction.is_none() != fraction.is_none() {
            self.start = now;
            if let Some(bar) = &self.bar {
                restyle(bar, if fraction.is_some() { MEASURED } else { UNMEASURED });
            }
        }
        self.fraction = fraction;
        if self.stage != stage {
            self.stage = stage.into();
        }
        self.show(now);
    }

    /// If it is time for that.
    fn show(&mut self, now: Instant) {
        if now < self.next || self.over {
            return;
        }
        let left = self.left(now);
        match &self.bar {
            Some(bar) => {
                self.next = now + REDRAW;
                bar.set_position((self.fraction.unwrap_or(0.0) * STEPS as f64) as u64);
                bar.set_message(format!("{}{left}", self.stage));
            }
            None => {
                self.next = now + self.wait;
                self.wait = (2 * self.wait).min(LONGEST_WAIT);
                match self.fraction {
                    Some(fraction) => say(&format!("{:3.0} %  {}{left}", 100.0 * fraction, self.stage)),
                    None => say(&format!("  –    {}", self.stage)),
                }
            }
        }
    }

    /// How long the rest takes if it goes on as so far; nothing while that can't be told.
    fn left(&self, now: Instant) -> String {
        let Some(fraction) = self.fraction.filter(|&fraction| fraction >= TELLING) else { return String::new() };
        let left = (now - self.start).mul_f64((1.0 - fraction) / fraction);
        format!(", {:#} left", HumanDuration(Duration::from_secs(left.as_secs_f64().ceil() as u64)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let bar = {
            let mut state = self.shared.lock();
            state.over = true;
            state.bar.take()
        };
        self.shared.over.notify_all();
        if let Some(ticker) = self.ticker.take() {
            // It has nothing left to do but to see that it is over.
            let _ = ticker.join();
        }
        if let Some(bar) = bar {
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
        let left = |fraction, seconds| {
            let mut state = progress.shared.lock();
            state.fraction = fraction;
            state.left(state.start + Duration::from_secs(seconds))
        };
        assert_eq!(left(Some(0.25), 10), ", 30s left");
        assert_eq!(left(Some(0.001), 10), "");
        assert_eq!(left(Some(1.0), 90), ", 0s left");
        assert_eq!(left(None, 10), "");
    }
}
