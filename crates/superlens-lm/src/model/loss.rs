//! What a model's logits say of the tokens that came, and of other logits, in nats.

use superlens_tensor::Mat;

use super::batch::Batch;

/// `−ln p` of each token but a sequence's first, given those before it, `[tokens]`; 0 for first ones. `logits` `[tokens, vocab]` are those of the batch.
///
/// Panics where their rows are not the batch's tokens, or a token has no logit.
pub fn surprise(logits: &Mat, batch: &Batch) -> Vec<f64> {
    assert_eq!(logits.rows(), batch.tokens(), "a row of logits for each token");
    let mut all = vec![0.0; batch.tokens()];
    for s in 0..batch.sequences() {
        let (from, to) = batch.rows(s);
        for i in from + 1..to {
            let row = logits.row(i - 1);
            all[i] = log_sum_exp(row) - f64::from(row[batch.ids()[i] as usize]);
        }
    }
    all
}

/// The gradient by the logits of `scale` times the sum of the [`surprise`] of the tokens that count, `[tokens, vocab]`: probabilities, less one for
/// the token that came.
///
/// Panics as [`surprise`] does, and on another number of marks than of tokens.
pub fn surprise_gradient(logits: &Mat, batch: &Batch, counted: &[bool], scale: f32) -> Mat {
    assert_eq!((logits.rows(), counted.len()), (batch.tokens(), batch.tokens()), "a row and a mark for each token");
    let mut d = Mat::zeros(logits.rows(), logits.cols());
    for s in 0..batch.sequences() {
        let (from, to) = batch.rows(s);
        for i in (from + 1..to).filter(|&i| counted[i]) {
            let row = logits.row(i - 1);
            let all = log_sum_exp(row);
            let to = d.row_mut(i - 1);
            to.iter_mut().zip(row).for_each(|(d, x)| *d = scale * (f64::from(*x) - all).exp() as f32);
            to[batch.ids()[i] as usize] -= scale;
        }
    }
    d
}

/// `KL(p ‖ q)` of the distributions of two rows of logits (Kullback and Leibler 1951).
pub fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (of_p, of_q) = (log_sum_exp(p), log_sum_exp(q));
    let term = |(p, q): (&f32, &f32)| {
        let (p, q) = (f64::from(*p) - of_p, f64::from(*q) - of_q);
        // A token that can't come adds nothing, though its logarithm is no number.
        if p == f64::NEG_INFINITY { 0.0 } else { p.exp() * (p - q) }
    };
    p.iter().zip(q).map(term).sum()
}

/// `ln Σ exp`, in double precision.
fn log_sum_exp(x: &[f32]) -> f64 {
    let top = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    top + x.iter().map(|&x| (f64::from(x) - top).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surprise_is_that_of_the_token_that_came() {
        let mut batch = Batch::one(&[2, 0, 1]);
        batch.push(&[1, 1]);
        let ln = |x: f32| x.ln();
        let row = [ln(0.5), ln(0.25), ln(0.25)];
        let logits = Mat::from_fn(5, 3, |i, j| row[j] + 100.0 * i as f32);
        let got = surprise(&logits, &batch);
        for (got, want) in got.iter().zip([0.0, 2f64.ln(), 4f64.ln(), 0.0, 4f64.ln()]) {
            assert!((got - want).abs() < 1e-4, "{got} {want}");
        }
    }

    #[test]
    fn divergence_is_zero_of_the_same_and_what_its_formula_says() {
        let (p, q) = ([0.0f32, 1.0, -2.0], [5.0f32, 6.0, 3.0]);
        assert!(divergence(&p, &q).abs() < 1e-12, "a constant on all logits changes nothing");
        let certain = [0.0, f32::NEG_INFINITY];
        assert!((divergence(&certain, &[0.0, 0.0]) - 2f64.ln()).abs() < 1e-12);
    }
}
