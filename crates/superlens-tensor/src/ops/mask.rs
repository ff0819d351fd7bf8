//! Choosing entries by a condition.

use crate::{Real, Tape, Tensor, Var};

impl<R: Real> Tape<R> {
    /// Attention scores `[…, queries, keys]` with −∞ wherever the key comes after the query.
    ///
    /// The last query stands at the last key, so with fewer queries than keys the first keys are the past.
    /// Panics with the shape if there are more queries than keys.
    pub fn causal_mask(&mut self, scores: Var) -> Var {
        let value = self.value(scores);
        let &[.., queries, keys] = value.shape() else { panic!("attention scores of shape {:?}", value.shape()) };
        assert!(queries <= keys, "{queries} queries but {keys} keys in scores of {:?}", value.shape());
        let seen = move |row: usize| row % queries + 1 + keys - queries;
        let mut y = value.clone();
        y.for_each_row(|i, row| row[seen(i)..].fill(-R::INFINITY));
        self.push(&[scores], y, move |pass| {
            let dy = pass.dy;
            pass.add(scores, || {
                let mut grad = dy.clone();
                grad.for_each_row(|i, row| row[seen(i)..].fill(R::ZERO));
                grad
            });
        })
    }

    /// Entries of `a` where `mask` is true, of `b` elsewhere; all of one shape, `mask` in row-major order.
    pub fn select(&mut self, mask: &[bool], a: Var, b: Var) -> Var {
        let (a_value, b_value) = (self.value(a), self.value(b));
        let (a_shape, b_shape) = (a_value.shape(), b_value.shape());
        assert!(
            a_shape == b_shape && a_value.data().len() == mask.len(),
            "{} choices between {a_shape:?} and {b_shape:?}",
            mask.len()
        );
        let y = Tensor::from_fn(a_shape, |i| if mask[i] { a_value.data()[i] } else { b_value.data()[i] });
        let mask = mask.to_vec();
        self.push(&[a, b], y, move |pass| {
            let dy = pass.dy;
            let part = |side| Tensor::from_fn(dy.shape(), |i| if mask[i] == side { dy.data()[i] } else { R::ZERO });
            pass.add(a, || part(true));
            pass.add(b, || part(false));
        })
    }
}

#[cfg(test)]
pub(super) fn cases() -> Vec<super::tests::Case> {
    use super::tests::real;
    vec![
        // Through a softmax: an infinite value has no difference quotient.
        case!(causal_mask, [real(&[2, 3, 3])], |t, x| {
            let masked = t.causal_mask(x[0]);
            t.softmax(masked)
        }),
        case!(causal_mask, [real(&[2, 4])], |t, x| {
            let masked = t.causal_mask(x[0]);
            t.softmax(masked)
        }),
        case!(select, [real(&[2, 2]), real(&[2, 2])], |t, x| t.select(&[true, false, false, true], x[0], x[1])),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{Tape, Tensor};

    #[test]
    fn a_query_sees_the_keys_up_to_its_own() {
        let mut tape = Tape::<f32>::new();
        let scores = tape.constant(Tensor::zeros(&[1, 2, 3]));
        let masked = tape.causal_mask(scores);
        assert_eq!(tape.value(masked).data(), [0.0, 0.0, f32::NEG_INFINITY, 0.0, 0.0, 0.0]);
    }
}
