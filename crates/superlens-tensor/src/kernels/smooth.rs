//! Exponentials and what is made of them, over whole slices of `f32`: without branches or calls, so that the compiler makes vectors of them.
//!
//! Errors are a few units in the last place of the result, or of 1 where the result is smaller than that; held against `f64` by tests.

use super::pointwise::Activation;
use super::vectors::by_vectors;

/// `eˣ`, 0 below −87.3 and infinite above 88.7; NaN stays NaN.
///
/// `x = n ln 2 + r` with whole `n` and `|r| ≤ ln 2 / 2`; `eʳ` by its Taylor polynomial, whose next term is below half a unit in the last place.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // ln 2 in two parts, the first exact in 15 bits.
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    // Adding this rounds to whole numbers, and leaves them in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let within = x.clamp(-87.5, 89.0);
    let shifted = within * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (within - n * HIGH) - n * LOW;
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    // 2ⁿ in two factors: n reaches 128, where there is no single one.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let y = p * power(half) * power(n - half);
    if x < -87.33 { 0.0 } else { y }
}

/// The error function, by a polynomial of degree 16 in x², fitted at Chebyshev points of |x| ≤ 4, beyond which it is ±1 to the last place.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    const P: [f32; 17] = [
        0.000_596_425_1,
        -0.001_372_815_1,
        0.000_616_610_76,
        -0.001_076_942_1,
        0.005_577_363_5,
        -0.010_085_907,
        0.013_908_146,
        -0.021_662_531,
        0.033_217,
        -0.046_014_32,
        0.059_855_994,
        -0.074_687_53,
        0.090_212_04,
        -0.107_713_364,
        0.131_675,
        -0.176_576_17,
        0.353_531,
    ];
    let x = x.clamp(-4.0, 4.0);
    let t = x * x * 0.125 - 1.0;
    let mut p = P[0];
    for c in &P[1..] {
        p = p * t + c;
    }
    x * p
}

#[inline(always)]
fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x ← f(x)`, the activation by vectors.
pub fn activate(f: Activation, x: &mut [f32]) {
    #[inline(always)]
    fn each(x: &mut [f32], f: impl Fn(f32) -> f32) {
        x.iter_mut().for_each(|x| *x = f(*x));
    }
    by_vectors(
        #[inline(always)]
        || match f {
            Activation::Relu => each(x, |x| x.max(0.0)),
            Activation::Gelu => each(x, |x| 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))),
            // tanh(u) = 2 σ(2u) − 1
            Activation::GeluTanh => each(x, |x| x * logistic(1.595_769 * (x + 0.044_715 * x * x * x))),
            Activation::Silu => each(x, |x| x * logistic(x)),
        },
    );
}

/// `gate ← f(gate) · up`. Panics with both lengths where they differ.
pub fn activate_gated(f: Activation, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gates of {} and {} numbers", gate.len(), up.len());
    activate(f, gate);
    gate.iter_mut().zip(up).for_each(|(g, u)| *g *= u);
}

/// Rows of so many scores become probabilities; their sums in 16 interleaved partial sums. A row of −∞ alone becomes NaN.
///
/// Panics where the rows don't come out even.
pub fn softmax(rows: &mut [f32], length: usize) {
    if rows.is_empty() {
        return;
    }
    assert!(length > 0 && rows.len().is_multiple_of(length), "rows of {length} in {} numbers", rows.len());
    by_vectors(
        #[inline(always)]
        || {
            for row in rows.chunks_exact_mut(length) {
                softmax_row(row);
            }
        },
    );
}

#[inline(always)]
fn softmax_row(row: &mut [f32]) {
    let mut tops = [f32::NEG_INFINITY; 16];
    for chunk in row.chunks(16) {
        tops.iter_mut().zip(chunk).for_each(|(top, &x)| *top = if x > *top { x } else { *top });
    }
    let top = tops.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    row.iter_mut().for_each(|x| *x = exp(*x - top));
    let mut sums = [0.0; 16];
    for chunk in row.chunks(16) {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += x);
    }
    let scale = 1.0 / sums.iter().sum::<f32>();
    row.iter_mut().for_each(|x| *x *= scale);
}

/// `x ← cap · tanh(x / cap)`, the soft-capping of Gemma 2.
pub fn soft_cap(cap: f32, x: &mut [f32]) {
    by_vectors(
        #[inline(always)]
        || x.iter_mut().for_each(|x| *x = cap * (2.0 * logistic(2.0 * *x / cap) - 1.0)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> impl Iterator<Item = f32> {
        (-40_000..=40_000).map(|i| i as f32 * 2.5e-4).chain((-500..=500).map(|i| i as f32 * 0.25))
    }

    #[test]
    fn exponentials_to_the_last_places() {
        for x in grid().filter(|x| (-87.0..88.7).contains(x)) {
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) - want).abs() < 3e-7 * want, "e^{x}");
        }
        assert_eq!((exp(-1e9), exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 0.0, 1.0));
        assert!(exp(f32::NAN).is_nan() && exp(89.0) == f32::INFINITY && exp(f32::INFINITY) == f32::INFINITY);
    }

    #[test]
    fn the_error_function() {
        for x in grid() {
            assert!((f64::from(erf(x)) - libm::erf(x.into())).abs() < 3e-7, "erf {x}");
        }
    }

    #[test]
    fn activations_are_those_of_the_definition() {
        for f in [Activation::Relu, Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
            let mut got: Vec<f32> = grid().collect();
            activate(f, &mut got);
            let mut want: Vec<f64> = grid().map(f64::from).collect();
            f.apply(&mut want);
            for ((x, got), want) in grid().zip(got).zip(want) {
                assert!(
                    (f64::from(got) - want).abs() < 4e-7 * f64::from(x).abs().max(1.0),
                    "{f:?} of {x}: {got}, {want}"
                );
            }
        }
    }

    #[test]
    fn rows_of_probabilities() {
        for n in [1, 5, 16, 37] {
            let scores: Vec<f32> = (0..n).map(|i| ((i * 7) % 11) as f32 * 9.0 - 40.0).collect();
            let mut got = scores.clone();
            let length = got.len();
            softmax(&mut got, length);
            let total: f64 = scores.iter().map(|&x| f64::from(x).exp()).sum();
            assert!(got.iter().zip(&scores).all(|(&p, &x)| (f64::from(p) - f64::from(x).exp() / total).abs() < 1e-6));
        }
        let mut masked = [2.0, f32::NEG_INFINITY, 2.0];
        let length = masked.len();
        softmax(&mut masked, length);
        assert_eq!(masked, [0.5, 0.0, 0.5]);
    }

    #[test]
    fn the_cap_is_soft() {
        let mut x = [0.0, 1.0, -50.0, 1e6];
        soft_cap(30.0, &mut x);
        for (got, x) in x.iter().zip([0.0f64, 1.0, -50.0, 1e6]) {
            assert!((f64::from(*got) - 30.0 * (x / 30.0).tanh()).abs() < 1e-5);
        }
    }
}
