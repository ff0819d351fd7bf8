//! Moving entries without changing them: reshape, permute, slice, concatenate.

use super::reduce::split;
use crate::{Real, Tape, Tensor, Var};
use std::ops::Range;

impl<R: Real> Tape<R> {
    /// The same entries in row-major order under another shape.
    pub fn reshape(&mut self, x: Var, shape: &[usize]) -> Var {
        let y = self.value(x).clone().reshaped(shape);
        self.push(&[x], y, move |pass| {
            let (dy, shape) = (pass.dy, pass.value(x).shape());
            pass.add(x, || dy.clone().reshaped(shape));
        })
    }

    /// Axis `k` of the result is axis `axes[k]` of `x`. Panics unless `axes` names every axis once.
    pub fn permute(&mut self, x: Var, axes: &[usize]) -> Var {
        let y = permuted(self.value(x), axes);
        let mut back = vec![0; axes.len()];
        for (k, &axis) in axes.iter().enumerate() {
            back[axis] = k;
        }
        self.push(&[x], y, move |pass| {
            let dy = pass.dy;
            pass.add(x, || permuted(dy, &back));
        })
    }

    /// Two axes exchanged.
    pub fn transpose(&mut self, x: Var, a: usize, b: usize) -> Var {
        let shape = self.shape(x);
        assert!(a < shape.len() && b < shape.len(), "axes {a} and {b} of a {shape:?} tensor");
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        axes.swap(a, b);
        self.permute(x, &axes)
    }

    /// The entries whose index along `axis` lies in `range`.
    pub fn slice(&mut self, x: Var, axis: usize, range: Range<usize>) -> Var {
        let value = self.value(x);
        let (outer, length, inner) = split(value.shape(), axis);
        assert!(
            range.start <= range.end && range.end <= length,
            "{range:?} along axis {axis} of a {:?} tensor",
            value.shape()
        );
        let mut shape = value.shape().to_vec();
        shape[axis] = range.len();
        let taken = move |o: usize| (o * length + range.start) * inner..(o * length + range.end) * inner;
        let data = (0..outer).flat_map(|o| &value.data()[taken(o)]).copied().collect();
        let y = Tensor::new(&shape, data);
        self.push(&[x], y, move |pass| {
            let (dy, shape) = (pass.dy, pass.value(x).shape());
            pass.add(x, || {
                let mut grad = Tensor::zeros(shape);
                let mut rest = dy.data();
                for o in 0..outer {
                    let into = &mut grad.data_mut()[taken(o)];
                    let (now, later) = rest.split_at(into.len());
                    into.copy_from_slice(now);
                    rest = later;
                }
                grad
            });
        })
    }

    /// Tensors one after the other along `axis`; their other axes are equal. Panics with both shapes if they
    /// are not.
    pub fn concat(&mut self, parts: &[Var], axis: usize) -> Var {
        let first = *parts.first().expect("at least one tensor to concatenate");
        let mut shape = self.shape(first).to_vec();
        let (outer, _, inner) = split(&shape, axis);
        shape[axis] = 0;
        for &p in parts {
            let part = self.shape(p);
            let fits = part.len() == shape.len() && (0..shape.len()).all(|k| k == axis || part[k] == shape[k]);
            assert!(fits, "{part:?} after {:?} along axis {axis}", self.shape(first));
            shape[axis] += part[axis];
        }
        let lengths: Vec<usize> = parts.iter().map(|&p| self.shape(p)[axis] * inner).collect();
        let mut data = Vec::with_capacity(shape.iter().product());
        for o in 0..outer {
            for (&p, &n) in parts.iter().zip(&lengths) {
                data.extend_from_slice(&self.value(p).data()[o * n..][..n]);
            }
        }
        let owned = parts.to_vec();
        self.push(parts, Tensor::new(&shape, data), move |pass| {
            let dy = pass.dy;
            let stride: usize = lengths.iter().sum();
            let mut from = 0;
            for (&p, &n) in owned.iter().zip(&lengths) {
                let shape = pass.value(p).shape();
                let rows = (0..outer).flat_map(|o| &dy.data()[o * stride + from..][..n]);
                pass.add(p, || Tensor::new(shape, rows.copied().collect()));
                from += n;
            }
        })
    }
}

fn permuted<R: Real>(x: &Tensor<R>, axes: &[usize]) -> Tensor<R> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..x.shape().len()), "axes {axes:?} of a {:?} tensor", x.shape());
    let mut strides = vec![1; axes.len()];
    for k in (1..axes.len()).rev() {
        strides[k - 1] = strides[k] * x.shape()[k];
    }
    let shape: Vec<usize> = axes.iter().map(|&a| x.shape()[a]).collect();
    let strides: Vec<usize> = axes.iter().map(|&a| strides[a]).collect();
    // An odometer over the result's indices, kept beside the offset in `x` that it stands for.
    let (mut index, mut offset) = (vec![0; axes.len()], 0);
    Tensor::from_fn(&shape, |_| {
        let entry = x.data()[offset];
        for k in (0..shape.len()).rev() {
            index[k] += 1;
            offset += strides[k];
            if index[k] < shape[k] {
                break;
            }
            index[k] = 0;
            offset -= strides[k] * shape[k];
        }
        entry
    })
}

#[cfg(test)]
pub(super) fn cases() -> Vec<super::tests::Case> {
    use super::tests::real;
    vec![
        case!(reshape, [real(&[2, 6])], |t, x| t.reshape(x[0], &[3, 4])),
        case!(permute, [real(&[2, 3, 4])], |t, x| t.permute(x[0], &[2, 0, 1])),
        case!(transpose, [real(&[2, 3, 4])], |t, x| t.transpose(x[0], 1, 2)),
        case!(slice, [real(&[2, 5, 3])], |t, x| t.slice(x[0], 1, 1..4)),
        case!(concat, [real(&[2, 1, 3]), real(&[2, 4, 3])], |t, x| t.concat(&[x[0], x[1], x[0]], 1)),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{Tape, Tensor};

    #[test]
    fn entries_land_where_they_should() {
        let mut tape = Tape::<f64>::new();
        let x = tape.constant(Tensor::from_fn(&[2, 3, 4], |i| i as f64));
        let p = tape.permute(x, &[2, 0, 1]);
        assert_eq!(tape.shape(p), [4, 2, 3]);
        for (i, j, k) in [(0, 0, 0), (1, 0, 2), (0, 1, 3), (1, 2, 3)] {
            assert_eq!(tape.value(p).data()[(k * 2 + i) * 3 + j], ((i * 3 + j) * 4 + k) as f64);
        }
        let s = tape.slice(x, 1, 1..2);
        assert_eq!(tape.value(s).data(), [4.0, 5.0, 6.0, 7.0, 16.0, 17.0, 18.0, 19.0]);
        let (head, tail) = (tape.slice(x, 2, 0..1), tape.slice(x, 2, 1..4));
        let whole = tape.concat(&[head, tail], 2);
        assert_eq!(tape.value(whole), tape.value(x));
    }

    #[test]
    #[should_panic(expected = "[0, 0] of a [2, 3] tensor")]
    fn an_axis_twice_is_refused() {
        let mut tape = Tape::<f64>::new();
        let x = tape.constant(Tensor::zeros(&[2, 3]));
        tape.permute(x, &[0, 0]);
    }
}
