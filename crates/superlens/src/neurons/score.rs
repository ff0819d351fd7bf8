//! How well something that was said of a unit tells what the unit does: plain functions on slices, for whoever explains.
//!
//! Two numbers of a simulation are easily taken for one another. `correlation` is what Bills et al. (2023) score; `explained variance` is what a share of
//! variance is. A correlation of .5 explains at most .25 of the variance.

/// Pearson's correlation of two series; `None` where one of them does not vary. The score of Bills et al. 2023, there over all tokens of all held-out
/// texts of a unit at once.
///
/// Panics on series of different lengths.
pub fn correlation(real: &[f32], simulated: &[f32]) -> Option<f64> {
    let sums = Sums::of(real, simulated);
    let product = sums.xx * sums.yy;
    (product > 0.0).then(|| (sums.xy / product.sqrt()).clamp(-1.0, 1.0))
}

/// 1 − Σ(real − simulated)² / Σ(real − mean)²: the share of the variance that the simulation as it is explains, below zero where the mean would do
/// better. `None` where `real` does not vary.
pub fn explained_variance(real: &[f32], simulated: &[f32]) -> Option<f64> {
    let sums = Sums::of(real, simulated);
    let off: f64 = real.iter().zip(simulated).map(|(r, s)| (f64::from(*r) - f64::from(*s)).powi(2)).sum();
    (sums.xx > 0.0).then(|| 1.0 - off / sums.xx)
}

/// A line that turns simulated numbers into activations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    pub slope: f64,
    pub offset: f64,
}

impl Calibration {
    /// By least squares: as near to `real` as a line of `simulated` can come. To be fitted on other texts than those that are scored. A simulation that does
    /// not vary gets a slope of zero.
    pub fn fit(real: &[f32], simulated: &[f32]) -> Calibration {
        let sums = Sums::of(real, simulated);
        let slope = if sums.yy > 0.0 { sums.xy / sums.yy } else { 0.0 };
        Calibration { slope, offset: sums.mean_x - slope * sums.mean_y }
    }

    pub fn apply(&self, simulated: &[f32]) -> Vec<f32> {
        simulated.iter().map(|s| (self.slope * f64::from(*s) + self.offset) as f32).collect()
    }
}

/// Centred sums.
struct Sums {
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Sums {
    fn of(x: &[f32], y: &[f32]) -> Sums {
        assert_eq!(x.len(), y.len(), "real and simulated activations");
        let n = x.len().max(1) as f64;
        let mean = |v: &[f32]| v.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let mut sums = Sums { mean_x: mean(x), mean_y: mean(y), xx: 0.0, yy: 0.0, xy: 0.0 };
        for (x, y) in x.iter().zip(y) {
            let (x, y) = (f64::from(*x) - sums.mean_x, f64::from(*y) - sums.mean_y);
            sums.xx += x * x;
            sums.yy += y * y;
            sums.xy += x * y;
        }
        sums
    }
}

/// What a simulation came to, each reading under its own name.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Simulated {
    /// [`correlation`] over the held-out texts.
    pub correlation: Option<f64>,
    /// Its square: what the best line fitted on the held-out texts themselves would explain, so an upper bound.
    pub correlation_squared: Option<f64>,
    /// [`explained_variance`] of the simulated levels times the unit's scale, without any fit.
    pub explained_variance_raw: Option<f64>,
    /// [`explained_variance`] after the line that fits best on the calibration texts.
    pub explained_variance_calibrated: Option<f64>,
    /// Tokens that were scored.
    pub tokens: usize,
}

/// All readings: of simulated levels, their scale (an activation a level), on the held-out texts and those of calibration.
pub fn simulated(held_out: (&[f32], &[f32]), calibration: (&[f32], &[f32]), scale: f32) -> Simulated {
    let (real, levels) = held_out;
    let raw: Vec<f32> = levels.iter().map(|level| level * scale).collect();
    let line = (!calibration.0.is_empty()).then(|| Calibration::fit(calibration.0, calibration.1));
    let correlation = correlation(real, levels);
    Simulated {
        correlation,
        correlation_squared: correlation.map(|r| r * r),
        explained_variance_raw: explained_variance(real, &raw),
        explained_variance_calibrated: line.and_then(|line| explained_variance(real, &line.apply(levels))),
        tokens: real.len(),
    }
}

/// How yes and no were answered: detection (does the unit respond in this text?) and fuzzing (are the marked tokens those that it responds to?), both of
/// Paulo et al. 2024, *Automatically Interpreting Millions of Features in Large Language Models*, arXiv 2410.13928.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Judged {
    pub true_positives: usize,
    pub false_positives: usize,
    pub true_negatives: usize,
    pub false_negatives: usize,
}

impl Judged {
    /// Panics on different numbers.
    pub fn of(truth: &[bool], said: &[bool]) -> Judged {
        assert_eq!(truth.len(), said.len(), "truth and answers");
        let count = |t: bool, s: bool| truth.iter().zip(said).filter(|pair| *pair == (&t, &s)).count();
        Judged {
            true_positives: count(true, true),
            false_positives: count(false, true),
            true_negatives: count(false, false),
            false_negatives: count(true, false),
        }
    }

    /// Share that is right; `None` without answers.
    pub fn accuracy(&self) -> Option<f64> {
        let right = self.true_positives + self.true_negatives;
        share(right, right + self.false_positives + self.false_negatives)
    }

    /// Mean of the shares that are right of those where yes is true, and of those where no is: one half for whoever guesses, whatever the numbers of both.
    /// `None` where one kind is missing.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        let yes = share(self.true_positives, self.true_positives + self.false_negatives)?;
        let no = share(self.true_negatives, self.true_negatives + self.false_positives)?;
        Some((yes + no) / 2.0)
    }
}

/// How often the text that does not belong was found among others: Paulo and Belrose 2025, *Evaluating SAE interpretability without explanations*, arXiv
/// 2507.08473, after the word intrusion of Chang et al. 2009. No explanation is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Intruder {
    pub right: usize,
    pub trials: usize,
    pub accuracy: Option<f64>,
    /// What guessing gives.
    pub chance: Option<f64>,
}

impl Intruder {
    /// Of places of the intruder, told and true, among `texts` each. Panics on different numbers.
    pub fn of(truth: &[usize], said: &[usize], texts: usize) -> Intruder {
        assert_eq!(truth.len(), said.len(), "truth and answers");
        let right = truth.iter().zip(said).filter(|(t, s)| t == s).count();
        let trials = truth.len();
        Intruder { right, trials, accuracy: share(right, trials), chance: share(1, texts) }
    }
}

fn share(part: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_is_not_explained_variance() {
        let real = [0.0, 1.0, 2.0, 3.0];
        let doubled = [0.0, 2.0, 4.0, 6.0];
        assert_eq!(correlation(&real, &doubled), Some(1.0));
        // Off by 0, 1, 2, 3: 14 against 5 about the mean.
        assert!((explained_variance(&real, &doubled).unwrap() - (1.0 - 14.0 / 5.0)).abs() < 1e-12);
        let line = Calibration::fit(&real, &doubled);
        assert_eq!(line, Calibration { slope: 0.5, offset: 0.0 });
        assert_eq!(explained_variance(&real, &line.apply(&doubled)), Some(1.0));
        assert_eq!((correlation(&real, &[1.0; 4]), explained_variance(&[1.0; 4], &real)), (None, None));
        assert_eq!(correlation(&[], &[]), None);
    }

    #[test]
    fn the_square_is_what_a_line_on_the_same_texts_explains() {
        let (real, said) = ([0.0, 3.0, 1.0, 5.0, 2.0], [1.0, 2.0, 2.0, 4.0, 0.0]);
        let scores = simulated((&real, &said), (&real, &said), 0.7);
        let difference = scores.correlation_squared.unwrap() - scores.explained_variance_calibrated.unwrap();
        assert!(difference.abs() < 1e-6);
        assert!(scores.explained_variance_raw.unwrap() < scores.correlation_squared.unwrap());
        assert_eq!(simulated((&real, &said), (&[], &[]), 1.0).explained_variance_calibrated, None);
    }

    #[test]
    fn who_always_says_yes_is_half_right() {
        let judged = Judged::of(&[true, true, true, false], &[true; 4]);
        assert_eq!((judged.accuracy(), judged.balanced_accuracy()), (Some(0.75), Some(0.5)));
        assert_eq!(Judged::of(&[true], &[true]).balanced_accuracy(), None);
        let intruder = Intruder::of(&[1, 2, 0], &[1, 0, 0], 5);
        assert_eq!((intruder.right, intruder.accuracy, intruder.chance), (2, Some(2.0 / 3.0), Some(0.2)));
    }
}
