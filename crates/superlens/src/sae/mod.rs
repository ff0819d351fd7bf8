//! Decompositions of activations into latents, learned and classical, behind one inference form.
//!
//! Every [`Arch`] (principal and independent components, a TopK sparse autoencoder, baselines) ends in one [`Sae`]:
//! everything downstream knows that struct alone. Latents are sparse; no dense `[rows, d_sae]` matrix outlives a block of
//! rows.
//!
//! ```
//! use std::ops::ControlFlow;
//! use superlens::sae::{Size, find, metrics};
//! use superlens_tensor::{Mat, Rng};
//!
//! let mut rng = Rng::new(0);
//! let x = Mat::from_fn(200, 8, |_, j| rng.normal() * (j + 1) as f32);
//! let pca = (find("pca").unwrap().build)(Size { d_sae: 6, k: 6 });
//! let sae = pca.fit(&x, &rng, &mut |_done| ControlFlow::Continue(()))?;
//! let metrics = metrics::evaluate(&sae, &x);
//! assert!(metrics.fvu < 0.1 && metrics.l0 == 6.0);
//! # Ok::<(), superlens::sae::FitError>(())
//! ```

mod agreement;
mod arch;
mod assignment;
mod baselines;
mod detection;
mod encoder;
pub mod files;
mod ica;
mod kmeans;
pub mod metrics;
mod model;
mod moments;
mod nmf;
mod pca;
mod pursuit;
mod recovered;
pub mod saebench;
mod splice;
mod spread;
mod stability;
mod stitching;
mod swaps;
pub mod synthetic;
pub mod train;
mod trained;

pub use arch::{ARCHES, Arch, Entry, FitError, Size, Watch, find};
pub use assignment::assign;
pub use baselines::{Neurons, Random};
pub use encoder::{Activation, Encoder, PlainPursuit};
pub use ica::Ica;
pub use kmeans::KMeans;
pub use model::{InputNorm, Latents, Sae};
pub use moments::Moments;
pub use nmf::Nmf;
pub use pca::Pca;
pub use recovered::Recovered;
pub use splice::{LatentHandle, Splice, Transcode};
pub use trained::Trained;
