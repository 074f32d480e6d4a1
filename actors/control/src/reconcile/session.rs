//! The caller's side of a reconciliation.
//!
//! Invariant: each answer only leads to ranges with more digits than those asked for,
//! and to no more of them than sixteen for each. So what a session still has to ask
//! stays small, and what a peer makes up it makes up to no end but the session's.

use std::mem;

use probe::Plant;
use protocol::{
    failure::Failure,
    ids::Hash,
    limits,
    reconcile::{Content, FANOUT, Part, Prefix, Probe},
};

use super::trie::{Hashed, Trie};

/// From where to where a session walks. Two nodes that reconcile with each other at
/// the same time should walk towards each other: what the one has settled, the other
/// then finds settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the lowest hash.
    Up,
    /// From the highest.
    Down,
}

/// What one answer has shown.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the peer has and we have not.
    pub lacking: Vec<Hash>,
    /// What we have and the peer has not.
    pub surplus: Vec<Hash>,
}

/// One reconciliation with one peer.
#[derive(Debug)]
pub struct Session {
    direction: Direction,
    /// Ranges that differ. The last is looked at next.
    differing: Vec<Prefix>,
    /// Ranges of the call under way, in order.
    asked: Vec<Prefix>,
    calls_left: usize,
}

impl Session {
    /// A reconciliation of these ranges, in order, which do not overlap.
    pub fn new(ranges: impl IntoIterator<Item = Prefix>, direction: Direction) -> Self {
        let mut session =
            Self { direction, differing: Vec::new(), asked: Vec::new(), calls_left: limits::RECONCILE_CALLS_MAX };
        session.look_at(ranges.into_iter().collect());
        session
    }

    /// What to ask the peer next; None when nothing is left to ask, or too much was asked.
    pub fn ask<T: Hashed>(&mut self, own: &Trie<T>) -> Option<Vec<Probe>> {
        self.calls_left = self.calls_left.checked_sub(1)?;
        let mut probes = Vec::new();
        while probes.len() + FANOUT <= limits::PROBES_MAX
            && let Some(range) = self.differing.pop()
        {
            match own.content(range) {
                // What there is is told in parts at once: that saves every second call.
                Content::Parts(parts) => {
                    let parts = range.children().zip(parts);
                    probes.extend(parts.map(|(range, fingerprint)| Probe { range, fingerprint }));
                }
                Content::Hashes(_) => probes.push(Probe { range, fingerprint: own.fingerprint(range) }),
            }
        }
        self.asked = probes.iter().map(|probe| probe.range).collect();
        (!probes.is_empty()).then_some(probes)
    }

    /// Reads the answer. An answer to something else ends the session.
    pub fn take<T: Hashed>(&mut self, own: &Trie<T>, mut answer: Vec<Part>) -> Result<Found, Failure> {
        if probe::planted(Plant::LastRangeSkipped) {
            answer.pop();
        }
        let mut asked = mem::take(&mut self.asked).into_iter();
        let mut found = Found::default();
        let mut smaller = Vec::new();
        for Part { range, content } in answer {
            let was_asked = asked.any(|asked| asked == range);
            if !was_asked || !is_possible(range, &content) {
                self.differing.clear();
                return Err(Failure::corrupt(
                    "a peer's records could not be compared: it answered something that was not asked",
                ));
            }
            match content {
                Content::Hashes(theirs) => {
                    let surplus = own.range(range).map(Hashed::hash);
                    found.surplus.extend(surplus.filter(|hash| theirs.binary_search(hash).is_err()));
                    found.lacking.extend(theirs.into_iter().filter(|hash| own.get(hash).is_none()));
                }
                Content::Parts(theirs) => {
                    let parts = range.children().zip(theirs);
                    let differing = parts.filter(|(part, fingerprint)| own.fingerprint(*part) != *fingerprint);
                    smaller.extend(differing.map(|(part, _)| part));
                }
            }
        }
        self.look_at(smaller);
        Ok(found)
    }

    /// Looks at these ranges before all others.
    fn look_at(&mut self, mut ranges: Vec<Prefix>) {
        if self.direction == Direction::Up {
            ranges.reverse();
        }
        self.differing.append(&mut ranges);
    }
}

/// Whether there can be this in a range.
fn is_possible(range: Prefix, content: &Content) -> bool {
    match content {
        Content::Hashes(hashes) => {
            hashes.len() <= limits::RANGE_HASHES_MAX
                && hashes.is_sorted_by(|one, next| one < next)
                && hashes.iter().all(|hash| range.holds(hash))
        }
        Content::Parts(parts) => parts.len() == FANOUT && range.digits() < Prefix::DIGITS_MAX,
    }
}
