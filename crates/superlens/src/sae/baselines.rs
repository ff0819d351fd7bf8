//! What a decomposition has to beat: the neurons themselves, and random directions.

use super::arch::{Arch, Entry, FitError, MAX_LATENTS, Watch, check_input, check_setting, report};
use super::model::Sae;
use super::moments::Moments;
use super::pca::orthonormal;
use super::train::Setting;
use crate::geometry::recover::unit_rows;
use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::{Mat, Rng};

pub(super) const NEURONS: Entry =
    Entry { id: "neurons", about: "the neurons themselves: the identity", takes: &[], build: |_| Box::new(Neurons) };

pub(super) const RANDOM: Entry = Entry {
    id: "random",
    about: "a Haar rotation, or random directions with matching pursuit where d_sae > d_in",
    takes: &[Setting::DSae, Setting::K],
    build: |size| Box::new(Random { d_sae: size.d_sae, k: size.k }),
};

/// One latent per neuron, equal to it.
#[derive(Clone, Debug)]
pub struct Neurons;

impl Arch for Neurons {
    fn id(&self) -> &'static str {
        NEURONS.id
    }

    fn fit(&self, x: &Mat, _rng: &Rng, _watch: &mut Watch) -> Result<Sae, FitError> {
        check_input(x)?;
        let d = x.cols();
        Ok(orthonormal(Mat::from_fn(d, d, |i, j| if i == j { 1.0 } else { 0.0 }), vec![0.0; d]))
    }
}

/// Random directions around the mean: rows of a Haar rotation where they fit, independent unit rows with non-negative
/// matching pursuit where they do not.
#[derive(Clone, Debug)]
pub struct Random {
    pub d_sae: usize,
    /// Active latents a row; used only where `d_sae > d_in`.
    pub k: usize,
}

impl Arch for Random {
    fn id(&self) -> &'static str {
        RANDOM.id
    }

    fn fit(&self, x: &Mat, rng: &Rng, watch: &mut Watch) -> Result<Sae, FitError> {
        check_input(x)?;
        check_setting("d_sae", self.d_sae, 1, MAX_LATENTS)?;
        let d = x.cols();
        let mean = Moments::of(x).mean_f32();
        if mean.iter().any(|m| !m.is_finite()) {
            return Err(FitError::NotFinite { what: "the mean of the activations" });
        }
        report(watch, 0.5)?;
        let mut rng = rng.fork("random");
        if self.d_sae <= d {
            let rotation = haar_rotation(d, &mut rng);
            return Ok(orthonormal(Mat::from_fn(self.d_sae, d, |i, j| rotation[i * d + j] as f32), mean));
        }
        check_setting("k", self.k, 1, self.d_sae)?;
        Ok(Sae::from_dictionary(unit_rows(self.d_sae, d, &mut rng), mean, self.k, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::metrics::evaluate;
    use std::ops::ControlFlow;

    #[test]
    fn neurons_rebuild_their_input_and_random_directions_do_when_complete() {
        let mut rng = Rng::new(0).fork("baselines");
        let x = Mat::from_fn(400, 5, |_, j| rng.normal() + j as f32);
        let fit = |arch: &dyn Arch| arch.fit(&x, &rng, &mut |_| ControlFlow::Continue(())).unwrap();
        let neurons = fit(&Neurons);
        assert_eq!(neurons.decode(&neurons.encode(&x)), x);
        assert!(evaluate(&fit(&Random { d_sae: 5, k: 2 }), &x).fvu < 1e-9);
        let partial = evaluate(&fit(&Random { d_sae: 2, k: 2 }), &x).fvu;
        assert!((0.3..0.9).contains(&partial), "two of five dimensions leave about 3/5: {partial}");
        let over = evaluate(&fit(&Random { d_sae: 40, k: 2 }), &x);
        assert!(over.fvu < partial && over.l0 <= 2.0, "{over:?}");
    }
}
