//! Commit objects: what makes a snapshot real.
//!
//! `header ‖ postcard(Signed)`; the signed body is `postcard(CommitBody)`. All but
//! the manifest is readable to anyone, so that an orchestrator can check it
//! without a key that opens anything.
//!
//! Invariant: the signature covers the manifest, the names (and so the hashes) of
//! list and segments, and the id (the hash) of the commit before it.

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    commands::CommitFacts,
    format::{self, Magic, tree::Blob},
    ids::{ClientId, DomainId, LeaseId, LineageId, PublicKey, RepositoryId, SnapshotId},
    limits,
    names::ObjectName,
    sign::{self, Signed, Signer},
};

const MAGIC: Magic = Magic { bytes: b"nuthcmmt", name: "commit" };

/// What a client signs when it commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitBody {
    /// Where.
    pub repository: RepositoryId,
    /// Whose chunks it refers to.
    pub domain: DomainId,
    /// Who.
    pub client: ClientId,
    /// The lease under which everything new was written.
    pub lease: LeaseId,
    /// Place in the client's chain of commits, from 1.
    pub sequence: u64,
    /// The commit before it in the chain.
    pub previous: Option<SnapshotId>,
    /// The lineage it belongs to.
    pub lineage: LineageId,
    /// Whether it is a whole backup, or a part of one that goes on in the next lease.
    pub complete: bool,
    /// The root page of the reference list; none if the snapshot needs no chunk.
    pub list: Option<ObjectName>,
    /// Index segments written under the lease.
    pub segments: Vec<ObjectName>,
    /// Bytes of packs, segments and pages written under the lease.
    pub bytes_stored: u64,
    /// The sealed manifest.
    pub manifest: Blob,
}

/// Writes and reads commit objects.
#[derive(Debug)]
pub struct CommitObject;

impl CommitObject {
    /// The bytes of a commit object.
    pub fn seal(body: &CommitBody, signer: &Signer) -> Vec<u8> {
        let signed = Signed::new(signer, sign::COMMIT, codec::encode(body));
        let mut bytes = format::begin(MAGIC, 0);
        bytes.extend_from_slice(&codec::encode(&signed));
        format::finish(&mut bytes);
        bytes
    }

    /// Checks form and signature. Takes no key that opens anything.
    pub fn open(bytes: &[u8], commit_key: &PublicKey) -> Result<CommitBody, DecodeError> {
        let what = MAGIC.name;
        let signed: Signed = codec::decode(what, format::body(MAGIC, bytes)?)?;
        if signed.author != *commit_key {
            return Err(DecodeError::Forged { what, reason: "it was signed by another key" });
        }
        signed.verify(what, sign::COMMIT)?;
        let body: CommitBody = codec::decode(what, &signed.body)?;
        if body.segments.len() > limits::SEGMENTS_PER_COMMIT_MAX {
            return Err(DecodeError::Malformed { what, reason: format!("{} segments", body.segments.len()) });
        }
        Ok(body)
    }
}

impl CommitBody {
    /// What the log keeps of this commit, if its object has this name.
    pub fn facts(&self, object: ObjectName) -> CommitFacts {
        CommitFacts {
            lease: self.lease,
            object,
            sequence: self.sequence,
            previous: self.previous,
            lineage: self.lineage,
            complete: self.complete,
            segments: self.segments.clone(),
            bytes_stored: self.bytes_stored,
        }
    }
}
