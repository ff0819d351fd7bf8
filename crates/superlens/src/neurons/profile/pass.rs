//! [`Pass`]: rows go in, block by block, profiles come out.

use super::super::Units;
use super::bins::{BINS, Bins, SLOTS, Slot, bin};
use super::{Peak, Profile};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::vectors::by_vectors;

/// Units that are worked on together: their bins fit into the cache of a core.
const PANEL: usize = 64;
/// Rows that are added up in `f32` before they join the sums in `f64`.
const STRETCH: usize = 64;

/// One pass over the rows of a layer.
pub struct Pass<'a> {
    units: &'a Units,
    seed: u64,
    rows: u64,
    panels: Vec<Panel>,
}

impl<'a> Pass<'a> {
    /// Keeps the `top` largest values of each unit; `seed` chooses the rows that stand for bins.
    pub fn new(units: &'a Units, top: usize, seed: u64) -> Pass<'a> {
        let starts = (0..units.len()).step_by(PANEL);
        let panels = starts.map(|from| Panel::new(from, (units.len() - from).min(PANEL), top)).collect();
        Pass { units, seed, rows: 0, panels }
    }

    /// The next rows, `[rows, d_in]`. Panics on another width.
    pub fn add(&mut self, x: &Mat) {
        let first = self.rows;
        let ranks: Vec<u32> = (first..first + x.rows() as u64).map(|row| rank(self.seed, row)).collect();
        match self.units {
            Units::Neurons(width) => {
                assert_eq!(x.cols(), *width, "rows {:?} for {width} neurons", x.shape());
                self.add_dense(first, x, &ranks);
            }
            Units::Directions(_) => self.add_dense(first, &self.units.values(x), &ranks),
            Units::Latents(sae) => {
                let panels = &mut self.panels;
                sae.encode_blocks(x, |from, latents| {
                    let columns = latents.transposed();
                    panels.par_iter_mut().for_each(|panel| {
                        for c in 0..panel.width {
                            let (rows, values) = columns.row(panel.from + c);
                            for (&i, &v) in rows.iter().zip(values) {
                                let i = from + i as usize;
                                panel.add_one(c, first + i as u64, v, ranks[i]);
                            }
                        }
                    });
                });
            }
        }
        self.rows += x.rows() as u64;
    }

    fn add_dense(&mut self, first: u64, values: &Mat, ranks: &[u32]) {
        self.panels.par_iter_mut().for_each(|panel| panel.add(first, values, ranks));
    }

    /// What was seen of each unit.
    pub fn finish(self) -> Vec<Profile> {
        let rows = self.rows;
        self.panels.into_par_iter().flat_map_iter(|panel| panel.finish(rows)).collect()
    }
}

/// A number for a row that looks random (the finaliser of SplitMix64, Steele, Lea and Flood 2014).
fn rank(seed: u64, row: u64) -> u32 {
    let mut z = (row ^ seed.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // The last value stands for an empty slot.
    (((z ^ (z >> 31)) >> 32) as u32).min(u32::MAX - 1)
}

/// Neighbouring units.
struct Panel {
    from: usize,
    width: usize,
    top: usize,
    /// What powers are taken about: the mean of the first rows, so that little is lost to rounding.
    centre: Option<Vec<f32>>,
    /// Sums of the first four powers, `[4][width]`.
    powers: [Vec<f64>; 4],
    /// Rows that were added one by one, the others being zero.
    listed: Vec<u64>,
    positive: Vec<u64>,
    min: Vec<f32>,
    max: Vec<f32>,
    /// `[width, BINS]`.
    counts: Vec<u64>,
    /// `[width, BINS * SLOTS]`.
    slots: Vec<Slot>,
    /// Values must exceed these to be among the largest.
    threshold: Vec<f32>,
    peaks: Vec<Vec<Peak>>,
}

impl Panel {
    fn new(from: usize, width: usize, top: usize) -> Panel {
        Panel {
            from,
            width,
            top,
            centre: None,
            powers: std::array::from_fn(|_| vec![0.0; width]),
            listed: vec![0; width],
            positive: vec![0; width],
            min: vec![f32::INFINITY; width],
            max: vec![f32::NEG_INFINITY; width],
            counts: vec![0; width * BINS],
            slots: vec![Slot::EMPTY; width * BINS * SLOTS],
            threshold: vec![f32::NEG_INFINITY; width],
            peaks: vec![Vec::new(); width],
        }
    }

    /// Rows `[rows, units]` from row `first` on.
    fn add(&mut self, first: u64, values: &Mat, ranks: &[u32]) {
        let row = |i: usize| &values.row(i)[self.from..self.from + self.width];
        if self.centre.is_none() {
            let n = values.rows().clamp(1, STRETCH);
            let mean = |j: usize| (0..n.min(values.rows())).map(|i| f64::from(row(i)[j])).sum::<f64>() / n as f64;
            self.centre = Some((0..self.width).map(|j| mean(j) as f32).collect());
        }
        for from in (0..values.rows()).step_by(STRETCH) {
            let to = (from + STRETCH).min(values.rows());
            self.sum(values, from, to);
            for i in from..to {
                self.place(first + i as u64, &values.row(i)[self.from..self.from + self.width], ranks[i]);
            }
        }
    }

    /// Adds powers, signs and extremes of a stretch of rows.
    fn sum(&mut self, values: &Mat, from: usize, to: usize) {
        let width = self.width;
        let centre = self.centre.as_deref().unwrap_or(&[]);
        let mut sums = [[0.0f32; PANEL]; 4];
        let mut positive = [0u32; PANEL];
        let (min, max) = (&mut self.min[..], &mut self.max[..]);
        by_vectors(
            #[inline(always)]
            || {
                for i in from..to {
                    let row = &values.row(i)[self.from..self.from + width];
                    let [one, two, three, four] = &mut sums;
                    for j in 0..width {
                        let v = row[j];
                        let c = v - centre[j];
                        let square = c * c;
                        one[j] += c;
                        two[j] += square;
                        three[j] += square * c;
                        four[j] += square * square;
                        positive[j] += u32::from(v > 0.0);
                        min[j] = if v < min[j] { v } else { min[j] };
                        max[j] = if v > max[j] { v } else { max[j] };
                    }
                }
            },
        );
        for (powers, sums) in self.powers.iter_mut().zip(&sums) {
            powers.iter_mut().zip(sums).for_each(|(p, s)| *p += f64::from(*s));
        }
        self.positive.iter_mut().zip(&positive).for_each(|(p, n)| *p += u64::from(*n));
    }

    /// Puts the values of a row into their bins, and among the largest where they belong there.
    fn place(&mut self, row: u64, values: &[f32], rank: u32) {
        let mut at = [0u32; PANEL];
        let mut large = false;
        let threshold = &self.threshold[..];
        by_vectors(
            #[inline(always)]
            || {
                for j in 0..values.len() {
                    at[j] = bin(values[j]) as u32;
                    large |= values[j] > threshold[j];
                }
            },
        );
        let half = rank as usize % SLOTS;
        for j in 0..values.len() {
            let b = j * BINS + at[j] as usize;
            self.counts[b] += 1;
            let slot = &mut self.slots[b * SLOTS + half];
            if rank < slot.rank {
                *slot = Slot { rank, value: values[j], row };
            }
        }
        if large {
            (0..values.len()).for_each(|j| self.rank_high(j, row, values[j]));
        }
    }

    /// One value of unit `c` of the panel, where all that is not listed is zero.
    fn add_one(&mut self, c: usize, row: u64, v: f32, rank: u32) {
        let mut power = 1.0;
        for powers in &mut self.powers {
            power *= f64::from(v);
            powers[c] += power;
        }
        self.listed[c] += 1;
        self.positive[c] += u64::from(v > 0.0);
        self.min[c] = self.min[c].min(v);
        self.max[c] = self.max[c].max(v);
        let b = c * BINS + bin(v);
        self.counts[b] += 1;
        let slot = &mut self.slots[b * SLOTS + rank as usize % SLOTS];
        if rank < slot.rank {
            *slot = Slot { rank, value: v, row };
        }
        self.rank_high(c, row, v);
    }

    /// Keeps the value if it is among the largest. Of equal ones the earlier row stays.
    fn rank_high(&mut self, c: usize, row: u64, value: f32) {
        if value <= self.threshold[c] || self.top == 0 {
            return;
        }
        let peaks = &mut self.peaks[c];
        peaks.push(Peak { row, value });
        if peaks.len() == 2 * self.top {
            keep_largest(peaks, self.top);
            self.threshold[c] = peaks[self.top - 1].value;
        }
    }

    fn finish(mut self, rows: u64) -> Vec<Profile> {
        (0..self.width).map(|c| self.profile(c, rows)).collect()
    }

    fn profile(&mut self, c: usize, rows: u64) -> Profile {
        let centre = self.centre.as_ref().map_or(0.0, |centre| f64::from(centre[c]));
        let n = rows.max(1) as f64;
        let [m1, m2, m3, m4] = std::array::from_fn(|k| self.powers[k][c] / n);
        let variance = (m2 - m1 * m1).max(0.0);
        // Of a unit that does not vary, rounding is all there is.
        let varies = variance > 1e-12 * (m2 + centre * centre);
        let third = m3 - 3.0 * m1 * m2 + 2.0 * m1.powi(3);
        let fourth = m4 - 4.0 * m1 * m3 + 6.0 * m1 * m1 * m2 - 3.0 * m1.powi(4);
        let mut counts = self.counts[c * BINS..(c + 1) * BINS].to_vec();
        let (mut min, mut max) = (self.min[c], self.max[c]);
        // What was not listed is zero.
        if self.centre.is_none() && self.listed[c] < rows {
            counts[bin(0.0)] += rows - self.listed[c];
            (min, max) = (min.min(0.0), max.max(0.0));
        }
        let mut top = std::mem::take(&mut self.peaks[c]);
        keep_largest(&mut top, self.top);
        Profile {
            unit: self.from + c,
            rows,
            mean: centre + m1,
            variance: if varies { variance } else { 0.0 },
            skewness: varies.then(|| third / variance.powf(1.5)),
            kurtosis: varies.then(|| fourth / (variance * variance)),
            density: self.positive[c] as f64 / n,
            min,
            max,
            bins: Bins { counts, slots: self.slots[c * BINS * SLOTS..(c + 1) * BINS * SLOTS].to_vec() },
            top,
        }
    }
}

fn keep_largest(peaks: &mut Vec<Peak>, n: usize) {
    peaks.sort_unstable_by(|a, b| b.value.total_cmp(&a.value).then(a.row.cmp(&b.row)));
    peaks.truncate(n);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neurons::profile::profiles;
    use superlens_tensor::Rng;

    /// Rows whose columns are far from zero, heavy-tailed, sparse and constant.
    fn rows(n: usize) -> Mat {
        let mut rng = Rng::new(5).fork("profile test");
        Mat::from_fn(n, 4, |_, j| match j {
            0 => 100.0 + rng.normal(),
            1 => rng.normal().powi(3),
            2 if rng.chance(0.1) => rng.uniform() + 0.5,
            2 => 0.0,
            _ => 2.5,
        })
    }

    #[test]
    fn moments_and_peaks_are_those_of_the_definitions() {
        let x = rows(3000);
        let found = profiles(&Units::Neurons(4), &x, 10, 1);
        for (j, p) in found.iter().enumerate() {
            let column: Vec<f64> = (0..3000).map(|i| f64::from(x[(i, j)])).collect();
            let mean = column.iter().sum::<f64>() / 3000.0;
            let moment = |k: i32| column.iter().map(|v| (v - mean).powi(k)).sum::<f64>() / 3000.0;
            assert!((p.mean - mean).abs() < 1e-5 * mean.abs().max(1.0), "{j}: {} for {mean}", p.mean);
            assert!((p.variance - moment(2)).abs() < 1e-4 * moment(2).max(1e-3), "{j}");
            assert_eq!(p.density, column.iter().filter(|v| **v > 0.0).count() as f64 / 3000.0);
            assert_eq!(p.bins.counts.iter().sum::<u64>(), 3000);
            match (p.skewness, p.kurtosis) {
                (Some(skew), Some(kurt)) => {
                    assert!((skew - moment(3) / moment(2).powf(1.5)).abs() < 1e-2, "{j}: skewness {skew}");
                    assert!((kurt / (moment(4) / moment(2).powi(2)) - 1.0).abs() < 1e-3, "{j}: kurtosis {kurt}");
                }
                _ => assert_eq!(j, 3),
            }
            let mut order: Vec<usize> = (0..3000).collect();
            order.sort_by(|a, b| column[*b].total_cmp(&column[*a]).then(a.cmp(b)));
            assert!(p.top.iter().zip(&order).all(|(peak, row)| peak.row == *row as u64), "{j}");
            assert_eq!(p.top.len(), 10);
        }
        let (boundaries, groups) = found[2].by_quantile(4, 3);
        for (g, peaks) in groups.iter().enumerate() {
            assert!(!peaks.is_empty(), "group {g}");
            assert!(peaks.iter().all(|p| p.value == x[(p.row as usize, 2)]));
            assert!(peaks.iter().all(|p| boundaries[g] <= p.value && p.value <= boundaries[g + 1]), "{g}");
        }
    }

    #[test]
    fn how_rows_are_cut_into_blocks_changes_nothing_that_is_kept() {
        let x = rows(1000);
        let units = Units::Neurons(4);
        let whole = profiles(&units, &x, 5, 1);
        let mut pass = Pass::new(&units, 5, 1);
        for from in (0..1000).step_by(320) {
            pass.add(&x.select_rows(&(from..(from + 320).min(1000)).collect::<Vec<_>>()));
        }
        assert!(whole == pass.finish());
    }

    #[test]
    fn latents_that_are_mostly_zero_have_the_profiles_of_the_dense_matrix() {
        use crate::sae::{Activation, Encoder, Sae};
        let x = rows(500);
        let mut rng = Rng::new(9);
        let w_enc = Mat::from_fn(4, 12, |_, _| rng.normal());
        let encoder = Encoder::Linear { w_enc, b_enc: vec![-0.5; 12], act: Activation::Relu };
        let sae = Sae::new(vec![0.0; 4], encoder, Mat::from_fn(12, 4, |_, _| 1.0), vec![0.0; 4]);
        let dense = sae.encode(&x).to_dense();
        let sparse = profiles(&Units::Latents(Box::new(sae)), &x, 7, 3);
        let wanted = profiles(&Units::Neurons(12), &dense, 7, 3);
        for (a, b) in sparse.iter().zip(&wanted) {
            assert!((a.mean - b.mean).abs() < 1e-4 * b.mean.abs().max(1.0));
            assert_eq!((a.density, a.min, a.max), (b.density, b.min, b.max));
            assert_eq!(a.bins.counts, b.bins.counts);
            assert!(a.top.iter().filter(|p| p.value > 0.0).eq(b.top.iter().filter(|p| p.value > 0.0)));
        }
    }
}
