//! Time and randomness of a simulated machine.

use std::{sync::Mutex, time::Duration};

use async_trait::async_trait;
use protocol::time::UnixMillis;

use crate::kernel::{Life, lock, rng::Stream};

/// The machine's clocks. Timers are tokio's own, which read the interposed clock.
#[derive(Debug)]
pub struct SimClock(Life);

impl SimClock {
    /// The clocks of this life's machine.
    pub fn new(life: Life) -> Self {
        Self(life)
    }
}

#[async_trait]
impl env::Clock for SimClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.wall_ns() / 1_000_000)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.monotonic_ns())
    }
    #[expect(clippy::disallowed_methods, reason = "this is the seam's implementation")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Randomness of one life.
#[derive(Debug)]
pub struct SimRng(Mutex<Stream>);

impl SimRng {
    /// The randomness of this life.
    pub fn new(life: &Life) -> Self {
        Self(Mutex::new(life.stream("env rng")))
    }
}

impl env::Rng for SimRng {
    fn fill(&self, bytes: &mut [u8]) {
        lock(&self.0).fill(bytes);
    }
}
