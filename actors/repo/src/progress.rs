//! How far a job is, for whoever wants to look.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// A number that grows. Read it at any time from any thread.
#[derive(Debug, Default)]
pub struct Tally {
    /// Of the walk that is under way.
    now: AtomicU64,
    /// The most that any walk came to.
    most: AtomicU64,
}

impl Tally {
    pub(crate) fn add(&self, more: u64) {
        let now = self.now.fetch_add(more, Ordering::Relaxed) + more;
        self.most.fetch_max(now, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    fn again(&self) {
        self.now.store(0, Ordering::Relaxed);
    }
}

/// How far a backup, restore or verification is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files done with.
    pub files: Tally,
    /// Directories done with.
    pub directories: Tally,
    /// Of the files: not opened, as they had not changed.
    pub files_unchanged: Tally,
    /// Bytes of files done with: read, taken over, or restored.
    pub bytes: Tally,
    /// Bytes stored, or fetched.
    pub bytes_moved: Tally,
    /// Files that could not be done.
    pub problems: Tally,
    waiting: Mutex<Option<String>>,
}

impl Progress {
    /// The same walk begins again: what it goes through once more counts once.
    pub fn walk_again(&self) {
        for tally in [&self.files, &self.directories, &self.files_unchanged, &self.bytes, &self.problems] {
            tally.again();
        }
    }

    /// What the job waits for, if it does not get on: a sentence without an end.
    pub fn waiting(&self) -> Option<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what the job waits for; None if it gets on again.
    pub fn wait_for(&self, what: Option<String>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }
}
