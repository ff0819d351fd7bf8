//! [`Mask`]: which rows something holds in, a bit a row.

/// A set of rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mask {
    /// Bits past the last row are zero.
    words: Vec<u64>,
    rows: usize,
}

impl Mask {
    /// The rows of `0..rows` in which `holds` does.
    pub fn from_fn(rows: usize, holds: impl Fn(usize) -> bool) -> Mask {
        let mut words = vec![0; rows.div_ceil(64)];
        (0..rows).filter(|&row| holds(row)).for_each(|row| words[row / 64] |= 1 << (row % 64));
        Mask { words, rows }
    }

    /// Rows there are, in the mask or not.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows that are in it.
    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    pub fn holds(&self, row: usize) -> bool {
        row < self.rows && self.words[row / 64] >> (row % 64) & 1 == 1
    }

    pub fn and(&self, other: &Mask) -> Mask {
        self.zip(other, |a, b| a & b)
    }

    pub fn or(&self, other: &Mask) -> Mask {
        self.zip(other, |a, b| a | b)
    }

    pub fn not(&self) -> Mask {
        let mut words: Vec<u64> = self.words.iter().map(|w| !w).collect();
        if let Some(last) = words.last_mut().filter(|_| !self.rows.is_multiple_of(64)) {
            *last &= (1 << (self.rows % 64)) - 1;
        }
        Mask { words, rows: self.rows }
    }

    /// Moved on by `by` rows, the last becoming the first.
    pub fn rotated(&self, by: usize) -> Mask {
        let rows = self.rows.max(1);
        Mask::from_fn(self.rows, |row| self.holds((row + rows - by % rows) % rows))
    }

    /// Rows in both, and rows in one or the other.
    pub fn overlap(&self, other: &Mask) -> Overlap {
        let pairs = self.words.iter().zip(&other.words);
        Overlap::of(pairs.map(|(a, b)| (*a, *b)))
    }

    /// [`Mask::overlap`] of `self` with `a and b` or `a or b`, without making that.
    pub(super) fn overlap_of(&self, a: &Mask, b: &Mask, and: bool) -> Overlap {
        let triples = self.words.iter().zip(a.words.iter().zip(&b.words));
        if and {
            Overlap::of(triples.map(|(u, (a, b))| (*u, a & b)))
        } else {
            Overlap::of(triples.map(|(u, (a, b))| (*u, a | b)))
        }
    }

    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    fn zip(&self, other: &Mask, by: impl Fn(u64, u64) -> u64) -> Mask {
        assert_eq!(self.rows, other.rows, "masks of different rows");
        Mask { words: self.words.iter().zip(&other.words).map(|(a, b)| by(*a, *b)).collect(), rows: self.rows }
    }
}

/// Rows in both of two masks, and rows in one at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    pub both: u64,
    pub either: u64,
}

impl Overlap {
    fn of(pairs: impl Iterator<Item = (u64, u64)>) -> Overlap {
        let start = Overlap { both: 0, either: 0 };
        pairs.fold(start, |sum, (a, b)| Overlap {
            both: sum.both + u64::from((a & b).count_ones()),
            either: sum.either + u64::from((a | b).count_ones()),
        })
    }

    /// Intersection over union; 0 where both are empty.
    pub fn iou(self) -> f64 {
        self.both as f64 / self.either.max(1) as f64
    }
}

/// The rows in which a unit is on: those with its largest values, a share `quantile` of all (Mu and Andreas 2020 take .005), and its
/// threshold, the least value that is on.
///
/// Rows that tie with the threshold are on too, unless it is the least value of all, which can't tell rows apart: then only rows above it are. So
/// a unit with two values is on where it takes the larger one, and a silent unit nowhere; its threshold is then infinite.
pub fn binarise(values: &[f32], quantile: f64) -> (Mask, f32) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let Some(&least) = sorted.last() else { return (Mask::from_fn(0, |_| false), f32::INFINITY) };
    let wanted = ((quantile * values.len() as f64).ceil() as usize).clamp(1, values.len());
    let at = sorted[wanted - 1];
    let above_least = || sorted.iter().rev().copied().find(|v| *v > least);
    let threshold = if at > least { at } else { above_least().unwrap_or(f32::INFINITY) };
    (Mask::from_fn(values.len(), |row| values[row] >= threshold), threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_exact_across_words() {
        let threes = Mask::from_fn(130, |i| i % 3 == 0);
        let twos = Mask::from_fn(130, |i| i % 2 == 0);
        assert_eq!((threes.count(), twos.count(), threes.not().count()), (44, 65, 86));
        assert_eq!(threes.and(&twos), Mask::from_fn(130, |i| i % 6 == 0));
        assert_eq!(threes.or(&twos), threes.not().and(&twos.not()).not());
        let overlap = threes.overlap(&twos);
        assert_eq!((overlap.both, overlap.either), (22, 87));
        let all = Mask::from_fn(130, |_| true);
        assert_eq!(all.overlap_of(&threes, &twos, false), all.overlap(&threes.or(&twos)));
        assert_eq!(all.overlap_of(&threes, &twos, true), all.overlap(&threes.and(&twos)));
        assert_eq!(
            threes.rotated(1),
            Mask::from_fn(130, |i| i == 0 || i % 3 == 1).and(&Mask::from_fn(130, |i| i != 0 || 129 % 3 == 0))
        );
        assert_eq!(threes.rotated(130), threes);
    }

    #[test]
    fn a_unit_is_on_in_its_top_rows() {
        let values: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        let (mask, threshold) = binarise(&values, 0.005);
        assert_eq!((mask.count(), threshold), (5, 995.0));
        // Two values: where it takes the larger one. Few rows above zero: these. Nothing: nowhere.
        let two: Vec<f32> = (0..1000).map(|i| f32::from(i % 10 == 0)).collect();
        assert_eq!(binarise(&two, 0.005).0.count(), 100);
        let few: Vec<f32> = (0..1000).map(|i| if i < 3 { 1.0 + i as f32 } else { 0.0 }).collect();
        assert_eq!((binarise(&few, 0.005).0.count(), binarise(&few, 0.005).1), (3, 1.0));
        assert_eq!(binarise(&[0.0; 10], 0.5).0.count(), 0);
        assert_eq!(binarise(&[], 0.5).0.count(), 0);
    }
}
