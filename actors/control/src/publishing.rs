//! What a verifier does next: which segments are published, merged, or made up for.
//!
//! Segments of one publication are a *run*: one sorted row of chunk ids. Runs of
//! about one size are merged into one when there are too many of them, as in a
//! log-structured merge tree (O'Neil, Cheng, Gawlick, O'Neil, 1996): each row is
//! rewritten once for each size class, and what a lookup must ask grows with the
//! logarithm of what is stored.
//!
//! Invariant: a function of the ledger alone, so that whoever leads next goes on
//! where this one stopped.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use protocol::{
    ids::{ClientId, LeaseId},
    limits,
    names::ObjectName,
    records::Trust,
};

use crate::ledger::{Published, Reuse};

/// Runs below this many rows are one class: they are small whatever they are.
const SMALL_ROWS: u64 = 8 << 10;
/// Segments that one merge replaces: their names fit in a command.
const MERGED_MAX: usize = 2048;

/// The next piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chore {
    /// Clients' own segments are to be checked and published.
    Publish {
        /// For whom.
        scope: Option<ClientId>,
        /// Whose, and which: at most `limits::PUBLISH_OWN_MAX`, oldest first for each client.
        own: Vec<(ClientId, ObjectName)>,
    },
    /// Runs are to be made one.
    Merge {
        /// For whom.
        scope: Option<ClientId>,
        /// The segments of each, in order of their ids.
        runs: Vec<Vec<ObjectName>>,
    },
    /// What was stored under a lease is to be indexed again.
    Mend {
        /// For whom.
        scope: Option<ClientId>,
        /// Whose lease, and which.
        lost: (ClientId, LeaseId),
    },
}

/// The next piece of work in one repository and domain; none if all is done.
/// `aside` are own segments that this verifier cannot read, and leaves to another.
pub fn next(reuse: &Reuse, trust: Trust, aside: impl Fn(&(ClientId, ObjectName)) -> bool) -> Option<Chore> {
    let scope_of = |client: ClientId| match trust {
        Trust::Trusting => None,
        Trust::Strangers => Some(client),
    };
    if let Some(&lost) = reuse.lost().first() {
        return Some(Chore::Mend { scope: scope_of(lost.0), lost });
    }
    let mut waiting = reuse.own().iter().filter(|own| !aside(own)).copied().peekable();
    if let Some((first, _)) = waiting.peek().copied() {
        let scope = scope_of(first);
        let own = waiting.filter(|own| scope_of(own.0) == scope).take(limits::PUBLISH_OWN_MAX).collect();
        return Some(Chore::Publish { scope, own });
    }
    merge(reuse)
}

/// Who may use a segment. None: every member of the domain.
type Scope = Option<ClientId>;

/// Runs of one size class that are too many.
fn merge(reuse: &Reuse) -> Option<Chore> {
    let mut runs: BTreeMap<(Scope, LeaseId), Vec<(ObjectName, Published)>> = BTreeMap::new();
    for (name, segment) in reuse.published() {
        runs.entry((segment.scope, segment.run)).or_default().push((*name, *segment));
    }
    let mut classes: BTreeMap<(Scope, u32), Vec<Vec<ObjectName>>> = BTreeMap::new();
    for ((scope, _), mut segments) in runs {
        // Where two begin alike, the one that ends sooner comes first.
        segments.sort_by_key(|(name, segment)| (segment.first, segment.last, *name));
        let rows = segments.iter().map(|(_, segment)| segment.rows).sum();
        let names = segments.into_iter().map(|(name, _)| name).collect();
        classes.entry((scope, class(rows))).or_default().push(names);
    }
    let ((scope, _), mut runs) = classes.into_iter().find(|(_, runs)| runs.len() > limits::RUNS_PER_CLASS_MAX)?;
    // The oldest first, as far as the names of one command go; two at least.
    runs.truncate(2 * limits::RUNS_PER_CLASS_MAX);
    while runs.len() > 2 && runs.iter().map(Vec::len).sum::<usize>() > MERGED_MAX {
        runs.pop();
    }
    Some(Chore::Merge { scope, runs })
}

/// Eight times the rows, one class more.
fn class(rows: u64) -> u32 {
    (rows / SMALL_ROWS).checked_ilog2().map_or(0, |log| log / 3 + 1)
}
