//! Sums, differences, products and quotients, with broadcasting.
//!
//! Shapes are aligned at their last axes, as in NumPy: an axis that is missing or of length 1 is repeated.

use crate::{Real, Tape, Tensor, Var};

impl<R: Real> Tape<R> {
    /// `a + b`, broadcast.
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        let y = broadcast(self.value(a), self.value(b), |a, b| a + b);
        self.push(&[a, b], y, move |pass| {
            let dy = pass.dy;
            let (a_shape, b_shape) = (pass.value(a).shape(), pass.value(b).shape());
            pass.add(a, || sum_to(dy, a_shape));
            pass.add(b, || sum_to(dy, b_shape));
        })
    }

    /// `a − b`, broadcast.
    pub fn sub(&mut self, a: Var, b: Var) -> Var {
        let y = broadcast(self.value(a), self.value(b), |a, b| a - b);
        self.push(&[a, b], y, move |pass| {
            let dy = pass.dy;
            let (a_shape, b_shape) = (pass.value(a).shape(), pass.value(b).shape());
            pass.add(a, || sum_to(dy, a_shape));
            pass.add(b, || sum_to(dy, b_shape).map(|g| -g));
        })
    }

    /// `a · b` entry by entry, broadcast.
    pub fn mul(&mut self, a: Var, b: Var) -> Var {
        let y = broadcast(self.value(a), self.value(b), |a, b| a * b);
        self.push(&[a, b], y, move |pass| {
            let (dy, a_value, b_value) = (pass.dy, pass.value(a), pass.value(b));
            pass.add(a, || sum_to(&broadcast(dy, b_value, |g, b| g * b), a_value.shape()));
            pass.add(b, || sum_to(&broadcast(dy, a_value, |g, a| g * a), b_value.shape()));
        })
    }

    /// `a / b` entry by entry, broadcast.
    pub fn div(&mut self, a: Var, b: Var) -> Var {
        let y = broadcast(self.value(a), self.value(b), |a, b| a / b);
        self.push(&[a, b], y, move |pass| {
            let (y, dy, a_value, b_value) = (pass.y, pass.dy, pass.value(a), pass.value(b));
            let per_numerator = broadcast(dy, b_value, |g, b| g / b);
            pass.add(a, || sum_to(&per_numerator, a_value.shape()));
            pass.add(b, || sum_to(&broadcast(&per_numerator, y, |g, y| -g * y), b_value.shape()));
        })
    }

    /// `c · x`.
    pub fn scale(&mut self, x: Var, c: f64) -> Var {
        let c = R::of(c);
        let y = self.value(x).map(|x| c * x);
        self.push(&[x], y, move |pass| {
            let dy = pass.dy;
            pass.add(x, || dy.map(|g| c * g));
        })
    }
}

/// `f(a, b)` over the shape that both broadcast to.
fn broadcast<R: Real>(a: &Tensor<R>, b: &Tensor<R>, f: impl Fn(R, R) -> R + Sync) -> Tensor<R> {
    if a.shape() == b.shape() {
        let mut out = a.clone();
        out.zip_mut(b, f);
        return out;
    }
    let shape = broadcast_shape(a.shape(), b.shape());
    let mut out = Tensor::zeros(&shape);
    let width = out.width();
    let (a_strides, b_strides) = (strides_in(a.shape(), &shape), strides_in(b.shape(), &shape));
    let (a_step, b_step) = (a_strides.last().copied().unwrap_or(0), b_strides.last().copied().unwrap_or(0));
    out.for_each_row(|i, row| {
        let (a_row, b_row) = (row_offset(i, &shape, &a_strides), row_offset(i, &shape, &b_strides));
        for j in 0..width {
            row[j] = f(a.data()[a_row + j * a_step], b.data()[b_row + j * b_step]);
        }
    });
    out
}

/// The sum of `x` over the axes along which `shape` was repeated to give that of `x`, in row-major order.
fn sum_to<R: Real>(x: &Tensor<R>, shape: &[usize]) -> Tensor<R> {
    if x.shape() == shape {
        return x.clone();
    }
    let mut out = Tensor::zeros(shape);
    let strides = strides_in(shape, x.shape());
    let step = strides.last().copied().unwrap_or(0);
    for (i, row) in x.rows().enumerate() {
        let at = row_offset(i, x.shape(), &strides);
        for (j, &v) in row.iter().enumerate() {
            out.data_mut()[at + j * step] += v;
        }
    }
    out
}

fn broadcast_shape(a: &[usize], b: &[usize]) -> Vec<usize> {
    let axes = a.len().max(b.len());
    let length = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(axes).map_or(1, |k| shape[k]);
    (0..axes)
        .map(|axis| match (length(a, axis), length(b, axis)) {
            (m, n) if m == n || n == 1 => m,
            (1, n) => n,
            _ => panic!("shapes {a:?} and {b:?} don't broadcast"),
        })
        .collect()
}

/// How far one step along each axis of `out` moves in a row-major tensor of `shape`; 0 where it is repeated.
fn strides_in(shape: &[usize], out: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; out.len()];
    let mut stride = 1;
    for (&length, s) in shape.iter().rev().zip(strides.iter_mut().rev()) {
        *s = if length == 1 { 0 } else { stride };
        stride *= length;
    }
    strides
}

/// Where row `i` (along the last axis) of `shape` begins under `strides`.
fn row_offset(mut i: usize, shape: &[usize], strides: &[usize]) -> usize {
    let outer = shape.len().saturating_sub(1);
    let mut offset = 0;
    for axis in (0..outer).rev() {
        offset += i % shape[axis] * strides[axis];
        i /= shape[axis];
    }
    offset
}

#[cfg(test)]
pub(super) fn cases() -> Vec<super::tests::Case> {
    use super::tests::real;
    vec![
        case!(add, [real(&[2, 3]), real(&[2, 3])], |t, x| t.add(x[0], x[1])),
        case!(add, [real(&[2, 4, 3]), real(&[3])], |t, x| t.add(x[0], x[1])),
        case!(sub, [real(&[4, 1]), real(&[2, 1, 3])], |t, x| t.sub(x[0], x[1])),
        case!(mul, [real(&[2, 3]), real(&[2, 3])], |t, x| t.mul(x[0], x[1])),
        case!(mul, [real(&[]), real(&[3, 2])], |t, x| t.mul(x[0], x[1])),
        case!(mul, [real(&[4, 2, 1]), real(&[2, 5])], |t, x| t.mul(x[0], x[1])),
        case!(div, [real(&[3]), real(&[2, 3])], |t, x| t.div(x[0], x[1])),
        case!(scale, [real(&[5])], |t, x| t.scale(x[0], -1.5)),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{Tape, Tensor};

    #[test]
    fn broadcasting_follows_the_rules() {
        let mut tape = Tape::<f64>::new();
        let column = tape.constant(Tensor::new(&[2, 1], vec![10.0, 20.0]));
        let row = tape.constant(Tensor::new(&[3], vec![1.0, 2.0, 3.0]));
        let y = tape.sub(column, row);
        assert_eq!(tape.shape(y), [2, 3]);
        assert_eq!(tape.value(y).data(), [9.0, 8.0, 7.0, 19.0, 18.0, 17.0]);
    }

    #[test]
    #[should_panic(expected = "[2, 3] and [2]")]
    fn shapes_that_do_not_fit_are_named() {
        let mut tape = Tape::<f64>::new();
        let (a, b) = (tape.constant(Tensor::zeros(&[2, 3])), tape.constant(Tensor::zeros(&[2])));
        tape.add(a, b);
    }
}
