//! Memory that is used again.
//!
//! Invariant: at most so many free buffers are kept; what they held is never
//! read, only overwritten.

use std::sync::{Mutex, PoisonError};

/// Buffers that were used and can be used again: fresh memory costs a page fault
/// for every 4 KiB.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    kept_max: usize,
}

impl Buffers {
    /// Keeps at most `kept_max` free buffers.
    pub fn new(kept_max: usize) -> Self {
        Self { free: Mutex::default(), kept_max }
    }

    /// A buffer with any length and content.
    pub fn take(&self) -> Vec<u8> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub fn give(&self, buffer: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.kept_max {
            free.push(buffer);
        }
    }
}
