//! What is done to activations before they are learned from, and undone in the weights afterwards.

use super::super::arch::FitError;
use super::super::{Encoder, InputNorm, Moments, Sae};
use super::source::{Batch, Source};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;

/// Rows on which the input is measured.
const MEASURED_ROWS: usize = 1 << 17;
/// Added to a row's standard deviation before it divides.
const EPS: f32 = 1e-5;
/// Variance, as a share of the mean over the directions, that whitening adds to each: what is nearly constant is not blown up.
const RIDGE: f64 = 1e-4;

/// How activations are brought to one scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Normalise {
    /// Not at all.
    None,
    /// One factor for all, so that mean‖x‖² = d_in: hyper-parameters carry over between layers. One for each layer where several lie side
    /// by side, so that each has the mean square of its width, and none is drowned.
    #[default]
    Scale,
    /// Each row by itself: less its mean, over its standard deviation. The dictionary does the same to what it reads.
    LayerNorm,
    /// Less the mean, then every direction to one variance (symmetric whitening). Errors count alike in all directions.
    Whiten,
}

impl Normalise {
    /// Every way, by the name that the command line has for it.
    pub const ALL: [(&str, Normalise); 4] = [
        ("none", Normalise::None),
        ("scale", Normalise::Scale),
        ("layer_norm", Normalise::LayerNorm),
        ("whiten", Normalise::Whiten),
    ];
}

/// A [`Normalise`] with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct InputMap {
    way: Way,
    /// `mean‖x − x̄‖²` of what training sees.
    pub variance: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Way {
    Scale(f32),
    /// Of layers side by side, in equal widths.
    Layers(Vec<f32>),
    Norm(InputNorm),
    Whiten {
        mean: Vec<f32>,
        to: Mat,
        back: Mat,
    },
}

impl InputMap {
    /// Measured on many rows of `source`, each of which is `layers` side by side; factors and variances that would be 0 are 1.
    ///
    /// # Errors
    /// [`FitError::NotFinite`] where the rows hold NaN, infinite or huge values, and what the source says.
    pub fn measure(normalise: Normalise, layers: usize, source: &mut dyn Source) -> Result<Self, FitError> {
        let way = match normalise {
            Normalise::None => Way::Scale(1.0),
            Normalise::Scale if layers > 1 => {
                let sums = Sums::of(source, layers, |_| ())?;
                let width = source.d_in() / layers;
                Way::Layers(
                    sums.squares.iter().map(|&s| scale(s / sums.rows.max(1.0), width)).collect::<Result<_, _>>()?,
                )
            }
            Normalise::Scale => Way::Scale(Sums::of(source, 1, |_| ())?.scale()?),
            Normalise::LayerNorm => Way::Norm(InputNorm::LayerNorm { eps: EPS }),
            Normalise::Whiten => whitening(source)?,
        };
        let mut map = InputMap { way, variance: 1.0 };
        let sums = Sums::of(source, 1, |x| map.apply(x))?;
        sums.scale()?;
        if sums.scatter() > 0.0 {
            map.variance = sums.scatter();
        }
        Ok(map)
    }

    /// Turns raw activations into what training sees.
    pub fn apply(&self, x: &mut Mat) {
        let width = x.cols().max(1);
        match &self.way {
            Way::Scale(scale) => x.data_mut().iter_mut().for_each(|v| *v *= scale),
            Way::Layers(factors) => x.data_mut().chunks_mut(width).for_each(|row| by_layer(row, factors)),
            Way::Norm(norm) => x.data_mut().chunks_mut(width).for_each(|row| norm.apply(row)),
            Way::Whiten { mean, to, .. } => {
                subtract(x, mean);
                *x = matmul(&*x, to);
            }
        }
    }

    /// What latents, biases and thresholds are divided by when a dictionary takes raw activations instead.
    pub fn scale(&self) -> f32 {
        match self.way {
            Way::Scale(scale) => scale,
            _ => 1.0,
        }
    }

    /// The dictionary for raw activations from the parts of the one that training sees, whose biases and activation are already divided by
    /// [`scale`](Self::scale). A factor leaves decoder rows at unit length, which is exact because every activation is positively
    /// homogeneous; whitening and factors of layers do not.
    pub fn fold(&self, b_dec: Vec<f32>, encoder: Encoder, w_dec: Mat) -> Sae {
        match &self.way {
            Way::Scale(_) => Sae::new(b_dec.clone(), encoder, w_dec, b_dec),
            Way::Layers(factors) => {
                let back: Vec<f32> = factors.iter().map(|f| 1.0 / f).collect();
                let (mut b, mut w_dec) = (b_dec, w_dec);
                by_layer(&mut b, &back);
                w_dec.data_mut().chunks_mut(b.len().max(1)).for_each(|row| by_layer(row, &back));
                Sae::new(b.clone(), encoder.after_layers(factors), w_dec, b)
            }
            Way::Norm(norm) => Sae::new(b_dec.clone(), encoder, w_dec, b_dec).with_norm(*norm),
            Way::Whiten { mean, to, back } => {
                let b = Mat::from_vec(1, b_dec.len(), b_dec);
                let b: Vec<f32> = matmul(&b, back).data().iter().zip(mean).map(|(b, m)| b + m).collect();
                Sae::new(b.clone(), encoder.after(to), matmul(&w_dec, back), b)
            }
        }
    }
}

fn subtract(x: &mut Mat, mean: &[f32]) {
    x.data_mut().chunks_mut(mean.len().max(1)).for_each(|row| row.iter_mut().zip(mean).for_each(|(x, m)| *x -= m));
}

/// Multiplies each of as many equal stretches of a row as there are factors by its own.
fn by_layer(row: &mut [f32], factors: &[f32]) {
    let width = (row.len() / factors.len()).max(1);
    row.chunks_mut(width).zip(factors).for_each(|(layer, f)| layer.iter_mut().for_each(|v| *v *= f));
}

/// The factor that makes mean‖x‖², which is `square`, the width.
fn scale(square: f64, width: usize) -> Result<f32, FitError> {
    let scale = if square > 0.0 { (width as f64 / square).sqrt() } else { 1.0 } as f32;
    if square.is_finite() && scale.is_normal() {
        return Ok(scale);
    }
    Err(FitError::NotFinite { what: "the mean square of the activations, or its inverse," })
}

/// Symmetric whitening: `to = (C + ridge)^(−½)`, and its inverse.
fn whitening(source: &mut dyn Source) -> Result<Way, FitError> {
    let d = source.d_in();
    let mean: Vec<f32> = Sums::of(source, 1, |_| ())?.mean().iter().map(|&m| m as f32).collect();
    let (mut covariance, mut rows) = (vec![0.0; d * d], 0usize);
    source.scan(MEASURED_ROWS, &mut |Batch { mut x, .. }| {
        subtract(&mut x, &mean);
        let moments = Moments::of(&x);
        rows += x.rows();
        for (a, c) in covariance.chunks_mut(d).enumerate() {
            let own = &moments.covariance[a * d..(a + 1) * d];
            let both = own.iter().zip(&moments.mean).map(|(c, m)| c + moments.mean[a] * m);
            c.iter_mut().zip(both).for_each(|(c, v)| *c += v * x.rows() as f64);
        }
    })?;
    let finite = covariance.iter().all(|c| c.is_finite());
    covariance.iter_mut().for_each(|c| *c /= rows.max(1) as f64);
    let eigen = finite.then(|| sym_eigen(&covariance, d)).flatten();
    let eigen = eigen.ok_or(FitError::NotFinite { what: "the covariance of the activations" })?;
    let ridge = RIDGE * eigen.values.iter().map(|v| v.max(0.0)).sum::<f64>() / d as f64;
    let ridge = if ridge > 0.0 { ridge } else { 1.0 };
    let row = |p: f64, a: usize| {
        let mut row = vec![0.0; d];
        for (l, v) in eigen.values.iter().zip(&eigen.vectors) {
            let along = (l.max(0.0) + ridge).powf(p) * v[a];
            row.iter_mut().zip(v).for_each(|(r, v)| *r += along * v);
        }
        row.iter().map(|&r| r as f32).collect::<Vec<f32>>()
    };
    let power = |p: f64| Mat::from_vec(d, d, (0..d).into_par_iter().flat_map_iter(|a| row(p, a)).collect());
    Ok(Way::Whiten { mean, to: power(-0.5), back: power(0.5) })
}

/// Sums over rows of a source, in `f64`.
struct Sums {
    rows: f64,
    sum: Vec<f64>,
    /// Of each of the layers side by side.
    squares: Vec<f64>,
}

impl Sums {
    /// Of the inputs after `map`.
    fn of(source: &mut dyn Source, layers: usize, mut map: impl FnMut(&mut Mat)) -> Result<Sums, FitError> {
        let d = source.d_in();
        let width = (d / layers).max(1);
        let mut sums = Sums { rows: 0.0, sum: vec![0.0; d], squares: vec![0.0; layers] };
        source.scan(MEASURED_ROWS, &mut |Batch { mut x, .. }| {
            map(&mut x);
            sums.rows += x.rows() as f64;
            for row in x.data().chunks(d.max(1)) {
                for ((sums, squares), layer) in sums.sum.chunks_mut(width).zip(&mut sums.squares).zip(row.chunks(width))
                {
                    for (s, &v) in sums.iter_mut().zip(layer) {
                        *s += f64::from(v);
                        *squares += f64::from(v) * f64::from(v);
                    }
                }
            }
        })?;
        Ok(sums)
    }

    fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|s| s / self.rows.max(1.0)).collect()
    }

    /// The factor that makes mean‖x‖² = d_in.
    fn scale(&self) -> Result<f32, FitError> {
        scale(self.square(), self.sum.len())
    }

    /// `mean‖x‖²`.
    fn square(&self) -> f64 {
        self.squares.iter().sum::<f64>() / self.rows.max(1.0)
    }

    /// `mean‖x − x̄‖²`.
    fn scatter(&self) -> f64 {
        self.square() - self.mean().iter().map(|m| m * m).sum::<f64>()
    }
}

/// The point with the least sum of distances to the rows (Weiszfeld's iteration, at most 100 steps, until it moves by
/// less than 1e-5 of its distance to the rows): a centre that a few large rows do not pull away.
pub(super) fn geometric_median(x: &Mat) -> Vec<f32> {
    let mut point = weighted_mean(x, &vec![1.0; x.rows()]);
    for _ in 0..100 {
        let distances: Vec<f64> =
            (0..x.rows()).map(|i| distance(x.row(i).iter().map(|&v| f64::from(v)), &point)).collect();
        let mean = distances.iter().sum::<f64>() / x.rows() as f64;
        if mean == 0.0 {
            break;
        }
        let weights: Vec<f64> = distances.iter().map(|r| 1.0 / r.max(1e-9 * mean)).collect();
        let next = weighted_mean(x, &weights);
        let moved = distance(next.iter().copied(), &point);
        point = next;
        if moved < 1e-5 * mean {
            break;
        }
    }
    point.iter().map(|&v| v as f32).collect()
}

fn weighted_mean(x: &Mat, weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    let mut mean = vec![0.0; x.cols()];
    for (i, weight) in weights.iter().enumerate() {
        mean.iter_mut().zip(x.row(i)).for_each(|(m, &v)| *m += weight / total * f64::from(v));
    }
    mean
}

fn distance(a: impl Iterator<Item = f64>, b: &[f64]) -> f64 {
    a.zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::source::InMemory;
    use super::*;
    use crate::sae::Activation;
    use superlens_tensor::Rng;

    #[test]
    fn geometric_median_ignores_a_far_row() {
        let mut x = Mat::from_fn(21, 2, |i, j| ((i * (j + 2)) % 5) as f32 * 0.1);
        let quiet = geometric_median(&x);
        x.row_mut(0).fill(1e6);
        let loud = geometric_median(&x);
        assert!(quiet.iter().zip(&loud).all(|(a, b)| (a - b).abs() < 0.05), "{quiet:?} {loud:?}");
        assert_eq!(geometric_median(&Mat::from_fn(4, 2, |_, _| 3.0)), [3.0, 3.0]);
    }

    #[test]
    fn whitening_gives_every_direction_one_variance_and_folds_back() {
        let mut rng = Rng::new(0).fork("whiten");
        let x = Mat::from_fn(4000, 3, |i, j| ((i % 7) as f32 + rng.normal()) * [1.0, 30.0, 0.01][j] + 5.0);
        let mut source = InMemory::new(&x, 10, &rng);
        let map = InputMap::measure(Normalise::Whiten, 1, &mut source).unwrap();
        let mut seen = x.clone();
        map.apply(&mut seen);
        let c = Moments::of(&seen).covariance;
        // The quietest column is lost beside the loudest.
        assert!((c[4] - 1.0).abs() < 1e-2 && c[8] < 0.5 && c[1].abs() < 0.02, "{c:?}");
        // A dictionary of three directions and their negatives is exact, in either space.
        let both = |i: usize, j: usize| f32::from(i % 3 == j) * if i < 3 { 1.0 } else { -1.0 };
        let encoder = Encoder::Linear {
            w_enc: Mat::from_fn(3, 6, |j, i| both(i, j)),
            b_enc: vec![0.0; 6],
            act: Activation::Relu,
        };
        let sae = map.fold(vec![0.5, -0.5, 0.0], encoder, Mat::from_fn(6, 3, both));
        let recon = sae.reconstruct(&sae.encode(&x), x.view());
        assert!(recon.data().iter().zip(x.data()).all(|(r, x)| (r - x).abs() < 1e-2), "{:?}", &recon.data()[..6]);
    }

    #[test]
    fn what_training_sees_has_unit_mean_square() {
        let mut rng = Rng::new(1).fork("scale");
        let x = Mat::from_fn(500, 4, |i, j| (100.0 + (i % 3) as f32 + rng.normal()) * 3.0 + (40 * j) as f32);
        for (name, normalise) in Normalise::ALL {
            let mut source = InMemory::new(&x, 10, &rng);
            let map = InputMap::measure(normalise, 1, &mut source).unwrap();
            let mut seen = x.clone();
            map.apply(&mut seen);
            let square = seen.data().iter().map(|v| f64::from(v * v)).sum::<f64>() / 2000.0;
            let want = if normalise == Normalise::None { square } else { 1.0 };
            assert!((square / want - 1.0).abs() < 0.3, "{name}: {square}");
        }
    }
}
