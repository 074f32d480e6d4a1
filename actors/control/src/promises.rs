//! What voters promised, as those remember it to whom they did.
//!
//! A voter that grants a vote promises to grant no other in that term; one that
//! acknowledges entries promises to keep them. Whoever was put back to an earlier disk has
//! forgotten some of this, and those it promised to can tell.
//!
//! Invariant: what is remembered of a voter only grows. A promise later than what a voter's
//! disk holds is one that this disk has forgotten: a voter's vote only rises, and while it
//! stays the same, its log only grows. (Of two candidates of one term, a vote for the one
//! with the higher id is the higher: openraft allows both to be elected in turn.)

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use protocol::{limits, wire::Promise};
use serde::{Deserialize, Serialize};

/// The latest promise of each voter that made one here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promises(BTreeMap<u64, Promise>);

impl Promises {
    /// Remembers a promise. Whether it is later than what was remembered. Of too many
    /// voters, those whose last promise is oldest are forgotten: they left long ago.
    pub fn note(&mut self, voter: u64, promise: Promise) -> bool {
        if self.0.get(&voter).is_some_and(|known| *known >= promise) {
            return false;
        }
        self.0.insert(voter, promise);
        while self.0.len() > limits::PROMISES_KEPT_MAX
            && let Some((oldest, _)) = self.0.iter().map(|(voter, promise)| (*voter, *promise)).min_by_key(|(_, p)| *p)
        {
            self.0.remove(&oldest);
        }
        true
    }

    /// The latest promise of a voter.
    pub fn of(&self, voter: u64) -> Option<Promise> {
        self.0.get(&voter).copied()
    }
}

/// Whether a voter whose disk held `kept` at its start has forgotten a promise.
pub fn is_forgotten(kept: Promise, promised: Option<Promise>) -> bool {
    promised.is_some_and(|promised| promised > kept)
}
