//! What admins ask of orchestrators.

use serde::{Deserialize, Serialize};

use crate::{
    commands::Enrollment,
    ids::{ClientId, DomainId, Hash, LeaseId, NodeId, TokenId},
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
