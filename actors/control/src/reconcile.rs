//! Finding out what two sets of hashes differ in, at a cost that follows the
//! difference and not the sets.
//!
//! One side, the caller, holds a `Session`: it asks, reads the answers, and learns
//! what it lacks and what the peer lacks. The other answers from its `Trie` and keeps
//! nothing. Both may change meanwhile: that costs savings, never correctness.
//!
//! Invariant: whatever a peer sends, the work that one message makes is bounded by
//! that message, and a session ends.

mod session;
#[cfg(test)]
mod tests;
mod trie;

use protocol::{
    failure::Failure,
    limits,
    reconcile::{Part, Probe},
};

pub use session::{Direction, Found, Session};
pub use trie::{Hashed, Trie};

impl<T: Hashed> Trie<T> {
    /// Answers a peer's probes: what there is in those ranges whose fingerprint is
    /// another here, in the order in which they were asked for.
    pub fn answer(&self, probes: &[Probe]) -> Result<Vec<Part>, Failure> {
        if probes.len() > limits::PROBES_MAX {
            return Err(Failure::invalid(format!("{} ranges at once are too many", probes.len())));
        }
        if probes.iter().any(|probe| !probe.range.is_valid()) {
            return Err(Failure::invalid("a range has digits that no range can have"));
        }
        let other = probes.iter().filter(|probe| self.fingerprint(probe.range) != probe.fingerprint);
        Ok(other.map(|probe| Part { range: probe.range, content: self.content(probe.range) }).collect())
    }
}
