//! Why concepts share a line: because they come together (or exclude one another), or by chance?

use super::labelled::{LabelEvidence, SharedPair};
use super::signs::Sharing;
use superlens_tensor::Mat;

/// Correlation of two labels from which their sharing is put down to it.
const CORRELATED: f64 = 0.25;
/// So is one where they come together at most this share, or at least this many times, of what independence would give …
const RARELY: f64 = 0.4;
const OFTEN: f64 = 2.0;
/// … as long as that many rows would be expected to have both.
const EXPECTED: f64 = 12.0;

/// Shares of the usable concepts in pairs of either kind. A concept in pairs of both kinds counts for both.
pub(super) fn sharing(labels: &Mat, evidence: &LabelEvidence) -> Sharing {
    if evidence.concepts == 0 {
        return Sharing::default();
    }
    let mut correlated = vec![false; labels.cols()];
    let mut independent = correlated.clone();
    for pair in &evidence.pairs {
        let of = if comes_together(labels, pair) { &mut correlated } else { &mut independent };
        of[pair.a] = true;
        of[pair.b] = true;
    }
    let share = |of: &[bool]| of.iter().filter(|v| **v).count() as f64 / evidence.concepts as f64;
    Sharing { correlated: share(&correlated), independent: share(&independent) }
}

/// Whether the two concepts come together, or apart, more than chance would have it.
pub(super) fn comes_together(labels: &Mat, pair: &SharedPair) -> bool {
    if pair.phi.abs() >= CORRELATED || !pair.separable {
        return true;
    }
    let (mut a, mut b, mut both) = (0.0f64, 0.0f64, 0.0f64);
    for i in 0..labels.rows() {
        let (x, y) = (labels[(i, pair.a)] > 0.5, labels[(i, pair.b)] > 0.5);
        a += f64::from(u8::from(x));
        b += f64::from(u8::from(y));
        both += f64::from(u8::from(x && y));
    }
    let expected = a * b / labels.rows().max(1) as f64;
    expected >= EXPECTED && (both <= RARELY * expected || both >= OFTEN * expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn exclusion_is_no_chance() {
        let mut rng = Rng::new(0);
        let labels = Mat::from_fn(4000, 3, |i, j| match j {
            0 => f32::from(i % 10 == 0),
            1 => f32::from(i % 10 == 1),
            _ => f32::from(rng.chance(0.1)),
        });
        let pair = |a, b| SharedPair { a, b, cos: 1.0, phi: -0.1, separable: true };
        assert!(comes_together(&labels, &pair(0, 1)));
        assert!(!comes_together(&labels, &pair(0, 2)));
    }
}
