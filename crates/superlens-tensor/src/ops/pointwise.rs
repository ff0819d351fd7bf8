//! Functions of each entry.

use crate::kernels::pointwise as kernel;
use crate::{Real, Tape, Var};

impl<R: Real> Tape<R> {
    /// `max(x, 0)`.
    pub fn relu(&mut self, x: Var) -> Var {
        self.pointwise(x, kernel::relu, |x, _| kernel::relu_slope(x))
    }

    /// `x Φ(x)` with the error function.
    pub fn gelu(&mut self, x: Var) -> Var {
        self.pointwise(x, kernel::gelu, |x, _| kernel::gelu_slope(x))
    }

    /// The hyperbolic-tangent approximation of [`gelu`](Self::gelu).
    pub fn gelu_tanh(&mut self, x: Var) -> Var {
        self.pointwise(x, kernel::gelu_tanh, |x, _| kernel::gelu_tanh_slope(x))
    }

    /// `x σ(x)`.
    pub fn silu(&mut self, x: Var) -> Var {
        self.pointwise(x, kernel::silu, |x, _| kernel::silu_slope(x))
    }

    pub fn tanh(&mut self, x: Var) -> Var {
        self.pointwise(x, R::tanh, |_, y| R::ONE - y * y)
    }

    /// `1 / (1 + e⁻ˣ)`.
    pub fn sigmoid(&mut self, x: Var) -> Var {
        self.pointwise(x, kernel::sigmoid, |_, y| y * (R::ONE - y))
    }

    pub fn exp(&mut self, x: Var) -> Var {
        self.pointwise(x, R::exp, |_, y| y)
    }

    /// The natural logarithm.
    pub fn log(&mut self, x: Var) -> Var {
        self.pointwise(x, R::ln, |x, _| R::ONE / x)
    }

    /// `|x|`; its derivative at 0 is taken as 0.
    pub fn abs(&mut self, x: Var) -> Var {
        self.pointwise(x, R::abs, |x, _| kernel::relu_slope(x) - kernel::relu_slope(-x))
    }

    pub fn square(&mut self, x: Var) -> Var {
        self.pointwise(x, |x| x * x, |x, _| x + x)
    }

    pub fn sqrt(&mut self, x: Var) -> Var {
        self.pointwise(x, R::sqrt, |_, y| R::of(0.5) / y)
    }

    /// `xᵉ` for a fixed exponent and `x ≥ 0`.
    pub fn powf(&mut self, x: Var, e: f64) -> Var {
        let (e, below) = (R::of(e), R::of(e - 1.0));
        self.pointwise(x, move |x| x.powf(e), move |x, _| e * x.powf(below))
    }

    /// `f(x)`, whose derivative is `slope(x, f(x))`.
    fn pointwise(
        &mut self,
        x: Var,
        f: impl Fn(R) -> R + Sync,
        slope: impl Fn(R, R) -> R + Send + Sync + 'static,
    ) -> Var {
        let y = self.value(x).map(f);
        self.push(&[x], y, move |pass| {
            let (y, dy, x_value) = (pass.y, pass.dy, pass.value(x));
            pass.add(x, || {
                let mut grad = x_value.clone();
                grad.zip_mut(y, &slope);
                grad.zip_mut(dy, |slope, g| slope * g);
                grad
            });
        })
    }
}

#[cfg(test)]
pub(super) fn cases() -> Vec<super::tests::Case> {
    use super::tests::{positive, real};
    vec![
        case!(relu, [real(&[3, 5])], |t, x| t.relu(x[0])),
        case!(gelu, [real(&[3, 5])], |t, x| t.gelu(x[0])),
        case!(gelu_tanh, [real(&[3, 5])], |t, x| t.gelu_tanh(x[0])),
        case!(silu, [real(&[3, 5])], |t, x| t.silu(x[0])),
        case!(tanh, [real(&[3, 5])], |t, x| t.tanh(x[0])),
        case!(sigmoid, [real(&[3, 5])], |t, x| t.sigmoid(x[0])),
        case!(exp, [real(&[3, 5])], |t, x| t.exp(x[0])),
        case!(log, [positive(&[3, 5])], |t, x| t.log(x[0])),
        case!(abs, [real(&[3, 5])], |t, x| t.abs(x[0])),
        case!(square, [real(&[3, 5])], |t, x| t.square(x[0])),
        case!(sqrt, [positive(&[3, 5])], |t, x| t.sqrt(x[0])),
        case!(powf, [positive(&[3, 5])], |t, x| t.powf(x[0], 0.3)),
        case!(powf, [positive(&[3, 5])], |t, x| t.powf(x[0], 2.5)),
    ]
}
