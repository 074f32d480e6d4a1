//! Time and randomness, from the operating system.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::env::{Clock, Rng};
use async_trait::async_trait;
use protocol::time::UnixMillis;

/// The machine's clocks and tokio's timers.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn now(&self) -> UnixMillis {
        // A clock before 1970 reads as 1970: whoever compares it with others then
        // sees that it is wrong.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The kernel's random number generator.
#[derive(Debug, Clone, Copy)]
pub struct OsRandom;

impl Rng for OsRandom {
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            // Keys made of anything else would be worse than no process at all, and
            // a panic could be caught.
            tracing::error!(%error, "the kernel gives no randomness: stopping");
            std::process::abort();
        }
    }
}
