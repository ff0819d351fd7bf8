//! Profiles: what one pass over all rows keeps of every unit.
//!
//! Moments, a histogram over powers of two, the largest values, and a few rows of every bin of the histogram, since what a unit does below its
//! top is where it may mean something else. Memory is a few kilobytes a unit, whatever the number of rows; the order of rows is that of the
//! store, and the result is the same on any number of threads.

mod bins;
mod pass;

pub use bins::{BINS, Bins, Slot};
pub use pass::Pass;

use super::Units;

/// A row, and what a unit gives there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    pub row: u64,
    pub value: f32,
}

/// What is kept of one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub unit: usize,
    pub rows: u64,
    pub mean: f64,
    /// Of the rows, not an estimate of a population's: divided by their number.
    pub variance: f64,
    /// Third standardised moment; `None` where nothing varies.
    pub skewness: Option<f64>,
    /// Fourth standardised moment, 3 for a normal law; `None` where nothing varies.
    pub kurtosis: Option<f64>,
    /// Share of rows above zero.
    pub density: f64,
    pub min: f32,
    pub max: f32,
    /// How many rows lie where, and a few of them.
    pub bins: Bins,
    /// The largest values, largest first; of equal ones the earlier row.
    pub top: Vec<Peak>,
}

impl Profile {
    /// Never above zero.
    pub fn dead(&self) -> bool {
        self.max <= 0.0
    }

    /// Above zero in more than a tenth of the rows.
    pub fn dense(&self) -> bool {
        self.density > 0.1
    }

    /// Largest peaks that are `apart` rows from one another at least, `k` at most: neighbours in a stream are one example.
    pub fn spaced_top(&self, k: usize, apart: u64) -> Vec<Peak> {
        let mut chosen: Vec<Peak> = Vec::with_capacity(k);
        for peak in &self.top {
            if chosen.len() == k {
                break;
            }
            if chosen.iter().all(|c| c.row.abs_diff(peak.row) >= apart) {
                chosen.push(*peak);
            }
        }
        chosen
    }

    /// Boundaries of `groups` groups between zero and the largest value, lowest first, and up to `each` rows of every group. They lie at
    /// [`quantiles`] of the rows above zero, as nearly as bins tell.
    pub fn by_quantile(&self, groups: usize, each: usize) -> (Vec<f32>, Vec<Vec<Peak>>) {
        if self.dead() || groups == 0 {
            return (Vec::new(), Vec::new());
        }
        let boundaries: Vec<f32> =
            quantiles(groups).into_iter().map(|q| self.bins.positive_quantile(q, self.max)).collect();
        let mut found: Vec<Vec<Peak>> = vec![Vec::new(); groups];
        let mut candidates: Vec<(u32, Peak)> = self.bins.slots().filter(|(_, p)| p.value > 0.0).collect();
        candidates.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.row.cmp(&b.1.row)));
        // In a group so near to the top that no bin's rows lie in it, the largest do.
        candidates.extend(self.top.iter().filter(|p| p.value > 0.0).map(|p| (u32::MAX, *p)));
        for (_, peak) in candidates {
            let g = boundaries[1..groups].partition_point(|b| *b <= peak.value);
            if found[g].len() < each && found[g].iter().all(|p| p.row != peak.row) {
                found[g].push(peak);
            }
        }
        found.iter_mut().for_each(|group| group.sort_by(|a, b| b.value.total_cmp(&a.value).then(a.row.cmp(&b.row))));
        (boundaries, found)
    }
}

/// Where groups begin and end: at the median, and then ever nearer to the top, 90 %, 99 %, 99.9 %, since most of what is above zero is little.
pub fn quantiles(groups: usize) -> Vec<f64> {
    let inner = (1..groups).map(|g| if g == 1 { 0.5 } else { 1.0 - 10f64.powi(1 - g as i32) });
    std::iter::once(0.0).chain(inner).chain([1.0]).collect()
}

/// Candidates that are kept for `k` examples, so that enough are left when neighbours are one.
pub fn candidates(k: usize) -> usize {
    4 * k + 8
}

/// The rows of a matrix in one go: for whoever has them in memory.
pub fn profiles(units: &Units, x: &superlens_tensor::Mat, top: usize, seed: u64) -> Vec<Profile> {
    let mut pass = Pass::new(units, top, seed);
    pass.add(x);
    pass.finish()
}
