//! The truth of layers that hold no features: how the variance of each neuron is shared out among concepts of the input.

use super::truth::{MAIN_SHARE, SECOND_SHARE};
use super::{Cause, Truth};
use superlens_tensor::Mat;

/// A neuron whose variance is below this share of its mean square doesn't vary.
const CONSTANT: f64 = 1e-9;

/// The truth of a layer by its `activations [rows, neurons]` on rows whose `concepts [rows, concepts]` are known.
///
/// A concept's share of a neuron is its squared correlation with it. As in [`Truth::of_directions`], a neuron is polysemantic
/// if two concepts have a tenth each, or none has half; then `cause(j)` says why. There are no directions.
pub(super) fn truth(concepts: &Mat, activations: &Mat, cause: impl Fn(usize) -> Cause) -> Truth {
    let neurons = activations.cols();
    let columns: Vec<Vec<f64>> = (0..concepts.cols()).map(|c| centred(concepts, c)).collect();
    let mut live = vec![false; neurons];
    let mut causes = vec![None; neurons];
    for j in 0..neurons {
        let neuron = centred(activations, j);
        let raw: f64 = (0..activations.rows()).map(|r| f64::from(activations[(r, j)]).powi(2)).sum();
        live[j] = dot(&neuron, &neuron) > CONSTANT * raw;
        if live[j] {
            let mut shares: Vec<f64> = columns.iter().map(|c| squared_correlation(c, &neuron)).collect();
            shares.sort_by(|a, b| b.total_cmp(a));
            let share = |k: usize| shares.get(k).copied().unwrap_or(0.0);
            causes[j] = (share(1) >= SECOND_SHARE || share(0) < MAIN_SHARE).then(|| cause(j));
        }
    }
    Truth::of_causes(Mat::zeros(0, neurons), live, causes)
}

fn centred(x: &Mat, j: usize) -> Vec<f64> {
    let mean = (0..x.rows()).map(|r| f64::from(x[(r, j)])).sum::<f64>() / x.rows().max(1) as f64;
    (0..x.rows()).map(|r| f64::from(x[(r, j)]) - mean).collect()
}

fn squared_correlation(a: &[f64], b: &[f64]) -> f64 {
    let scale = dot(a, a) * dot(b, b);
    if scale > 0.0 { dot(a, b).powi(2) / scale } else { 0.0 }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `[items.len(), classes]`: one where the item is of the class.
pub(super) fn one_hot(items: &[usize], classes: usize) -> Mat {
    Mat::from_fn(items.len(), classes, |r, c| f32::from(items[r] == c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn neurons_are_judged_by_their_shares() {
        let mut rng = Rng::new(3);
        let x = Mat::from_fn(2000, 3, |_, _| f32::from(rng.chance(0.5)));
        let layer = Mat::from_fn(2000, 4, |r, j| match j {
            0 => 5.0 * x[(r, 0)] + 2.0,
            1 => x[(r, 0)] + x[(r, 1)],
            // No concept alone: whether the first two differ.
            2 => (x[(r, 0)] - x[(r, 1)]).abs(),
            _ => 7.0,
        });
        let t = truth(&x, &layer, |j| if j == 1 { Cause::Compositional } else { Cause::Nonlinear });
        assert_eq!(t.live, [true, true, true, false]);
        assert_eq!(t.causes, [None, Some(Cause::Compositional), Some(Cause::Nonlinear), None]);
        assert_eq!(one_hot(&[1, 0], 2).data(), [0.0, 1.0, 1.0, 0.0]);
    }
}
