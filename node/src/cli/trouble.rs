//! What went wrong, as a person or a script is told: what happened, to what, and
//! what to do next.
//!
//! Invariant: codes and exit codes are stable; scripts rely on them.

use std::{error::Error, fmt, io, path::Path, process::ExitCode};

use env::store::StoreError;
use protocol::failure::{Code, Failure};
use repo::{Kind, RepoError};
use serde_json::{Value, json};

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All well: 0.
    Well,
    /// Failed: 1.
    Failed,
    /// Wrong usage: 2.
    Usage,
    /// Finished, but some files could not be done: 3.
    FileErrors,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Well => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::FileErrors => 3,
        })
    }
}

/// Why a command ended without its result.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// For scripts: `retry`, `fenced`, `superseded`, `denied`, `invalid`, `corrupt`, `internal`,
    /// `not_found`, `cancelled`, `busy`, `usage`.
    pub code: &'static str,
    /// What happened, to what.
    pub message: String,
    /// What caused it, nearest first; nothing that the message says already.
    pub causes: Vec<String>,
    /// What to do next, if the message does not say it.
    pub hint: Option<String>,
}

impl Trouble {
    /// A trouble with this code.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// The request makes no sense as it is.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid", message)
    }

    /// What was asked for does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new("not_found", message)
    }

    /// The command line or a configuration file makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new("usage", message)
    }

    /// The person stopped it.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new("cancelled", message)
    }

    /// A file or directory of this machine could not be used.
    pub fn file(verb: &str, path: &Path, error: &io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::NotFound { "not_found" } else { "internal" };
        Self::new(code, format!("cannot {verb} {}: {error}", path.display()))
    }

    /// With what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With what caused it.
    fn because(mut self, mut source: Option<&(dyn Error + 'static)>) -> Self {
        while let Some(error) = source {
            let text = error.to_string();
            if !self.message.contains(&text) && !self.causes.iter().any(|cause| cause.contains(&text)) {
                self.causes.push(text);
            }
            source = error.source();
        }
        self
    }

    /// How the program ends on it.
    pub fn exit(&self) -> Exit {
        if self.code == "usage" { Exit::Usage } else { Exit::Failed }
    }

    /// As one object, for scripts.
    pub fn json(&self) -> Value {
        let message = if self.causes.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.message, self.causes.join(": "))
        };
        json!({ "ok": false, "code": self.code, "message": message, "hint": self.hint })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        self.causes.iter().try_for_each(|cause| write!(f, ": {cause}"))?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

/// What to do when orchestrators or storage did not answer.
const AGAIN: &str = "Nothing that was stored is lost. Check that the orchestrators and the storage run and can be reached, then run it again.";

fn code_of(code: Code) -> &'static str {
    match code {
        Code::Retry => "retry",
        Code::Fenced => "fenced",
        Code::Superseded => "superseded",
        Code::Denied => "denied",
        Code::Invalid => "invalid",
        Code::Corrupt => "corrupt",
        Code::Internal => "internal",
        Code::NotFound => "not_found",
    }
}

fn hint_of(code: &str) -> Option<String> {
    match code {
        "retry" => Some(AGAIN.into()),
        "fenced" => Some("Nothing that was stored is lost: run it again, and it goes on from there.".into()),
        "superseded" => Some(
            "Another backup of this client was started with --take-over, or from a copy of its data directory. It uses what this one has stored.".into(),
        ),
        "busy" => Some("Add --wait to wait for it, or --take-over to have it stop and to go on in its place.".into()),
        "corrupt" => Some("`nuthatch verify --read-data` says which files need what is damaged.".into()),
        _ => None,
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let code = code_of(failure.code);
        // Damaged bytes of a call are not damaged bytes of the repository.
        let hint = if code == "corrupt" { None } else { hint_of(code) };
        Self { hint, ..Self::new(code, failure.message) }
    }
}

impl From<RepoError> for Trouble {
    fn from(error: RepoError) -> Self {
        let code = match error.kind {
            Kind::Cancelled => "cancelled",
            Kind::Busy => "busy",
            _ => code_of(error.code()),
        };
        Self { hint: hint_of(code), ..Self::new(code, error.message.clone()) }.because(error.source())
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::from(RepoError::from(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_the_message_and_repeat_nothing() {
        let error = RepoError::corrupt("pack 1 is damaged").because(RepoError::corrupt("it ends early"));
        assert_eq!(Trouble::from(error).json()["message"], "pack 1 is damaged: it ends early");
        let error = RepoError::corrupt("pack 1: it ends early").because(RepoError::corrupt("it ends early"));
        assert_eq!(Trouble::from(error).json()["message"], "pack 1: it ends early");
    }
}
