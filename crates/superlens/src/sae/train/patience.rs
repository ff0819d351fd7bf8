//! [`Patience`]: when a training stops before its last step.

use super::super::arch::{FitError, check_real, check_setting};

/// Stop once the mean FVU over `window` steps has failed `windows` times in a row to fall below the best by `gain` of itself. The warm-up
/// does not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    pub window: u64,
    pub gain: f64,
    pub windows: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waited {
    /// Steps in this window, and the sum of their FVU.
    pub steps: u64,
    pub sum: f64,
    /// The best window, infinite before the first, and how many have not bettered it.
    pub best: f64,
    pub failed: u64,
    /// Whether it is time to stop.
    pub lost: bool,
}

impl Patience {
    pub(super) fn check(&self) -> Result<(), FitError> {
        check_setting("patience", self.windows as usize, 1, 1 << 30)?;
        check_setting("window of the patience", self.window as usize, 1, 1 << 30)?;
        check_real("gain of the patience", self.gain, 0.0, 1.0)
    }

    /// After one more step.
    pub(super) fn after(&self, waited: Option<Waited>, fvu: f64, counts: bool) -> Waited {
        let fresh = Waited { steps: 0, sum: 0.0, best: f64::INFINITY, failed: 0, lost: false };
        let mut now = waited.unwrap_or(fresh);
        if !counts {
            return now;
        }
        (now.steps, now.sum) = (now.steps + 1, now.sum + fvu);
        if now.steps < self.window {
            return now;
        }
        let mean = now.sum / now.steps as f64;
        let better = mean < now.best * (1.0 - self.gain);
        let failed = if better { 0 } else { now.failed + 1 };
        Waited { best: if better { mean } else { now.best }, failed, lost: failed >= self.windows, ..fresh }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_when_nothing_is_gained_any_more() {
        let rule = Patience { window: 10, gain: 0.01, windows: 3 };
        let stop = |fvu: &dyn Fn(u64) -> f64| {
            let mut waited = None;
            (0..1000).find(|&step| {
                waited = Some(rule.after(waited, fvu(step), step >= 20));
                waited.is_some_and(|w| w.lost)
            })
        };
        // Falls until step 200, then stays.
        assert_eq!(stop(&|step| 1.0 - step.min(200) as f64 / 250.0), Some(239));
        assert_eq!(stop(&|step| 1.0 / (1.0 + step as f64)), None);
    }
}
