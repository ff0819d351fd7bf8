//! `disentangle`: methods that look for as many factors as dimensions, on features that fit and on features that don't.

use super::taped;
use crate::geometry::recover::unit_rows;
use crate::sae::{Arch, Ica, Pca, Size, find};
use std::ops::ControlFlow;
use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::train::{Objective, Params, TrainConfig, train};
use superlens_tensor::{Mat, Real, Rng, Tape, Tensor, Var};

/// Rows of a layer whose features are known, and ways to look for them.
///
/// A feature is on with probability `density`, then uniform between ½ and 3/2 of its strength; strengths fall from 1 to a third, so that variances
/// tell features apart and PCA has its chance. The rotated layer holds `d` features on a random rotation, the superposed one `n` on random unit
/// directions of the same `d` dimensions.
#[derive(Clone, Debug)]
pub struct Disentangle {
    pub d: usize,
    /// Features of the superposed layer.
    pub n: usize,
    pub density: f64,
    pub rows: usize,
    /// Weight of the divergence from the prior.
    pub beta: f64,
    /// Hidden neurons of the encoder.
    pub hidden: usize,
    pub batch: usize,
    pub training: TrainConfig,
}

/// Activations with the directions `[features, d]` that made them.
pub struct Layer {
    pub x: Mat,
    pub directions: Mat,
}

/// What looks for the directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Pca,
    Ica,
    /// A β-VAE (Higgins et al. 2017) with a hidden layer of ReLUs in its encoder and a linear decoder, whose rows are its directions. It gets as
    /// many latents as there are features, more than there are dimensions if need be.
    Vae,
    /// A TopK autoencoder with a latent a feature, and room for one more than are on in a row on average.
    Sparse,
}

impl Method {
    pub const ALL: [Method; 4] = [Method::Pca, Method::Ica, Method::Vae, Method::Sparse];

    pub fn name(self) -> &'static str {
        match self {
            Method::Pca => "PCA",
            Method::Ica => "ICA",
            Method::Vae => "β-VAE",
            Method::Sparse => "SAE",
        }
    }
}

/// Strength of the weakest feature; that of the strongest is 1.
const WEAKEST: f32 = 1.0 / 3.0;
/// Variance that the decoder grants each neuron, where neurons have variance 1.
const GRANTED: f64 = 0.05;

impl Disentangle {
    pub fn rotated(&self, rng: &Rng) -> Layer {
        let rotation = haar_rotation(self.d, &mut rng.fork("rotation"));
        self.layer(Mat::from_vec(self.d, self.d, rotation.iter().map(|v| *v as f32).collect()), rng)
    }

    pub fn superposed(&self, rng: &Rng) -> Layer {
        self.layer(unit_rows(self.n, self.d, &mut rng.fork("directions")), rng)
    }

    fn layer(&self, directions: Mat, rng: &Rng) -> Layer {
        let n = directions.rows();
        let mut rng = rng.fork("features");
        let strength = |i: usize| WEAKEST.powf(i as f32 / (n.max(2) - 1) as f32);
        let on =
            |i: usize, rng: &mut Rng| if rng.chance(self.density) { strength(i) * (0.5 + rng.uniform()) } else { 0.0 };
        let features = Mat::from_fn(self.rows, n, |_, i| on(i, &mut rng));
        Layer { x: matmul(&features, &directions), directions }
    }

    /// The directions that a method finds, `[found, d]`; `None` if `tell` broke. Nothing found is no rows.
    pub fn look(
        &self,
        method: Method,
        layer: &Layer,
        rng: &Rng,
        tell: &mut dyn FnMut(f64) -> ControlFlow<()>,
    ) -> Option<Mat> {
        let arch: Box<dyn Arch> = match method {
            Method::Pca => Box::new(Pca { components: self.d }),
            Method::Ica => Box::new(Ica { components: self.d, ..Ica::default() }),
            Method::Sparse => {
                let d_sae = layer.directions.rows();
                let k = ((self.density * d_sae as f64).ceil() as usize + 1).min(d_sae);
                (find("topk").expect("an architecture").build)(Size { d_sae, k })
            }
            Method::Vae => return self.vae(layer, rng, tell),
        };
        let mut broke = false;
        let fitted = arch.fit(&layer.x, rng, &mut |share| {
            let go = tell(share);
            broke |= go.is_break();
            go
        });
        if broke { None } else { Some(fitted.map_or_else(|_| Mat::zeros(0, self.d), |sae| sae.dictionary().clone())) }
    }

    fn vae(&self, layer: &Layer, rng: &Rng, tell: &mut dyn FnMut(f64) -> ControlFlow<()>) -> Option<Mat> {
        let latents = layer.directions.rows();
        let mut vae = Vae {
            size: [self.d, self.hidden, latents],
            beta: self.beta,
            x: scaled(&layer.x),
            batch: self.batch,
            rng: rng.clone(),
        };
        let mut end = ControlFlow::Continue(());
        let params = train(&mut vae, &self.training, &mut rng.fork("init"), &mut |step| {
            end = tell((step.step + 1) as f64 / self.training.steps.max(1) as f64);
            end
        });
        end.is_continue().then(|| params.get("decoder").clone())
    }
}

/// Centred, with the same factor for all neurons that brings their mean variance to 1: directions stay what they are.
fn scaled(x: &Mat) -> Mat {
    let (rows, d) = x.shape();
    let mean: Vec<f64> =
        (0..d).map(|j| (0..rows).map(|i| f64::from(x[(i, j)])).sum::<f64>() / rows.max(1) as f64).collect();
    let mut out = Mat::from_fn(rows, d, |i, j| (f64::from(x[(i, j)]) - mean[j]) as f32);
    let square = out.data().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / out.data().len().max(1) as f64;
    let scale = 1.0 / square.sqrt().max(1e-12);
    out.data_mut().iter_mut().for_each(|v| *v = (f64::from(*v) * scale) as f32);
    out
}

/// ½‖x − x̂‖² / granted + β KL(q(z|x) ‖ N(0, 1)), a mean over rows; q is normal with mean and log variance by the encoder.
struct Vae {
    /// Neurons, hidden neurons, latents.
    size: [usize; 3],
    beta: f64,
    x: Mat,
    batch: usize,
    rng: Rng,
}

impl Vae {
    fn loss_of<R: Real>(&self, tape: &mut Tape<R>, p: &[Var], x: Tensor<R>, noise: Tensor<R>) -> Var {
        let rows = x.shape()[0] as f64;
        let (x, noise) = (tape.constant(x), tape.constant(noise));
        let h = tape.linear(x, p[0], p[1]);
        let h = tape.relu(h);
        let mean = tape.linear(h, p[2], p[3]);
        let log_variance = tape.linear(h, p[4], p[5]);
        let half = tape.scale(log_variance, 0.5);
        let deviation = tape.exp(half);
        let spread = tape.mul(deviation, noise);
        let z = tape.add(mean, spread);
        let rebuilt = tape.linear(z, p[6], p[7]);
        let off = tape.sub(rebuilt, x);
        let off = tape.square(off);
        let off = tape.sum(off);
        let off = tape.scale(off, 0.5 / GRANTED / rows);
        // ½ Σ μ² + σ² − ln σ²; the constant −1 is left out.
        let squares = tape.square(mean);
        let variance = tape.exp(log_variance);
        let kl = tape.add(squares, variance);
        let kl = tape.sub(kl, log_variance);
        let kl = tape.sum(kl);
        let kl = tape.scale(kl, 0.5 * self.beta / rows);
        tape.add(off, kl)
    }
}

impl Objective for Vae {
    fn init(&self, rng: &mut Rng) -> Params {
        let [d, h, m] = self.size;
        let blocks = vec![
            taped::block("w1", d, h, 2.0, rng),
            taped::row("b1", h, 0.0),
            taped::block("mean", h, m, 1.0, rng),
            taped::row("mean_b", m, 0.0),
            taped::block("log_variance", h, m, 0.1, rng),
            taped::row("log_variance_b", m, -2.0),
            taped::block("decoder", m, d, 1.0, rng),
            taped::row("decoder_b", d, 0.0),
        ];
        Params { blocks }
    }

    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        let mut rng = self.rng.fork("batch").fork_index(step);
        let rows: Vec<usize> = (0..self.batch).map(|_| rng.below(self.x.rows())).collect();
        let noise = Mat::from_fn(self.batch, self.size[2], |_, _| rng.normal());
        let x = self.x.select_rows(&rows);
        taped::loss(params, grad, |tape, p| self.loss_of(tape, p, (&x).into(), (&noise).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::metrics::mmcs;
    use crate::toy::tied::recipe;

    fn small() -> Disentangle {
        let training = recipe(12_000, 3e-3);
        Disentangle { d: 8, n: 24, density: 0.06, rows: 12_000, beta: 4.0, hidden: 64, batch: 256, training }
    }

    /// Mean largest |cos|, and share of the features that are found.
    fn found(toy: &Disentangle, method: Method, layer: &Layer) -> (f64, f64) {
        let got = toy.look(method, layer, &Rng::new(3), &mut |_| ControlFlow::Continue(())).unwrap();
        let n = layer.directions.rows();
        let near = |i: usize| mmcs(&layer.directions.select_rows(&[i]), &got) > 0.9;
        (mmcs(&layer.directions, &got), (0..n).filter(|i| near(*i)).count() as f64 / n as f64)
    }

    #[test]
    fn what_fits_is_found_by_all_and_what_does_not_by_none_but_sparsity() {
        let toy = small();
        let (rotated, superposed) = (toy.rotated(&Rng::new(1)), toy.superposed(&Rng::new(2)));
        for method in Method::ALL {
            let (cos, _) = found(&toy, method, &rotated);
            assert!(cos > 0.9, "{method:?} on what fits: {cos}");
        }
        for method in [Method::Pca, Method::Ica, Method::Vae] {
            let (cos, share) = found(&toy, method, &superposed);
            assert!(cos < 0.85 && share < 0.5, "{method:?} on what does not: {cos}, {share}");
        }
        let (cos, share) = found(&toy, Method::Sparse, &superposed);
        assert!(cos > 0.9 && share > 0.7, "{cos}, {share}");
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let mut rng = Rng::new(5);
        let x: Tensor<f64> = Tensor::from_fn(&[4, 3], |k| (k as f64).sin());
        let noise: Tensor<f64> = Tensor::from_fn(&[4, 2], |k| (2.0 * k as f64).cos());
        let vae = Vae { size: [3, 5, 2], beta: 0.7, x: Mat::zeros(1, 3), batch: 4, rng: rng.clone() };
        taped::check_gradient(vae.init(&mut rng), |tape, p| vae.loss_of(tape, p, x.clone(), noise.clone()));
    }
}
