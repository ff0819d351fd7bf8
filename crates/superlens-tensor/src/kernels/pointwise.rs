//! Activation functions with their derivatives, and the two loops everything else is made of: `axpy` and `dot`.

use crate::Real;

/// Independent partial sums of [`dot`]: enough to fill the vector units, and fixed, so that the order of
/// additions never depends on the machine.
const LANES: usize = 16;

/// `y ← y + alpha · x`. Panics with both lengths when they differ.
#[inline(always)]
pub fn axpy<R: Real>(alpha: R, x: &[R], y: &mut [R]) {
    assert_eq!(x.len(), y.len(), "axpy of {} numbers onto {}", x.len(), y.len());
    for (y, &x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
}

/// `Σ xᵢ yᵢ`, added in 16 interleaved partial sums. Panics with both lengths when they differ.
#[inline(always)]
pub fn dot<R: Real>(x: &[R], y: &[R]) -> R {
    assert_eq!(x.len(), y.len(), "dot product of {} and {} numbers", x.len(), y.len());
    let (x_chunks, y_chunks) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let tail = x_chunks.remainder().iter().zip(y_chunks.remainder());
    let mut lanes = [R::ZERO; LANES];
    for (x, y) in x_chunks.zip(y_chunks) {
        for l in 0..LANES {
            lanes[l] += x[l] * y[l];
        }
    }
    for (lane, (&x, &y)) in lanes.iter_mut().zip(tail) {
        *lane += x * y;
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            let upper = lanes[l + width];
            lanes[l] += upper;
        }
    }
    lanes[0]
}

/// The non-linearity of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    Relu,
    /// `x Φ(x)` with the error function.
    Gelu,
    /// The approximation of [`Gelu`](Self::Gelu) by a hyperbolic tangent, GPT-2's `gelu_new`.
    GeluTanh,
    /// `x σ(x)`, also called swish.
    Silu,
}

impl Activation {
    /// `x ← f(x)`.
    pub fn apply<R: Real>(self, x: &mut [R]) {
        fn each<R: Real>(x: &mut [R], f: impl Fn(R) -> R) {
            x.iter_mut().for_each(|x| *x = f(*x));
        }
        match self {
            Activation::Relu => each(x, relu),
            Activation::Gelu => each(x, gelu),
            Activation::GeluTanh => each(x, gelu_tanh),
            Activation::Silu => each(x, silu),
        }
    }

    /// `dy ← dy · f′(x)`, where `x` is what went into [`apply`](Self::apply). Panics with both lengths when
    /// they differ.
    pub fn backprop<R: Real>(self, x: &[R], dy: &mut [R]) {
        assert_eq!(x.len(), dy.len(), "{} gradients for {} inputs", dy.len(), x.len());
        fn each<R: Real>(x: &[R], dy: &mut [R], slope: impl Fn(R) -> R) {
            dy.iter_mut().zip(x).for_each(|(d, &x)| *d *= slope(x));
        }
        match self {
            Activation::Relu => each(x, dy, relu_slope),
            Activation::Gelu => each(x, dy, gelu_slope),
            Activation::GeluTanh => each(x, dy, gelu_tanh_slope),
            Activation::Silu => each(x, dy, silu_slope),
        }
    }
}

/// `max(x, 0)`; NaN stays NaN, so that a diverging run shows.
pub fn relu<R: Real>(x: R) -> R {
    if x < R::ZERO { R::ZERO } else { x }
}

/// The derivative of [`relu`], 0 at 0.
pub fn relu_slope<R: Real>(x: R) -> R {
    if x > R::ZERO { R::ONE } else { R::ZERO }
}

/// `x Φ(x)` (Hendrycks and Gimpel 2016, *Gaussian error linear units*).
pub fn gelu<R: Real>(x: R) -> R {
    x * normal_cdf(x)
}

pub fn gelu_slope<R: Real>(x: R) -> R {
    let density = R::of((0.5 * std::f64::consts::FRAC_1_PI).sqrt()) * (R::of(-0.5) * x * x).exp();
    normal_cdf(x) + x * density
}

fn normal_cdf<R: Real>(x: R) -> R {
    R::of(0.5) * (R::ONE + (x * R::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

/// `x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
pub fn gelu_tanh<R: Real>(x: R) -> R {
    R::of(0.5) * x * (R::ONE + gelu_tanh_argument(x).0.tanh())
}

pub fn gelu_tanh_slope<R: Real>(x: R) -> R {
    let (u, du) = gelu_tanh_argument(x);
    let t = u.tanh();
    R::of(0.5) * (R::ONE + t + x * (R::ONE - t * t) * du)
}

/// What the hyperbolic tangent of [`gelu_tanh`] is taken of, and its derivative.
fn gelu_tanh_argument<R: Real>(x: R) -> (R, R) {
    let (c, a) = (R::of((2.0 * std::f64::consts::FRAC_1_PI).sqrt()), R::of(0.044715));
    (c * (x + a * x * x * x), c * (R::ONE + R::of(3.0) * a * x * x))
}

/// `x σ(x)`.
pub fn silu<R: Real>(x: R) -> R {
    x * sigmoid(x)
}

pub fn silu_slope<R: Real>(x: R) -> R {
    let s = sigmoid(x);
    s * (R::ONE + x * (R::ONE - s))
}

/// `1 / (1 + e⁻ˣ)`, without overflow on either side.
pub fn sigmoid<R: Real>(x: R) -> R {
    let e = (-x.abs()).exp();
    if x >= R::ZERO { R::ONE / (R::ONE + e) } else { e / (R::ONE + e) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    const ALL: [Activation; 4] = [Activation::Relu, Activation::Gelu, Activation::GeluTanh, Activation::Silu];

    #[test]
    fn known_values() {
        // From the definitions in double precision, with the erfc, tanh and exp of the C library.
        let at_one = [1.0, 0.841344746068543, 0.841191990608277, 0.731058578630005];
        let at_minus_two = [0.0, -0.045500263896358, -0.045402305912225, -0.238405844044235];
        for (f, (one, minus_two)) in ALL.iter().zip(at_one.iter().zip(at_minus_two)) {
            let mut x = [1.0f64, -2.0];
            f.apply(&mut x);
            assert!((x[0] - one).abs() < 1e-14 && (x[1] - minus_two).abs() < 1e-14, "{f:?} {x:?}");
        }
    }

    #[test]
    fn derivatives_agree_with_differences() {
        let xs: Vec<f64> = (-60..60).map(|i| 0.1 * i as f64 + 0.05).collect();
        for f in ALL {
            let (h, mut slope) = (1e-6, vec![1.0; xs.len()]);
            f.backprop(&xs, &mut slope);
            let moved = |d: f64| {
                let mut y: Vec<f64> = xs.iter().map(|x| x + d).collect();
                f.apply(&mut y);
                y
            };
            let (up, down) = (moved(h), moved(-h));
            for i in 0..xs.len() {
                let want = (up[i] - down[i]) / (2.0 * h);
                assert!((slope[i] - want).abs() < 1e-8, "{f:?} at {}: {} {want}", xs[i], slope[i]);
            }
            let mut single: Vec<f32> = vec![1.0; xs.len()];
            f.backprop(&xs.iter().map(|&x| x as f32).collect::<Vec<_>>(), &mut single);
            assert!(single.iter().zip(&slope).all(|(a, b)| (f64::from(*a) - b).abs() < 2e-6), "{f:?} in f32");
        }
    }

    #[test]
    fn far_out_nothing_overflows() {
        for f in ALL {
            let (mut y, mut d) = ([-1e4f32, 1e4], [1.0f32, 1.0]);
            f.backprop(&y, &mut d);
            f.apply(&mut y);
            assert!(y == [0.0, 1e4] && d == [0.0, 1.0], "{f:?} {y:?} {d:?}");
        }
    }

    #[test]
    fn dot_and_axpy_at_every_length() {
        let mut rng = Rng::new(0).fork("dot");
        for n in 0..70 {
            let x: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
            let y: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
            let want: f64 = x.iter().zip(&y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            assert!((f64::from(dot(&x, &y)) - want).abs() < 1e-5);
            let mut z = y.clone();
            axpy(2.0, &x, &mut z);
            assert!((0..n).all(|i| z[i] == y[i] + 2.0 * x[i]));
        }
    }
}
