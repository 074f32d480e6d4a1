//! What was done to a cluster, by whom and when: the log's memory of administrative acts.
//!
//! Invariant: an act by a person is there with what that person signed, or with its hash:
//! the log dates it, and cannot invent it.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Hash, NodeId, PublicKey},
    records::Subject,
    sign::Signed,
    time::UnixMillis,
};

/// One entry of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When, by decided time.
    pub at: UnixMillis,
    /// What.
    pub act: Act,
}

/// An administrative act. Variants are only ever appended.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are records that somebody signed")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Somebody signed a record.
    Signed {
        /// Whose key signed it.
        author: PublicKey,
        /// What the keyset in force then called that key.
        name: String,
        /// What it is about.
        subject: Subject,
        /// Its version.
        version: u64,
        /// What tells it from every other record.
        hash: Hash,
        /// The record itself, unless it is longer than `limits::AUDIT_RECORD_BYTES_MAX`.
        record: Option<Signed>,
    },
    /// From now on these nodes vote in the log.
    Voters(Vec<NodeId>),
    /// The ledger began again, in this incarnation.
    Rebuilt(u32),
    /// From now on the log speaks this level (`levels`).
    Level(u8),
}
