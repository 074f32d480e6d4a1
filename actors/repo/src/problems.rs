//! Files that could not be done: counted, named, and never a reason to stop.

use std::path::Path;

use protocol::limits;

/// One file that could not be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its path, for people: bytes that are not UTF-8 are replaced.
    pub path: String,
    /// What happened.
    pub reason: String,
}

/// All of them: the count is exact, the list is cut at `limits::PROBLEMS_NAMED_MAX`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    /// How many there were.
    pub count: u64,
    /// The first of them.
    pub named: Vec<Problem>,
}

impl Problems {
    pub(crate) fn add(&mut self, path: &Path, reason: impl Into<String>) {
        self.count += 1;
        if self.named.len() < limits::PROBLEMS_NAMED_MAX {
            self.named.push(Problem { path: path.to_string_lossy().into_owned(), reason: reason.into() });
        }
    }

    pub(crate) fn merge(&mut self, more: Self) {
        self.count += more.count;
        let room = limits::PROBLEMS_NAMED_MAX.saturating_sub(self.named.len());
        self.named.extend(more.named.into_iter().take(room));
    }
}
