//! What single units of a layer respond to: neurons, latents of an autoencoder, directions.
//!
//! [`Units`] is the one interface: rows of activations go in, a column for each unit comes out. Everything else here asks the same questions
//! of whatever it is given, so that a neuron, a latent and a random direction can be held against one another.

pub mod compositional;
pub mod files;
mod record;
pub mod score;
pub mod simulate;
mod unit;

pub use record::{Examples, Record};
pub use unit::Units;
