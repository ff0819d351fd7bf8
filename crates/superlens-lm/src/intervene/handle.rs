//! [`Handle`]: what of the activations is taken hold of.

use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::matmul;

/// Reads coefficients from activations, and changes the activations so that they have others.
pub trait Handle: Sync {
    /// How many coefficients a row has.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of `x` `[rows, width]`: `[rows, len]`.
    fn read(&self, x: &Mat) -> Mat;

    /// Changes `x`, whose coefficients are `before`, so that they become `after`.
    fn write(&self, before: &Mat, after: &Mat, x: &mut Mat);
}

/// Columns as they are: neurons, or the dimensions of heads.
pub struct Columns(pub Vec<usize>);

impl Handle for Columns {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, x: &Mat) -> Mat {
        x.select_cols(&self.0)
    }

    fn write(&self, _: &Mat, after: &Mat, x: &mut Mat) {
        for i in 0..x.rows() {
            let row = x.row_mut(i);
            self.0.iter().zip(after.row(i)).for_each(|(&j, &new)| row[j] = new);
        }
    }
}

/// The component along a direction `d`: `c = x·d / ‖d‖²`, so that `x = c·d + rest` with a rest at a right angle to it. Taking `c` to zero is the
/// directional ablation of Arditi et al. 2024 (arXiv 2406.11717); adding `a` to it adds `a·d`.
pub struct Direction {
    d: Vec<f32>,
    square: f64,
}

impl Direction {
    /// `None` for a direction of length zero, or that is not finite.
    pub fn new(d: Vec<f32>) -> Option<Direction> {
        let square: f64 = d.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        (square > 0.0 && square.is_finite()).then_some(Direction { d, square })
    }
}

impl Handle for Direction {
    fn len(&self) -> usize {
        1
    }

    fn read(&self, x: &Mat) -> Mat {
        let along = |row: &[f32]| row.iter().zip(&self.d).map(|(&x, &d)| f64::from(x) * f64::from(d)).sum::<f64>();
        Mat::from_fn(x.rows(), 1, |i, _| (along(x.row(i)) / self.square) as f32)
    }

    fn write(&self, before: &Mat, after: &Mat, x: &mut Mat) {
        let change = Mat::from_fn(x.rows(), 1, |i, _| after[(i, 0)] - before[(i, 0)]);
        let added = matmul(&change, &Mat::from_vec(1, self.d.len(), self.d.clone()));
        x.data_mut().iter_mut().zip(added.data()).for_each(|(x, a)| *x += a);
    }
}
