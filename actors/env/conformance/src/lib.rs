//! What every storage has to do, whatever it is: written once, and run by the tests
//! of `node` against the built-in storage and against others, and by those of `sim`
//! against the simulated one. No product depends on this crate.
//!
//! Invariant: what is asked here is what `env::store` promises, no more; a check
//! that fails panics with what it saw.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "these are tests, and fail by panic, wherever they are called from"
)]

mod listings;
mod names;
mod objects;
mod once;
mod tickets;

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use env::{Carrier, Clock, Steward, Storages, store::StoreError};
use protocol::{
    ids::Sha256,
    records::{Storage, StorageCredential},
    time::UnixMillis,
    wire::{PutTicket, ReadTicket},
};
use sha2::Digest as _;

/// Sends what no carrier would send.
#[async_trait]
pub trait Raw: Send + Sync {
    /// Sends `body` with exactly the path and headers of `ticket`, and returns the
    /// status; None if the connection was cut instead.
    async fn put(&self, ticket: &PutTicket, body: Bytes) -> Option<u16>;
    /// Sends a GET and returns the status.
    async fn get(&self, url: &str) -> u16;
}

/// The storage under test.
pub struct Subject {
    /// Connects to it.
    pub storages: Arc<dyn Storages>,
    /// Tells the time that tickets are minted with.
    pub clock: Arc<dyn Clock>,
    /// A way around the carrier.
    pub raw: Box<dyn Raw>,
    /// Where it is: a bucket that exists, and a prefix that is unused.
    pub storage: Storage,
    /// May do everything there.
    pub credential: StorageCredential,
}

/// Runs every check.
pub async fn run(subject: Subject) {
    let steward = subject.storages.steward(&subject.storage, &subject.credential).unwrap();
    let carrier = subject.storages.carrier(&subject.storage).unwrap();
    let bench = Bench { steward, carrier, subject };
    objects::run(&bench).await;
    names::run(&bench).await;
    once::run(&bench).await;
    tickets::run(&bench).await;
    listings::run(&bench).await;
}

/// The subject, and both halves of its storage.
struct Bench {
    subject: Subject,
    steward: Arc<dyn Steward>,
    carrier: Arc<dyn Carrier>,
}

impl Bench {
    fn now(&self) -> UnixMillis {
        self.subject.clock.now()
    }

    fn put_ticket(&self, path: &str, body: &[u8]) -> PutTicket {
        self.steward.mint_put(path, body.len() as u64, &hash(body), self.now()).unwrap()
    }

    fn read_ticket(&self, path: &str) -> ReadTicket {
        self.steward.mint_get(path, self.now()).unwrap()
    }

    async fn put(&self, path: &str, body: &Bytes) -> Result<(), StoreError> {
        self.carrier.put(&self.put_ticket(path, body), body.clone()).await
    }

    /// Reads by ticket and as the steward, which must come to the same.
    async fn get(&self, path: &str, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let by_ticket = self.carrier.get(&self.read_ticket(path), range.clone()).await;
        let own = match range {
            Some(range) => self.steward.get_range(path, range).await,
            None => self.steward.get(path, protocol::limits::OBJECT_BYTES_MAX).await,
        };
        match (&by_ticket, &own) {
            (Ok(one), Ok(other)) => assert_eq!(one, other, "{path}"),
            (Err(one), Err(other)) => {
                assert_eq!(std::mem::discriminant(one), std::mem::discriminant(other), "{path}: {one} and {other}");
            }
            (one, other) => panic!("{path}: the client got {one:?}, the orchestrator {other:?}"),
        }
        by_ticket
    }

    async fn absent(&self, path: &str) {
        let head = self.steward.head(path).await;
        assert!(matches!(head, Err(StoreError::NotFound { .. })), "{path} should not exist: {head:?}");
    }
}

/// The hash that a ticket for these bytes signs.
pub fn hash(body: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(body).into())
}

/// `len` bytes that differ from those of every other `seed`.
pub fn body(len: usize, seed: u8) -> Bytes {
    (0..len).map(|i| (i * 31 + i / 251) as u8 ^ seed).collect::<Vec<_>>().into()
}

/// The ticket with one header set, added or, with None, dropped.
pub fn with_header(ticket: &PutTicket, name: &str, value: Option<&str>) -> PutTicket {
    let mut changed = ticket.clone();
    changed.headers.retain(|(given, _)| given != name);
    changed.headers.extend(value.map(|value| (name.to_string(), value.to_string())));
    changed
}
