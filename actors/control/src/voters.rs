//! From the voters that there are to those whom the admitted keyset permits.
//!
//! Invariant: a newcomer votes only after it has caught up, and no step is taken to
//! voters of whom a majority is not alive: a change of the roster that comes at a bad
//! time waits, and nothing that was decided before it is lost (I3).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use protocol::ids::NodeId;

/// How the log looks to its leader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Voters {
    /// The sets of voters in force: two while one is being replaced by the other.
    pub configs: Vec<BTreeSet<u64>>,
    /// Everyone that the log is replicated to, learners included.
    pub members: BTreeMap<u64, NodeId>,
    /// Those that have nearly all of the log.
    pub caught_up: BTreeSet<u64>,
}

/// What the leader does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Replicate the log to a newcomer that does not vote yet.
    Learn(u64, NodeId),
    /// Let these vote, and no others.
    Vote(BTreeSet<u64>),
    /// Replicate the log to these no more: they do not vote and are not in the roster.
    Forget(BTreeSet<u64>),
}

/// The next step towards a roster (voter ids and their nodes), if one can be taken
/// now. `alive` are the nodes that answer, the leader among them.
pub fn next_step(now: &Voters, roster: &BTreeMap<u64, NodeId>, alive: &BTreeSet<NodeId>) -> Option<Step> {
    if let Some((voter, node)) = roster.iter().find(|(voter, _)| !now.members.contains_key(voter)) {
        return Some(Step::Learn(*voter, *node));
    }
    let voting = now.configs.last()?;
    let answers = |voter: &u64| roster.get(voter).is_some_and(|node| alive.contains(node));
    let ready = |voter: &u64| voting.contains(voter) || (answers(voter) && now.caught_up.contains(voter));
    let target: BTreeSet<u64> = roster.keys().copied().filter(ready).collect();
    if now.configs.len() > 1 || target != *voting {
        // Who leaves is replaced in one step by who is about to be ready: with fewer
        // voters in between, less could be lost.
        let leaves = voting.iter().any(|voter| !target.contains(voter));
        let soon = roster.keys().any(|voter| answers(voter) && !target.contains(voter));
        let answering = target.iter().filter(|voter| answers(voter)).count();
        let waits = (leaves && soon && now.configs.len() == 1) || answering <= target.len() / 2;
        return (!waits).then_some(Step::Vote(target));
    }
    let over: BTreeSet<u64> = now.members.keys().copied().filter(|voter| !roster.contains_key(voter)).collect();
    (!over.is_empty()).then_some(Step::Forget(over))
}

/// Whether a roster can do without one of its orchestrators: those that stay and
/// answer must be a majority of all that vote now, since they decide the change, and
/// of those that stay. `voters` and `staying` name nodes.
pub fn may_leave(
    leaving: &BTreeSet<NodeId>,
    voters: &BTreeSet<NodeId>,
    staying: &BTreeSet<NodeId>,
    answering: &BTreeSet<NodeId>,
) -> bool {
    let counts = |set: &BTreeSet<NodeId>| {
        let there = set.iter().filter(|node| answering.contains(node) && !leaving.contains(node)).count();
        there > set.len() / 2
    };
    counts(voters) && counts(staying)
}
