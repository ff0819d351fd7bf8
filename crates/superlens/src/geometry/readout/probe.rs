//! Read-outs fitted on half of the rows and judged on the other half.

use rayon::prelude::*;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::{gemm_into, matmul};
use superlens_tensor::{Mat, View};

/// A feature is readable if a read-out explains this share of its variance on held-out rows.
pub const READABLE: f64 = 0.95;
/// Blocks that go in turns to the fit and to the judgement, whole, since rows that follow one another resemble one another.
const BLOCKS: usize = 20;
/// Rows for each coefficient of a fit, at least.
const ROWS_EACH: usize = 5;
/// A feature must be on (not at its most frequent side of zero) in at least as many rows of each half.
const LEAST_ON: usize = 10;
/// Features that are read at once.
const AT_ONCE: usize = 256;
/// Directions with less than this share of the largest variance carry nothing.
const FLAT: f64 = 1e-10;

/// What came of it.
pub(super) struct Judged {
    /// For each feature the share of held-out variance that each notion explains; see [`super::Test`].
    pub r2: Vec<Option<[f64; 3]>>,
    /// The rows that would be needed, if there are too few.
    pub too_few: Option<usize>,
}

/// Rows of one half.
struct Half {
    x: Mat,
    values: Mat,
}

pub(super) fn judge(directions: &Mat, x: &Mat, values: &Mat) -> Judged {
    let needed = 2 * ROWS_EACH * (x.cols() + 1);
    if x.rows() < needed.max(2 * BLOCKS) {
        return Judged { r2: Vec::new(), too_few: Some(needed.max(2 * BLOCKS)) };
    }
    let half = |which: usize| {
        let rows: Vec<usize> = (0..x.rows()).filter(|r| (r * BLOCKS / x.rows()) % 2 == which).collect();
        Half { x: x.select_rows(&rows), values: values.select_rows(&rows) }
    };
    let (fit, held_out) = (half(0), half(1));
    let inverse = Inverse::of(&fit.x);
    let mut r2 = Vec::new();
    for from in (0..values.cols()).step_by(AT_ONCE) {
        let features: Vec<usize> = (from..(from + AT_ONCE).min(values.cols())).collect();
        let parts = [&fit, &held_out].map(|half| half.values.select_cols(&features));
        // The least-squares direction of each feature, and its own.
        let best = inverse.directions(&fit.x, &parts[0]);
        let own = directions.select_rows(&features);
        let heard = |half: &Half, along: &Mat| matmul(&half.x, along.t());
        let reads = [[heard(&fit, &best), heard(&fit, &own)], [heard(&held_out, &best), heard(&held_out, &own)]];
        let one = |k: usize| {
            let column = |m: &Mat| (0..m.rows()).map(|r| f64::from(m[(r, k)])).collect::<Vec<f64>>();
            let [want, held] = [column(&parts[0]), column(&parts[1])];
            let candidates: Vec<[Vec<f64>; 2]> = (0..2).map(|c| [column(&reads[0][c]), column(&reads[1][c])]).collect();
            (on(&want) && on(&held)).then(|| notions(&want, &held, &candidates))
        };
        r2.par_extend((0..features.len()).into_par_iter().map(one));
    }
    Judged { r2, too_few: None }
}

/// Whether a feature varies enough to be judged: in [`LEAST_ON`] rows it is not what it is in most.
fn on(values: &[f64]) -> bool {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted[sorted.len() / 2];
    values.iter().filter(|v| **v != usual).count() >= LEAST_ON
}

/// The held-out share of variance that the best read-out of each notion explains; the candidate is chosen on the rows of the fit.
fn notions(want: &[f64], held: &[f64], candidates: &[[Vec<f64>; 2]]) -> [f64; 3] {
    let fits: [Fit; 3] = [Map::linear, Map::relu, Map::threshold];
    fits.map(|fit| {
        let fitted = candidates.iter().map(|[y, test]| {
            let map = fit(y, want);
            (explained(&map, y, want), map, test)
        });
        let best = fitted.max_by(|a, b| a.0.total_cmp(&b.0)).expect("two candidates");
        explained(&best.1, best.2, held)
    })
}

/// From what is heard and what is wanted, on the rows of the fit, to a map.
type Fit = fn(&[f64], &[f64]) -> Map;

/// From what is heard along a direction to a feature's value: `slope · y + offset` where `y > above`, else `below`.
struct Map {
    slope: f64,
    offset: f64,
    above: f64,
    below: f64,
}

impl Map {
    fn of(&self, y: f64) -> f64 {
        if y > self.above { self.slope * y + self.offset } else { self.below }
    }

    fn linear(y: &[f64], want: &[f64]) -> Map {
        let (slope, offset, _) = Sums::over(y.iter().zip(want)).line();
        Map { slope, offset, above: f64::NEG_INFINITY, below: 0.0 }
    }

    /// `slope · ReLU(y)`, without a bias.
    fn relu(y: &[f64], want: &[f64]) -> Map {
        let positive = y.iter().zip(want).filter(|(y, _)| **y > 0.0);
        let (yy, yw) = positive.fold((0.0, 0.0), |(a, b), (y, w)| (a + y * y, b + y * w));
        Map { slope: if yy > 0.0 { yw / yy } else { 0.0 }, offset: 0.0, above: 0.0, below: 0.0 }
    }

    /// Zero up to a threshold and a line beyond it: the threshold with the least squared error, all of them tried.
    fn threshold(y: &[f64], want: &[f64]) -> Map {
        let mut order: Vec<usize> = (0..y.len()).collect();
        order.sort_by(|a, b| y[*b].total_cmp(&y[*a]));
        let mut sums = Sums::default();
        let mut best = (f64::INFINITY, Map { slope: 0.0, offset: 0.0, above: f64::INFINITY, below: 0.0 });
        let all: f64 = want.iter().map(|w| w * w).sum();
        for (k, &i) in order.iter().enumerate() {
            sums.add(y[i], want[i]);
            let next = order.get(k + 1).map_or(f64::NEG_INFINITY, |j| y[*j]);
            if next == y[i] {
                continue;
            }
            let (slope, offset, left) = sums.line();
            let error = left + all - sums.ww;
            if error < best.0 {
                let above = if next.is_finite() { 0.5 * (y[i] + next) } else { next };
                best = (error, Map { slope, offset, above, below: 0.0 });
            }
        }
        best.1
    }
}

/// Sums over pairs of `y` and a wanted value.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: f64,
    y: f64,
    w: f64,
    yy: f64,
    yw: f64,
    ww: f64,
}

impl Sums {
    fn over<'a>(pairs: impl Iterator<Item = (&'a f64, &'a f64)>) -> Self {
        let mut sums = Sums::default();
        pairs.for_each(|(y, w)| sums.add(*y, *w));
        sums
    }

    fn add(&mut self, y: f64, w: f64) {
        self.n += 1.0;
        self.y += y;
        self.w += w;
        self.yy += y * y;
        self.yw += y * w;
        self.ww += w * w;
    }

    /// Slope and offset of the least-squares line, and the squared error that it leaves.
    fn line(&self) -> (f64, f64, f64) {
        let n = self.n.max(1.0);
        let (var, cov, spread) =
            (self.yy - self.y * self.y / n, self.yw - self.y * self.w / n, self.ww - self.w * self.w / n);
        let slope = if var > 1e-12 * self.yy { cov / var } else { 0.0 };
        (slope, (self.w - slope * self.y) / n, (spread - slope * cov).max(0.0))
    }
}

/// The share of the variance of `want` that `map` explains.
fn explained(map: &Map, y: &[f64], want: &[f64]) -> f64 {
    let mean = want.iter().sum::<f64>() / want.len().max(1) as f64;
    let (mut left, mut all) = (0.0, 0.0);
    for (y, w) in y.iter().zip(want) {
        left += (map.of(*y) - w).powi(2);
        all += (w - mean).powi(2);
    }
    if all > 0.0 { 1.0 - left / all } else { 0.0 }
}

/// The pseudo-inverse of the scatter of some rows.
struct Inverse {
    d: usize,
    /// `[d, d]`.
    inverse: Vec<f64>,
    mean: Vec<f64>,
}

impl Inverse {
    fn of(x: &Mat) -> Self {
        let (rows, d) = x.shape();
        let mut mean = vec![0.0; d];
        (0..rows).for_each(|r| mean.iter_mut().zip(x.row(r)).for_each(|(m, v)| *m += f64::from(*v) / rows as f64));
        let centred: Vec<f64> = x.data().iter().enumerate().map(|(k, v)| f64::from(*v) - mean[k % d]).collect();
        let view = View::contiguous(rows, d, &centred);
        let mut scatter = vec![0.0; d * d];
        gemm_into(1.0, view.t(), view, 0.0, &mut scatter);
        let eigen = sym_eigen(&scatter, d).expect("finite rows");
        let kept = eigen.values.iter().filter(|v| **v > FLAT * eigen.values[0].max(f64::MIN_POSITIVE)).count();
        let vectors: Vec<f64> = eigen.vectors[..kept].concat();
        let scaled: Vec<f64> = vectors.iter().enumerate().map(|(k, v)| v / eigen.values[k / d]).collect();
        let [vectors, scaled] = [&vectors, &scaled].map(|v| View::contiguous(kept, d, v));
        let mut inverse = vec![0.0; d * d];
        gemm_into(1.0, vectors.t(), scaled, 0.0, &mut inverse);
        Inverse { d, inverse, mean }
    }

    /// The least-squares direction of each column of `values` `[rows, k]` from `x` `[rows, d]`, `[k, d]`.
    fn directions(&self, x: &Mat, values: &Mat) -> Mat {
        let (d, k) = (self.d, values.cols());
        let products = matmul(values.t(), x);
        let sum = |f: usize| (0..values.rows()).map(|r| f64::from(values[(r, f)])).sum::<f64>();
        let centred = |f: usize| {
            let sum = sum(f);
            products.row(f).iter().zip(&self.mean).map(move |(p, m)| f64::from(*p) - sum * m)
        };
        let right: Vec<f64> = (0..k).flat_map(centred).collect();
        let mut out = vec![0.0; k * d];
        gemm_into(1.0, View::contiguous(k, d, &right), View::contiguous(d, d, &self.inverse), 0.0, &mut out);
        Mat::from_vec(k, d, out.iter().map(|v| *v as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_map_finds_its_own_law() {
        let y: Vec<f64> = (0..200).map(|i| i as f64 / 100.0 - 1.0).collect();
        let of = |f: &dyn Fn(f64) -> f64| y.iter().map(|y| f(*y)).collect::<Vec<f64>>();
        let line = of(&|y| 3.0 * y - 1.0);
        assert!((explained(&Map::linear(&y, &line), &y, &line) - 1.0).abs() < 1e-12);
        let bent = of(&|y| 2.0 * y.max(0.0));
        assert!((explained(&Map::relu(&y, &bent), &y, &bent) - 1.0).abs() < 1e-12);
        assert!(explained(&Map::linear(&y, &bent), &y, &bent) < 0.9);
        let step = of(&|y| if y > 0.3 { 1.0 + y } else { 0.0 });
        let map = Map::threshold(&y, &step);
        assert!((explained(&map, &y, &step) - 1.0).abs() < 1e-9 && (map.above - 0.3).abs() < 0.02);
        assert!(explained(&Map::relu(&y, &step), &y, &step) < 0.95);
    }

    #[test]
    fn a_constant_is_not_on() {
        assert!(!on(&[1.0; 40]) && on(&[[0.0; 20], [1.0; 20]].concat()));
    }
}
