//! The decided log: what orchestrators agree on, one command at a time.
//!
//! Invariant: applying a command reads nothing but the state of the log and the
//! command itself, signed records that it depends on included, so that every
//! replica comes to the same state.

use serde::{Deserialize, Serialize};

use crate::{
    codec,
    failure::Failure,
    ids::{
        AttemptId, ClientId, ClusterId, DomainId, LeaseId, LineageId, NodeId, PublicKey, RepositoryId, SealingKey,
        SnapshotId, TokenId,
    },
    ledger::Item,
    levels, limits,
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
    #[serde(deserialize_with = "codec::at_most::<{ limits::COMMANDS_PER_ENTRY_MAX }, _, _>")]
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
        /// Which attempt this is: the same one again has the same answer.
        attempt: AttemptId,
        /// The lease after which it goes on. If another was granted since, this one is refused.
        after: Option<LeaseId>,
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
    /// Takes up the publishing of index segments; whoever had taken it up before is fenced.
    Claim {
        /// Who does it from now on.
        node: NodeId,
        /// Where.
        repository: RepositoryId,
        /// Whose.
        domain: DomainId,
    },
    /// Puts published index segments in the place of others.
    Publish {
        /// What, and in whose place.
        publication: Publication,
    },
    /// Takes lost or damaged objects out of use, for ever. The proposer has looked.
    Condemn {
        /// Where they lie.
        repository: RepositoryId,
        /// Whose they are.
        domain: DomainId,
        /// Packs, index segments and reference-list pages.
        objects: Vec<ObjectName>,
    },
    /// Begins a lost ledger again, in a new incarnation. Until it has all that its charter
    /// names, nothing else is decided.
    Found {
        /// A `ledger::Charter`, signed by the root.
        charter: Signed,
    },
    /// The next pieces of a ledger that begins again.
    Import {
        /// How many there are before these.
        from: u64,
        /// The pieces.
        items: Vec<Item>,
    },
    /// Enters a record into the audit trail.
    Witness {
        /// The record, signed by the root or by an admin.
        record: Signed,
    },
    /// Raises the log to the next level: every orchestrator of the keyset in force speaks it.
    Raise {
        /// The next level.
        level: u8,
        /// A `levels::Statement` of each of them, signed by it.
        #[serde(deserialize_with = "codec::at_most::<{ limits::ROSTER_MAX }, _, _>")]
        statements: Vec<Signed>,
    },
    /// Notes that the ledger was backed up. Level 2.
    NoteBackup {
        /// The backup.
        backup: LedgerBackup,
    },
}

impl Command {
    /// The level that a program has to speak to take this.
    pub const fn level(&self) -> u8 {
        match self {
            Self::NoteBackup { .. } => levels::BACKUPS_NOTED,
            Self::Raise { level, .. } => *level,
            _ => levels::FIRST,
        }
    }
}

/// A backup of the ledger that a storage took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerBackup {
    /// When, by the clock of who wrote it.
    pub at: UnixMillis,
    /// Up to which entry of the log.
    pub applied: u64,
    /// How many clients are in it.
    pub clients: u64,
    /// How many snapshots.
    pub snapshots: u64,
}

/// Index segments that a verifier wrote, and what they replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The claim under which the segments are named.
    pub claim: LeaseId,
    /// Where they lie.
    pub repository: RepositoryId,
    /// Whose they are.
    pub domain: DomainId,
    /// Who may use them. None: every member of the domain.
    pub scope: Option<ClientId>,
    /// The segments: one sorted row of chunk ids, cut into objects.
    pub segments: Vec<NewSegment>,
    /// Clients' own segments that they replace.
    pub covers_own: Vec<(ClientId, ObjectName)>,
    /// Published segments of the same scope that they replace.
    pub covers: Vec<ObjectName>,
    /// Leases whose segments were lost, and are made up for by these.
    pub mends: Vec<(ClientId, LeaseId)>,
}

/// One index segment to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSegment {
    /// Its name, under the claim.
    pub name: ObjectName,
    /// How many rows it has.
    pub rows: u64,
    /// The first 32 bits, big-endian, of its first chunk id.
    pub first: u32,
    /// The first 32 bits, big-endian, of its last chunk id.
    pub last: u32,
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
#[expect(clippy::large_enum_variant, reason = "few are held at a time, and a lease is what most of them are")]
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
    /// The lease under which the verifier names segments.
    Claimed(LeaseId),
    /// The segments are published, now or since earlier.
    Published,
    /// The condemned epoch in which these objects, and all others before, are condemned.
    Condemned(u64),
    /// How many pieces of a ledger that begins again are there.
    Imported(u64),
    /// The record is in the audit trail, now or since earlier.
    Witnessed,
    /// The log speaks this level, now or since earlier.
    Raised(u8),
    /// The ledger knows of its backup.
    BackupNoted,
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The condemned epoch: nothing condemned up to here may be reused.
    pub epoch: u64,
    /// The log index of the grant.
    pub index: u64,
    /// The client's own index segments that no published one replaces yet. Signed by
    /// its commit key.
    pub own: Vec<ObjectName>,
    /// Published segments. Signed by any orchestrator: it is the log that says that
    /// they count, by their name, which is the hash of their bytes.
    pub shared: Vec<SharedSegment>,
    /// The client's leases that ended without a commit since its last one: what it
    /// stored under them is there to be used.
    pub left: Vec<LeaseId>,
    /// Objects that are lost or damaged: never to be reused, whatever names them.
    pub condemned: Vec<CondemnedObject>,
}

/// A published index segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SharedSegment {
    /// Its name.
    pub name: ObjectName,
    /// The first 32 bits, big-endian, of its first chunk id.
    pub first: u32,
    /// The first 32 bits, big-endian, of its last chunk id: it is asked for no others.
    pub last: u32,
    /// Whether only this client may use it.
    pub private: bool,
}

/// An object that was condemned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CondemnedObject {
    /// Its name.
    pub name: ObjectName,
    /// The epoch that began with it. A snapshot made under a lease of this epoch or a
    /// later one does not need it.
    pub epoch: u64,
}

/// A snapshot to build on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its commit object.
    pub object: ObjectName,
    /// The condemned epoch of the lease it was made under.
    pub epoch: u64,
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
    /// The condemned epoch of its lease: it needs nothing that was condemned up to here.
    pub epoch: u64,
    /// What was committed.
    pub commit: CommitFacts,
}
