//! Rows of a table by number.

use crate::kernels::pointwise::axpy;
use crate::{Real, Tape, Tensor, Var};

impl<R: Real> Tape<R> {
    /// Row `ids[i]` of `table: [n, d]` for every `i`: `[ids.len(), d]`. Panics if an id is not below `n`.
    pub fn embedding(&mut self, table: Var, ids: &[usize]) -> Var {
        let value = self.value(table);
        let &[n, d] = value.shape() else { panic!("rows of a table of shape {:?}", value.shape()) };
        if let Some(id) = ids.iter().find(|&&id| id >= n) {
            panic!("row {id} of a table of shape {:?}", value.shape());
        }
        let data = ids.iter().flat_map(|&id| &value.data()[id * d..][..d]).copied().collect();
        let y = Tensor::new(&[ids.len(), d], data);
        let ids = ids.to_vec();
        self.push(&[table], y, move |pass| {
            let dy = pass.dy;
            pass.add(table, || {
                let mut grad = Tensor::zeros(&[n, d]);
                for (&id, g) in ids.iter().zip(dy.rows()) {
                    axpy(R::ONE, g, &mut grad.data_mut()[id * d..][..d]);
                }
                grad
            });
        })
    }
}

#[cfg(test)]
pub(super) fn cases() -> Vec<super::tests::Case> {
    use super::tests::real;
    vec![case!(embedding, [real(&[4, 3])], |t, x| t.embedding(x[0], &[2, 0, 2, 3]))]
}

#[cfg(test)]
mod tests {
    use crate::{Tape, Tensor};

    #[test]
    fn rows_are_copied_in_order() {
        let mut tape = Tape::<f32>::new();
        let table = tape.constant(Tensor::from_fn(&[3, 2], |i| i as f32));
        let y = tape.embedding(table, &[2, 0]);
        assert_eq!(tape.value(y).data(), [4.0, 5.0, 0.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "row 3 of a table of shape [3, 2]")]
    fn an_id_beyond_the_table_is_refused() {
        let mut tape = Tape::<f32>::new();
        let table = tape.constant(Tensor::zeros(&[3, 2]));
        tape.embedding(table, &[3]);
    }
}
