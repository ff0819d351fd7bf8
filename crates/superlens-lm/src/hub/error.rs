//! [`HubError`]: which model or file of it, and what is wrong, in one line that says what to do.

use std::fmt;
#[cfg(feature = "hub")]
use std::{io, path::Path};

/// Why a model could not be found or fetched.
#[derive(Debug)]
pub struct HubError {
    /// The model as it was named, a file of it, or a place on disk.
    pub subject: String,
    /// What was expected, what was found, what to do.
    pub what: String,
    /// Whether the machine or the network failed and not what was given.
    pub system: bool,
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.what)
    }
}

impl std::error::Error for HubError {}

impl HubError {
    pub(super) fn input(subject: impl Into<String>, what: impl Into<String>) -> HubError {
        HubError { subject: subject.into(), what: what.into(), system: false }
    }

    #[cfg(feature = "hub")]
    pub(super) fn system(subject: impl Into<String>, what: impl Into<String>) -> HubError {
        HubError { subject: subject.into(), what: what.into(), system: true }
    }

    #[cfg(feature = "hub")]
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> HubError {
        move |e| HubError { subject: path.display().to_string(), what: e.to_string(), system: true }
    }
}
