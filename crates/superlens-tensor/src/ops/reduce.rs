//! Sums and means, over all entries or along one axis.

use crate::{Real, Tape, Tensor, Var};

impl<R: Real> Tape<R> {
    /// The sum of all entries, a scalar; accumulated in `f64`.
    pub fn sum(&mut self, x: Var) -> Var {
        let total: f64 = self.value(x).data().iter().map(|x| x.to_f64()).sum();
        self.push(&[x], Tensor::scalar(R::of(total)), move |pass| {
            let (g, shape) = (pass.dy.item(), pass.value(x).shape());
            pass.add(x, || Tensor::from_fn(shape, |_| g));
        })
    }

    /// The mean of all entries, a scalar; accumulated in `f64`.
    pub fn mean(&mut self, x: Var) -> Var {
        let n = self.value(x).data().len();
        let total = self.sum(x);
        self.scale(total, 1.0 / n as f64)
    }

    /// The sum along `axis`, which is removed.
    pub fn sum_axis(&mut self, x: Var, axis: usize) -> Var {
        let value = self.value(x);
        let (outer, length, inner) = split(value.shape(), axis);
        let mut shape = value.shape().to_vec();
        shape.remove(axis);
        let mut y = Tensor::zeros(&shape);
        for o in 0..outer {
            let sums = &mut y.data_mut()[o * inner..][..inner];
            for k in 0..length {
                let row = &value.data()[(o * length + k) * inner..][..inner];
                sums.iter_mut().zip(row).for_each(|(s, &x)| *s += x);
            }
        }
        self.push(&[x], y, move |pass| {
            let (dy, shape) = (pass.dy, pass.value(x).shape());
            pass.add(x, || Tensor::from_fn(shape, |i| dy.data()[i / (length * inner) * inner + i % inner]));
        })
    }

    /// The mean along `axis`, which is removed.
    pub fn mean_axis(&mut self, x: Var, axis: usize) -> Var {
        let (_, length, _) = split(self.shape(x), axis);
        let total = self.sum_axis(x, axis);
        self.scale(total, 1.0 / length as f64)
    }
}

/// The number of entries before, along and after `axis`. Panics with the shape if there is no such axis.
pub(super) fn split(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    assert!(axis < shape.len(), "axis {axis} of a {shape:?} tensor");
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

#[cfg(test)]
pub(super) fn cases() -> Vec<super::tests::Case> {
    use super::tests::real;
    vec![
        case!(sum, [real(&[2, 3])], |t, x| t.sum(x[0])),
        case!(mean, [real(&[2, 3])], |t, x| t.mean(x[0])),
        case!(sum_axis, [real(&[2, 3, 4])], |t, x| t.sum_axis(x[0], 0)),
        case!(sum_axis, [real(&[2, 3, 4])], |t, x| t.sum_axis(x[0], 1)),
        case!(mean_axis, [real(&[2, 3, 4])], |t, x| t.mean_axis(x[0], 2)),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{Tape, Tensor};

    #[test]
    fn along_every_axis() {
        let mut tape = Tape::<f64>::new();
        let x = tape.constant(Tensor::from_fn(&[2, 3], |i| i as f64));
        let (down, across, mean) = (tape.sum_axis(x, 0), tape.mean_axis(x, 1), tape.mean(x));
        assert_eq!((tape.shape(down), tape.value(down).data()), (&[3][..], &[3.0, 5.0, 7.0][..]));
        assert_eq!((tape.shape(across), tape.value(across).data()), (&[2][..], &[1.0, 4.0][..]));
        assert_eq!(tape.value(mean).item(), 2.5);
    }
}
