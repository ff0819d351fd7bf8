//! Softmax, its logarithm and the cross-entropy, along the last axis.

use crate::{Real, Tape, Tensor, Var};

impl<R: Real> Tape<R> {
    /// `e^{xᵢ} / Σⱼ e^{xⱼ}`. An entry of −∞ gets probability 0; a row of nothing else becomes NaN.
    pub fn softmax(&mut self, x: Var) -> Var {
        let mut y = log_softmax(self.value(x));
        y.for_each_row(|_, row| row.iter_mut().for_each(|v| *v = v.exp()));
        self.push(&[x], y, move |pass| {
            let (y, dy) = (pass.y, pass.dy);
            pass.add(x, || {
                let mut grad = dy.clone();
                let width = grad.width();
                grad.for_each_row(|i, row| {
                    let p = &y.data()[i * width..][..width];
                    let mean: R = row.iter().zip(p).map(|(&g, &p)| g * p).sum();
                    row.iter_mut().zip(p).for_each(|(g, &p)| *g = p * (*g - mean));
                });
                grad
            });
        })
    }

    /// `xᵢ − ln Σⱼ e^{xⱼ}`.
    pub fn log_softmax(&mut self, x: Var) -> Var {
        let y = log_softmax(self.value(x));
        self.push(&[x], y, move |pass| {
            let (y, dy) = (pass.y, pass.dy);
            pass.add(x, || {
                let mut grad = dy.clone();
                let width = grad.width();
                grad.for_each_row(|i, row| {
                    let logs = &y.data()[i * width..][..width];
                    let total: R = row.iter().copied().sum();
                    row.iter_mut().zip(logs).for_each(|(g, l)| *g -= l.exp() * total);
                });
                grad
            });
        })
    }

    /// The mean of `−ln softmax(logits)[target]` over all rows, a scalar accumulated in `f64`.
    ///
    /// `logits` is `[…, classes]` with one target for each row. Panics if there are not as many targets as
    /// rows, or if a target is not a class.
    pub fn cross_entropy(&mut self, logits: Var, targets: &[usize]) -> Var {
        let logs = log_softmax(self.value(logits));
        let width = logs.width();
        assert_eq!(logs.rows().len(), targets.len(), "{} targets for logits of {:?}", targets.len(), logs.shape());
        if let Some(t) = targets.iter().find(|&&t| t >= width) {
            panic!("target {t} for logits of {:?}", logs.shape());
        }
        let total: f64 = logs.rows().zip(targets).map(|(row, &t)| -row[t].to_f64()).sum();
        let n = targets.len() as f64;
        let targets = targets.to_vec();
        self.push(&[logits], Tensor::scalar(R::of(total / n)), move |pass| {
            let share = R::of(pass.dy.item().to_f64() / n);
            pass.add(logits, || {
                let mut grad = logs.clone();
                grad.for_each_row(|i, row| {
                    row.iter_mut().for_each(|l| *l = share * l.exp());
                    row[targets[i]] -= share;
                });
                grad
            });
        })
    }
}

/// The largest entry is subtracted first, so that no exponential overflows.
fn log_softmax<R: Real>(x: &Tensor<R>) -> Tensor<R> {
    let mut y = x.clone();
    y.for_each_row(|_, row| {
        let max = row.iter().fold(-R::INFINITY, |m, &x| m.max(x));
        let total: R = row.iter().map(|&x| (x - max).exp()).sum();
        // Not `x − (max + ln total)`: beside a large maximum the logarithm would be rounded away.
        let log_total = total.ln();
        row.iter_mut().for_each(|x| *x = (*x - max) - log_total);
    });
    y
}

#[cfg(test)]
pub(super) fn cases() -> Vec<super::tests::Case> {
    use super::tests::real;
    vec![
        case!(softmax, [real(&[2, 3, 4])], |t, x| t.softmax(x[0])),
        case!(log_softmax, [real(&[3, 4])], |t, x| t.log_softmax(x[0])),
        case!(cross_entropy, [real(&[2, 2, 4])], |t, x| t.cross_entropy(x[0], &[1, 3, 0, 1])),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{Tape, Tensor};

    #[test]
    fn far_logits_do_not_overflow() {
        let mut tape = Tape::<f32>::new();
        let x = tape.input(Tensor::new(&[2, 3], vec![1e4, 1e4, -1e4, 0.0, f32::NEG_INFINITY, 0.0]));
        let p = tape.softmax(x);
        assert_eq!(tape.value(p).data(), [0.5, 0.5, 0.0, 0.5, 0.0, 0.5]);
        let loss = tape.cross_entropy(x, &[0, 2]);
        assert!((tape.value(loss).item() - 2f32.ln()).abs() < 1e-6);
        let grads = tape.backward(loss);
        assert_eq!(grads[x].data(), [-0.25, 0.25, 0.0, 0.25, 0.0, -0.25]);
    }

    #[test]
    #[should_panic(expected = "target 3 for logits of [1, 3]")]
    fn a_target_beyond_the_classes_is_refused() {
        let mut tape = Tape::<f32>::new();
        let x = tape.input(Tensor::zeros(&[1, 3]));
        tape.cross_entropy(x, &[3]);
    }
}
