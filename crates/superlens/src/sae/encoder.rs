//! How a row becomes latents: [`Encoder`] and the [`Activation`] that follows its product.

use super::pursuit;
use crate::geometry::recover::{Dictionary, Omp, Recovery, Sparse};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::kernels::topk::top_k_of_row;

/// How a row becomes latents.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoder {
    /// `act((x − b_in) · w_enc + b_enc)`, with `w_enc` of shape `[d_in, d_sae]`.
    Linear { w_enc: Mat, b_enc: Vec<f32>, act: Activation },
    /// Orthogonal matching pursuit over the dictionary with at most `k` active latents a row: the best that is known
    /// to be cheap for *any* set of directions, so that dictionaries can be compared without their encoders.
    MatchingPursuit { k: usize, non_negative: bool },
    /// Plain matching pursuit, non-negative: each step adds the latent that fits the residual best, and takes its part away.
    PlainPursuit(PlainPursuit),
}

/// When [`Encoder::PlainPursuit`] ends. The settings are those of SAELens, whose `matching_pursuit` autoencoders this reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlainPursuit {
    pub max_steps: usize,
    /// A row is done once its residual is shorter; 0 for never.
    pub residual_below: f32,
    /// Whether a row is done once a step adds no latent that was not active before.
    pub stop_on_repeat: bool,
}

/// What follows the encoder's product, whose entries are `z`.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    Identity,
    Relu,
    /// The `k` largest of a row, then ReLU. Ties go to the lower index.
    TopK {
        k: usize,
    },
    /// The `k` largest of a row by size, with their signs. Ties go to the lower index.
    AbsTopK {
        k: usize,
    },
    /// `z · 1[z > θ]` with a threshold for each latent, `[d_sae]` (Rajamanoharan et al. 2024, arXiv 2407.14435). What BatchTopK and
    /// Matryoshka autoencoders become after training.
    JumpRelu {
        threshold: Vec<f32>,
    },
    /// Latents lie in `groups` runs of equal length, and the largest of each run is kept where it is positive. Ties go to the lower
    /// index.
    GroupMax {
        groups: usize,
    },
    /// `1[z > 0] · relu(scale · z + shift)`: the gate and the magnitude read the same product (Rajamanoharan et al. 2024,
    /// arXiv 2404.16014, eq. 6). With the paper's names `scale = exp(r_mag)` and `shift = b_mag − scale · b_gate`, `b_enc = b_gate`.
    Gated {
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
}

/// From centred rows to their active latents.
pub(super) type EncodeBlock<'a> = dyn Fn(&Mat) -> Vec<Sparse> + 'a;

impl Encoder {
    /// What turns centred rows `[rows, d_in]` into their active latents over the dictionary `w_dec`.
    pub(super) fn of_block<'a>(&'a self, w_dec: &'a Mat) -> Box<EncodeBlock<'a>> {
        match self {
            Encoder::Linear { w_enc, b_enc, act } => Box::new(|block| linear(block, w_enc, b_enc, act)),
            Encoder::MatchingPursuit { k, non_negative } => {
                let dictionary = Dictionary::new(w_dec);
                let pursuit = Omp { k: *k, non_negative: *non_negative };
                Box::new(move |block| pursuit.recover(&dictionary, block))
            }
            Encoder::PlainPursuit(settings) => Box::new(|block| pursuit::encode(settings, w_dec, block)),
        }
    }

    /// The encoder of rows `x` that does to them what this one does to `x · map`. Panics unless it is linear: what a pursuit picks depends
    /// on angles, which `map` changes.
    pub(super) fn after(self, map: &Mat) -> Encoder {
        let Encoder::Linear { w_enc, b_enc, act } = self else { panic!("{self:?} after a map of its input") };
        Encoder::Linear { w_enc: matmul(map, &w_enc), b_enc, act }
    }

    /// The encoder of rows `x` that does to them what this one does to rows whose equal stretches, one a factor, are multiplied by these. Panics
    /// as [`after`](Self::after).
    pub(super) fn after_layers(self, factors: &[f32]) -> Encoder {
        let Encoder::Linear { mut w_enc, b_enc, act } = self else { panic!("{self:?} after a map of its input") };
        let width = (w_enc.rows() / factors.len()).max(1);
        (0..w_enc.rows()).zip(factors.iter().flat_map(|f| std::iter::repeat_n(f, width))).for_each(|(i, f)| {
            w_enc.row_mut(i).iter_mut().for_each(|w| *w *= f);
        });
        Encoder::Linear { w_enc, b_enc, act }
    }

    /// Panics with the shapes where they don't fit `d_in` and `d_sae`.
    pub(super) fn check(&self, d_in: usize, d_sae: usize, d_out: usize) {
        let per_latent = |name: &str, v: &[f32]| assert_eq!(v.len(), d_sae, "{name} beside w_dec [{d_sae}, {d_out}]");
        match self {
            Encoder::Linear { w_enc, b_enc, act } => {
                assert_eq!(w_enc.shape(), (d_in, d_sae), "w_enc beside w_dec [{d_sae}, {d_out}] and b_in [{d_in}]");
                per_latent("b_enc", b_enc);
                match act {
                    Activation::JumpRelu { threshold } => per_latent("threshold", threshold),
                    Activation::Gated { scale, shift } => {
                        per_latent("scale", scale);
                        per_latent("shift", shift);
                    }
                    Activation::GroupMax { groups } => {
                        assert!(*groups > 0 && d_sae.is_multiple_of(*groups), "{groups} groups of {d_sae} latents");
                    }
                    _ => {}
                }
            }
            Encoder::MatchingPursuit { .. } | Encoder::PlainPursuit(_) => {
                assert_eq!(d_in, d_out, "matching pursuit rebuilds its own input");
            }
        }
    }
}

fn linear(x: &Mat, w_enc: &Mat, b_enc: &[f32], act: &Activation) -> Vec<Sparse> {
    let mut z = Mat::from_vec(x.rows(), b_enc.len(), b_enc.repeat(x.rows()));
    gemm(1.0, x.view(), w_enc.view(), 1.0, &mut z);
    (0..x.rows()).into_par_iter().map_init(Vec::new, |scratch, i| act.active(z.row(i), scratch)).collect()
}

impl Activation {
    /// The active latents of one row of pre-activations; `scratch` may hold anything.
    fn active(&self, z: &[f32], scratch: &mut Vec<u64>) -> Sparse {
        let all = z.iter().enumerate().map(|(j, &z)| (j as u32, z));
        match self {
            Activation::Identity => all.filter(|a| a.1 != 0.0).collect(),
            Activation::Relu => all.filter(|a| a.1 > 0.0).collect(),
            Activation::TopK { k } => {
                let (indices, values) = largest(z, *k, scratch);
                indices.into_iter().zip(values).filter(|a| a.1 > 0.0).collect()
            }
            Activation::AbsTopK { k } => {
                let sizes: Vec<f32> = z.iter().map(|z| z.abs()).collect();
                let (indices, sizes) = largest(&sizes, *k, scratch);
                indices.into_iter().zip(sizes).filter(|a| a.1 > 0.0).map(|(j, _)| (j, z[j as usize])).collect()
            }
            Activation::JumpRelu { threshold } => {
                all.zip(threshold).filter(|((_, z), t)| z > *t).map(|(a, _)| a).collect()
            }
            Activation::GroupMax { groups } => {
                let run = z.len() / groups.max(&1);
                let winner = |g: usize| {
                    let members = (g * run..(g + 1) * run).map(|j| (j as u32, z[j]));
                    members.fold((0, 0.0), |best, a| if a.1 > best.1 { a } else { best })
                };
                (0..*groups).map(winner).filter(|a| a.1 > 0.0).collect()
            }
            Activation::Gated { scale, shift } => {
                let magnitude = |(j, z): (u32, f32)| (j, scale[j as usize] * z + shift[j as usize]);
                all.filter(|a| a.1 > 0.0).map(magnitude).filter(|a| a.1 > 0.0).collect()
            }
        }
    }
}

/// The `k` largest entries of `z`, or all of them where there are fewer.
fn largest(z: &[f32], k: usize, scratch: &mut Vec<u64>) -> (Vec<u32>, Vec<f32>) {
    let k = k.min(z.len());
    let (mut indices, mut values) = (vec![0; k], vec![0.0; k]);
    top_k_of_row(z, scratch, &mut indices, &mut values);
    (indices, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(act: Activation, z: &[f32]) -> Sparse {
        act.active(z, &mut Vec::new())
    }

    #[test]
    fn ties_go_to_the_lower_index_and_only_positive_latents_are_active() {
        let z = [1.0, -3.0, 1.0, 2.0, 1.0];
        assert_eq!(kept(Activation::TopK { k: 3 }, &z), [(0, 1.0), (2, 1.0), (3, 2.0)]);
        assert_eq!(kept(Activation::TopK { k: 9 }, &z).len(), 4);
        assert_eq!(kept(Activation::AbsTopK { k: 3 }, &z), [(0, 1.0), (1, -3.0), (3, 2.0)]);
        assert_eq!(kept(Activation::GroupMax { groups: 2 }, &[1.0, 1.0, 0.5, -1.0, -2.0, 0.0]), [(0, 1.0)]);
    }

    #[test]
    fn thresholds_and_gates_decide_by_the_pre_activation() {
        let jump = Activation::JumpRelu { threshold: vec![0.5, 1.0, 0.0, -1.0] };
        assert_eq!(kept(jump, &[0.6, 1.0, 0.1, -0.5]), [(0, 0.6), (2, 0.1), (3, -0.5)]);
        let gated = Activation::Gated { scale: vec![2.0; 3], shift: vec![0.0, -9.0, 1.0] };
        assert_eq!(kept(gated, &[1.0, 1.0, -0.1]), [(0, 2.0)]);
    }
}
