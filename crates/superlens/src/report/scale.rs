//! From numbers to places on paper: scales with round ends and round ticks.

use super::words;

/// Beyond this size a value is treated like infinity: differences of scale ends must not overflow.
const HUGE: f64 = 1e290;

/// Whether a value can be drawn.
pub fn drawable(v: f64) -> bool {
    v.abs() < HUGE
}

/// A linear scale from numbers to coordinates, with ticks at multiples of a round step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    lo: f64,
    hi: f64,
    step: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// The least scale with round ends that covers all drawable `values`, with about `ticks` ticks.
    ///
    /// No values give 0 to 1; one value gets room on both sides, so nothing here divides by zero.
    pub fn covering(values: impl IntoIterator<Item = f64>, ticks: usize) -> Self {
        let (mut lo, mut hi) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in values.into_iter().filter(|&v| drawable(v)) {
            (lo, hi) = (lo.min(v), hi.max(v));
        }
        if lo > hi {
            (lo, hi) = (0.0, 1.0);
        }
        // Ticks have to differ in their first digits, or their labels would be the same.
        let spread = 1e-6 * lo.abs().max(hi.abs()).max(1e-12);
        if hi - lo < spread {
            let pad = if hi == 0.0 { 1.0 } else { 0.25 * hi.abs() };
            (lo, hi) = if lo == 0.0 { (0.0, pad) } else { (lo - pad, hi + pad) };
        }
        let step = round_step((hi - lo) / ticks.max(1) as f64);
        Self::fixed((lo / step + 1e-9).floor() * step, (hi / step - 1e-9).ceil() * step, step)
    }

    /// As [`Scale::covering`], with ticks at whole numbers only.
    pub fn covering_whole(values: impl IntoIterator<Item = f64>, ticks: usize) -> Self {
        let scale = Self::covering(values, ticks);
        if scale.step >= 1.0 {
            return scale;
        }
        Self::fixed(scale.lo.floor(), scale.hi.ceil().max(scale.lo.floor() + 1.0), 1.0)
    }

    /// A scale over the decimal logarithms of `values` above 0, with a tick at each power of ten.
    pub fn covering_log(values: impl IntoIterator<Item = f64>) -> Self {
        let logs = values.into_iter().filter(|v| *v > 0.0 && drawable(*v)).map(f64::log10);
        let (lo, hi) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| (lo.min(v), hi.max(v)));
        if lo > hi {
            return Self::fixed(0.0, 1.0, 1.0);
        }
        // A decade that is hardly entered gets no room.
        let (lo, hi) = ((lo + 0.02).floor(), (hi - 0.02).ceil());
        Self::fixed(lo, hi.max(lo + 1.0), 1.0)
    }

    /// The ticks of a scale over logarithms, labelled with the values themselves.
    pub fn log_ticks(&self) -> Vec<Tick> {
        let name = |v: f64| if (-3.0..=6.0).contains(&v) { words::number(10f64.powf(v)) } else { format!("1e{v}") };
        let n = (self.hi - self.lo).round().clamp(1.0, 50.0) as usize;
        (0..=n).map(|i| self.lo + i as f64).map(|v| Tick { at: self.at(v), label: name(v) }).collect()
    }

    /// A scale with the given ends and step.
    pub fn fixed(lo: f64, hi: f64, step: f64) -> Self {
        Self { lo, hi, step, from: 0.0, to: 1.0 }
    }

    /// The same numbers, with `lo` at `from` and `hi` at `to`.
    pub fn onto(self, from: f64, to: f64) -> Self {
        Self { from, to, ..self }
    }

    /// The coordinate of `v`; values off the scale come to its nearer end.
    pub fn at(&self, v: f64) -> f64 {
        let share = ((v - self.lo) / (self.hi - self.lo)).clamp(0.0, 1.0);
        self.from + if share.is_nan() { 0.0 } else { share } * (self.to - self.from)
    }

    pub fn lo(&self) -> f64 {
        self.lo
    }

    pub fn hi(&self) -> f64 {
        self.hi
    }

    /// Value, coordinate and label of each tick.
    pub fn ticks(&self) -> Vec<Tick> {
        let first = (self.lo / self.step - 1e-9).ceil();
        let n = ((self.hi - self.lo) / self.step + 1e-9).floor().clamp(0.0, 50.0) as usize;
        let label = |v: f64| label(v, self.step, self.lo.abs().max(self.hi.abs()));
        (0..=n).map(|i| (first + i as f64) * self.step).map(|v| Tick { at: self.at(v), label: label(v) }).collect()
    }
}

/// A mark on an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub at: f64,
    pub label: String,
}

/// 1, 2 or 5 times a power of ten, at least `raw`.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|d| d * power >= raw * (1.0 - 1e-9)).unwrap_or(10.0);
    digit * power
}

/// All labels of one axis have as many decimals as its step needs.
fn label(v: f64, step: f64, largest: f64) -> String {
    if !(1e-3..1e6).contains(&largest) {
        return if v.abs() < step * 1e-6 { "0".to_owned() } else { trimmed_exponent(v) };
    }
    let decimals = (-(step * (1.0 + 1e-9)).log10().floor()).max(0.0) as usize;
    if decimals == 0 && v.abs() >= 1000.0 {
        return words::number(v);
    }
    let text = format!("{v:.decimals$}");
    // −0.0 at the end of a range that starts below zero.
    if text.trim_start_matches('-').trim_matches(['0', '.']).is_empty() {
        text.replace('-', "")
    } else {
        text.replace('-', "−")
    }
}

fn trimmed_exponent(v: f64) -> String {
    let text = format!("{v:.2e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// Shares (0 to 1) of the drawable `values` in `bins` equal bins from `lo` to `hi`; values outside count in the end bins.
pub fn histogram(values: &[f64], lo: f64, hi: f64, bins: usize) -> Vec<f64> {
    let mut counts = vec![0usize; bins];
    let kept = values.iter().filter(|v| drawable(**v));
    let mut total = 0usize;
    for v in kept {
        let bin = ((v - lo) / (hi - lo) * bins as f64).clamp(0.0, bins as f64 - 1.0);
        counts[bin as usize] += 1;
        total += 1;
    }
    counts.into_iter().map(|c| c as f64 / total.max(1) as f64).collect()
}

/// Mean of the drawable values.
pub fn mean(values: &[f64]) -> Option<f64> {
    let (sum, n) = values.iter().filter(|v| drawable(**v)).fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    (n > 0).then(|| sum / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|t| t.label).collect()
    }

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        assert_eq!(labels(Scale::covering([0.0, 131.0], 4)), ["0", "50", "100", "150"]);
        assert_eq!(labels(Scale::covering([0.96, 1.06], 4)), ["0.95", "1.00", "1.05", "1.10"]);
        assert_eq!(labels(Scale::covering([0.0, 43_000.0], 4)), ["0", "20,000", "40,000", "60,000"]);
        assert_eq!(labels(Scale::covering_whole([1.0, 3.0], 5)), ["1", "2", "3"]);
    }

    #[test]
    fn logarithmic_ticks_are_powers_of_ten() {
        let scale = Scale::covering_log([1.0, 100.0]).onto(0.0, 10.0);
        let ticks: Vec<(f64, String)> = scale.log_ticks().into_iter().map(|t| (t.at, t.label)).collect();
        assert_eq!(ticks, [(0.0, "1".into()), (5.0, "10".into()), (10.0, "100".into())]);
        assert_eq!(Scale::covering_log([0.0, -1.0, f64::NAN]).log_ticks().len(), 2);
        assert_eq!(Scale::covering_log([3.0]).log_ticks().len(), 2);
    }

    #[test]
    fn odd_inputs_give_a_scale_all_the_same() {
        let odd: [&[f64]; 9] = [
            &[],
            &[0.0],
            &[5.0],
            &[-3.0, -3.0],
            &[f64::NAN, f64::INFINITY],
            &[f64::MAX, f64::MIN],
            &[1.0, 1.0 + 1e-15],
            &[0.0, 1.8e19],
            &[1e-300, 2e-300],
        ];
        for values in odd {
            let scale = Scale::covering(values.iter().copied(), 5).onto(0.0, 100.0);
            let ticks = scale.ticks();
            assert!((2..=12).contains(&ticks.len()), "{values:?}: {ticks:?}");
            assert!(ticks.iter().all(|t| (0.0..=100.0).contains(&t.at)), "{values:?}: {ticks:?}");
            let distinct: std::collections::HashSet<_> = ticks.iter().map(|t| &t.label).collect();
            assert_eq!(distinct.len(), ticks.len(), "{values:?}: {ticks:?}");
            for v in [f64::NAN, f64::INFINITY, -1e300] {
                assert!((0.0..=100.0).contains(&scale.at(v)));
            }
        }
    }

    #[test]
    fn a_histogram_counts_every_drawable_value_once() {
        let shares = histogram(&[0.0, 0.1, 0.5, 1.0, 2.0, f64::NAN], 0.0, 1.0, 4);
        assert_eq!(shares, [0.4, 0.0, 0.2, 0.4]);
        assert_eq!(histogram(&[], 0.0, 1.0, 2), [0.0, 0.0]);
    }
}
