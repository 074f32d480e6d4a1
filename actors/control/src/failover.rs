//! Which orchestrator to try next.
//!
//! Invariant: nobody waits while an orchestrator is untried. When the one that
//! worked fails, every other may be tried at once, whatever was held against it:
//! with one alive, a client finds it after at most one attempt at each. All
//! waits are bounded.

#[cfg(test)]
mod tests;

use std::time::Duration;

use protocol::limits;

/// The orchestrators a client knows, and how they did lately. Times are of a
/// clock that never goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// In the order in which they are tried.
    candidates: Vec<Candidate>,
    /// The one that answered last and has not failed since.
    working: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    address: String,
    /// Failures in a row that are held against it.
    failures: u32,
    /// None if it never failed.
    last_failure: Option<Duration>,
    /// Not to be tried before.
    ready: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// Try this address now.
    Try(&'a str),
    /// Ask again at this time.
    WaitUntil(Duration),
    /// There is no address to try.
    Nobody,
}

impl Candidates {
    /// Untried candidates. `spread`, a random number of the client's, decides with
    /// whom it starts, so that a fleet does not start with the same one.
    pub fn new(addresses: &[String], spread: u64) -> Self {
        let mut candidates = Self { candidates: Vec::new(), working: None };
        candidates.replace(addresses);
        if let Some(start) = spread.checked_rem(candidates.candidates.len() as u64) {
            candidates.candidates.rotate_left(start as usize);
        }
        candidates
    }

    /// Takes a new roster: what is known of those who stay is kept. Addresses past
    /// `limits::ROSTER_MAX` and those that stand twice are left out.
    pub fn replace(&mut self, addresses: &[String]) {
        let mut kept: Vec<Candidate> = Vec::new();
        kept.extend(self.candidates.drain(..).filter(|candidate| addresses.contains(&candidate.address)));
        for address in addresses {
            if kept.len() < limits::ROSTER_MAX && kept.iter().all(|candidate| candidate.address != *address) {
                kept.push(Candidate {
                    address: address.clone(),
                    failures: 0,
                    last_failure: None,
                    ready: Duration::ZERO,
                });
            }
        }
        self.working = self.working.take().filter(|address| kept.iter().any(|c| c.address == *address));
        self.candidates = kept;
    }

    /// The addresses, in the order in which they are tried.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.candidates.iter().map(|candidate| candidate.address.as_str())
    }

    /// Whom to try: the one that works; else, of those that are ready, first one
    /// that was never tried, then one whose failures are forgiven, then the one that
    /// failed longest ago.
    pub fn next(&self, now: Duration) -> Next<'_> {
        if let Some(working) = &self.working {
            return Next::Try(working);
        }
        let ready = self.candidates.iter().filter(|candidate| candidate.ready <= now);
        if let Some(candidate) = ready.min_by_key(|candidate| (candidate.failures > 0, candidate.last_failure)) {
            return Next::Try(&candidate.address);
        }
        match self.candidates.iter().map(|candidate| candidate.ready).min() {
            Some(ready) => Next::WaitUntil(ready),
            None => Next::Nobody,
        }
    }

    /// An address answered.
    pub fn worked(&mut self, address: &str) {
        if let Some(candidate) = self.candidates.iter_mut().find(|candidate| candidate.address == address) {
            candidate.failures = 0;
            candidate.ready = Duration::ZERO;
            self.working = Some(candidate.address.clone());
        }
    }

    /// An address failed: it could not be reached, or its connection broke. It is
    /// left alone for a while that doubles from `limits::FAILOVER_BACKOFF_MIN_MS`
    /// to `limits::FAILOVER_BACKOFF_MAX_MS`; `jitter`, a random number, shortens
    /// that by up to half.
    pub fn failed(&mut self, address: &str, now: Duration, jitter: u64) {
        let worked = self.working.as_deref() == Some(address);
        if worked {
            self.working = None;
        }
        for candidate in &mut self.candidates {
            if candidate.address == address {
                candidate.failures = candidate.failures.saturating_add(1);
                candidate.last_failure = Some(now);
                candidate.ready = now + backoff(candidate.failures, jitter);
            } else if worked {
                // What was held against the others while one worked may be long over.
                candidate.failures = 0;
                candidate.ready = Duration::ZERO;
            }
        }
    }
}

fn backoff(failures: u32, jitter: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(u64::BITS / 2);
    let full = limits::FAILOVER_BACKOFF_MIN_MS.saturating_mul(1 << doublings).min(limits::FAILOVER_BACKOFF_MAX_MS);
    Duration::from_millis(full - jitter % (full / 2 + 1))
}
