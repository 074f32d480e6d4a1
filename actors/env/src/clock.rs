//! Time and randomness.

use std::time::Duration;

use async_trait::async_trait;
use protocol::time::UnixMillis;

/// Clocks and timers.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The wall clock. It may jump; nothing's safety rests on it.
    fn now(&self) -> UnixMillis;
    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;
    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// Randomness fit for keys.
pub trait Rng: Send + Sync {
    /// Fills `bytes` with random ones.
    fn fill(&self, bytes: &mut [u8]);
}

impl dyn Rng + '_ {
    /// `N` random bytes.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random part of a span, in whole milliseconds: so that many who do the same do not
    /// do it at the same moment.
    pub fn part_of(&self, span: Duration) -> Duration {
        let most = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_millis(u64::from_le_bytes(self.array()) % most)
    }
}
