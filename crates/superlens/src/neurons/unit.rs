//! [`Units`]: what is looked at.

use crate::sae::Sae;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Numbers that the rows of a layer give, one column a unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Units {
    /// The columns themselves, so many.
    Neurons(usize),
    /// What an autoencoder makes of a row.
    Latents(Box<Sae>),
    /// Inner products with directions `[units, d]`.
    Directions(Mat),
}

impl Units {
    /// `n` random directions of length one in `d` dimensions, uniform on the sphere.
    pub fn random(n: usize, d: usize, rng: &Rng) -> Units {
        let mut rng = rng.fork("random directions");
        let mut directions = Mat::from_fn(n, d, |_, _| rng.normal());
        for row in directions.data_mut().chunks_mut(d.max(1)) {
            let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        }
        Units::Directions(directions)
    }

    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Units::Neurons(n) => *n,
            Units::Latents(sae) => sae.d_sae(),
            Units::Directions(directions) => directions.rows(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Columns of the rows that they read.
    pub fn d_in(&self) -> usize {
        match self {
            Units::Neurons(n) => *n,
            Units::Latents(sae) => sae.d_in(),
            Units::Directions(directions) => directions.cols(),
        }
    }

    /// One of them, in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Units::Neurons(_) => "neuron",
            Units::Latents(_) => "latent",
            Units::Directions(_) => "direction",
        }
    }

    /// `[rows, units]` of rows `[rows, d_in]`, dense. Panics on another width.
    pub fn values(&self, x: &Mat) -> Mat {
        assert_eq!(x.cols(), self.d_in(), "rows {:?} for units of width {}", x.shape(), self.d_in());
        match self {
            Units::Neurons(_) => x.clone(),
            Units::Latents(sae) => sae.encode(x).to_dense(),
            Units::Directions(directions) => matmul(x, directions.t()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neurons_are_columns_and_directions_are_read_along() {
        let x = Mat::from_fn(3, 2, |i, j| (2 * i + j) as f32);
        assert_eq!(Units::Neurons(2).values(&x), x);
        let units = Units::Directions(Mat::from_vec(1, 2, vec![1.0, -1.0]));
        assert_eq!(units.values(&x).data(), &[-1.0, -1.0, -1.0]);
        let Units::Directions(random) = Units::random(5, 7, &Rng::new(1)) else { unreachable!() };
        for i in 0..5 {
            let length: f32 = random.row(i).iter().map(|v| v * v).sum();
            assert!((length - 1.0).abs() < 1e-5);
        }
    }
}
