//! Identifiers: fixed-size byte strings, written as lower-case hex.
//!
//! Invariant: an identifier that names content or a key is never truncated.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};

/// A text that should have been an identifier was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: expected {digits} hexadecimal digits")]
pub struct ParseIdError {
    /// What was expected, as a person would call it.
    pub kind: &'static str,
    /// The text that was given.
    pub text: String,
    /// How many digits such an identifier has.
    pub digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes of the identifier.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hexadecimal digits: enough for a person to tell two apart.
            pub fn short(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                HEXLOWER_PERMISSIVE
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| ParseIdError { kind: $kind, text: text.into(), digits: 2 * $len })
            }
        }
    };
}

id!(
    /// A cluster: `derive_key("nuthatch 2026 cluster id", root public key)`.
    ClusterId, 32, "cluster id"
);
id!(
    /// A repository: all of one prefix of one bucket. Random.
    RepositoryId, 16, "repository id"
);
id!(
    /// A dedup domain: the clients that share savings. Random.
    DomainId, 16, "domain id"
);
id!(
    /// A client: the first half of the BLAKE3 hash of its TLS key.
    ClientId, 16, "client id"
);
id!(
    /// A node that serves others: the first half of the BLAKE3 hash of its TLS key.
    NodeId, 16, "node id"
);
id!(
    /// A token: its Ed25519 public key.
    TokenId, 32, "token id"
);
id!(
    /// A chunk: BLAKE3 of its sealed bytes. Anyone can check it without a key.
    ChunkId, 32, "chunk id"
);
id!(
    /// A snapshot: SHA-256 of its commit object.
    SnapshotId, 32, "snapshot id"
);
id!(
    /// A lineage: the backups of one client that build on each other, because they
    /// have the same sources. Derived from these under the client's own secret, so
    /// it tells others nothing but which backups belong together.
    LineageId, 16, "lineage id"
);
id!(
    /// One attempt to get a lease, however often its call is repeated. Random.
    AttemptId, 16, "attempt id"
);
id!(
    /// SHA-256 of some bytes, as object names carry it.
    Sha256, 32, "SHA-256"
);
id!(
    /// BLAKE3 of some bytes.
    Hash, 32, "BLAKE3 hash"
);
id!(
    /// An Ed25519 public key.
    PublicKey, 32, "public key"
);
id!(
    /// An X25519 public key to which secrets are sealed.
    SealingKey, 32, "sealing key"
);

impl ClusterId {
    /// The cluster whose root key this is.
    pub fn of_root(root: &PublicKey) -> Self {
        Self(blake3::derive_key("nuthatch 2026 cluster id", &root.0))
    }
}

/// The first half of the hash of a TLS key: how nodes and clients are called.
fn half_hash(key: &PublicKey) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(&key.0).as_bytes()[..16]);
    half
}

impl NodeId {
    /// The node that proves possession of this TLS key.
    pub fn of_key(key: &PublicKey) -> Self {
        Self(half_hash(key))
    }
}

impl ClientId {
    /// The client that proves possession of this TLS key.
    pub fn of_key(key: &PublicKey) -> Self {
        Self(half_hash(key))
    }
}

/// The right of one client to write for a while, decided by the log.
///
/// Unique by construction: the incarnation of the ledger and the place in its
/// log of the command that granted it. Written as 24 hexadecimal digits, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId {
    /// Which life of the ledger: raised when a lost ledger is rebuilt.
    pub incarnation: u32,
    /// Index of the log entry that granted the lease, times 65,536, plus the
    /// command's place in that entry, from 0.
    pub index: u64,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:016x}", self.incarnation, self.index)
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseId({self})")
    }
}

impl FromStr for LeaseId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let fail = || ParseIdError { kind: "lease id", text: text.into(), digits: 24 };
        if text.len() != 24 || !text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()) {
            return Err(fail());
        }
        let (incarnation, index) = text.split_at(8);
        Ok(Self {
            incarnation: u32::from_str_radix(incarnation, 16).map_err(|_| fail())?,
            index: u64::from_str_radix(index, 16).map_err(|_| fail())?,
        })
    }
}
