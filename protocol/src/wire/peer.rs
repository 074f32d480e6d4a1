//! What orchestrators ask of each other.

use serde::{Deserialize, Serialize};

use crate::{
    codec,
    commands::{Command, Outcome},
    ids::Hash,
    levels::Levels,
    limits,
    reconcile::Probe,
    sign::Signed,
};

/// A message of the log's replication, encoded by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raft {
    /// For which voter it is meant: one that lost its disk is another.
    pub to: u64,
    /// The message.
    pub message: Vec<u8>,
}

/// Commands for the log's leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// At most `limits::COMMANDS_PER_ENTRY_MAX`.
    #[serde(deserialize_with = "codec::at_most::<{ limits::COMMANDS_PER_ENTRY_MAX }, _, _>")]
    pub commands: Vec<Command>,
}

/// What became of proposed commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The log index at which they were decided: a replica that has applied it knows them.
    pub index: u64,
    /// One outcome for each command, in order.
    #[serde(deserialize_with = "codec::at_most::<{ limits::COMMANDS_PER_ENTRY_MAX }, _, _>")]
    pub outcomes: Vec<Outcome>,
}

/// Asks the leader for its decided index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndex {}

/// Fresh records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The records.
    pub records: Vec<Signed>,
}

/// Asks where the callee's records are not the caller's (`reconcile`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// What the caller has, at most `limits::PROBES_MAX` ranges. Answered, in this
    /// order, for those whose fingerprint is another at the callee.
    pub probes: Vec<Probe>,
}

/// Asks for records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Their hashes, at most `limits::RECORDS_PER_FRAME_MAX`. Those that the callee has
    /// are given in this order, up to `limits::RECORDS_BYTES_MAX` bytes; one is always given.
    pub hashes: Vec<Hash>,
}

/// Asks what the callee remembers of the caller's promises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// As which voter it made them.
    pub voter: u64,
}

/// What a voter has promised: to vote for nobody below this candidate, and to keep the log
/// up to an entry that it was sent by it. Of two, the later has the higher term, then the
/// higher candidate, then the higher index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Promise {
    /// The term.
    pub term: u64,
    /// The candidate, or leader, of that term: a voter id.
    pub candidate: u64,
    /// Index of the last entry that it acknowledged to that one; 0 if none.
    pub index: u64,
}

/// Asks which levels of the log a node speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speak {}

/// Which levels of the log a node speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speech {
    /// Its program's.
    pub levels: Levels,
    /// The level of the log, as far as it has applied it. None if it takes no part in one.
    pub active: Option<u8>,
    /// Its word for that, a `levels::Statement`, if it takes part in a cluster.
    pub statement: Option<Signed>,
}
