//! Layer norm and RMS norm, along the last axis.

use crate::{Real, Tape, Var};

impl<R: Real> Tape<R> {
    /// `(x − mean) / √(variance + eps) · gain + bias` for every row of `x: […, d]`; `gain` and `bias` are
    /// `[d]`.
    ///
    /// Ba, Kiros and Hinton 2016, *Layer normalization*; the variance divides by `d`.
    pub fn layer_norm(&mut self, x: Var, gain: Var, bias: Var, eps: f64) -> Var {
        let unit = self.normalised(x, eps, true);
        let y = self.mul_along_rows(unit, gain);
        self.add(y, bias)
    }

    /// `x / √(mean of x² + eps) · gain` for every row of `x: […, d]`; `gain` is `[d]`.
    ///
    /// Zhang and Sennrich 2019, *Root mean square layer normalization*.
    pub fn rms_norm(&mut self, x: Var, gain: Var, eps: f64) -> Var {
        let unit = self.normalised(x, eps, false);
        self.mul_along_rows(unit, gain)
    }

    fn mul_along_rows(&mut self, x: Var, gain: Var) -> Var {
        assert_eq!(self.shape(gain), [self.value(x).width()], "the gain of rows of {:?}", self.shape(x));
        self.mul(x, gain)
    }

    /// Rows divided by their root mean square, after their mean is subtracted if `centred`.
    fn normalised(&mut self, x: Var, eps: f64, centred: bool) -> Var {
        let scales: Vec<R> = self.value(x).rows().map(|row| row_scale(row, eps, centred)).collect();
        let mut y = self.value(x).clone();
        y.for_each_row(|i, row| {
            let shift = if centred { mean(row.iter().copied()) } else { R::ZERO };
            row.iter_mut().for_each(|x| *x = (*x - shift) * scales[i]);
        });
        self.push(&[x], y, move |pass| {
            let (y, dy) = (pass.y, pass.dy);
            // dx = s · (dy − [mean dy] − y · mean(y · dy)): what is left of dy across the directions that the
            // normalisation removes. With eps > 0 the last one is not quite a projection, but the formula is
            // exact.
            pass.add(x, || {
                let mut grad = dy.clone();
                let width = grad.width();
                grad.for_each_row(|i, row| {
                    let unit = &y.data()[i * width..][..width];
                    let shift = if centred { mean(row.iter().copied()) } else { R::ZERO };
                    let along = mean(row.iter().zip(unit).map(|(&g, &u)| g * u));
                    row.iter_mut().zip(unit).for_each(|(g, &u)| *g = scales[i] * (*g - shift - u * along));
                });
                grad
            });
        })
    }
}

/// One over the root mean square of a row.
fn row_scale<R: Real>(row: &[R], eps: f64, centred: bool) -> R {
    let shift = if centred { mean(row.iter().copied()) } else { R::ZERO };
    let variance: R = mean(row.iter().map(|&x| (x - shift) * (x - shift)));
    R::of(1.0 / (variance.to_f64() + eps).sqrt())
}

/// Accumulated in `f64`.
fn mean<R: Real>(x: impl ExactSizeIterator<Item = R>) -> R {
    let n = x.len() as f64;
    R::of(x.map(|x| x.to_f64()).sum::<f64>() / n)
}

#[cfg(test)]
pub(super) fn cases() -> Vec<super::tests::Case> {
    use super::tests::real;
    vec![
        case!(layer_norm, [real(&[2, 2, 5]), real(&[5]), real(&[5])], |t, x| t.layer_norm(x[0], x[1], x[2], 1e-5)),
        case!(layer_norm, [real(&[3, 5]), real(&[5]), real(&[5])], |t, x| t.layer_norm(x[0], x[1], x[2], 0.5)),
        case!(rms_norm, [real(&[3, 5]), real(&[5])], |t, x| t.rms_norm(x[0], x[1], 1e-5)),
        case!(rms_norm, [real(&[3, 5]), real(&[5])], |t, x| t.rms_norm(x[0], x[1], 0.5)),
    ]
}

#[cfg(test)]
mod tests {
    use crate::{Tape, Tensor};

    #[test]
    fn known_values() {
        let mut tape = Tape::<f64>::new();
        let x = tape.constant(Tensor::new(&[2, 2], vec![1.0, 3.0, 3.0, 4.0]));
        let gain = tape.constant(Tensor::new(&[2], vec![1.0, 10.0]));
        let bias = tape.constant(Tensor::new(&[2], vec![0.5, 0.0]));
        let y = tape.layer_norm(x, gain, bias, 0.0);
        assert_eq!(tape.value(y).data(), [-0.5, 10.0, -0.5, 10.0]);
        let y = tape.rms_norm(x, gain, 0.0);
        let rms = 12.5f64.sqrt();
        assert!((tape.value(y).data()[2] - 3.0 / rms).abs() < 1e-15);
        assert!((tape.value(y).data()[3] - 40.0 / rms).abs() < 1e-14);
    }
}
