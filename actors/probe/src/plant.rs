//! Faults that are planted in the product.
//!
//! What each of them breaks, and where it has to be found, stands in the simulator's
//! list (`sim/src/planted/list.rs`).

use crate::names::named;

named! {
    /// One fault: a mistake that somebody could have made at this place.
    Plant {
        // The log.
        /// Entries are acknowledged before they are on disk.
        LogAppendsUnsynced,
        /// A vote is not written down.
        VoteForgotten,
        /// A leader that was started again leads on by its old vote.
        RestartedLeaderLeads,
        /// A linearizable look does not ask a majority whether this node still leads.
        ReadUnconfirmed,
        /// A look shares the result of one that began before it was asked for.
        LookTooOld,
        /// The outcomes of an entry go to its proposers in another order.
        AnswersSwapped,
        /// A snapshot of the ledger says that it has one entry more than it has.
        SnapshotMisnumbered,
        /// A snapshot of the ledger counts before its file is on disk.
        LedgerFileUnsynced,
        /// A database that a crash left half made counts as damaged.
        HalfMadeIsDamage,
        /// A voter whose log is gone votes again, with an empty one.
        LostLogVotes,
        /// A voter whose disk was put back votes by what that disk says.
        OldDiskVotes,

        // The ledger.
        /// Whoever redeems again after an interruption takes another use of the token.
        RedeemedTwice,
        /// Each orchestrator counts a token's uses in what it has applied so far.
        UsesCountedHere,
        /// A repeated attempt at a lease is a new one.
        AttemptForgotten,
        /// A backup whose place was taken takes it back.
        AfterIgnored,
        /// A lease is granted at the epoch of the client's last snapshot.
        EpochStale,
        /// The view leaves out what was condemned last.
        CondemnedForgotten,
        /// A lease that was closed stays open.
        CloseForgotten,
        /// A commit's place in the chain is not checked.
        CommitUnordered,
        /// Tickets are minted under a lease that has ended, if another one is open.
        AnyLeaseMints,
        /// Tickets are minted for another domain's packs.
        TicketOtherDomain,
        /// Tickets are minted for another client's snapshots.
        TicketOtherClient,

        // Converging records.
        /// Of two records of one version, the one that came first is kept.
        MergeByArrival,
        /// Terms of a token that are newer than its revocation undo it.
        RevocationOutbid,
        /// Reconciliation leaves out the last range that differs.
        LastRangeSkipped,
        /// Records are acknowledged before they are on disk.
        RecordsUnsynced,

        // Orchestrators.
        /// A commit is decided without reading its object.
        CommitUnread,
        /// A commit is decided because a listing names its object.
        CommitFromListing,
        /// A release value is given to a client that did not redeem its token.
        ReleaseToStranger,
        /// A release value is kept when nobody needs it any more.
        ReleaseKept,
        /// The log goes up a level that not all orchestrators speak.
        LevelRaisedAlone,
        /// Clients that wait are not woken by a change.
        NewsUntold,
        /// A stranger is refused by what this replica has applied so far.
        DeniedUnseen,
        /// A lease ends for an orchestrator when its own clock says so.
        LeaseByOwnClock,
        /// The connections of a revoked client stay.
        RevokedStays,
        /// A revoked client is served like any other.
        RevokedServed,
        /// What an admin did is given up if no majority answers.
        ActGivenUp,
        /// Snapshots are listed as this replica has applied them so far.
        ListUnsynced,
        /// As many strangers stay as come.
        StrangersUnbounded,
        /// The last row of each block is lost when runs are merged.
        LastRowDropped,
        /// A client's rows are published without looking into its packs.
        RowsUnchecked,

        // Clients.
        /// Keys are shown to the cluster before they are on disk.
        KeysSavedLate,
        /// A client acknowledges its welcome before that is on its disk.
        WelcomeSavedLate,
        /// An older version of a policy is taken after a newer one.
        PolicyRollsBack,
        /// An older keyset is believed after a newer one.
        KeysetRollsBack,
        /// An upload of which nobody knows whether it worked counts as stored.
        UnclearIsStored,
        /// After a fail-over, the ticket is taken for the answer of the storage.
        FailoverIsStored,
        /// The commit does not wait for the uploads that are under way.
        CommitBeforeUploads,
        /// A part of a backup calls itself complete.
        PartialIsComplete,
        /// A file of the same length counts as unchanged.
        UnchangedByLength,
        /// Two packs have the same random id, and so the same key.
        ObjectIdRepeats,
        /// What could not be fetched is zeros in the restored file, and nobody is told.
        LossHidden,
        /// A draft gets the file's name before it is whole.
        DraftNamedEarly,
        /// Who reads takes a chunk for lost that is in no published segment at this moment.
        PublishedUnawaited,
    }
}
