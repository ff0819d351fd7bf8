//! The diagnosis' dictionary estimator as an [`Arch`] like the others, for whoever wants the dictionary alone.

use super::maxima::Cloud;
use super::rays::Search;
use super::rows::{self, Split};
use super::whitening::Whitening;
use crate::sae::{Arch, FitError, Sae, Watch};
use std::ops::ControlFlow;
use superlens_tensor::{Mat, Rng};

/// Directions along which the rows pile up, coded by non-negative matching pursuit.
///
/// The number of latents is what is found; a feature of both signs has two.
#[derive(Clone, Copy, Debug)]
pub struct Rays {
    /// Active latents a row.
    pub k: usize,
}

impl Arch for Rays {
    fn id(&self) -> &'static str {
        "rays"
    }

    fn fit(&self, x: &Mat, rng: &Rng, watch: &mut Watch) -> Result<Sae, FitError> {
        let (rows, dims) = x.shape();
        if x.data().iter().any(|v| !v.is_finite()) {
            return Err(FitError::NotFinite { what: "the activations" });
        }
        if rows < 4 || dims < 2 || self.k == 0 {
            return Err(FitError::Empty { rows, dims });
        }
        let split = Split::new(rows, super::rows_read(dims));
        let read = x.select_rows(&split.search());
        let whitening = Whitening::fit(&read).ok_or(FitError::Empty { rows, dims })?;
        let white = whitening.apply(&read);
        let rho = rows::lag_one(&white);
        let cloud = Cloud::new(&white);
        let search = Search { cloud: &cloud, half: split.a.len(), white: &white, rho: &rho };
        let ControlFlow::Continue(found) = search.run(rng, watch) else { return Err(FitError::Stopped) };
        if found.lines.is_empty() {
            return Err(FitError::NothingFound);
        }
        let dictionary = whitening.directions(&found.directions);
        Ok(Sae::from_dictionary(dictionary, whitening.mean().to_vec(), self.k.min(found.directions.rows()), true))
    }
}
