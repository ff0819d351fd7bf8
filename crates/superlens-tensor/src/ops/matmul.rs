//! Matrix products: of rows with a weight matrix, and of two stacks of matrices.

use crate::kernels::gemm::gemm_into;
use crate::{Real, Tape, Tensor, Var, View};
use rayon::prelude::*;

impl<R: Real> Tape<R> {
    /// `x · w`: `[…, d_in]` and `[d_in, d_out]` give `[…, d_out]`.
    pub fn matmul(&mut self, x: Var, w: Var) -> Var {
        let y = rows_times(self.value(x), matrix(self.value(w)));
        self.push(&[x, w], y, move |pass| {
            let (dy, x_value, w_value) = (pass.dy, pass.value(x), pass.value(w));
            pass.add(x, || rows_times(dy, matrix(w_value).t()));
            pass.add(w, || product(x_value.as_rows().t(), dy.as_rows()));
        })
    }

    /// `x · wᵀ`: `[…, d_in]` and `[d_out, d_in]` give `[…, d_out]`.
    pub fn matmul_nt(&mut self, x: Var, w: Var) -> Var {
        let y = rows_times(self.value(x), matrix(self.value(w)).t());
        self.push(&[x, w], y, move |pass| {
            let (dy, x_value, w_value) = (pass.dy, pass.value(x), pass.value(w));
            pass.add(x, || rows_times(dy, matrix(w_value)));
            pass.add(w, || product(dy.as_rows().t(), x_value.as_rows()));
        })
    }

    /// `x · w + b`: `[…, d_in]`, `[d_in, d_out]` and `[d_out]` give `[…, d_out]`.
    pub fn linear(&mut self, x: Var, w: Var, b: Var) -> Var {
        let y = self.matmul(x, w);
        self.add(y, b)
    }

    /// `a · b` for each pair of matrices: `[…, m, k]` and `[…, k, n]` give `[…, m, n]`; the leading axes are
    /// equal.
    pub fn batch_matmul(&mut self, a: Var, b: Var) -> Var {
        let y = stack(self.value(a), false, self.value(b), false);
        self.push(&[a, b], y, move |pass| {
            let (dy, a_value, b_value) = (pass.dy, pass.value(a), pass.value(b));
            pass.add(a, || stack(dy, false, b_value, true));
            pass.add(b, || stack(a_value, true, dy, false));
        })
    }

    /// `a · bᵀ` for each pair of matrices: `[…, m, k]` and `[…, n, k]` give `[…, m, n]`; the leading axes are
    /// equal.
    pub fn batch_matmul_nt(&mut self, a: Var, b: Var) -> Var {
        let y = stack(self.value(a), false, self.value(b), true);
        self.push(&[a, b], y, move |pass| {
            let (dy, a_value, b_value) = (pass.dy, pass.value(a), pass.value(b));
            pass.add(a, || stack(dy, false, b_value, false));
            pass.add(b, || stack(dy, true, a_value, false));
        })
    }

    /// `aᵀ · b` for each pair of matrices: `[…, k, m]` and `[…, k, n]` give `[…, m, n]`; the leading axes are
    /// equal.
    pub fn batch_matmul_tn(&mut self, a: Var, b: Var) -> Var {
        let y = stack(self.value(a), true, self.value(b), false);
        self.push(&[a, b], y, move |pass| {
            let (dy, a_value, b_value) = (pass.dy, pass.value(a), pass.value(b));
            pass.add(a, || stack(b_value, false, dy, true));
            pass.add(b, || stack(a_value, false, dy, false));
        })
    }
}

fn matrix<R: Real>(w: &Tensor<R>) -> View<'_, R> {
    let &[rows, cols] = w.shape() else { panic!("a matrix of shape {:?}", w.shape()) };
    View::contiguous(rows, cols, w.data())
}

fn product<R: Real>(a: View<R>, b: View<R>) -> Tensor<R> {
    let mut out = Tensor::zeros(&[a.rows, b.cols]);
    gemm_into(R::ONE, a, b, R::ZERO, out.data_mut());
    out
}

/// `x · w` along the last axis of `x`.
fn rows_times<R: Real>(x: &Tensor<R>, w: View<R>) -> Tensor<R> {
    assert_eq!(x.shape().last(), Some(&w.rows), "product of {:?} and [{}, {}]", x.shape(), w.rows, w.cols);
    let mut shape = x.shape().to_vec();
    *shape.last_mut().expect("checked above") = w.cols;
    product(x.as_rows(), w).reshaped(&shape)
}

/// `op(a) · op(b)` for each pair of matrices in the last two axes.
fn stack<R: Real>(a: &Tensor<R>, a_transposed: bool, b: &Tensor<R>, b_transposed: bool) -> Tensor<R> {
    let (a_lead, [a_rows, a_cols]) = lead_and_matrix(a.shape());
    let (b_lead, [b_rows, b_cols]) = lead_and_matrix(b.shape());
    let (m, k) = if a_transposed { (a_cols, a_rows) } else { (a_rows, a_cols) };
    let (k_too, n) = if b_transposed { (b_cols, b_rows) } else { (b_rows, b_cols) };
    assert!(
        a_lead == b_lead && k == k_too,
        "batched product of {:?}{} and {:?}{}",
        a.shape(),
        if a_transposed { " transposed" } else { "" },
        b.shape(),
        if b_transposed { " transposed" } else { "" }
    );
    let mut out = Tensor::zeros(&[a_lead, &[m, n]].concat());
    if m * n * k == 0 {
        return out;
    }
    (out.data_mut().par_chunks_exact_mut(m * n))
        .zip(a.data().par_chunks_exact(m * k))
        .zip(b.data().par_chunks_exact(k * n))
        .for_each(|((out, a), b)| {
            let a = View::contiguous(a_rows, a_cols, a);
            let b = View::contiguous(b_rows, b_cols, b);
            let (a, b) = (if a_transposed { a.t() } else { a }, if b_transposed { b.t() } else { b });
            gemm_into(R::ONE, a, b, R::ZERO, out);
        });
    out
}

fn lead_and_matrix(shape: &[usize]) -> (&[usize], [usize; 2]) {
    let Some((lead, &matrix)) = shape.split_last_chunk::<2>() else { panic!("a stack of matrices of shape {shape:?}") };
    (lead, matrix)
}

#[cfg(test)]
pub(super) fn cases() -> Vec<super::tests::Case> {
    use super::tests::real;
    vec![
        case!(matmul, [real(&[3, 4]), real(&[4, 2])], |t, x| t.matmul(x[0], x[1])),
        case!(matmul, [real(&[2, 3, 4]), real(&[4, 2])], |t, x| t.matmul(x[0], x[1])),
        case!(matmul_nt, [real(&[2, 3, 4]), real(&[5, 4])], |t, x| t.matmul_nt(x[0], x[1])),
        case!(linear, [real(&[3, 4]), real(&[4, 2]), real(&[2])], |t, x| t.linear(x[0], x[1], x[2])),
        case!(batch_matmul, [real(&[2, 3, 4]), real(&[2, 4, 5])], |t, x| t.batch_matmul(x[0], x[1])),
        case!(batch_matmul_nt, [real(&[2, 2, 3, 4]), real(&[2, 2, 5, 4])], |t, x| t.batch_matmul_nt(x[0], x[1])),
        case!(batch_matmul_tn, [real(&[2, 4, 3]), real(&[2, 4, 5])], |t, x| t.batch_matmul_tn(x[0], x[1])),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{Tape, Tensor};

    #[test]
    fn batches_are_separate_and_transposes_in_place() {
        let mut tape = Tape::<f64>::new();
        let a = tape.constant(Tensor::from_fn(&[2, 1, 3], |i| i as f64));
        let b = tape.constant(Tensor::from_fn(&[2, 3, 1], |i| 1.0 + i as f64));
        let y = tape.batch_matmul(a, b);
        assert_eq!(tape.value(y).data(), [8.0, 62.0]);
        let y = tape.batch_matmul_tn(b, b);
        assert_eq!(tape.value(y).data(), [14.0, 77.0]);
        let y = tape.batch_matmul_nt(a, a);
        assert_eq!(tape.value(y).data(), [5.0, 50.0]);
    }

    #[test]
    #[should_panic(expected = "[2, 3, 4] and [2, 3, 4]")]
    fn inner_dimensions_must_agree() {
        let mut tape = Tape::<f64>::new();
        let a = tape.constant(Tensor::zeros(&[2, 3, 4]));
        tape.batch_matmul(a, a);
    }

    #[test]
    #[should_panic(expected = "[2, 3] and [2, 3]")]
    fn rows_must_fit_the_weights() {
        let mut tape = Tape::<f64>::new();
        let a = tape.constant(Tensor::zeros(&[2, 3]));
        tape.matmul(a, a);
    }
}
