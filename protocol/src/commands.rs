//! The decided log: what orchestrators agree on, one command at a time.
//!
//! Invariant: applying a command reads nothing but the state of the log and the
//! command itself, signed records that it depends on included, so that every
//! replica comes to the same state.

use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    ids::{
        ClientId, ClusterId, DomainId, LeaseId, LineageId, PublicKey, RepositoryId, SealingKey, SnapshotId, TokenId,
    },
    names::ObjectName,
    sign::Signed,
    time::UnixMillis,
};

/// One entry of the log: commands decided together, one fsync for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The proposer's wall clock. The log's decided time is the highest so far.
    pub at: UnixMillis,
    /// What is decided, in this order.
    pub commands: Vec<Command>,
}

/// A decision. Variants are only ever appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Admits a keyset: from now on it says whose records count in commands.
    Admit {
        /// The keyset's record, signed by the root.
        keyset: Signed,
    },
    /// Redeems a token.
    Redeem {
        /// The token's terms, signed by an admin.
        terms: Signed,
        /// The redemption, signed by the token's own key.
        redemption: Signed,
    },
    /// Grants a lease and closes the client's earlier one in this repository.
    Grant {
        /// Who asks.
        client: ClientId,
        /// Where it wants to write.
        repository: RepositoryId,
        /// Which of its backups it wants to go on with.
        lineage: LineageId,
    },
    /// Makes a commit object a snapshot and ends its lease.
    Commit {
        /// Who commits.
        client: ClientId,
        /// What it committed; its object was read and checked by the proposer.
        commit: CommitFacts,
    },
    /// Ends a lease without a snapshot.
    Close {
        /// Whose lease.
        client: ClientId,
        /// Which lease.
        lease: LeaseId,
    },
    /// Notes that a client has opened the welcome of its token.
    Acknowledge {
        /// Who has.
        client: ClientId,
        /// Which token.
        token: TokenId,
    },
}

/// What redeeming a token says, signed by the token's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redemption {
    /// The cluster it is meant for.
    pub cluster: ClusterId,
    /// Which token.
    pub token: TokenId,
    /// The new client's keys.
    pub keys: ClientKeys,
    /// The new client's name, for people.
    pub name: String,
    /// Keying material of the TLS session over which it was sent: a copied
    /// redemption is worth nothing on another connection.
    pub exporter: [u8; 32],
}

/// The three public keys of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientKeys {
    /// Proves who it is on a connection.
    pub tls: PublicKey,
    /// Signs its commits and index segments.
    pub commit: PublicKey,
    /// What others seal for it is sealed to this.
    pub sealing: SealingKey,
}

/// What the log keeps of a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitFacts {
    /// The lease under which everything was written.
    pub lease: LeaseId,
    /// The commit object. The snapshot's id is its hash.
    pub object: ObjectName,
    /// Place in the client's chain of commits, from 1.
    pub sequence: u64,
    /// The commit before it in the chain, of whatever lineage.
    pub previous: Option<SnapshotId>,
    /// The lineage it belongs to.
    pub lineage: LineageId,
    /// Whether it is a whole backup, or a part of one that goes on in the next lease.
    pub complete: bool,
    /// Index segments that the client wrote under this lease.
    pub segments: Vec<ObjectName>,
    /// Bytes of the packs, segments and pages written under this lease, as the client counts them.
    pub bytes_stored: u64,
}

/// What a command came to, in the order of the entry's commands.
pub type Outcome = Result<Decided, Failure>;

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decided {
    /// The keyset of this number is in force.
    Admitted(u64),
    /// The token was redeemed by this client, now or earlier by the same keys.
    Redeemed(Enrollment),
    /// The lease.
    Granted(Lease),
    /// The commit is a snapshot, now or since earlier.
    Committed(SnapshotId),
    /// The lease has ended.
    Closed,
    /// The client has what its token was for.
    Acknowledged,
}

/// A client, as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrollment {
    /// Its id.
    pub client: ClientId,
    /// Its keys.
    pub keys: ClientKeys,
    /// Its name, for people.
    pub name: String,
    /// The token it redeemed.
    pub token: TokenId,
    /// The domain it joined.
    pub domain: DomainId,
    /// Its tags.
    pub tags: Vec<String>,
    /// When, by decided time.
    pub at: UnixMillis,
}

/// The right of a client to write, and what it may reuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its id.
    pub id: LeaseId,
    /// Where.
    pub repository: RepositoryId,
    /// The domain whose packs it may write.
    pub domain: DomainId,
    /// When it was granted, by decided time.
    pub granted: UnixMillis,
    /// When others are prompted to close it.
    pub expires: UnixMillis,
    /// What may be reused.
    pub view: View,
    /// The lineage it goes on with.
    pub lineage: LineageId,
    /// The snapshot it builds on, pinned while the lease is open: the newest of the
    /// lineage, or the newest of all if the lineage is new.
    pub parent: Option<ParentSnapshot>,
    /// While the parent is partial: the last complete one, pinned as well.
    pub parent_complete: Option<ParentSnapshot>,
    /// The newest commit of the client's chain, which the next one follows.
    pub previous: Option<SnapshotId>,
    /// The sequence number of the commit that ends this lease.
    pub sequence: u64,
}

/// What a lease may reuse: fixed when it is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The condemned epoch: nothing condemned up to here may be reused.
    pub epoch: u64,
    /// The log index of the grant.
    pub index: u64,
    /// The client's own index segments.
    pub own: Vec<ObjectName>,
    /// Published shared segments of the domain.
    pub shared: Vec<ObjectName>,
}

/// A snapshot to build on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its commit object.
    pub object: ObjectName,
}

/// A decided snapshot, as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its id.
    pub id: SnapshotId,
    /// Whose.
    pub client: ClientId,
    /// Where it lies.
    pub repository: RepositoryId,
    /// When it was decided.
    pub at: UnixMillis,
    /// What was committed.
    pub commit: CommitFacts,
}
