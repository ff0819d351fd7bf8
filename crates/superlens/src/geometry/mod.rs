//! Directions in a space: how small their cosines can be, how many fit, how they share its dimensions.

pub mod bounds;
pub mod coherence;
pub mod constructions;
mod golay;
pub mod pack;
pub mod packing;
pub mod polytopes;
pub mod readout;
pub mod recover;
pub mod room;
