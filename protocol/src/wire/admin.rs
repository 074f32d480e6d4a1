//! What admins ask of orchestrators.

use serde::{Deserialize, Serialize};

use crate::{
    commands::Enrollment,
    ids::{ClientId, DomainId, Hash, LeaseId, NodeId, TokenId},
    ledger::Item,
    records::Subject,
    sign::Signed,
    time::UnixMillis,
};

/// Adds records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// The records. All are added, or none.
    pub records: Vec<Signed>,
}

/// Hands over a release value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRelease {
    /// Of which token.
    pub token: TokenId,
    /// The value.
    pub value: [u8; 32],
    /// When it is erased at the latest.
    pub expires: UnixMillis,
}

impl std::fmt::Debug for PutRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PutRelease({:?}, ..)", self.token)
    }
}

/// Asks how the orchestrator sees the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {}

/// How one orchestrator sees the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Itself.
    pub node: NodeId,
    /// The keyset's number.
    pub keyset: u64,
    /// The voter it believes to lead, if any.
    pub leader: Option<u64>,
    /// Raft's term.
    pub term: u64,
    /// Log index it has applied.
    pub applied: u64,
    /// The decided time.
    pub decided: UnixMillis,
    /// Its wall clock.
    pub clock: UnixMillis,
    /// Digest of its converging records.
    pub records: Hash,
    /// How many converging records it holds.
    pub records_count: u64,
    /// The roster, as it sees it.
    pub peers: Vec<PeerStatus>,
    /// Clients connected to it now.
    pub clients_connected: u64,
    /// Bytes it has received from clients since its start, on the wire.
    pub client_bytes_received: u64,
    /// Everyone who votes in the log, whoever the roster names.
    pub voters: Vec<NodeId>,
    /// Open leases that have outlived their time, by its own clock.
    pub leases_overdue: u64,
    /// Tokens, not revoked, that were shown by more keys than they have uses.
    pub tokens_overused: u64,
    /// Clients' index segments that wait to be published.
    pub segments_waiting: u64,
    /// Objects that were found lost or damaged.
    pub objects_condemned: u64,
}

/// How one orchestrator sees another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Which.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Whether failure detection believes it alive.
    pub alive: bool,
    /// Whether it is a voter of the log.
    pub voter: bool,
}

/// Asks for everyone who is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListClients {
    /// Only those that come after this one.
    pub after: Option<ClientId>,
}

/// A client, as an orchestrator knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its enrollment.
    pub enrollment: Enrollment,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether it is connected to the orchestrator that was asked.
    pub connected: bool,
    /// How many snapshots it has.
    pub snapshots: u64,
    /// Its newest snapshot.
    pub newest: Option<UnixMillis>,
    /// Its open lease.
    pub lease: Option<LeaseId>,
}

/// Asks for the tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTokens {
    /// Only those that come after this one.
    pub after: Option<TokenId>,
}

/// A token, as an orchestrator knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStatus {
    /// Its id.
    pub token: TokenId,
    /// Its name.
    pub name: String,
    /// The domain that its clients join.
    pub domain: DomainId,
    /// How many clients may redeem it.
    pub uses: u32,
    /// How many did.
    pub redeemed: u32,
    /// When it ends.
    pub expires: UnixMillis,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Redemptions by surplus keys, if there were any.
    pub refused: Option<TokenRefusals>,
}

/// Redemptions of a spent token by surplus keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRefusals {
    /// How many.
    pub count: u64,
    /// When the last was, by decided time.
    pub last_at: UnixMillis,
    /// What the last called itself.
    pub last_name: String,
}

/// Asks for winning records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRecords {
    /// Only about these subjects; empty: all.
    pub subjects: Vec<Subject>,
    /// Only those that come after the record of this subject.
    pub after: Option<Subject>,
}

/// Begins a lost ledger again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// A `ledger::Charter`, signed by the root.
    pub charter: Signed,
}

/// The next pieces of a ledger that begins again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// How many there are before these.
    pub from: u64,
    /// The pieces: at most `limits::IMPORT_ITEMS_MAX`.
    pub items: Vec<Item>,
}

/// Asks how a node itself is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspect {}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Its program and version, for people.
    pub agent: String,
    /// Its voter id.
    pub voter: u64,
    /// Whether it takes part.
    pub seat: Seat,
    /// Why it does not, and what to do, for a person.
    pub why: String,
    /// Which life of the ledger it knows.
    pub incarnation: u32,
    /// Whether that is being rebuilt from a backup.
    pub importing: bool,
    /// How the ledger's backups are. Only the leader knows.
    pub backup: Option<BackupStatus>,
}

/// Whether a node takes part in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seat {
    /// It does.
    Open,
    /// It waits to be adopted, or starts.
    Waiting,
    /// The newest keyset that it knows does not name it.
    Removed,
    /// It cannot: its disk is not one to vote with, or fails.
    Unfit,
}

/// How the ledger's backups are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupStatus {
    /// When the last one was written by this leader.
    pub at: Option<UnixMillis>,
    /// Up to which entry of the log.
    pub applied: u64,
    /// How many clients are in it.
    pub clients: u64,
    /// How many snapshots.
    pub snapshots: u64,
    /// What went wrong with the last attempt, for a person.
    pub trouble: Option<String>,
}

/// Asks a node to look at what it works with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examine {}

/// What a node found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// Where its data lies; none if that cannot be told.
    pub disk: Option<DiskRoom>,
    /// The storages that it could not read from just now.
    pub unreachable: Vec<Unreachable>,
}

/// Room on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRoom {
    /// The node's data directory.
    pub place: String,
    /// Bytes that the node may still take.
    pub free: u64,
    /// Bytes that there are in all.
    pub total: u64,
}

/// A storage that could not be read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreachable {
    /// Its name.
    pub storage: String,
    /// What happened, for a person.
    pub why: String,
}

/// Asks for the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListAudit {
    /// Only what came after the entry of this number.
    pub after: u64,
}
