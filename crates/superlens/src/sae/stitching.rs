//! [`Stitching`]: what a larger autoencoder knows that a smaller one does not.

use super::agreement::nearest;
use super::spread::Sums;
use super::swaps::{Swapped, Swaps};
use super::{Latents, Sae};
use rayon::prelude::*;
use serde::Serialize;
use superlens_tensor::Mat;
use superlens_tensor::kernels::pointwise::dot;

/// Inserts each latent of a larger autoencoder by itself into a smaller one of the same activations (Leask et al. 2025, "Sparse
/// Autoencoders Do Not Find Canonical Units of Analysis", arXiv 2502.04878).
///
/// With `x̂` the smaller one's reconstruction, `f_j(x)` the activation of latent j in the larger one, which encodes `x` by itself, and `d_j`
/// its decoder row, the reconstruction after insertion is `x̂ + f_j(x) · d_j`; nothing is taken out, and no bias is added. The latent is
/// *novel* if the mean `‖x − x̂‖²` over the rows falls, and a *reconstruction* latent if not: the smaller one has its information already,
/// so that it counts twice. Latents that are on in none of the rows are neither.
///
/// The change of one row is `f² ‖d‖² − 2 f (x − x̂) · d`, exact for all latents at once: one pass over the rows, an inner product for each
/// active latent, and no memory beyond a block of rows.
pub struct Stitching<'a> {
    smaller: &'a Sae,
    larger: &'a Sae,
    /// `‖d_j‖²` of the larger one's latents.
    squares: Vec<f64>,
    /// Change of `Σ‖x − x̂‖²` by each latent of the larger one.
    change: Sums,
    swaps: Swaps<'a>,
    rows: usize,
    /// `Σ‖x − x̂‖²` of the smaller and the larger one.
    errors: (f64, f64),
    /// Rows in which each latent is on.
    fires: (Vec<u64>, Vec<u64>),
}

/// What [`Stitching`] finds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stitched {
    /// Latents of the smaller autoencoder, and of the larger one that were inserted into it.
    pub inserted_into: usize,
    pub inserted: usize,
    /// Of the latter: novel, of the reconstruction kind, and on in none of the rows.
    pub novel: usize,
    pub reconstruction: usize,
    pub silent: usize,
    /// Those novel, and those of the reconstruction kind, whose change is more than chance: further from 0 than 1.96 standard errors.
    pub novel_clear: usize,
    pub reconstruction_clear: usize,
    /// Shares of those that are on in some row. NaN where there are none.
    pub novel_share: f64,
    pub reconstruction_share: f64,
    /// Mean `‖x − x̂‖²` per row of both by themselves.
    pub mse_of_smaller: f64,
    pub mse_of_larger: f64,
    /// Mean over the novel, and over the reconstruction latents, of the largest |cos| with any decoder row of the smaller one: low for
    /// novel ones where the directions tell them apart.
    pub novel_max_cosine: f64,
    pub reconstruction_max_cosine: f64,
    /// The larger one's latents in the place of those that they are like.
    pub swaps: Swapped,
}

impl<'a> Stitching<'a> {
    /// Panics on different widths.
    pub fn new(smaller: &'a Sae, larger: &'a Sae) -> Self {
        let widths = |sae: &Sae| (sae.d_in(), sae.d_out());
        assert_eq!(widths(smaller), widths(larger), "autoencoders of other activations");
        let square = |j: usize| larger.w_dec.row(j).iter().map(|v| f64::from(*v).powi(2)).sum();
        Stitching {
            smaller,
            larger,
            squares: (0..larger.d_sae()).map(square).collect(),
            change: Sums::new(larger.d_sae()),
            swaps: Swaps::new(smaller, larger),
            rows: 0,
            errors: (0.0, 0.0),
            fires: (vec![0; smaller.d_sae()], vec![0; larger.d_sae()]),
        }
    }

    /// Takes rows `x` in that are to become `y` (`x` again but for transcoders). Panics on other widths, or another number of rows.
    pub fn add(&mut self, x: &Mat, y: &Mat) {
        assert_eq!((x.rows(), self.smaller.d_out()), y.shape(), "what the dictionaries are to rebuild");
        let (smaller, larger) = (self.smaller, self.larger);
        let part = |m: &Mat, first: usize, rows: usize| {
            Mat::from_vec(rows, m.cols(), m.rows_view(first, first + rows).data.to_vec())
        };
        larger.encode_blocks(x, |first, latents| {
            let (x, y) = (part(x, first, latents.rows()), part(y, first, latents.rows()));
            let by_larger = larger.reconstruct(&latents, x.view());
            let by_smaller = smaller.encode(&x);
            count(&mut self.fires.0, &by_smaller);
            count(&mut self.fires.1, &latents);
            let mut residual = y.clone();
            let recon = smaller.reconstruct(&by_smaller, x.view());
            residual.data_mut().iter_mut().zip(recon.data()).for_each(|(y, r)| *y -= r);
            self.errors.0 += squared(residual.data().iter().copied());
            self.errors.1 += squared(y.data().iter().zip(by_larger.data()).map(|(y, r)| y - r));
            self.insert(&x, &residual, &latents);
            self.swaps.add(&x, &residual, &by_smaller, &latents);
        });
        self.rows += x.rows();
    }

    /// Rows side by side, added up in order, so that threads change no digit.
    fn insert(&mut self, x: &Mat, residual: &Mat, latents: &Latents) {
        let (larger, squares) = (self.larger, &self.squares);
        let of_row = |r: usize| -> Vec<f64> {
            let factor = f64::from(larger.norm.factor(x.row(r)));
            let (indices, values) = latents.row(r);
            let change = |(&j, &f): (&u32, &f32)| {
                let f = f64::from(f) * factor;
                f * f * squares[j as usize] - 2.0 * f * f64::from(dot(residual.row(r), larger.w_dec.row(j as usize)))
            };
            indices.iter().zip(values).map(change).collect()
        };
        let changes: Vec<Vec<f64>> = (0..x.rows()).into_par_iter().map(of_row).collect();
        for (r, changes) in changes.iter().enumerate() {
            for (&j, change) in latents.row(r).0.iter().zip(changes) {
                self.change.add(j as usize, *change);
            }
            self.change.end_row();
        }
    }

    /// Which latents of the smaller and of the larger one are on in any row.
    pub fn live(&self) -> (Vec<usize>, Vec<usize>) {
        let live = |fires: &[u64]| (0..fires.len()).filter(|&j| fires[j] > 0).collect();
        (live(&self.fires.0), live(&self.fires.1))
    }

    pub fn finish(&self) -> Stitched {
        let live = self.live().1;
        let (novel, known): (Vec<usize>, Vec<usize>) = live.iter().partition(|&&j| self.change.total(j) < 0.0);
        let closest = nearest(&self.larger.w_dec, &self.smaller.w_dec);
        let mean = |of: &[usize]| of.iter().map(|&j| closest[j].absolute).sum::<f64>() / of.len() as f64;
        let clear = |of: &[usize]| of.iter().filter(|&&j| self.change.is_clear(j)).count();
        let (inserted, rows) = (self.larger.d_sae(), self.rows as f64);
        Stitched {
            inserted_into: self.smaller.d_sae(),
            inserted,
            novel: novel.len(),
            reconstruction: known.len(),
            silent: inserted - live.len(),
            novel_clear: clear(&novel),
            reconstruction_clear: clear(&known),
            novel_share: novel.len() as f64 / live.len() as f64,
            reconstruction_share: known.len() as f64 / live.len() as f64,
            mse_of_smaller: self.errors.0 / rows,
            mse_of_larger: self.errors.1 / rows,
            novel_max_cosine: mean(&novel),
            reconstruction_max_cosine: mean(&known),
            swaps: self.swaps.finish(self.errors.0),
        }
    }
}

fn count(fires: &mut [u64], latents: &Latents) {
    latents.indices().iter().for_each(|&j| fires[j as usize] += 1);
}

fn squared(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::{Activation, Encoder, InputNorm, metrics};
    use superlens_tensor::Rng;

    /// Latents that copy the positive part of single inputs, three wide; `at` past the end never fires.
    fn copier(at: &[usize]) -> Sae {
        let picked = |j: usize, c: usize| f32::from(u8::from(at[j] == c));
        let encoder = Encoder::Linear {
            w_enc: Mat::from_fn(3, at.len(), |c, j| picked(j, c)),
            b_enc: vec![0.0; at.len()],
            act: Activation::Relu,
        };
        Sae::new(vec![0.0; 3], encoder, Mat::from_fn(at.len(), 3, picked), vec![0.0; 3])
    }

    /// The smaller one knows x₀ alone. Of the larger one x₀ comes twice, x₁ is new, x₂ is never positive.
    #[test]
    fn what_is_new_and_what_is_known_by_hand() {
        let x = Mat::from_vec(2, 3, vec![2.0, 1.0, 0.0, 0.0, 3.0, -1.0]);
        let (smaller, larger) = (copier(&[0]), copier(&[0, 1, 2]));
        let mut stitching = Stitching::new(&smaller, &larger);
        stitching.add(&x, &x);
        // Row 0: error 1 → 5 by x₀, → 0 by x₁. Row 1: error 10 → 1 by x₁.
        assert_eq!([0, 1, 2].map(|j| stitching.change.total(j)), [4.0, -10.0, 0.0]);
        assert_eq!(stitching.live(), (vec![0], vec![0, 1]));
        let told = stitching.finish();
        assert_eq!((told.novel, told.reconstruction, told.silent, told.inserted_into), (1, 1, 1, 1));
        assert_eq!((told.novel_share, told.reconstruction_share), (0.5, 0.5));
        assert_eq!((told.mse_of_smaller, told.mse_of_larger), (5.5, 0.5));
        assert_eq!((told.novel_max_cosine, told.reconstruction_max_cosine), (0.0, 1.0));
        // Two rows are no ground to be sure on.
        assert_eq!((told.novel_clear, told.reconstruction_clear), (0, 0));
        // x₀ of the one for x₀ of the other.
        assert_eq!((told.swaps.groups, told.swaps.one_to_one, told.swaps.better, told.swaps.worse), (1, 1, 0, 0));
    }

    /// The change by formula is that of a reconstruction to which the latent was really added, also where rows are normalised.
    #[test]
    fn the_change_is_what_inserting_does() {
        let mut rng = Rng::new(5);
        let mut random = |n: usize| {
            let encoder = Encoder::Linear {
                w_enc: Mat::from_fn(6, n, |_, _| rng.normal()),
                b_enc: vec![-0.5; n],
                act: Activation::Relu,
            };
            let w_dec = Mat::from_fn(n, 6, |_, _| 0.3 * rng.normal());
            Sae::new(vec![0.1; 6], encoder, w_dec, vec![0.2; 6]).with_norm(InputNorm::LayerNorm { eps: 1e-5 })
        };
        let (smaller, larger) = (random(5), random(9));
        let mut rng = Rng::new(6);
        let x = Mat::from_fn(400, 6, |_, j| rng.normal() * (j + 1) as f32);
        let mut stitching = Stitching::new(&smaller, &larger);
        stitching.add(&x, &x);
        let told = stitching.finish();
        assert!((told.mse_of_smaller / metrics::evaluate(&smaller, &x).mse - 1.0).abs() < 1e-5);
        assert!((told.mse_of_larger / metrics::evaluate(&larger, &x).mse - 1.0).abs() < 1e-5);
        for j in 0..9 {
            let mut alone = larger.clone();
            (0..9).filter(|i| *i != j).for_each(|i| alone.w_dec.row_mut(i).fill(0.0));
            let added = alone.reconstruct(&alone.encode(&x), x.view());
            let empty = alone.reconstruct(&Latents::new(9, vec![0; 401], vec![], vec![]), x.view());
            let recon = smaller.reconstruct(&smaller.encode(&x), x.view());
            let error = |with: f64| -> f64 {
                let all = x.data().iter().zip(recon.data()).zip(added.data().iter().zip(empty.data()));
                all.map(|((x, r), (a, e))| (f64::from(x - r) - with * f64::from(a - e)).powi(2)).sum()
            };
            let change = error(1.0) - error(0.0);
            let found = stitching.change.total(j);
            assert!((change - found).abs() < 1e-4 * error(0.0), "{j}: {change} {found}");
        }
    }
}
