//! What a ledger holds, piece by piece: how a lost one is made again from its backup.
//!
//! Invariant: items are only ever appended to, like commands. Put into an empty ledger in
//! the order in which they were written, they make one that knows the same clients and
//! snapshots, in a later incarnation.

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    commands::{CondemnedObject, Enrollment, NewSegment, SnapshotRecord},
    ids::{ClientId, ClusterId, DomainId, Hash, LeaseId, PublicKey, RepositoryId},
    names::ObjectName,
    sign::{self, Signed, Signer},
};

/// One piece of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// A client. What else is about it comes later.
    Client {
        /// Its enrollment.
        enrollment: Enrollment,
        /// Whether it has opened its token's welcome.
        welcomed: bool,
    },
    /// A decided snapshot. Those of one client in one repository come in order.
    Snapshot(SnapshotRecord),
    /// A lease that was open, or ended without a commit since the last one.
    Left {
        /// Whose.
        client: ClientId,
        /// Where.
        repository: RepositoryId,
        /// Which.
        lease: LeaseId,
    },
    /// A client's own index segment that no published one replaces.
    Own {
        /// Where it lies.
        repository: RepositoryId,
        /// In whose domain.
        domain: DomainId,
        /// Whose.
        client: ClientId,
        /// Its name.
        name: ObjectName,
    },
    /// A published index segment.
    Published {
        /// Where it lies.
        repository: RepositoryId,
        /// In whose domain.
        domain: DomainId,
        /// Who may use it. None: every member of the domain.
        scope: Option<ClientId>,
        /// Of which publication.
        run: LeaseId,
        /// The segment.
        segment: NewSegment,
    },
    /// Something that is lost or damaged.
    Condemned {
        /// Where it lay.
        repository: RepositoryId,
        /// In whose domain.
        domain: DomainId,
        /// What, and since when.
        object: CondemnedObject,
    },
    /// A lease of which an own segment was lost before it was published.
    Lost {
        /// Where.
        repository: RepositoryId,
        /// In whose domain.
        domain: DomainId,
        /// Whose.
        client: ClientId,
        /// Which.
        lease: LeaseId,
    },
}

/// The root's word that a lost ledger begins again, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charter {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Its new incarnation: higher than any that there was.
    pub incarnation: u32,
    /// How many items it begins with.
    pub items: u64,
    /// What `digest` comes to after the last of them.
    pub digest: Hash,
}

impl Charter {
    const WHAT: &str = "charter";

    /// Signs it with the root's key.
    pub fn sign(&self, root: &Signer) -> Signed {
        Signed::new(root, sign::CHARTER, codec::encode(self))
    }

    /// Reads one that this root signed for its cluster.
    pub fn open(signed: &Signed, root: &PublicKey) -> Result<Self, DecodeError> {
        let forged = |reason| DecodeError::Forged { what: Self::WHAT, reason };
        if signed.author != *root {
            return Err(forged("it was not signed by the root key"));
        }
        signed.verify(Self::WHAT, sign::CHARTER)?;
        let charter: Self = codec::decode(Self::WHAT, &signed.body)?;
        if charter.cluster != ClusterId::of_root(root) {
            return Err(forged("it was signed for another cluster"));
        }
        Ok(charter)
    }
}

/// The digest before the first item.
pub const EMPTY_DIGEST: Hash = Hash([0; 32]);

/// The digest after one more item: BLAKE3 of the one before and the item's bytes.
pub fn digest(before: &Hash, item: &Item) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&before.0).update(&codec::encode(item));
    Hash(*hasher.finalize().as_bytes())
}
