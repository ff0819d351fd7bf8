//! Transformers: one canonical model, one small file for each family that says how its files map to it.

mod abreast;
pub mod alignment;
mod attention;
mod backward;
mod batch;
mod checkpoint;
mod config;
mod error;
mod families;
mod feeds;
mod fresh;
mod gradient;
mod hook;
pub mod kurtosis;
mod lens;
mod llama2c;
pub mod loss;
mod made;
mod norm;
mod parameters;
mod rope;
mod save;
mod settings;
mod training;
mod transformer;
mod weights;

#[cfg(test)]
pub(crate) mod family_tests;
#[cfg(all(test, feature = "tokenizers"))]
mod published;

use std::path::Path;

use rayon::prelude::*;
use superlens_tensor::Mat;

pub use batch::{Batch, Memory};
pub(crate) use checkpoint::files_of_index;
pub use config::{Config, LayerKind, NormKind, Positions, Rope, Wiring};
pub use error::ModelError;
pub use families::{FAMILIES, Family, load};
pub use feeds::Feeds;
pub use fresh::fresh;
pub use gradient::Gradients;
pub use hook::{Point, Site, Sites};
pub use lens::{Attribution, Part};
pub use llama2c::load_llama2c;
pub use parameters::{Role, Tensor};
pub use training::{Draw, Examples, NextToken};
pub use transformer::{Hooks, Transformer};
pub use weights::{AttentionWeights, BlockWeights, Head, Linear, MlpWeights, NormWeights, Weights};

/// Loads a model: a Hugging Face folder ([`load`]) or a `.bin` file of llama2.c ([`load_llama2c`]).
///
/// # Errors
/// As those two.
pub fn open(path: &Path) -> Result<Transformer, ModelError> {
    match path.extension() {
        Some(e) if e == "bin" && !path.is_dir() => load_llama2c(path),
        _ => load(path),
    }
}

/// Numbers that are not worth a second thread.
const PIECE: usize = 1 << 17;

/// Runs `f` over all numbers, a stretch at a time.
fn each_piece(x: &mut Mat, f: impl Fn(&mut [f32]) + Send + Sync) {
    if x.data().len() <= PIECE {
        f(x.data_mut());
    } else {
        x.data_mut().par_chunks_mut(PIECE / 4).for_each(f);
    }
}

/// The same over two matrices of one shape.
fn each_piece_of_two(x: &mut Mat, y: &Mat, f: impl Fn(&mut [f32], &[f32]) + Sync) {
    assert_eq!(x.shape(), y.shape(), "two matrices side by side");
    if x.data().len() <= PIECE {
        f(x.data_mut(), y.data());
    } else {
        x.data_mut().par_chunks_mut(PIECE / 4).zip(y.data().par_chunks(PIECE / 4)).for_each(|(x, y)| f(x, y));
    }
}
