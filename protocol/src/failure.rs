//! What goes wrong, as it travels between nodes: a stable code that tells the
//! caller what to do, and a sentence for a person.

use serde::{Deserialize, Serialize};

/// What the caller should do about a failure. Codes are stable: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// Try again, here or at another orchestrator.
    Retry,
    /// The caller's lease has ended, and none was granted since: get a new one and go on.
    Fenced,
    /// The caller may not do this.
    Denied,
    /// The request makes no sense as it is: trying again does not help.
    Invalid,
    /// Stored or received bytes are damaged.
    Corrupt,
    /// A defect, or a broken machine.
    Internal,
    /// What was asked for does not exist.
    NotFound,
    /// The caller's lease has ended, as another backup of this client took its place: stop.
    Superseded,
}

/// A failure: what to do, and what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the caller should do.
    pub code: Code,
    /// What happened, to what, and what to do next, for a person.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
    /// Try again, here or elsewhere.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::new(Code::Retry, message)
    }
    /// The lease has ended.
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(Code::Fenced, message)
    }
    /// Another backup took the caller's place.
    pub fn superseded(message: impl Into<String>) -> Self {
        Self::new(Code::Superseded, message)
    }
    /// Not allowed.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Code::Denied, message)
    }
    /// Makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message)
    }
    /// Damaged bytes.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Code::Corrupt, message)
    }
    /// A defect.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }
    /// Does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }
}

impl From<crate::codec::DecodeError> for Failure {
    fn from(error: crate::codec::DecodeError) -> Self {
        Self::corrupt(error.to_string())
    }
}
