//! How far a job is, for whoever wants to look.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that grows. Read it at any time from any thread.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
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
}
