//! Made layers with labelled features, whose answer to every question of a sparse probe is known.

use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Deviation of the noise on every neuron; features that are on are 0.8 to 1.2 strong.
const NOISE: f32 = 0.1;
/// Choices of neurons for a feature that are looked at until one shares no more than one neuron with any feature before.
const TRIES: usize = 100;

/// How features lie in the neurons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A neuron carries each of as many features as there are neurons.
    Aligned,
    /// Four to six neurons carry each of half as many features again, with random signs: a neuron carries seven or eight. Two features share one
    /// neuron at most, where there is room for that.
    Superposed,
    /// As aligned, turned by a Haar rotation.
    Rotated,
}

/// What is made: `rows`, `neurons`, and how many features are on in a row.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub rows: usize,
    pub neurons: usize,
    pub active: usize,
}

/// A layer `[rows, neurons]` and its labels `[rows, features]`: one where the feature is on.
///
/// Panics where fewer than six neurons or fewer features than active ones are asked for.
pub fn layer(kind: Layer, size: Size, rng: &Rng) -> (Mat, Mat) {
    let n = size.neurons;
    let features = if kind == Layer::Superposed { n + n / 2 } else { n };
    assert!(n >= 6 && size.active <= features, "{} of {features} features on in {n} neurons", size.active);
    let directions = directions(kind, features, n, &mut rng.fork("directions"));
    let mut rng = rng.fork("rows");
    let (mut strengths, mut labels) = (Mat::zeros(size.rows, features), Mat::zeros(size.rows, features));
    for i in 0..size.rows {
        for _ in 0..size.active {
            // Drawn again until it is another one.
            let mut f = rng.below(features);
            while labels[(i, f)] > 0.0 {
                f = rng.below(features);
            }
            labels[(i, f)] = 1.0;
            strengths[(i, f)] = 0.8 + 0.4 * rng.uniform();
        }
    }
    let mut x = matmul(&strengths, &directions);
    x.data_mut().iter_mut().for_each(|v| *v += NOISE * rng.normal());
    (x, labels)
}

/// `[features, neurons]`.
fn directions(kind: Layer, features: usize, n: usize, rng: &mut Rng) -> Mat {
    match kind {
        Layer::Aligned => Mat::from_fn(n, n, |f, j| f32::from(f == j)),
        Layer::Rotated => Mat::from_vec(n, n, haar_rotation(n, rng).iter().map(|v| *v as f32).collect()),
        Layer::Superposed => superposed(features, n, rng),
    }
}

/// Neurons get equally many features, but for one or two, and of them as many of either sign: a neuron that few features share would read
/// one of them by itself.
fn superposed(features: usize, n: usize, rng: &mut Rng) -> Mat {
    let mut out = Mat::zeros(features, n);
    let mut taken: Vec<Vec<usize>> = Vec::with_capacity(features);
    let mut load = vec![0usize; n];
    let mut signs: Vec<f32> = (0..n).map(|_| if rng.chance(0.5) { 1.0 } else { -1.0 }).collect();
    for f in 0..features {
        let spread = 4 + rng.below(3);
        let mut choose = || {
            let mut order = rng.permutation(n);
            let least = load.iter().min().copied().unwrap_or(0);
            order.sort_by_key(|&j| load[j].saturating_sub(least + 1));
            order.truncate(spread);
            order
        };
        // Two features that share more would be hard to tell apart by any probe.
        let fits = |of: &[usize]| taken.iter().all(|other| of.iter().filter(|j| other.contains(j)).count() < 2);
        let first = choose();
        let of = if fits(&first) { first } else { (0..TRIES).map(|_| choose()).find(|of| fits(of)).unwrap_or(first) };
        for &j in &of {
            load[j] += 1;
            signs[j] = -signs[j];
            out[(f, j)] = signs[j];
        }
        taken.push(of);
    }
    out
}
