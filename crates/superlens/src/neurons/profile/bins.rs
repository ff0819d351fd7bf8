//! A histogram over powers of two, four bins an octave on each side of zero, with rows of every bin.

use super::Peak;

/// Bits of the mantissa that tell bins apart: four an octave.
const FINE: u32 = 2;
/// Octaves on each side of zero, from 2^-16 to 2^16; what is smaller or larger falls into the outermost.
const OCTAVES: u32 = 32;
const LOWEST: u32 = (127 - 16) << FINE;
const SIDE: usize = (OCTAVES << FINE) as usize;
/// All bins: those below zero first, from the largest in size to the smallest, then those above. Zeros lie in the lowest above.
pub const BINS: usize = 2 * SIDE;
/// Rows that are kept of each bin.
pub const SLOTS: usize = 2;

/// A row that stands for a bin: the one of its half of the rows whose random number is the least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slot {
    pub(super) rank: u32,
    pub(super) value: f32,
    pub(super) row: u64,
}

impl Slot {
    pub(super) const EMPTY: Slot = Slot { rank: u32::MAX, value: 0.0, row: u64::MAX };
}

/// How many rows lie in each bin, and up to [`SLOTS`] of them, drawn at random.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    pub(super) counts: Vec<u64>,
    /// `[BINS * SLOTS]`.
    pub(super) slots: Vec<Slot>,
}

/// The bin of a finite number.
#[inline(always)]
pub(super) fn bin(v: f32) -> usize {
    let bits = v.to_bits();
    let size = ((bits & 0x7fff_ffff) >> (23 - FINE)).clamp(LOWEST, LOWEST + SIDE as u32 - 1) - LOWEST;
    // −0 is 0.
    if bits > 0x8000_0000 { SIDE - 1 - size as usize } else { SIDE + size as usize }
}

/// Where bin `b` begins, for those above zero; the lowest of them begins at zero.
fn begins(b: usize) -> f32 {
    match b - SIDE {
        0 => 0.0,
        size => f32::from_bits((LOWEST + size as u32) << (23 - FINE)),
    }
}

impl Bins {
    /// Rows of each bin with its lower and upper end, lowest first; empty bins left out. The outermost are open.
    pub fn filled(&self) -> Vec<(f32, f32, u64)> {
        let above = |b: usize| (begins(b), if b + 1 < BINS { begins(b + 1) } else { f32::INFINITY });
        let ends = |b: usize| {
            if b >= SIDE {
                return above(b);
            }
            let (low, high) = above(BINS - 1 - b);
            (-high, -low)
        };
        let filled = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        filled.map(|(b, n)| (ends(b).0, ends(b).1, *n)).collect()
    }

    /// The value below which a share `q` of the rows above zero lie, as if each bin's were spread evenly over it; none above `max`.
    pub(super) fn positive_quantile(&self, q: f64, max: f32) -> f32 {
        let positive = self.positive_counts();
        let wanted = q * positive.iter().sum::<u64>() as f64;
        let mut seen = 0.0;
        for (size, n) in positive.iter().enumerate().filter(|(_, n)| **n > 0) {
            let n = *n as f64;
            if seen + n >= wanted {
                let from = begins(SIDE + size).min(max);
                let to = if SIDE + size + 1 < BINS { begins(SIDE + size + 1).min(max) } else { max };
                return from + ((wanted - seen) / n) as f32 * (to - from);
            }
            seen += n;
        }
        max
    }

    /// Rows above zero, by size. The lowest bin holds the zeros as well, which are not above.
    fn positive_counts(&self) -> Vec<u64> {
        let mut counts = self.counts[SIDE..].to_vec();
        counts[0] = 0;
        counts
    }

    /// The rows that are kept, each with its random number.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, Peak)> {
        let kept = self.slots.iter().filter(|s| s.row != u64::MAX);
        kept.map(|s| (s.rank, Peak { row: s.row, value: s.value }))
    }

    /// Keeps the counts alone.
    pub fn forget_rows(&mut self) {
        self.slots = Vec::new();
    }

    /// The rows that are kept with a value of `least` at least, in their order.
    pub fn rows_from(&self, least: f32) -> Vec<Peak> {
        let mut rows: Vec<Peak> = self.slots().map(|s| s.1).filter(|p| p.value >= least).collect();
        rows.sort_by_key(|p| p.row);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_ascend_and_hold_what_lies_between_their_ends() {
        let numbers: Vec<f32> = (-300..300).map(|i| (i as f32) * 0.37 + 0.001).collect();
        assert!(numbers.windows(2).all(|w| bin(w[0]) <= bin(w[1])));
        assert_eq!(bin(-0.0), bin(0.0));
        assert_eq!(bin(f32::MAX), BINS - 1);
        assert_eq!(bin(f32::MIN), 0);
        for v in numbers {
            let mut bins = Bins { counts: vec![0; BINS], slots: Vec::new() };
            bins.counts[bin(v)] = 1;
            let (low, high, n) = bins.filled()[0];
            assert!(n == 1 && low <= v && v <= high, "{v} in {low} to {high}");
        }
    }

    #[test]
    fn quantiles_are_right_to_a_part_of_a_bin() {
        let mut bins = Bins { counts: vec![0; BINS], slots: Vec::new() };
        (1..=1000).for_each(|i| bins.counts[bin(i as f32 / 1000.0)] += 1);
        let half = bins.positive_quantile(0.5, 1.0);
        assert!((0.48..0.52).contains(&half), "{half}");
        assert_eq!(bins.positive_quantile(1.0, 1.0), 1.0);
    }
}
