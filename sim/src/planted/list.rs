//! The planted faults: what is wrong with each, what it breaks, and where that has to show.
//!
//! Each stands in the product as `probe::planted(Plant::…)`, at the place where somebody
//! could have made the mistake. One that is found in no scenario means that a checker, a
//! workload or an aimed fault is missing.

use probe::Plant::{self, *};

use crate::scenario::{
    Scenario, cluster, hostile, interruptions, joins, leases, minority, rebuilds, residents, restores, returns,
    sharing, split, upgrades,
};

/// One planted fault.
#[derive(Debug)]
pub struct Fault {
    /// Where it is planted.
    pub plant: Plant,
    /// What is wrong, in a sentence.
    pub wrong: &'static str,
    /// The invariants of the design that it breaks.
    pub breaks: &'static str,
    /// Where it has to be found; the first that finds it is enough.
    pub scenarios: &'static [&'static Scenario],
}

/// All of them, in the order of `Plant`.
pub const ALL: &[Fault] = &[
    Fault {
        plant: LogAppendsUnsynced,
        wrong: "an entry of the log is acknowledged before it is on disk",
        breaks: "I3",
        scenarios: &[&joins::SCENARIO, &leases::SCENARIO],
    },
    Fault {
        plant: VoteForgotten,
        wrong: "a vote is not written down, so a voter that was started again may vote twice in one term",
        breaks: "I3",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: RestartedLeaderLeads,
        wrong: "a leader that was started again goes on leading by its old vote, with an old idea of what is decided",
        breaks: "I3",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: ReadUnconfirmed,
        wrong: "a linearizable look does not ask a majority whether this node still leads",
        breaks: "I3",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: LookTooOld,
        wrong: "a look at the leader shares the result of one that ended before it was asked for",
        breaks: "I3",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: AnswersSwapped,
        wrong: "what was decided about the commands of one entry is told to the wrong callers",
        breaks: "I4",
        scenarios: &[&joins::SCENARIO, &leases::SCENARIO],
    },
    Fault {
        plant: SnapshotMisnumbered,
        wrong: "a snapshot of the ledger says that it has an entry that it has not",
        breaks: "I3",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: LedgerFileUnsynced,
        wrong: "a snapshot of the ledger counts, and the log before it is cut, before its file is on disk",
        breaks: "I3",
        scenarios: &[&leases::SCENARIO, &joins::SCENARIO],
    },
    Fault {
        plant: HalfMadeIsDamage,
        wrong: "an orchestrator that loses its power while it makes its databases never starts again",
        breaks: "I14",
        scenarios: &[&rebuilds::SCENARIO],
    },
    Fault {
        plant: LostLogVotes,
        wrong: "a voter whose log is gone votes again, with an empty one",
        breaks: "I3",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: OldDiskVotes,
        wrong: "a voter whose disk was put back to an earlier state votes by what that disk says",
        breaks: "I3",
        scenarios: &[&returns::SCENARIO],
    },
    Fault {
        plant: RedeemedTwice,
        wrong: "who redeems again after an interruption takes another use of the token",
        breaks: "I4",
        scenarios: &[&joins::SCENARIO],
    },
    Fault {
        plant: UsesCountedHere,
        wrong: "each orchestrator counts the uses of a token in what it has applied, not the log",
        breaks: "I4",
        scenarios: &[&joins::SCENARIO],
    },
    Fault {
        plant: AttemptForgotten,
        wrong: "a late repetition of a call for a lease gets another lease and fences the first",
        breaks: "I14",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: AfterIgnored,
        wrong: "a backup whose place was taken by another takes it back",
        breaks: "I14",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: EpochStale,
        wrong: "a lease is granted at the condemned epoch of the client's last snapshot",
        breaks: "I12",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: CondemnedForgotten,
        wrong: "a view leaves out what was condemned last",
        breaks: "I12",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: CloseForgotten,
        wrong: "a lease that was closed stays open, and a commit under it is taken",
        breaks: "I9",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: CommitUnordered,
        wrong: "a commit is taken whose parent is not the newest snapshot",
        breaks: "I3",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: AnyLeaseMints,
        wrong: "tickets are minted under a superseded lease, if the client has another one",
        breaks: "I9",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: TicketOtherDomain,
        wrong: "a ticket is minted with which a client reads and writes another domain's packs",
        breaks: "I10",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: TicketOtherClient,
        wrong: "a ticket is minted with which a client reads another client's snapshots",
        breaks: "I10",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: MergeByArrival,
        wrong: "of two records of one version, the one that arrived first is kept",
        breaks: "I2",
        scenarios: &[&split::SCENARIO],
    },
    Fault {
        plant: RevocationOutbid,
        wrong: "the revocation of a token loses to later terms",
        breaks: "I4",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: LastRangeSkipped,
        wrong: "reconciliation leaves out the last range that differs",
        breaks: "I2",
        scenarios: &[&split::SCENARIO],
    },
    Fault {
        plant: RecordsUnsynced,
        wrong: "records are acknowledged before they are on disk",
        breaks: "I3",
        scenarios: &[&split::SCENARIO, &leases::SCENARIO],
    },
    Fault {
        plant: CommitUnread,
        wrong: "a commit is decided without reading its object back",
        breaks: "I6",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: CommitFromListing,
        wrong: "a commit is decided because a listing names its object",
        breaks: "I6",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: ReleaseToStranger,
        wrong: "a release value is given to a client that did not redeem its token",
        breaks: "I5",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: ReleaseKept,
        wrong: "a release value is never erased",
        breaks: "I5",
        scenarios: &[&joins::SCENARIO],
    },
    Fault {
        plant: LevelRaisedAlone,
        wrong: "the log goes up a level though one of the orchestrators does not speak it",
        breaks: "I2",
        scenarios: &[&upgrades::SCENARIO],
    },
    Fault {
        plant: NewsUntold,
        wrong: "clients that wait for a change are not woken by it",
        breaks: "I14",
        scenarios: &[&residents::SCENARIO],
    },
    Fault {
        plant: DeniedUnseen,
        wrong: "a client is refused for good by an orchestrator that has not heard of it yet",
        breaks: "I14",
        scenarios: &[&joins::SCENARIO, &leases::SCENARIO],
    },
    Fault {
        plant: LeaseByOwnClock,
        wrong: "an orchestrator ends a lease by its own clock, while the log says that it is open",
        breaks: "I14",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: RevokedStays,
        wrong: "the connections of a revoked client are not cut",
        breaks: "section 3",
        scenarios: &[&joins::SCENARIO],
    },
    Fault {
        plant: RevokedServed,
        wrong: "a revoked client is served like any other",
        breaks: "section 3",
        scenarios: &[&joins::SCENARIO],
    },
    Fault {
        plant: ActGivenUp,
        wrong: "what an admin did is given up if no majority answers, and is in no audit trail",
        breaks: "section 3",
        scenarios: &[&minority::SCENARIO],
    },
    Fault {
        plant: ListUnsynced,
        wrong: "snapshots are listed as the replica that is asked has applied them so far",
        breaks: "I3",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: StrangersUnbounded,
        wrong: "strangers hold as many connections as they like",
        breaks: "I14",
        scenarios: &[&hostile::SCENARIO],
    },
    Fault {
        plant: LastRowDropped,
        wrong: "merging index segments loses the last row of each block",
        breaks: "I12",
        scenarios: &[&sharing::SCENARIO],
    },
    Fault {
        plant: RowsUnchecked,
        wrong: "rows of a client's segment are published although its packs do not have them",
        breaks: "I11",
        scenarios: &[&leases::SCENARIO],
    },
    Fault {
        plant: KeysSavedLate,
        wrong: "a client shows its keys before they are on its disk, and joins again with others after a crash",
        breaks: "I4",
        scenarios: &[&joins::SCENARIO],
    },
    Fault {
        plant: WelcomeSavedLate,
        wrong: "a client acknowledges its welcome before that is on its disk, and the release value is erased",
        breaks: "I5",
        scenarios: &[&joins::SCENARIO],
    },
    Fault {
        plant: PolicyRollsBack,
        wrong: "an older version of a policy is taken by a client that has seen a newer one",
        breaks: "I1",
        scenarios: &[&minority::SCENARIO],
    },
    Fault {
        plant: KeysetRollsBack,
        wrong: "an older keyset is believed by a client that has seen a newer one",
        breaks: "I1",
        scenarios: &[&minority::SCENARIO],
    },
    Fault {
        plant: UnclearIsStored,
        wrong: "an upload that timed out is reported as stored",
        breaks: "I9",
        scenarios: &[&interruptions::SCENARIO, &cluster::SCENARIO],
    },
    Fault {
        plant: FailoverIsStored,
        wrong: "a pack is reported as stored without a request to the storage, after a fail-over",
        breaks: "I9",
        scenarios: &[&cluster::SCENARIO, &interruptions::SCENARIO],
    },
    Fault {
        plant: CommitBeforeUploads,
        wrong: "a commit does not wait for the uploads that are under way",
        breaks: "I8",
        scenarios: &[&cluster::SCENARIO],
    },
    Fault {
        plant: PartialIsComplete,
        wrong: "a part of a backup calls itself complete",
        breaks: "I8",
        scenarios: &[&interruptions::SCENARIO],
    },
    Fault {
        plant: UnchangedByLength,
        wrong: "a file of the same length counts as unchanged, whatever its times say",
        breaks: "I8",
        scenarios: &[&restores::SCENARIO],
    },
    Fault {
        plant: ObjectIdRepeats,
        wrong: "two packs have the same random id, so two tables of contents are sealed with one key",
        breaks: "I7",
        scenarios: &[&cluster::SCENARIO],
    },
    Fault {
        plant: LossHidden,
        wrong: "what could not be fetched is zeros in the restored file, and nobody is told",
        breaks: "I8",
        scenarios: &[&restores::SCENARIO],
    },
    Fault {
        plant: DraftNamedEarly,
        wrong: "a draft gets the file's name before its content is complete",
        breaks: "I8",
        scenarios: &[&restores::SCENARIO],
    },
    Fault {
        plant: PublishedUnawaited,
        wrong: "who reads takes a chunk for lost that is in no published segment at this moment",
        breaks: "I3",
        scenarios: &[&rebuilds::SCENARIO],
    },
];

/// The faults of this name, or all.
pub fn named(name: Option<Plant>) -> impl Iterator<Item = &'static Fault> {
    ALL.iter().filter(move |fault| name.is_none_or(|name| name == fault.plant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_fault_is_listed_once_and_has_a_scenario() {
        assert!(ALL.iter().map(|fault| fault.plant).eq(Plant::ALL.iter().copied()));
        assert!(ALL.iter().all(|fault| !fault.scenarios.is_empty() && !fault.wrong.is_empty()));
    }
}
