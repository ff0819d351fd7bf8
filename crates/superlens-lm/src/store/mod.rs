//! The activation store: a folder of mapped shards, larger than memory, that several commands read and write.
//!
//! - [`Writer`] takes rows of several hooks in one pass and can go on after whatever ended it;
//! - [`Rows`] gives them out as `f32`, [`Tokens`] which token each row is; [`verify`] holds every byte against its hash;
//! - [`Shuffle`] gives batches in a seeded order in bounded memory, any step at any time;
//! - `import` makes stores of the files of others.
//!
//! The format and what was measured: `docs/store.md`.

mod dtype;
mod error;
pub(crate) mod hash;
pub mod import;
mod manifest;
mod map;
mod order;
mod reader;
mod shard;
mod shuffle;
mod texts;
mod tokens;
mod writer;

pub use dtype::DType;
pub use error::{Problem, StoreError};
pub use manifest::{Hook, Manifest, Shard, Stored};
pub use order::{Order, Place};
pub use reader::{Rows, verify};
pub use shuffle::{BUFFER_BYTES, Shuffle};
pub use texts::Tokens;
pub use tokens::TokenRow;
pub use writer::{Plan, Writer};

#[cfg(test)]
mod tests;
