//! What single units of a layer respond to: neurons, latents of an autoencoder, directions.
//!
//! [`Units`] is the one interface: rows of activations go in, a column for each unit comes out. Everything else here asks the same questions
//! of whatever it is given, so that a neuron, a latent and a random direction can be held against one another.

pub mod basis;
pub mod compositional;
mod contexts;
pub mod facets;
pub mod features;
pub mod files;
pub mod patterns;
mod pictures;
pub mod profile;
mod record;
pub mod rules;
pub mod score;
pub mod simulate;
mod source;
pub mod survey;
mod unit;

pub use contexts::Contexts;
pub use pictures::Pictures;
pub use profile::{Peak, Profile};
pub use record::{Examples, Record};
pub use source::Source;
pub use survey::{Study, survey};
pub use unit::Units;
