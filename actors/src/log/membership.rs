//! Who takes part in the log: brought in line with the admitted keyset by whoever
//! leads, one step at a time.
//!
//! Invariant: the steps are decided in `control::voters`, and each is a decision of the
//! log. One that was interrupted is found in the log's membership and gone on with.

use std::collections::{BTreeMap, BTreeSet};

use control::voters::{Step, Voters, next_step};
use openraft::ChangeMembers;
use protocol::{failure::Failure, ids::NodeId};

use super::{ATTEMPT_PATIENCE, Core, Log, types::Member};

/// Entries by which a newcomer may lag and vote: with those it is done in a moment.
const LAG_ENTRIES_MAX: u64 = 32;

impl Log {
    /// Takes the next step from the present voters to a roster (voter ids and their
    /// nodes), if this node leads and a step can be taken. `alive` are the nodes that
    /// answer. Returns what was done.
    pub async fn follow_roster(
        &self,
        roster: &BTreeMap<u64, NodeId>,
        alive: &BTreeSet<NodeId>,
    ) -> Result<Option<Step>, Failure> {
        let Some(step) = self.core.voters().and_then(|now| next_step(&now, roster, alive)) else { return Ok(None) };
        let changes = match &step {
            Step::Learn(voter, node) => ChangeMembers::AddNodes(BTreeMap::from([(*voter, Member { node: *node })])),
            Step::Vote(voters) => ChangeMembers::ReplaceAllVoters(voters.clone()),
            Step::Forget(voters) => ChangeMembers::RemoveNodes(voters.clone()),
        };
        let changed = tokio::time::timeout(ATTEMPT_PATIENCE, self.core.raft.change_membership(changes, false)).await;
        match changed {
            Ok(Ok(_)) => Ok(Some(step)),
            Ok(Err(error)) => Err(Failure::retry(format!("the voters were not changed: {error}"))),
            Err(_) => Err(Failure::retry("the voters were not changed in time: no majority answers")),
        }
    }

    /// Whether the voters are those of a roster and no change is under way, as far as
    /// this node has heard.
    pub fn follows(&self, roster: &BTreeMap<u64, NodeId>) -> bool {
        let metrics = self.core.raft.metrics();
        let metrics = metrics.borrow();
        let membership = metrics.membership_config.membership();
        let known = membership.nodes().map(|(voter, member)| (*voter, member.node));
        membership.get_joint_config().len() == 1
            && membership.learner_ids().next().is_none()
            && known.eq(roster.iter().map(|(voter, node)| (*voter, *node)))
    }

    /// Whether this node takes part in the log, as far as it has heard.
    pub fn takes_part(&self) -> bool {
        let metrics = self.core.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().get_node(&self.core.voter).is_some()
    }
}

impl Core {
    /// How the log looks to its leader. None on any other node.
    fn voters(&self) -> Option<Voters> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        if metrics.current_leader != Some(self.voter) {
            return None;
        }
        let enough = metrics.last_log_index.unwrap_or(0).saturating_sub(LAG_ENTRIES_MAX);
        let replication = metrics.replication.as_ref()?;
        let has_enough = |index: Option<u64>| index.is_some_and(|index| index >= enough);
        let mut caught_up: BTreeSet<u64> = replication
            .iter()
            .filter(|(_, matched)| has_enough(matched.map(|matched| matched.index)))
            .map(|(voter, _)| *voter)
            .collect();
        caught_up.insert(self.voter);
        let membership = metrics.membership_config.membership();
        Some(Voters {
            configs: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(voter, member)| (*voter, member.node)).collect(),
            caught_up,
        })
    }
}
