//! How much a unit tells of a label.

use rayon::prelude::*;
use superlens_tensor::Mat;

use super::ground::Target;

/// Bins of a unit's values, of about equally many training rows.
const BINS: usize = 16;

/// Every unit's values as numbers of bins. Equal values share a bin, so that a unit that is mostly off has few.
pub(super) struct Bins {
    /// `[units · training rows]`, unit after unit.
    codes: Vec<u8>,
    rows: usize,
}

impl Bins {
    pub fn new(x: &Mat, train: &[usize]) -> Bins {
        let rows = train.len();
        let mut codes = vec![0u8; rows * x.cols()];
        if rows > 0 {
            codes.par_chunks_mut(rows).enumerate().for_each(|(j, codes)| {
                let values: Vec<f32> = train.iter().map(|&i| x[(i, j)] + 0.0).collect();
                let mut sorted = values.clone();
                sorted.sort_unstable_by(f32::total_cmp);
                let mut edges: Vec<f32> = (1..BINS).map(|b| sorted[b * rows / BINS]).collect();
                edges.dedup();
                // A value belongs to the bin above the last edge that it reaches.
                codes.iter_mut().zip(&values).for_each(|(c, v)| *c = edges.partition_point(|e| e <= v) as u8);
            });
        }
        Bins { codes, rows }
    }

    /// `[units]`: mutual information of the label and the unit's bin in nats, plugged in from counts.
    pub fn information(&self, target: &Target) -> Vec<f64> {
        let n = self.rows;
        if n == 0 {
            return Vec::new();
        }
        // Of the rarer class, which says it all.
        let yes = 2 * target.positives <= n;
        let rare: Vec<usize> = (0..n).filter(|&i| target.train[i] == yes).collect();
        let one = |codes: &[u8]| {
            let (mut all, mut some) = ([0u32; BINS], [0u32; BINS]);
            codes.iter().for_each(|c| all[usize::from(*c)] += 1);
            rare.iter().for_each(|&i| some[usize::from(codes[i])] += 1);
            let share = rare.len() as f64 / n as f64;
            let term = |count: f64, all: f64, class: f64| {
                if count > 0.0 { count / n as f64 * (count / (all * class)).ln() } else { 0.0 }
            };
            all.iter().zip(&some).fold(0.0, |sum, (all, some)| {
                let (all, some) = (f64::from(*all), f64::from(*some));
                sum + term(some, all, share) + term(all - some, all, 1.0 - share)
            })
        };
        self.codes.par_chunks(n).map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_tells_all_and_a_coin_nothing() {
        let x = Mat::from_fn(4000, 3, |i, j| match j {
            0 => f32::from(i % 4 == 0),
            1 => (i / 4 % 2) as f32,
            _ => 1.0,
        });
        let train: Vec<usize> = (0..4000).collect();
        let labels: Vec<bool> = (0..4000).map(|i| i % 4 == 0).collect();
        let target = Target { positives: 1000, held_out: Vec::new(), difference: Vec::new(), train: labels };
        let told = Bins::new(&x, &train).information(&target);
        let entropy = -(0.25 * 0.25f64.ln() + 0.75 * 0.75f64.ln());
        assert!((told[0] - entropy).abs() < 1e-12 && told[1].abs() < 1e-12 && told[2].abs() < 1e-12, "{told:?}");
    }
}
