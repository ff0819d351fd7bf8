//! What all concepts share: rows, their split, and statistics of the units on the training rows.

use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::gemm_into;

use super::exact::Gram;
use super::information::Bins;
use super::split::Split;
use crate::probes::POSITIVE;

/// Rows of a piece of parallel work: sums are in `f32` within a piece and in `f64` over pieces, in their order.
const PIECE: usize = 512;
/// Pieces whose sums are in memory at once.
const GROUP: usize = 16;
/// What rounding leaves of a constant column is no deviation.
const ROUNDING: f64 = 1e-6;

/// Values of units with their split. Everything in it is of the training rows.
pub(super) struct Ground<'a> {
    pub x: &'a Mat,
    pub split: &'a Split,
    /// Row numbers of both parts.
    pub train: Vec<usize>,
    pub held_out: Vec<usize>,
    /// `[units]`; the deviation is 0 where a unit does not vary.
    pub mean: Vec<f64>,
    pub deviation: Vec<f64>,
    gram: OnceLock<Gram>,
    bins: OnceLock<Bins>,
}

/// One concept on the same split.
pub(super) struct Target {
    pub train: Vec<bool>,
    pub held_out: Vec<bool>,
    /// Positive training rows.
    pub positives: usize,
    /// `[units]`: mean over positive training rows less that over the others; zeros where one class is missing.
    pub difference: Vec<f64>,
}

impl Target {
    /// `[training rows, 1]`, zeros and ones.
    pub fn column(&self) -> Mat {
        Mat::from_vec(self.train.len(), 1, self.train.iter().map(|l| f32::from(*l)).collect())
    }

    /// How many are positive of a part.
    pub fn count(labels: &[bool]) -> usize {
        labels.iter().filter(|l| **l).count()
    }
}

impl<'a> Ground<'a> {
    pub fn new(x: &'a Mat, split: &'a Split) -> Ground<'a> {
        let rows = |blocks: &[Range<usize>]| blocks.iter().flat_map(Clone::clone).collect::<Vec<_>>();
        let (mean, deviation) = moments(x, &split.train);
        Ground {
            x,
            split,
            train: rows(&split.train),
            held_out: rows(&split.held_out),
            mean,
            deviation,
            gram: OnceLock::new(),
            bins: OnceLock::new(),
        }
    }

    /// Each column of `labels` `[rows, concepts]`, zeros and ones.
    pub fn targets(&self, labels: &Mat) -> Vec<Target> {
        let (d, n) = (self.x.cols(), self.train.len());
        let sums = class_sums(self.x, &self.split.train, labels);
        let of = |rows: &[usize], c: usize| rows.iter().map(|&i| labels[(i, c)] > POSITIVE).collect::<Vec<_>>();
        (0..labels.cols())
            .into_par_iter()
            .map(|c| {
                let train = of(&self.train, c);
                let positives = Target::count(&train);
                let (there, not) = (positives as f64, (n - positives) as f64);
                let difference = if positives == 0 || positives == n {
                    vec![0.0; d]
                } else {
                    let sum = &sums[c * d..(c + 1) * d];
                    sum.iter().zip(&self.mean).map(|(s, m)| s / there - (m * n as f64 - s) / not).collect()
                };
                Target { train, held_out: of(&self.held_out, c), positives, difference }
            })
            .collect()
    }

    /// `[units]`: correlation of every unit with the label on the training rows.
    pub fn correlations(&self, target: &Target) -> Vec<f64> {
        let share = target.positives as f64 / self.train.len().max(1) as f64;
        let scale = (share * (1.0 - share)).sqrt();
        let one = |(d, s): (&f64, &f64)| if *s > 0.0 { scale * d / s } else { 0.0 };
        target.difference.iter().zip(&self.deviation).map(one).collect()
    }

    /// Correlations among the units.
    pub fn gram(&self) -> &Gram {
        self.gram.get_or_init(|| Gram::new(self.correlation_matrix(), self.x.cols()))
    }

    /// The units in bins of about equally many rows.
    pub fn bins(&self) -> &Bins {
        self.bins.get_or_init(|| Bins::new(self.x, &self.train))
    }

    /// Columns that vary on the training rows.
    pub fn varying(&self) -> Vec<usize> {
        (0..self.x.cols()).filter(|&j| self.deviation[j] > 0.0).collect()
    }

    /// `[training rows, units]`: columns at mean 0 and variance 1.
    pub fn standardised(&self) -> Mat {
        let d = self.x.cols();
        let mut out = Mat::zeros(self.train.len(), d);
        out.data_mut().par_chunks_mut(d.max(1)).zip(&self.train).for_each(|(to, &i)| self.standardise(i, to));
        out
    }

    fn standardise(&self, row: usize, to: &mut [f32]) {
        for (j, (to, v)) in to.iter_mut().zip(self.x.row(row)).enumerate() {
            let s = self.deviation[j];
            *to = if s > 0.0 { ((f64::from(*v) - self.mean[j]) / s) as f32 } else { 0.0 };
        }
    }

    /// `[units, units]`, row after row; zeros at units that do not vary.
    fn correlation_matrix(&self) -> Vec<f64> {
        let (d, n) = (self.x.cols(), self.train.len().max(1) as f64);
        let mut sums = vec![0.0f64; d * d];
        let mut part = vec![0.0f32; d * d];
        for rows in self.train.chunks(4 * PIECE) {
            let mut z = Mat::zeros(rows.len(), d);
            z.data_mut().par_chunks_mut(d.max(1)).zip(rows).for_each(|(to, &i)| self.standardise(i, to));
            gemm_into(1.0, z.t(), z.view(), 0.0, &mut part);
            sums.par_chunks_mut(d).zip(part.par_chunks(d)).for_each(|(to, from)| {
                to.iter_mut().zip(from).for_each(|(t, f)| *t += f64::from(*f) / n);
            });
        }
        sums
    }
}

/// Blocks cut to pieces.
fn pieces(blocks: &[Range<usize>]) -> Vec<Range<usize>> {
    let cut = |b: &Range<usize>| {
        let (from, to) = (b.start, b.end);
        (from..to).step_by(PIECE).map(move |at| at..(at + PIECE).min(to))
    };
    blocks.iter().flat_map(cut).collect()
}

/// Mean and standard deviation of every column over `blocks` of rows.
fn moments(x: &Mat, blocks: &[Range<usize>]) -> (Vec<f64>, Vec<f64>) {
    let d = x.cols();
    let n = blocks.iter().map(ExactSizeIterator::len).sum::<usize>().max(1) as f64;
    // About the first row, so that a column far from zero keeps its digits.
    let Some(first) = blocks.iter().find(|b| !b.is_empty()).map(|b| x.row(b.start)) else {
        return (vec![0.0; d], vec![0.0; d]);
    };
    let piece = |rows: &Range<usize>| {
        let (mut sum, mut squares) = (vec![0.0f64; d], vec![0.0f64; d]);
        for i in rows.clone() {
            for (j, (v, f)) in x.row(i).iter().zip(first).enumerate() {
                let v = f64::from(*v) - f64::from(*f);
                sum[j] += v;
                squares[j] += v * v;
            }
        }
        (sum, squares)
    };
    let parts: Vec<_> = pieces(blocks).par_iter().map(piece).collect();
    let (mut sum, mut squares) = (vec![0.0f64; d], vec![0.0f64; d]);
    for (s, q) in &parts {
        sum.iter_mut().zip(s).for_each(|(to, v)| *to += v);
        squares.iter_mut().zip(q).for_each(|(to, v)| *to += v);
    }
    let mean: Vec<f64> = sum.iter().zip(first).map(|(s, f)| s / n + f64::from(*f)).collect();
    let deviation = |j: usize| {
        let deviation = (squares[j] / n - (sum[j] / n).powi(2)).max(0.0).sqrt();
        if deviation > ROUNDING * mean[j].abs() { deviation } else { 0.0 }
    };
    let deviation = (0..d).map(deviation).collect();
    (mean, deviation)
}

/// `[concepts · units]`: sums of `x` over the rows of `blocks` at which a label is one.
fn class_sums(x: &Mat, blocks: &[Range<usize>], labels: &Mat) -> Vec<f64> {
    let (d, concepts) = (x.cols(), labels.cols());
    let mut sums = vec![0.0f64; concepts * d];
    for group in pieces(blocks).chunks(GROUP) {
        let part = |rows: &Range<usize>| {
            let mut part = vec![0.0f32; concepts * d];
            let here = labels.rows_view(rows.start, rows.end);
            gemm_into(1.0, here.t(), x.rows_view(rows.start, rows.end), 0.0, &mut part);
            part
        };
        let parts: Vec<Vec<f32>> = group.par_iter().map(part).collect();
        sums.par_chunks_mut(d.max(1)).enumerate().for_each(|(c, to)| {
            for part in &parts {
                to.iter_mut().zip(&part[c * d..(c + 1) * d]).for_each(|(t, v)| *t += f64::from(*v));
            }
        });
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn statistics_are_those_of_the_training_rows() {
        let mut rng = Rng::new(1);
        let x = Mat::from_fn(1500, 3, |_, j| if j == 2 { 7.0 } else { 100.0 + (j + 1) as f32 * rng.normal() });
        let labels = Mat::from_fn(1500, 2, |i, c| f32::from(c == 0 && x[(i, 0)] > 100.5));
        let split = Split::new(1500, &rng);
        let ground = Ground::new(&x, &split);
        let mean = |j: usize, keep: &dyn Fn(usize) -> bool| {
            let chosen: Vec<f64> = ground.train.iter().filter(|i| keep(**i)).map(|&i| f64::from(x[(i, j)])).collect();
            chosen.iter().sum::<f64>() / chosen.len() as f64
        };
        assert!((ground.mean[1] - mean(1, &|_| true)).abs() < 1e-9 && ground.deviation[2] == 0.0);
        assert!((ground.deviation[1] - 2.0).abs() < 0.2);
        let targets = ground.targets(&labels);
        let wanted = mean(0, &|i| labels[(i, 0)] > 0.5) - mean(0, &|i| labels[(i, 0)] < 0.5);
        assert!((targets[0].difference[0] - wanted).abs() < 1e-3, "{} is not {wanted}", targets[0].difference[0]);
        assert!(targets[1].difference.iter().all(|v| *v == 0.0));
        let gram = ground.correlation_matrix();
        assert!((gram[0] - 1.0).abs() < 1e-4 && gram[1].abs() < 0.1 && gram[8] == 0.0, "{gram:?}");
        let z = ground.standardised();
        let t: Vec<f64> = targets[0].train.iter().map(|l| f64::from(*l)).collect();
        let n = t.len() as f64;
        let share = t.iter().sum::<f64>() / n;
        let told = (0..z.rows()).map(|i| f64::from(z[(i, 0)]) * (t[i] - share)).sum::<f64>() / n;
        let correlation = told / (share * (1.0 - share)).sqrt();
        assert!((ground.correlations(&targets[0])[0] - correlation).abs() < 1e-3);
    }
}
