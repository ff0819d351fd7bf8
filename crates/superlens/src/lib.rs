//! The science of superlens: why are the neurons of a layer polysemantic?
//!
//! Layers only look down: `verdict`, `geometry`, `probes` → `sae` → `neurons`, `toy` → `diagnose` → `report`.

pub mod diagnose;
pub mod geometry;
pub mod neurons;
pub mod probes;
pub mod report;
pub mod sae;
pub mod toy;
pub mod verdict;
