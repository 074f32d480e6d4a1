//! What was found out about a storage, and what follows from it.

use std::fmt;

/// What a person should make of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing, and no danger.
    Note,
    /// A danger that something else could avert.
    Warning,
    /// The storage should not be used like this.
    Bad,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Bad => "bad",
        })
    }
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was tried: a stable name, for scripts.
    pub check: &'static str,
    /// What to make of it.
    pub verdict: Verdict,
    /// What happened.
    pub found: String,
    /// What follows from it and what to do, in a sentence or two; empty if all is as it should be.
    pub follows: &'static str,
}

impl Finding {
    /// As it should be.
    pub fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, found: found.into(), follows: "" }
    }

    /// Something to know.
    pub fn note(check: &'static str, found: impl Into<String>, follows: &'static str) -> Self {
        Self { check, verdict: Verdict::Note, found: found.into(), follows }
    }

    /// A danger.
    pub fn warning(check: &'static str, found: impl Into<String>, follows: &'static str) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.into(), follows }
    }

    /// Not to be used like this.
    pub fn bad(check: &'static str, found: impl Into<String>, follows: &'static str) -> Self {
        Self { check, verdict: Verdict::Bad, found: found.into(), follows }
    }
}
