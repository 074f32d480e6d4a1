//! Errors, by what the caller should do.

use std::{fmt, sync::Arc};

use env::store::StoreError;
use protocol::{
    codec::DecodeError,
    failure::{Code, Failure},
};

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Try the whole job again later: storage or network did not answer.
    Retry,
    /// The lease has ended: get a new one and go on.
    Fenced,
    /// The lease has ended, as another backup of this client took its place: stop.
    Superseded,
    /// Another job of this machine is under way: wait for it.
    Busy,
    /// The storage or an orchestrator refused; a person must act (quota, rights).
    Denied,
    /// The job makes no sense as it is.
    Invalid,
    /// Stored bytes are damaged.
    Corrupt,
    /// Chunks that the job relied upon are not what they should be: back up again
    /// without the packs that it now distrusts.
    Poisoned,
    /// A defect, or a broken machine.
    Internal,
    /// What was asked for does not exist.
    NotFound,
    /// The job's owner cancelled it.
    Cancelled,
}

/// Why a job of the data plane ended without its result.
#[derive(Clone)]
pub struct RepoError {
    /// What to do.
    pub kind: Kind,
    /// What happened, to what, and what to do next, for a person.
    pub message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl RepoError {
    /// An error of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// With the error that caused it; its text is not repeated in `message`.
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The job makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Stored bytes are damaged.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    /// A defect.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// The job was cancelled.
    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "cancelled")
    }

    /// What was read could not be understood: names the object it was read from.
    pub(crate) fn decoding(object: impl fmt::Display, error: DecodeError) -> Self {
        match error {
            // The program is too old, not the bytes damaged.
            DecodeError::UnknownVersion { .. } => {
                Self::new(Kind::Invalid, format!("cannot read {object}")).because(error)
            }
            _ => Self::corrupt(format!("{object} is damaged")).because(error),
        }
    }

    /// The error with its causes, in one line, for a person.
    pub fn told(&self) -> String {
        let mut text = self.message.clone();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }

    /// The code with which it travels between nodes.
    pub fn code(&self) -> Code {
        match self.kind {
            Kind::Retry | Kind::Busy | Kind::Cancelled => Code::Retry,
            Kind::Fenced => Code::Fenced,
            Kind::Superseded => Code::Superseded,
            Kind::Denied => Code::Denied,
            Kind::Invalid => Code::Invalid,
            Kind::Corrupt | Kind::Poisoned => Code::Corrupt,
            Kind::Internal => Code::Internal,
            Kind::NotFound => Code::NotFound,
        }
    }
}

impl fmt::Display for RepoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for RepoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.told())
    }
}

impl std::error::Error for RepoError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

impl From<Failure> for RepoError {
    fn from(failure: Failure) -> Self {
        let kind = match failure.code {
            Code::Retry => Kind::Retry,
            Code::Fenced => Kind::Fenced,
            Code::Superseded => Kind::Superseded,
            Code::Denied => Kind::Denied,
            Code::Invalid => Kind::Invalid,
            Code::Corrupt => Kind::Corrupt,
            Code::Internal => Kind::Internal,
            Code::NotFound => Kind::NotFound,
        };
        Self::new(kind, failure.message)
    }
}

impl From<StoreError> for RepoError {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::NotFound { .. } => Kind::NotFound,
            // Names commit to their bytes: whoever asks for a PUT takes this as done,
            // so here it can only be a request that was never meant.
            StoreError::Exists { .. } | StoreError::Invalid { .. } => Kind::Invalid,
            StoreError::Refused { .. } | StoreError::Full { .. } => Kind::Denied,
            StoreError::Unclear { .. } => Kind::Retry,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        Self::new(error.code(), error.told())
    }
}
