//! The ledger's own backup: what is needed to begin again when all orchestrators are lost.
//!
//! A *head* names *parts*. `header ‖ postcard(Signed)`, the signed body is
//! `postcard(Head)`; a part is `header ‖ seal(key, number, postcard(Vec<Kept>))`. The key is
//! drawn anew for each backup, and stands in the head, sealed to the root.
//!
//! Invariant: an orchestrator that wrote a backup cannot read one, nor can a storage: only
//! the root's private key opens it. What a head says is signed by its author's TLS key.

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    format::{self, Magic},
    ids::{ClusterId, LeaseId, PublicKey, SealingKey, Sha256},
    ledger::Item,
    limits,
    names::ObjectName,
    records::SecretId,
    sealed::{self, SealedBox, SealingSecret},
    sign::{self, Signed, Signer},
    time::UnixMillis,
};

const HEAD: Magic = Magic { bytes: b"nuthledg", name: "ledger backup" };
const PART: Magic = Magic { bytes: b"nuthlprt", name: "part of a ledger backup" };
/// HPKE's `info` for the key of the parts.
const INFO: &[u8] = b"nuthatch 2026 ledger backup";

/// Where heads lie, relative to the repository's prefix.
pub const HEADS: &str = "cluster/ledger";
/// Where parts lie.
pub const PARTS: &str = "cluster/part";

/// What a backup is, and where the rest of it lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Of which life of its ledger.
    pub incarnation: u32,
    /// The index of the last entry that was applied.
    pub applied: u64,
    /// The number of the newest keyset.
    pub keyset: u64,
    /// When it was written, by its author's clock.
    pub at: UnixMillis,
    /// How many clients are in it.
    pub clients: u64,
    /// How many snapshots.
    pub snapshots: u64,
    /// The parts, in order: at most `limits::LEDGER_PARTS_MAX`.
    pub parts: Vec<ObjectName>,
    /// The key of the parts, sealed to the root.
    pub key: SealedBox,
}

/// One thing that is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// A converging record, as it was signed.
    Record(Signed),
    /// A secret that the orchestrators share.
    Secret {
        /// Which.
        id: SecretId,
        /// What it is.
        secret: Vec<u8>,
    },
    /// A piece of the log's state.
    Item(Item),
}

/// Secrets are not printed.
impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Record(signed) => write!(f, "Record({:?})", signed.hash()),
            Self::Secret { id, .. } => write!(f, "Secret({id:?}, ..)"),
            Self::Item(item) => write!(f, "{item:?}"),
        }
    }
}

/// The name of an object of a backup: numbered by incarnation and applied index, so that
/// the last of a listing is the newest.
pub fn name(incarnation: u32, applied: u64, hash: Sha256) -> ObjectName {
    ObjectName { lease: LeaseId { incarnation, index: applied }, hash }
}

/// The key to which backups are sealed: the root's Ed25519 key as an X25519 key. Using one
/// key pair for both is sound (Thormarker, "On using the same key pair for Ed25519 and an
/// X25519 based KEM", 2021).
pub fn sealing_key(root: &PublicKey) -> Result<SealingKey, DecodeError> {
    sign::to_x25519(root)
}

/// Seals the key of the parts.
pub fn seal_key(root: &PublicKey, key: &[u8; 32], fill: &mut dyn FnMut(&mut [u8])) -> Result<SealedBox, DecodeError> {
    sealed::seal_to(&sealing_key(root)?, INFO, key, fill)
}

/// Writes one part. Each number is used once under a key.
pub fn seal_part(key: &[u8; 32], number: u64, kept: &[Kept]) -> Vec<u8> {
    let mut sealed = codec::encode(&kept);
    sealed::seal_in_place(key, &sealed::nonce(number), b"", &mut sealed);
    let mut bytes = format::begin(PART, sealed.len());
    bytes.extend_from_slice(&sealed);
    format::finish(&mut bytes);
    bytes
}

/// Reads one part.
pub fn open_part(key: &[u8; 32], number: u64, bytes: &[u8]) -> Result<Vec<Kept>, DecodeError> {
    let mut body = format::body(PART, bytes)?.to_vec();
    sealed::open_in_place(PART.name, key, &sealed::nonce(number), b"", &mut body)?;
    codec::decode(PART.name, &body)
}

impl Head {
    /// The bytes of a head.
    pub fn seal(&self, author: &Signer) -> Vec<u8> {
        let mut bytes = format::begin(HEAD, 0);
        bytes.extend_from_slice(&codec::encode(&Signed::new(author, sign::LEDGER, codec::encode(self))));
        format::finish(&mut bytes);
        bytes
    }

    /// Reads a head of a cluster, and who wrote it. Whether that was one who may is another
    /// question.
    pub fn open(bytes: &[u8], cluster: &ClusterId) -> Result<(PublicKey, Self), DecodeError> {
        let what = HEAD.name;
        let signed: Signed = codec::decode(what, format::body(HEAD, bytes)?)?;
        signed.verify(what, sign::LEDGER)?;
        let head: Self = codec::decode(what, &signed.body)?;
        if head.cluster != *cluster {
            return Err(DecodeError::Forged { what, reason: "it is of another cluster" });
        }
        if head.parts.len() > limits::LEDGER_PARTS_MAX {
            return Err(DecodeError::Malformed { what, reason: format!("{} parts", head.parts.len()) });
        }
        Ok((signed.author, head))
    }

    /// The key of the parts, for the holder of the root's private key.
    pub fn open_key(&self, root: &SealingSecret) -> Result<[u8; 32], DecodeError> {
        let opened = root.open(&self.key, INFO)?;
        let key = opened.as_slice().try_into();
        key.map_err(|_| DecodeError::Malformed { what: HEAD.name, reason: "its key has another length".into() })
    }
}
