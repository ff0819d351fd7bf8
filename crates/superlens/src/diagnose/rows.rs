//! Which rows are read, and how they are split: two halves that must agree, and held-out rows for every test.

use superlens_tensor::Mat;

/// Blocks of consecutive rows. Splitting by block, never row by row, keeps neighbours of a token stream on one side.
const BLOCKS: usize = 20;
/// Of five blocks, two go to each half and one is held out.
const TURN: [Part; 5] = [Part::A, Part::B, Part::HeldOut, Part::B, Part::A];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    A,
    B,
    HeldOut,
}

/// Row numbers of each part, in the order of the input.
#[derive(Clone, Debug)]
pub(super) struct Split {
    pub a: Vec<usize>,
    pub b: Vec<usize>,
    pub held_out: Vec<usize>,
}

impl Split {
    /// Evenly spaced rows of `0..rows`, at most `cap` of them, in contiguous blocks.
    pub fn new(rows: usize, cap: usize) -> Self {
        let used = rows.min(cap);
        let mut split = Split { a: Vec::new(), b: Vec::new(), held_out: Vec::new() };
        for i in 0..used {
            let row = (i as u128 * rows as u128 / used as u128) as usize;
            match TURN[i * BLOCKS / used % TURN.len()] {
                Part::A => split.a.push(row),
                Part::B => split.b.push(row),
                Part::HeldOut => split.held_out.push(row),
            }
        }
        split
    }

    /// Rows of both halves: what the dictionary is estimated on.
    pub fn search(&self) -> Vec<usize> {
        self.a.iter().chain(&self.b).copied().collect()
    }
}

/// Columns whose every entry is the same.
pub(super) fn constant_columns(x: &Mat) -> Vec<usize> {
    let mut varies = vec![false; x.cols()];
    for i in 1..x.rows() {
        for ((v, a), b) in varies.iter_mut().zip(x.row(i)).zip(x.row(0)) {
            *v |= a != b;
        }
    }
    (0..x.cols()).filter(|&j| !varies[j]).collect()
}

/// Lag-1 autocorrelation of every column of the centred matrix `z`, in the order its rows came.
pub(super) fn lag_one(z: &Mat) -> Vec<f64> {
    let mut products = vec![0.0f64; z.cols()];
    let mut squares = vec![0.0f64; z.cols()];
    for i in 1..z.rows() {
        for (j, (a, b)) in z.row(i - 1).iter().zip(z.row(i)).enumerate() {
            products[j] += f64::from(*a) * f64::from(*b);
            squares[j] += f64::from(*b) * f64::from(*b);
        }
    }
    products.iter().zip(&squares).map(|(p, s)| if *s > 0.0 { (p / s).clamp(-0.99, 0.99) } else { 0.0 }).collect()
}

/// Rows that count in a stream with lag-1 autocorrelations `rho`: N (1 − ρ) / (1 + ρ), ρ the mean over components.
pub(super) fn effective_rows(rows: usize, rho: &[f64]) -> f64 {
    let mean = rho.iter().sum::<f64>() / rho.len().max(1) as f64;
    let mean = mean.max(0.0);
    rows as f64 * (1.0 - mean) / (1.0 + mean)
}

/// Largest sizes of the entries whose squares `f32` holds with room to spare.
const IN_RANGE: std::ops::RangeInclusive<f32> = 1e-9..=1e9;

/// `x` times a power of two that brings its largest entry near 1, where squares would leave the range of `f32` otherwise.
/// Nothing in a diagnosis depends on the scale.
pub(super) fn in_range(x: &Mat) -> Option<Mat> {
    let largest = x.data().iter().fold(0.0f32, |m, v| m.max(v.abs()));
    if largest == 0.0 || IN_RANGE.contains(&largest) {
        return None;
    }
    // In two steps, since the factor itself may be out of range.
    let exponent = -f64::from(largest).log2().floor() as i32;
    let (half, rest) = (2f32.powi(exponent / 2), 2f32.powi(exponent - exponent / 2));
    let mut scaled = x.clone();
    scaled.data_mut().iter_mut().for_each(|v| *v = *v * half * rest);
    Some(scaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_beyond_the_squares_of_floats_are_brought_back() {
        for (size, scaled) in [(1e30f32, true), (1e-30, true), (1e-42, true), (3.0, false), (f32::MAX, true)] {
            let x = Mat::from_fn(2, 2, |i, j| if i == j { size } else { -0.25 * size });
            let got = in_range(&x);
            assert_eq!(got.is_some(), scaled, "{size}");
            if let Some(got) = got {
                assert!((1.0..2.0).contains(&got[(0, 0)]), "{size}: {}", got[(0, 0)]);
                assert!((got[(0, 1)] / got[(0, 0)] + 0.25).abs() < 1e-2);
            }
        }
        assert!(in_range(&Mat::zeros(2, 2)).is_none());
    }

    #[test]
    fn parts_are_disjoint_and_cover_the_rows() {
        for (rows, cap) in [(1000, 5000), (1000, 300), (7, 100), (2, 2)] {
            let s = Split::new(rows, cap);
            let mut all: Vec<usize> = s.a.iter().chain(&s.b).chain(&s.held_out).copied().collect();
            all.sort_unstable();
            let n = all.len();
            all.dedup();
            assert_eq!((all.len(), n), (rows.min(cap), rows.min(cap)));
            assert!(all.iter().all(|&i| i < rows));
        }
    }

    #[test]
    fn a_slow_stream_counts_for_few_rows() {
        let mut rng = superlens_tensor::Rng::new(0);
        let mut x = 0.0f32;
        let z = Mat::from_fn(20_000, 1, |_, _| {
            x = 0.9 * x + 0.435_89 * rng.normal();
            x
        });
        let rho = lag_one(&z);
        assert!((rho[0] - 0.9).abs() < 0.02, "{rho:?}");
        assert!((effective_rows(20_000, &rho) - 1052.0).abs() < 250.0);
    }
}
