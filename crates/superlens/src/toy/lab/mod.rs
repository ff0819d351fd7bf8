//! The lab: what `superlens toy` can make, and what came of it.

mod settings;

pub use settings::{Setting, SettingError, Settings};
