//! Sparse recovery: which few directions, and how much of each, make up a row?
//!
//! One method a file, behind [`Recovery`]. They are the decoders that an autoencoder is held against: given the directions,
//! nothing says more about a sparse row than these.

mod amp;
mod cosamp;
mod feature_sign;
mod fista;
mod fit;
mod lasso;
pub mod measure;
pub mod methods;
mod omp;
pub mod phase;
pub mod planted;
#[cfg(test)]
mod tests;

use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

pub use amp::Amp;
pub use cosamp::CoSaMp;
pub use fista::Fista;
pub use fit::refit;
pub use lasso::{BasisPursuit, Lasso};
pub use omp::Omp;
pub use planted::recovered;

/// Beyond this many atoms the Gram matrix (64 MiB) is not kept; correlations are then taken from the residual.
const MAX_GRAM_ATOMS: usize = 4096;

/// The active atoms of one row and their coefficients, in ascending order of atom.
pub type Sparse = Vec<(u32, f32)>;

/// A way to find sparse coefficients.
pub trait Recovery: Send + Sync {
    /// The word that is typed.
    fn name(&self) -> &'static str;

    /// Coefficients `s` with `x ≈ s · dictionary` for every row of `x` `[rows, d]`. They belong to the dictionary as it was
    /// given, not to its unit rows. May allocate `[rows, n]` numbers: hand it blocks of rows. Panics on another width.
    fn recover(&self, dictionary: &Dictionary, x: &Mat) -> Vec<Sparse>;
}

/// Directions prepared for recovery.
#[derive(Clone, Debug)]
pub struct Dictionary {
    /// The directions at unit length, `[n, d]`; zero rows stay zero and are never taken.
    atoms: Mat,
    norms: Vec<f32>,
    gram: Option<Mat>,
}

impl Dictionary {
    /// Prepares `directions` `[n, d]`, one a row, of any lengths.
    pub fn new(directions: &Mat) -> Self {
        let mut atoms = directions.clone();
        let norms = normalise(&mut atoms);
        let gram = (atoms.rows() <= MAX_GRAM_ATOMS).then(|| matmul(&atoms, atoms.t()));
        Self { atoms, norms, gram }
    }

    /// Takes unit rows as they are, and keeps no Gram matrix.
    fn without_gram(atoms: Mat) -> Self {
        let norms = vec![1.0; atoms.rows()];
        Self { atoms, norms, gram: None }
    }

    /// How many directions there are.
    pub fn n(&self) -> usize {
        self.atoms.rows()
    }

    pub fn d(&self) -> usize {
        self.atoms.cols()
    }

    /// `[n, d]` at unit length.
    pub fn atoms(&self) -> &Mat {
        &self.atoms
    }

    /// The lengths that the directions were given with.
    pub fn norms(&self) -> &[f32] {
        &self.norms
    }

    /// Inner products of all unit rows, where they are few enough to be kept.
    pub fn gram(&self) -> Option<&Mat> {
        self.gram.as_ref()
    }

    /// The largest |inner product| of two different unit rows.
    pub fn coherence(&self) -> f64 {
        /// Rows of the Gram matrix at a time, where it is not kept.
        const ROWS: usize = 256;
        let n = self.n();
        let largest = |i: usize, row: &[f32]| (0..n).filter(|&j| j != i).fold(0.0f32, |a, j| a.max(row[j].abs()));
        let block = |from: usize| -> f32 {
            let to = (from + ROWS).min(n);
            match &self.gram {
                Some(gram) => (from..to).map(|i| largest(i, gram.row(i))).fold(0.0, f32::max),
                None => {
                    let rows = matmul(self.atoms.rows_view(from, to), self.atoms.t());
                    (from..to).map(|i| largest(i, rows.row(i - from))).fold(0.0, f32::max)
                }
            }
        };
        f64::from((0..n).step_by(ROWS).map(block).fold(0.0, f32::max))
    }

    /// The inner product of two unit rows.
    pub fn inner(&self, i: usize, j: usize) -> f32 {
        match &self.gram {
            Some(gram) => gram[(i, j)],
            None => superlens_tensor::kernels::pointwise::dot(self.atoms.row(i), self.atoms.row(j)),
        }
    }

    /// `[rows, n]` inner products of rows and atoms. Panics with both shapes on another width.
    pub fn correlations(&self, x: &Mat) -> Mat {
        assert_eq!(x.cols(), self.d(), "rows {:?} for atoms {:?}", x.shape(), self.atoms.shape());
        matmul(x, self.atoms.t())
    }

    /// The rows that coefficients stand for, `[rows, d]`.
    pub fn rebuild(&self, rows: &[Sparse]) -> Mat {
        let mut x = Mat::zeros(rows.len(), self.d());
        for (i, row) in rows.iter().enumerate() {
            for &(j, c) in row {
                let j = j as usize;
                superlens_tensor::kernels::pointwise::axpy(c * self.norms[j], self.atoms.row(j), x.row_mut(i));
            }
        }
        x
    }
}

/// The largest k with `k < (1 + 1/μ)/2`, no more than there are atoms that are not zero: so few active ones are found by orthogonal matching pursuit and by
/// basis pursuit whatever they are (Tropp 2004, *Greed is good: algorithmic results for sparse approximation*).
pub fn guaranteed(coherence: f64, atoms: usize) -> usize {
    // Rounding of μ must not promise more than the theorem does.
    let limit = 0.5 * (1.0 + 1.0 / coherence) - 1e-5;
    if limit > atoms as f64 { atoms } else { (limit.ceil() as usize).saturating_sub(1) }
}

/// Brings rows to unit length, zero rows excepted, and returns the lengths that they had.
fn normalise(rows: &mut Mat) -> Vec<f32> {
    (0..rows.rows())
        .map(|j| {
            let norm = rows.row(j).iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            if norm > 0.0 {
                rows.row_mut(j).iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
            }
            norm as f32
        })
        .collect()
}

/// Rows drawn uniformly from the unit sphere, `[rows, cols]`.
pub fn unit_rows(rows: usize, cols: usize, rng: &mut Rng) -> Mat {
    let mut m = Mat::from_fn(rows, cols, |_, _| rng.normal());
    normalise(&mut m);
    m
}
