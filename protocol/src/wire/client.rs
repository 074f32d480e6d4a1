//! What clients ask of orchestrators.

use serde::{Deserialize, Serialize};

use crate::{
    commands::CommitFacts,
    ids::{AttemptId, ClientId, Hash, LeaseId, LineageId, RepositoryId, Sha256, SnapshotId},
    names::ObjectKey,
    sign::Signed,
    time::UnixMillis,
};

/// Asks for the records that a client works by: keyset, domain, storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {}

/// Waits for news: answered as soon as `Configure` would answer something else than what
/// the caller has, or after a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// What the caller has: the edition of the last `Configured` or `Watched`.
    pub seen: Hash,
}

impl Watch {
    /// The edition of a configuration: BLAKE3 of the hashes of its records, in their order.
    pub fn edition(configuration: &[Signed]) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for record in configuration {
            hasher.update(&record.hash().0);
        }
        Hash(*hasher.finalize().as_bytes())
    }
}

/// Asks for a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where the client wants to write.
    pub repository: RepositoryId,
    /// Which of its backups it wants to go on with.
    pub lineage: LineageId,
    /// Random, and the same however often this call is repeated: a repetition has the
    /// same answer, and one that arrives late fences nobody.
    pub attempt: AttemptId,
    /// The lease of the same process that this one follows. If another was granted
    /// since, this one is refused. None: whatever is open is closed.
    pub after: Option<LeaseId>,
}

/// Asks for rights to upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintPuts {
    /// The lease under which the names were made.
    pub lease: LeaseId,
    /// Where.
    pub repository: RepositoryId,
    /// What is to be written: at most `limits::TICKETS_PER_CALL_MAX`.
    pub objects: Vec<PutRequest>,
}

/// One object to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// Its address; the name carries the hash.
    pub key: ObjectKey,
    /// Its length in bytes, not 0.
    pub len: u64,
}

/// The right to one PUT: the signed headers of a single request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutTicket {
    /// Path of the request, as it was signed: with bucket and prefix, not escaped.
    pub path: String,
    /// Length of the body in bytes.
    pub len: u64,
    /// SHA-256 of the body.
    pub hash: Sha256,
    /// All headers to send, the signature among them, and no others.
    pub headers: Vec<(String, String)>,
    /// When the storage stops accepting it, by the minter's clock.
    pub expires: UnixMillis,
}

/// Asks for rights to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintGets {
    /// Where.
    pub repository: RepositoryId,
    /// What is to be read: at most `limits::TICKETS_PER_CALL_MAX`.
    pub objects: Vec<ObjectKey>,
}

/// The right to read one object for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadTicket {
    /// The pre-signed URL.
    pub url: String,
    /// When the storage stops accepting it, by the minter's clock.
    pub expires: UnixMillis,
}

/// Makes a commit object a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Where.
    pub repository: RepositoryId,
    /// What to decide; the callee reads the object and compares.
    pub commit: CommitFacts,
}

/// Gives a lease back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    /// Which lease.
    pub lease: LeaseId,
}

/// Asks for decided snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSnapshots {
    /// Whose. None: the caller's.
    pub client: Option<ClientId>,
    /// Only those that come after this one.
    pub after: Option<SnapshotId>,
}

/// Asks what could be reused now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Where.
    pub repository: RepositoryId,
}

/// Tells of objects that seem lost or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Where.
    pub repository: RepositoryId,
    /// Packs and index segments of the caller's domain, and its own reference-list pages:
    /// at most `limits::REPORT_OBJECTS_MAX`.
    pub objects: Vec<ObjectKey>,
}
