//! Object storage, in two halves: the `Carrier` of a client, which can do nothing
//! but what it was given a ticket for, and the `Steward` of an orchestrator,
//! which holds the credential and mints the tickets.
//!
//! Both are made for one storage; retries, tickets about to expire and the choice
//! of an orchestrator are the caller's business.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::{
    ids::Sha256,
    records::{Storage, StorageCredential},
    time::UnixMillis,
    wire::{PutTicket, ReadTicket},
};

/// Why a request to storage failed, by what the caller should do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing of that name.
    #[error("{what} is not in the storage")]
    NotFound {
        /// Which object.
        what: String,
    },
    /// Something of that name exists (412). As names commit to their bytes, it is
    /// most likely what the caller wants: it should check the length.
    #[error("{what} exists already")]
    Exists {
        /// Which object.
        what: String,
    },
    /// The storage refused the credential, ticket or signature (400, 401, 403).
    #[error("the storage refused {what}: {answer}")]
    Refused {
        /// Which object.
        what: String,
        /// What the storage said, and what to do about it.
        answer: String,
    },
    /// The storage is full or a quota is reached (507, QuotaExceeded).
    #[error("the storage has no room for {what}: {answer}")]
    Full {
        /// Which object.
        what: String,
        /// What the storage said, and what to do about it.
        answer: String,
    },
    /// The request may or may not have taken effect: connection broken, time-out,
    /// 5xx, a reply cut short. Look, then try again.
    #[error("no clear answer from the storage about {what}: {reason}")]
    Unclear {
        /// Which object.
        what: String,
        /// What happened.
        reason: String,
    },
    /// The request cannot be made at all: a broken address, a body that does not fit its ticket.
    #[error("{reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
}

/// The client's half: sends exactly what a ticket allows.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// One attempt to store `body` as the ticket says. The caller guarantees that
    /// the body has the ticket's hash; the length is checked here.
    async fn put(&self, ticket: &PutTicket, body: Bytes) -> Result<(), StoreError>;
    /// One attempt to read an object, or the bytes `range` of it. The result has
    /// exactly the length of the range, or is shorter only if the object is.
    async fn get(&self, ticket: &ReadTicket, range: Option<Range<u64>>) -> Result<Bytes, StoreError>;
}

/// The orchestrator's half: holds the credential.
#[async_trait]
pub trait Steward: Send + Sync {
    /// Mints the right to one PUT. `path` is relative to the repository's prefix;
    /// `len` is not 0. Computes only; no request is made.
    fn mint_put(&self, path: &str, len: u64, hash: &Sha256, now: UnixMillis) -> Result<PutTicket, StoreError>;
    /// Mints the right to read one object for a while. Computes only.
    fn mint_get(&self, path: &str, now: UnixMillis) -> Result<ReadTicket, StoreError>;
    /// Length of an object.
    async fn head(&self, path: &str) -> Result<u64, StoreError>;
    /// A whole object of at most `len_max` bytes.
    async fn get(&self, path: &str, len_max: usize) -> Result<Bytes, StoreError>;
    /// The bytes `range` of an object. The result has exactly the length of the
    /// range, or is shorter only if the object is.
    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError>;
    /// One attempt to store an object that must not exist yet.
    async fn put_new(&self, path: &str, body: Bytes) -> Result<(), StoreError>;
    /// Names below `path`, relative to the prefix, with their lengths, in order.
    async fn list(&self, path: &str) -> Result<Vec<(String, u64)>, StoreError>;
    /// Deletes an object. It is no error if it does not exist.
    async fn delete(&self, path: &str) -> Result<(), StoreError>;
}

/// Connects to storages.
pub trait Storages: Send + Sync {
    /// The client's half.
    fn carrier(&self, storage: &Storage) -> Result<Arc<dyn Carrier>, StoreError>;
    /// The orchestrator's half.
    fn steward(&self, storage: &Storage, credential: &StorageCredential) -> Result<Arc<dyn Steward>, StoreError>;
}
