//! Why a measurement ended without a report.

use std::path::Path;

/// What was attempted, to what, and what came of it.
#[derive(Debug)]
pub struct Trouble(pub String);

impl Trouble {
    /// Of something that is done to a file.
    pub fn about(what: &str, path: &Path, error: &dyn std::fmt::Display) -> Self {
        Self(format!("cannot {what} {}: {error}", path.display()))
    }
}

impl From<protocol::failure::Failure> for Trouble {
    fn from(failure: protocol::failure::Failure) -> Self {
        Self(failure.to_string())
    }
}
