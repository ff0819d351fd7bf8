//! How few units a concept can be read from, and whether it matters that these are the units.
//!
//! A k-sparse probe (Gurnee et al. 2023, *Finding neurons in a haystack*) is a logistic regression on k units that a [`Selector`] chooses on the
//! training rows; F1 and AUC are of held-out rows. [`study()`] holds it against a dense probe, against labels that were shifted and
//! against turned bases, and [`exact`] says how much better another choice of units could be. [`planted`] makes layers whose answer is known.

mod concept;
pub mod exact;
mod f1;
mod ground;
mod information;
mod lasso;
mod nulls;
pub mod planted;
mod readout;
mod rotation;
mod selectors;
mod split;
mod study;

pub use concept::{Compared, Concept, Exact, Study};
pub use f1::{Confusion, Measured, best_threshold};
pub use selectors::{SELECTORS, Selector, find};
pub use split::Split;
pub use study::{Options, default_ks, study};

/// The largest support that a sparse probe may have.
pub const LARGEST: usize = 256;
