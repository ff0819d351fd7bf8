//! Principal components: the orthonormal dictionary of least squared error for its size.

use super::arch::{Arch, Entry, FitError, Watch, check_input, check_setting, report};
use super::moments::Moments;
use super::train::Setting;
use super::{Activation, Encoder, Sae};
use superlens_tensor::{Mat, Rng};

pub(super) const ENTRY: Entry = Entry {
    id: "pca",
    about: "principal components, the largest d_sae (at most d_in)",
    takes: &[Setting::DSae],
    build: |size| Box::new(Pca { components: size.d_sae }),
};

/// Principal component analysis around the mean. Latents are signed and dense.
#[derive(Clone, Debug)]
pub struct Pca {
    /// Kept, largest variance first; never more than the directions that vary.
    pub components: usize,
}

impl Arch for Pca {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn fit(&self, x: &Mat, _rng: &Rng, watch: &mut Watch) -> Result<Sae, FitError> {
        check_input(x)?;
        check_setting("d_sae", self.components, 1, usize::MAX)?;
        let moments = Moments::of(x);
        report(watch, 0.5)?;
        let eigen = moments.principal()?;
        Ok(orthonormal(directions(&eigen.vectors, self.components, x.cols()), moments.mean_f32()))
    }
}

/// The first `count` of `vectors` as rows, or all of them where there are fewer.
fn directions(vectors: &[Vec<f64>], count: usize, d: usize) -> Mat {
    Mat::from_fn(count.min(vectors.len()), d, |k, j| vectors[k][j] as f32)
}

/// Orthonormal `directions` around `mean`: the encoder is the transpose of the decoder.
pub(super) fn orthonormal(directions: Mat, mean: Vec<f32>) -> Sae {
    let b_enc = vec![0.0; directions.rows()];
    let encoder = Encoder::Linear { w_enc: directions.transposed(), b_enc, act: Activation::Identity };
    Sae::new(mean.clone(), encoder, directions, mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::metrics::evaluate;
    use std::ops::ControlFlow;
    use superlens_tensor::decomp::sym_eigen;

    #[test]
    fn unexplained_variance_is_the_tail_of_the_spectrum() {
        let mut rng = Rng::new(2).fork("pca");
        let mix = Mat::from_fn(10, 10, |_, j| rng.normal() * 0.7f32.powi(j as i32));
        let s = Mat::from_fn(4000, 10, |_, _| rng.normal());
        let mut x = superlens_tensor::kernels::gemm::matmul(&s, &mix);
        x.data_mut().iter_mut().for_each(|v| *v += 3.0);
        let values = sym_eigen(&Moments::of(&x).covariance, 10).unwrap().values;
        for components in [1, 3, 9, 10] {
            let sae = Pca { components }.fit(&x, &rng, &mut |_| ControlFlow::Continue(())).unwrap();
            let want = values[components..].iter().sum::<f64>() / values.iter().sum::<f64>();
            let got = evaluate(&sae, &x).fvu;
            assert!((got - want).abs() < 1e-5, "{components} components: {got} against {want}");
        }
    }

    #[test]
    fn no_more_components_than_dimensions() {
        let mut rng = Rng::new(2).fork("pca");
        let x = Mat::from_fn(50, 3, |_, _| rng.normal());
        let sae = Pca { components: 8 }.fit(&x, &rng, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(sae.w_dec.shape(), (3, 3));
        assert!(Pca { components: 0 }.fit(&x, &rng, &mut |_| ControlFlow::Continue(())).is_err());
    }
}
