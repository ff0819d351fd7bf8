//! [`Annealed`]: a number of active latents that falls to the wanted one.

use super::Options;
use crate::sae::arch::{FitError, check_real, check_setting};

/// From [`Options::k_start`] down to `k` over the first share of the training, in even steps; `k` from the start where there is no start.
pub(super) struct Annealed {
    start: usize,
    end: usize,
    over: f64,
    now: usize,
}

impl Annealed {
    pub(super) fn new(options: &Options) -> Self {
        let start = options.k_start.unwrap_or(options.k);
        Annealed { start, end: options.k, over: options.anneal, now: options.k }
    }

    pub(super) fn check(&self, d_sae: usize) -> Result<(), FitError> {
        check_setting("k", self.end, 1, d_sae)?;
        check_setting("k_start", self.start, self.end, d_sae)?;
        check_real("anneal", self.over, 0.0, 1.0)
    }

    /// What it is at this share of the training.
    pub(super) fn at(&mut self, progress: f64) {
        let left = (1.0 - progress / self.over.max(f64::MIN_POSITIVE)).max(0.0);
        self.now = self.end + ((self.start - self.end) as f64 * left).round() as usize;
    }

    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// What it is in the end.
    pub(super) fn end(&self) -> usize {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_evenly_and_stays() {
        let options = Options { k: 4, k_start: Some(24), anneal: 0.5, ..Options::default() };
        let mut k = Annealed::new(&options);
        let at: Vec<usize> = [0.0, 0.125, 0.25, 0.5, 1.0].iter().map(|&p| (k.at(p), k.now()).1).collect();
        assert_eq!(at, [24, 19, 14, 4, 4]);
        assert!(k.check(24).is_ok() && k.check(23).is_err());
        let mut fixed = Annealed::new(&Options { k: 4, ..Options::default() });
        fixed.at(0.0);
        assert_eq!(fixed.now(), 4);
    }
}
