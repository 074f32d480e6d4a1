//! Looks at the leader, shared by those who ask at the same time.
//!
//! Invariant: whoever asked gets the result of a look that began after it asked, so
//! that the look has seen all that was decided before. However many ask, one look is
//! under way at a time: a crowd of callers is no crowd of heartbeats.

use std::sync::atomic::{AtomicU64, Ordering};

use probe::Plant;
use protocol::failure::Failure;
use tokio::sync::Mutex;

/// Looks that began, and looks that succeeded.
#[derive(Debug, Default)]
pub struct Syncs {
    /// The number of the newest look that began.
    begun: AtomicU64,
    /// The number of the newest look that succeeded. Held while one is under way.
    succeeded: Mutex<u64>,
}

impl Syncs {
    /// Looks, or shares the look of another who asked meanwhile.
    pub async fn join<L, F>(&self, look: L) -> Result<(), Failure>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<(), Failure>>,
    {
        let on_arrival = self.begun.load(Ordering::SeqCst);
        let mut succeeded = self.succeeded.lock().await;
        if *succeeded > on_arrival || (probe::planted(Plant::LookTooOld) && *succeeded == on_arrival && on_arrival > 0)
        {
            probe::sometimes("a look at the leader is shared");
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        look().await?;
        *succeeded = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
