//! How features can be read from a layer: linearly, behind a ReLU, or behind a threshold.
//!
//! A number of features says nothing without its notion. With `d` dimensions in use, at most `d` features can each be read by a
//! linear map without hearing the others (Eckart and Young 1936). If the read-out passes through a ReLU, which silences all that is
//! negative, `2d` directions can keep apart (Rankin 1955). If it has a threshold that silences interference up to ε, as many as
//! there are directions with cosines of at most ε: exponentially many in `d`.
//!
//! The read-out in the second and third notion is along the feature's own direction, as in `ReLU(Wᵀ W x)`.

pub mod exact;
mod probe;

use super::bounds::most_points;
use super::recover::{Dictionary, Omp, Recovery};
use probe::{Judged, judge};
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::{gemm_into, matmul};
use superlens_tensor::{Mat, View};

pub use probe::READABLE;

/// Of the sum of the rows' squares, what decoded features may leave unexplained and still stand for the true ones.
const EXPLAINED: f64 = 0.05;
/// Rows that are looked at, evenly spaced among more.
const ROWS: usize = 20_000;
/// Values of features that are kept at most, unless that would leave fewer rows than these.
const VALUES: usize = 200_000_000;
const LEAST_ROWS: usize = 2000;
/// Independent directions that may be on at once.
const INDEPENDENT: usize = 512;
/// Rows that are decoded at once.
const BLOCK: usize = 1024;
/// A leverage this close to one is one: `f32` directions carry no more.
const NONE: f64 = 1e-6;
/// A cosine this small is no interference: trained directions are never at right angles exactly.
pub const SILENT: f64 = 0.05;
/// The threshold whose count by angles is told: a lone feature of the same size is silenced at half its size.
pub const HALF: f64 = 0.5;

/// The three notions, from the simplest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notion {
    Linear,
    Relu,
    Threshold,
}

impl Notion {
    pub const ALL: [Notion; 3] = [Notion::Linear, Notion::Relu, Notion::Threshold];

    /// The word used in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Notion::Linear => "linear",
            Notion::Relu => "relu",
            Notion::Threshold => "threshold",
        }
    }
}

/// What the features' values were taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    Given,
    /// Non-negative sparse coefficients (OMP) of each row.
    Decoded,
}

/// What can be said of directions, and of activations that they are said to make up.
#[derive(Clone, Debug)]
pub struct Readout {
    pub n: usize,
    /// Dimensions, and how many of them the directions use.
    pub dims: usize,
    pub rank: usize,
    /// The largest signed cosine of two directions.
    pub max_cos: f64,
    /// How many features in as many dimensions each notion allows at most; for a threshold at `max_cos`, infinite where the bound
    /// has no answer.
    pub allows: [f64; 3],
    /// How many of these directions each notion reads without error by their angles, one feature at a time: those outside the span
    /// of the others; those with no cosine above [`SILENT`]; those with none above [`HALF`].
    pub by_angles: [usize; 3],
    pub test: Option<Test>,
    /// Why there is no test, or what limits it.
    pub cannot_tell: Option<String>,
}

/// What held-out rows say.
#[derive(Clone, Debug)]
pub struct Test {
    pub values: Values,
    pub rows: usize,
    /// Of decoded values: the share of the rows' squares that they leave, and how many are on in a row.
    pub unexplained: Option<f64>,
    pub mean_l0: Option<f64>,
    /// Share of the variance of each feature that the best read-out of each notion explains on held-out rows; `None` where the
    /// feature was too rarely on.
    pub r2: Vec<Option<[f64; 3]>>,
    /// Features that could be judged, and how many of them each notion, or a simpler one, reads ([`READABLE`]).
    pub judged: usize,
    pub readable: [usize; 3],
    /// The simplest notion that reads 95 % of those judged; `None` where none does or none was judged.
    pub notion: Option<Notion>,
}

impl Readout {
    /// Of unit or other rows `directions` `[n, d]` alone; `None` where fewer than two of them are not zero.
    pub fn of_directions(directions: &Mat) -> Option<Readout> {
        let unit = unit_rows(directions)?;
        let (n, dims) = unit.shape();
        let (rank, leverages) = leverages(&unit);
        let nearest = nearest(&unit);
        let max_cos = nearest.iter().copied().fold(-1.0, f64::max);
        let within = |limit: f64| nearest.iter().filter(|c| **c <= limit).count();
        let threshold = if max_cos >= 1.0 - NONE { f64::INFINITY } else { most_points(rank, max_cos.max(0.0)) };
        Some(Readout {
            n,
            dims,
            rank,
            max_cos,
            allows: [rank as f64, 2.0 * rank as f64, (threshold + 1e-9).floor()],
            by_angles: [leverages.iter().filter(|l| **l >= 1.0 - NONE).count(), within(SILENT), within(HALF)],
            test: None,
            cannot_tell: None,
        })
    }

    /// Tests whether held-out `activations` `[rows, d]` give up the features' values: `values` `[rows, n]`, or those that a sparse
    /// decoder finds. Panics where shapes do not fit.
    pub fn tested(mut self, directions: &Mat, activations: &Mat, values: Option<&Mat>) -> Readout {
        assert_eq!(activations.cols(), directions.cols(), "activations {:?}", activations.shape());
        let kept = evenly(activations.rows(), directions.rows());
        // Shares of variance do not depend on the scale; products in `f32` do.
        let directions = &scaled(directions.clone());
        let x = scaled(activations.select_rows(&kept));
        let (values, source, unexplained, mean_l0) = match values {
            Some(given) => {
                let shape = (activations.rows(), directions.rows());
                assert_eq!(given.shape(), shape, "values for directions {:?}", directions.shape());
                (scaled(given.select_rows(&kept)), Values::Given, None, None)
            }
            None => {
                let (codes, unexplained, l0) = self.decoded(directions, &x);
                (codes, Values::Decoded, Some(unexplained), Some(l0))
            }
        };
        if let Some(left) = unexplained.filter(|left| *left > EXPLAINED) {
            self.cannot_tell = Some(format!(
                "the directions do not explain the activations: sparse coefficients leave {:.0} % of the sum of squares (at most {:.0} % \
                 is needed); give the features' true values",
                100.0 * left,
                100.0 * EXPLAINED
            ));
            return self;
        }
        let Judged { r2, too_few } = judge(directions, &x, &values);
        if let Some(rows) = too_few {
            self.cannot_tell =
                Some(format!("{} rows are too few for {} dimensions: at least {rows} are needed", x.rows(), self.dims));
            return self;
        }
        self.test = Some(Test::of(r2, source, x.rows(), unexplained, mean_l0));
        self
    }

    /// Coefficients of the rows of `x`, what they leave of the sum of squares, and how many are on in a row.
    fn decoded(&self, directions: &Mat, x: &Mat) -> (Mat, f64, f64) {
        let dictionary = Dictionary::new(directions);
        // Directions that are independent leave nothing to choose: all of them may be on.
        let independent = directions.rows() <= self.rank;
        let k = if independent { directions.rows().min(INDEPENDENT) } else { (self.rank / 2).clamp(1, 64) };
        let decoder = Omp { k, non_negative: true };
        let mut codes = Mat::zeros(x.rows(), directions.rows());
        let (mut left, mut all, mut on) = (0.0, 0.0, 0);
        for from in (0..x.rows()).step_by(BLOCK) {
            let block = x.select_rows(&(from..(from + BLOCK).min(x.rows())).collect::<Vec<_>>());
            let found = decoder.recover(&dictionary, &block);
            let rebuilt = dictionary.rebuild(&found);
            let square = |v: f32| f64::from(v).powi(2);
            all += block.data().iter().map(|v| square(*v)).sum::<f64>();
            left += block.data().iter().zip(rebuilt.data()).map(|(a, b)| square(a - b)).sum::<f64>();
            for (i, row) in found.iter().enumerate() {
                on += row.len();
                row.iter().for_each(|(j, c)| codes[(from + i, *j as usize)] = *c);
            }
        }
        (codes, if all > 0.0 { left / all } else { 1.0 }, on as f64 / x.rows().max(1) as f64)
    }
}

impl Test {
    fn of(
        r2: Vec<Option<[f64; 3]>>,
        values: Values,
        rows: usize,
        unexplained: Option<f64>,
        mean_l0: Option<f64>,
    ) -> Test {
        const MOST: f64 = 0.95;
        let known: Vec<[f64; 3]> = r2.iter().copied().flatten().collect();
        let up_to = |k: usize| known.iter().filter(|r| r[..=k].iter().any(|v| *v >= READABLE)).count();
        let readable = [up_to(0), up_to(1), up_to(2)];
        let enough = |k: &usize| !known.is_empty() && readable[*k] as f64 >= MOST * known.len() as f64;
        let notion = (0..3).find(enough).map(|k| Notion::ALL[k]);
        Test { values, rows, unexplained, mean_l0, judged: known.len(), readable, notion, r2 }
    }
}

/// The same numbers with the largest at one.
fn scaled(mut m: Mat) -> Mat {
    let scale = m.data().iter().fold(0.0f32, |a, v| a.max(v.abs()));
    if scale > 0.0 {
        m.data_mut().iter_mut().for_each(|v| *v /= scale);
    }
    m
}

/// Rows that are not zero, at unit length; `None` where there are fewer than two.
fn unit_rows(w: &Mat) -> Option<Mat> {
    let scale = w.data().iter().fold(0.0f32, |a, v| a.max(v.abs()));
    let norm = |i: usize| w.row(i).iter().map(|v| f64::from(v / scale).powi(2)).sum::<f64>().sqrt();
    let kept: Vec<usize> = (0..w.rows()).filter(|&i| scale > 0.0 && norm(i) > NONE).collect();
    let mut unit = w.select_rows(&kept);
    for (r, &i) in kept.iter().enumerate() {
        unit.row_mut(r).iter_mut().for_each(|v| *v = (f64::from(*v / scale) / norm(i)) as f32);
    }
    (kept.len() > 1).then_some(unit)
}

/// The rank of unit rows, and `u_iᵀ (Uᵀ U)⁺ u_i` of each: one if and only if row `i` is outside the span of the others; they add up to
/// the rank, and `n` less that is the least squared error of a linear read-out (Eckart and Young 1936).
fn leverages(unit: &Mat) -> (usize, Vec<f64>) {
    let (n, d) = unit.shape();
    let rows: Vec<f64> = unit.data().iter().map(|v| f64::from(*v)).collect();
    let rows = View::contiguous(n, d, &rows);
    let mut frame = vec![0.0; d * d];
    gemm_into(1.0, rows.t(), rows, 0.0, &mut frame);
    let eigen = sym_eigen(&frame, d).expect("unit rows");
    let rank = eigen.values.iter().filter(|v| **v > NONE * NONE * eigen.values[0]).count();
    let vectors: Vec<f64> = eigen.vectors[..rank].concat();
    let mut along = vec![0.0; n * rank];
    gemm_into(1.0, rows, View::contiguous(rank, d, &vectors).t(), 0.0, &mut along);
    let leverage = |row: &[f64]| row.iter().zip(&eigen.values).map(|(a, v)| a * a / v).sum();
    (rank, along.chunks_exact(rank).map(leverage).collect())
}

/// For each unit row the largest cosine with another.
fn nearest(unit: &Mat) -> Vec<f64> {
    let n = unit.rows();
    let mut nearest = vec![-1.0; n];
    for from in (0..n).step_by(BLOCK) {
        let cosines = matmul(unit.rows_view(from, (from + BLOCK).min(n)), unit.t());
        for i in 0..cosines.rows() {
            let others = cosines.row(i).iter().enumerate().filter(|(j, _)| *j != from + i);
            nearest[from + i] = others.map(|(_, c)| f64::from(*c)).fold(-1.0, f64::max);
        }
    }
    nearest
}

/// All rows, or [`ROWS`] of them, evenly spaced; fewer of so many features that their values would fill the memory.
fn evenly(rows: usize, features: usize) -> Vec<usize> {
    let kept = rows.min(ROWS).min((VALUES / features.max(1)).max(LEAST_ROWS));
    (0..kept).map(|k| (k as u128 * rows as u128 / kept.max(1) as u128) as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    /// Values on with probability `p`, uniform; the layer is their sum along `w`.
    fn layer(w: &Mat, p: f64, rows: usize, seed: u64) -> (Mat, Mat) {
        let mut rng = Rng::new(seed);
        let values = Mat::from_fn(rows, w.rows(), |_, _| if rng.chance(p) { rng.uniform() } else { 0.0 });
        (matmul(&values, w), values)
    }

    fn pairs(d: usize) -> Mat {
        Mat::from_fn(2 * d, d, |i, j| f32::from(i == j) - f32::from(i == j + d))
    }

    /// As many features as dimensions, at right angles or not: a linear map reads them, however dense.
    #[test]
    fn independent_directions_are_read_linearly() {
        let mut rng = Rng::new(1);
        let w = Mat::from_fn(6, 6, |i, j| f32::from(i == j) + 0.3 * rng.normal());
        let (x, values) = layer(&w, 0.5, 2000, 2);
        let r = Readout::of_directions(&w).unwrap().tested(&w, &x, Some(&values));
        assert_eq!((r.by_angles[0], r.rank), (6, 6));
        let test = r.test.unwrap();
        assert_eq!((test.notion, test.judged, test.readable), (Some(Notion::Linear), 6, [6, 6, 6]));
    }

    /// `[I, −I]`: twice the dimensions, by a ReLU and not by a linear map, as long as antipodes are rarely on together.
    #[test]
    fn pairs_need_a_relu() {
        let w = pairs(5);
        let (x, values) = layer(&w, 0.02, 20_000, 3);
        let r = Readout::of_directions(&w).unwrap();
        assert_eq!((r.allows[0], r.allows[1], r.by_angles), (5.0, 10.0, [0, 10, 10]));
        let given = r.clone().tested(&w, &x, Some(&values)).test.unwrap();
        assert_eq!((given.notion, given.readable), (Some(Notion::Relu), [0, 10, 10]), "{:?}", given.r2);
        let decoded = r.tested(&w, &x, None).test.unwrap();
        assert_eq!((decoded.notion, decoded.values), (Some(Notion::Relu), Values::Decoded), "{:?}", decoded.r2);
        // Dense, they hide each other.
        let (x, values) = layer(&w, 0.8, 4000, 4);
        let dense = Readout::of_directions(&w).unwrap().tested(&w, &x, Some(&values)).test.unwrap();
        assert_eq!((dense.notion, dense.readable), (None, [0, 0, 0]), "{:?}", dense.r2);
    }

    /// Features that are on or off, on directions that hear each other: only a threshold tells them apart.
    #[test]
    fn a_threshold_reads_what_a_relu_lets_through() {
        let angle = |i: usize| std::f32::consts::TAU * i as f32 / 5.0;
        let w = Mat::from_fn(5, 2, |i, j| if j == 0 { angle(i).cos() } else { angle(i).sin() });
        let mut rng = Rng::new(5);
        let mut values = Mat::zeros(8000, 5);
        (0..8000).for_each(|r| values[(r, rng.below(5))] = 1.0);
        let x = matmul(&values, &w);
        let r = Readout::of_directions(&w).unwrap().tested(&w, &x, Some(&values));
        assert_eq!(r.by_angles, [0, 0, 5]);
        let test = r.test.unwrap();
        assert_eq!((test.notion, test.readable), (Some(Notion::Threshold), [0, 0, 5]), "{:?}", test.r2);
    }

    #[test]
    fn what_can_not_be_told_is_said() {
        let w = pairs(4);
        let few = layer(&w, 0.1, 30, 6);
        let r = Readout::of_directions(&w).unwrap().tested(&w, &few.0, Some(&few.1));
        assert!(r.test.is_none() && r.cannot_tell.unwrap().contains("too few"));
        // Noise that the directions do not make up.
        let mut rng = Rng::new(7);
        let noise = Mat::from_fn(2000, 4, |_, _| rng.normal());
        let r = Readout::of_directions(&w).unwrap().tested(&w, &noise, None);
        assert!(r.test.is_none() && r.cannot_tell.unwrap().contains("do not explain"));
        // A feature that is never on is not judged.
        let (x, mut values) = layer(&w, 0.05, 4000, 8);
        (0..4000).for_each(|r| values[(r, 2)] = 0.0);
        let test = Readout::of_directions(&w).unwrap().tested(&w, &x, Some(&values)).test.unwrap();
        assert!(test.r2[2].is_none() && test.judged == 7);
        assert!(Readout::of_directions(&Mat::from_vec(2, 2, vec![1.0, 1.0, 0.0, 0.0])).is_none());
    }

    #[test]
    fn scales_do_not_matter() {
        let w = pairs(4);
        let (x, values) = layer(&w, 0.02, 8000, 9);
        let times = |m: &Mat, by: f32| Mat::from_fn(m.rows(), m.cols(), |i, j| by * m[(i, j)]);
        let (w, x, values) = (times(&w, 1e30), times(&x, 1e-30), times(&values, 1e25));
        let test = Readout::of_directions(&w).unwrap().tested(&w, &x, Some(&values)).test.unwrap();
        assert_eq!((test.notion, test.readable), (Some(Notion::Relu), [0, 8, 8]), "{:?}", test.r2);
    }

    #[test]
    fn a_threshold_allows_what_angles_allow() {
        let w = Mat::from_vec(3, 2, vec![1.0, 0.0, -0.5, 0.75f32.sqrt(), -0.5, -0.75f32.sqrt()]);
        let r = Readout::of_directions(&w).unwrap();
        // Cosines of −1/2: a ReLU reads three of the four that are allowed.
        assert_eq!((r.by_angles, r.allows[1]), ([0, 3, 3], 4.0));
        let twice = Mat::from_vec(2, 2, vec![1.0, 0.0, 1.0, 0.0]);
        assert_eq!(Readout::of_directions(&twice).unwrap().allows[2], f64::INFINITY);
    }
}
