//! A dictionary inside a model: [`Splice`] puts its reconstruction in the place of the activations, [`Transcode`] what a transcoder makes of earlier
//! ones; [`LatentHandle`] takes hold of single latents, whatever the dictionary leaves unexplained staying as it is.

use superlens_lm::intervene::{Handle, Intervention, Token};
use superlens_lm::model::Site;
use superlens_tensor::Mat;

use super::{Latents, Sae};

/// The reconstruction in the place of the activations.
pub struct Splice<'a> {
    pub sae: &'a Sae,
    /// Whether what the dictionary leaves unexplained is added again: then nothing changes but what else is done to its latents.
    pub keep_error: bool,
}

impl Intervention for Splice<'_> {
    fn apply(&self, _: &[Token], x: &mut Mat) {
        put(self.sae.reconstruct(&self.sae.encode(x), x.view()), self.keep_error, x);
    }
}

/// Puts the reconstruction in the place of activations, with what it leaves unexplained of them or without.
fn put(recon: Mat, keep_error: bool, x: &mut Mat) {
    match keep_error {
        true => x.data_mut().iter_mut().zip(recon.data()).for_each(|(x, r)| *x = r + (*x - r)),
        false => *x = recon,
    }
}

/// A transcoder in the place of what it imitates (Dunefsky, Chlenski and Nanda 2024, arXiv 2406.11944): the activations, an MLP's output for instance,
/// become what it makes of those at a site further up, the MLP's input.
pub struct Transcode<'a> {
    pub sae: &'a Sae,
    /// Where it reads, before the site at which it is put.
    pub from: Site,
    /// Whether what it leaves unexplained is added again.
    pub keep_error: bool,
}

impl Intervention for Transcode<'_> {
    fn apply(&self, _: &[Token], _: &mut Mat) {
        unreachable!("a transcoder is told what it reads")
    }

    fn reads(&self) -> Option<Site> {
        Some(self.from)
    }

    fn apply_with(&self, _: &[Token], read: &Mat, x: &mut Mat) {
        put(self.sae.reconstruct(&self.sae.encode(read), read.view()), self.keep_error, x);
    }
}

/// Single latents as coefficients: the activations change by what the change of these latents adds to the reconstruction.
pub struct LatentHandle<'a> {
    pub sae: &'a Sae,
    /// Which; each once, below `d_sae`.
    pub latents: Vec<usize>,
}

impl Handle for LatentHandle<'_> {
    fn len(&self) -> usize {
        self.latents.len()
    }

    fn read(&self, x: &Mat) -> Mat {
        let latents = self.sae.encode(x);
        let mut out = Mat::zeros(x.rows(), self.latents.len());
        for i in 0..x.rows() {
            let (indices, values) = latents.row(i);
            for (at, &j) in self.latents.iter().enumerate() {
                if let Some(found) = indices.iter().position(|&index| index as usize == j) {
                    out[(i, at)] = values[found];
                }
            }
        }
        out
    }

    fn write(&self, before: &Mat, after: &Mat, x: &mut Mat) {
        let mut order: Vec<usize> = (0..self.latents.len()).collect();
        order.sort_unstable_by_key(|&at| self.latents[at]);
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for i in 0..x.rows() {
            for &at in &order {
                let change = after[(i, at)] - before[(i, at)];
                if change != 0.0 {
                    indices.push(self.latents[at] as u32);
                    values.push(change);
                }
            }
            offsets.push(indices.len());
        }
        let change = self.sae.added(&Latents::new(self.sae.d_sae(), offsets, indices, values), x.view());
        x.data_mut().iter_mut().zip(change.data()).for_each(|(x, c)| *x += c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::{Encoder, InputNorm};
    use superlens_lm::intervene::{Change, Turned};

    fn sae(norm: InputNorm) -> Sae {
        let wave = |rows, cols, a: f32| Mat::from_fn(rows, cols, |i, j| (a * (i * cols + j) as f32).sin());
        let encoder =
            Encoder::Linear { w_enc: wave(6, 9, 0.7), b_enc: vec![0.1; 9], act: crate::sae::Activation::Relu };
        Sae::new(vec![0.2; 6], encoder, wave(9, 6, 1.3), vec![-0.1; 6]).with_norm(norm)
    }

    fn tokens(n: usize) -> Vec<Token> {
        (0..n).map(|i| Token { position: i, number: i as u64 }).collect()
    }

    fn apart(a: &Mat, b: &Mat) -> f32 {
        a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    const NORMS: [InputNorm; 3] = [InputNorm::None, InputNorm::LayerNorm { eps: 1e-5 }, InputNorm::UnitRms];

    #[test]
    fn with_its_error_a_splice_changes_nothing() {
        for norm in NORMS {
            let (sae, x) = (sae(norm), Mat::from_fn(5, 6, |i, j| ((3 * i + 5 * j) as f32).cos()));
            let (mut with, mut without) = (x.clone(), x.clone());
            Splice { sae: &sae, keep_error: true }.apply(&tokens(5), &mut with);
            Splice { sae: &sae, keep_error: false }.apply(&tokens(5), &mut without);
            assert!(apart(&with, &x) < 1e-6);
            assert_eq!(without, sae.reconstruct(&sae.encode(&x), x.view()));
        }
    }

    /// A latent taken to zero is missing from the reconstruction, and nothing else is.
    #[test]
    fn a_latent_is_what_it_adds_to_the_reconstruction() {
        for norm in NORMS {
            let (sae, x) = (sae(norm), Mat::from_fn(5, 6, |i, j| ((3 * i + 5 * j) as f32).cos()));
            let latents = sae.encode(&x);
            let handle = LatentHandle { sae: &sae, latents: vec![7, 2] };
            let read = handle.read(&x);
            let dense = latents.to_dense();
            assert!((0..5).all(|i| (read[(i, 0)], read[(i, 1)]) == (dense[(i, 7)], dense[(i, 2)])));
            assert!(read.data().iter().any(|c| *c > 0.0) && read.data().contains(&0.0));
            let turn = |change: Change| {
                let mut x = x.clone();
                Turned { handle: &handle, change }.apply(&tokens(5), &mut x);
                x
            };
            let mut kept = dense.clone();
            (0..5).for_each(|i| [7, 2].iter().for_each(|&j| kept[(i, j)] = 0.0));
            let recon = |dense: &Mat| {
                let row = |i: usize| (0..9).filter(move |&j| dense[(i, j)] != 0.0);
                let offsets: Vec<usize> = std::iter::once(0)
                    .chain((0..5).scan(0, |n, i| {
                        *n += row(i).count();
                        Some(*n)
                    }))
                    .collect();
                let indices = (0..5).flat_map(|i| row(i).map(|j| j as u32)).collect();
                let values = (0..5).flat_map(|i| row(i).map(move |j| dense[(i, j)])).collect();
                sae.reconstruct(&Latents::new(9, offsets, indices, values), x.view())
            };
            let (whole, less, zeroed) = (recon(&dense), recon(&kept), turn(Change::Zero));
            let want = Mat::from_fn(5, 6, |i, j| x[(i, j)] - whole[(i, j)] + less[(i, j)]);
            assert!(apart(&zeroed, &want) < 1e-5, "{norm:?}: {}", apart(&zeroed, &want));
            assert_eq!(turn(Change::Scale(1.0)), x, "once itself is itself");
        }
    }

    /// Without a norm, steering by a latent adds its direction, active or not.
    #[test]
    fn steering_adds_the_direction() {
        let (sae, x) = (sae(InputNorm::None), Mat::from_fn(4, 6, |i, j| ((i + 2 * j) as f32).sin()));
        let handle = LatentHandle { sae: &sae, latents: vec![3] };
        let mut steered = x.clone();
        Turned { handle: &handle, change: Change::Add(1.5) }.apply(&tokens(4), &mut steered);
        let want = Mat::from_fn(4, 6, |i, j| x[(i, j)] + 1.5 * sae.w_dec[(3, j)]);
        assert!(apart(&steered, &want) < 1e-6);
    }
}
