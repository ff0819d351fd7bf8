//! Models by name: those of the Hugging Face hub that are on this machine, and, only where it is asked for, those that are not yet.
//!
//! [`find`](Cache::find) looks a name up in the cache that Hugging Face's own tools keep, and opens no connection. With the feature `hub`,
//! [`fetch()`] gets the files of a model into the same cache, so that those tools find it too.

#[cfg(feature = "hub")]
mod blob;
mod cache;
mod error;
#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod hash;
#[cfg(feature = "hub")]
mod http;
#[cfg(feature = "hub")]
mod place;
mod spec;
#[cfg(all(test, feature = "hub"))]
mod stub;
#[cfg(all(test, feature = "hub"))]
mod tests;

pub use cache::Cache;
pub use error::HubError;
#[cfg(feature = "hub")]
pub use fetch::{Fetched, Watch, fetch};
pub use spec::Spec;
