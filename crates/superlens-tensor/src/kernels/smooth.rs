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
    let shifted = within.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LOW, n.mul_add(-HIGH, within));
    let mut p = 1.0f32 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p.mul_add(r, c);
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
        p = p.mul_add(t, *c);
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
    by_vectors(
        #[inline(always)]
        || {
            for (g, u) in gate.iter_mut().zip(up) {
                *g *= u;
            }
        },
    );
}

/// Rows of so many scores become probabilities; their sums in 16 interleaved partial sums. A row of −∞ alone becomes NaN.
///
/// Panics where the rows don't come out even.
pub fn softmax(rows: &mut [f32], length: usize) {
    softmax_within(rows, length, |_| (0, length));
}

/// The same of a part of each row, `within(row)` its first score and the one after its last; what lies outside becomes 0.
///
/// Panics where the rows don't come out even, and on parts that reach beyond them.
pub fn softmax_within(rows: &mut [f32], length: usize, within: impl Fn(usize) -> (usize, usize)) {
    if rows.is_empty() {
        return;
    }
    assert!(length > 0 && rows.len().is_multiple_of(length), "rows of {length} in {} numbers", rows.len());
    by_vectors(
        #[inline(always)]
        || {
            for (i, row) in rows.chunks_exact_mut(length).enumerate() {
                let (from, to) = within(i);
                // Whole chunks are the quickest, what is in them too much as −∞.
                let (first, last) = (from / LANES * LANES, to.next_multiple_of(LANES).min(length));
                for x in &mut row[first..from] {
                    *x = f32::NEG_INFINITY;
                }
                for x in &mut row[to..last] {
                    *x = f32::NEG_INFINITY;
                }
                row[..first].fill(0.0);
                row[last..].fill(0.0);
                softmax_row(&mut row[first..last]);
            }
        },
    );
}

/// Numbers side by side: a register of AVX-512.
const LANES: usize = 16;

#[inline(always)]
fn softmax_row(row: &mut [f32]) {
    let (whole, rest) = row.as_chunks_mut::<LANES>();
    // What is left over is filled up to a whole chunk: one by one it would cost more than all others.
    let mut last = [f32::NEG_INFINITY; LANES];
    for (last, x) in last.iter_mut().zip(rest.iter()) {
        *last = *x;
    }
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut tops = last;
    for chunk in whole.iter() {
        for l in 0..LANES {
            tops[l] = larger(tops[l], chunk[l]);
        }
    }
    let top = folded(tops, larger);
    let mut sums = [0.0; LANES];
    for chunk in whole.iter_mut() {
        for l in 0..LANES {
            chunk[l] = exp(chunk[l] - top);
            sums[l] += chunk[l];
        }
    }
    if !rest.is_empty() {
        for l in 0..LANES {
            last[l] = exp(last[l] - top);
            sums[l] += last[l];
        }
    }
    let scale = 1.0 / folded(sums, |a, b| a + b);
    for chunk in whole.iter_mut() {
        for x in chunk {
            *x *= scale;
        }
    }
    for (x, last) in rest.iter_mut().zip(last) {
        *x = last * scale;
    }
}

/// All lanes as one number, half by half.
#[inline(always)]
fn folded(x: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let x: [f32; LANES / 2] = std::array::from_fn(|l| f(x[l], x[l + LANES / 2]));
    let x: [f32; LANES / 4] = std::array::from_fn(|l| f(x[l], x[l + LANES / 4]));
    f(f(x[0], x[2]), f(x[1], x[3]))
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
        let mut within: Vec<f32> = (0..60).map(|i| (i % 13) as f32).collect();
        let mut alone = within[21..38].to_vec();
        softmax(&mut alone, 17);
        softmax_within(&mut within, 20, |i| [(0, 20), (1, 18), (5, 6)][i]);
        assert!(within[20..40] == [&[0.0], &alone[..], &[0.0, 0.0]].concat() && within[45] == 1.0 && within[59] == 0.0);
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
