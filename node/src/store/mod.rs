//! Object storage that speaks S3.
//!
//! Invariant: a `Carrier` holds no credential and sends nothing but what a ticket
//! signed; only a `Steward` holds one, and no error text ever contains it.

mod answer;
mod authority;
mod body;
mod carrier;
mod distrust;
mod line;
mod listing;
mod minter;
mod place;
mod probe;
mod steward;

use std::{fmt, sync::Arc};

use ::env::{Blocking, Carrier, Clock, Steward, Storages, store::StoreError};
use protocol::records::{Storage, StorageCredential};

pub(crate) use self::place::is_bucket;
#[cfg(fuzzing)]
pub use self::{answer::failure_in, listing::page as listing_page};
pub use self::{
    authority::certificates,
    probe::{Finding, Verdict},
};
use self::{carrier::S3Carrier, line::Line, place::Place, steward::S3Steward};

/// Connects to storages over HTTP.
pub struct S3Storages {
    clock: Arc<dyn Clock>,
    blocking: Arc<dyn Blocking>,
}

impl fmt::Debug for S3Storages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3Storages")
    }
}

impl S3Storages {
    /// `clock` times transfers out; `blocking` hashes what a steward writes itself.
    pub fn new(clock: Arc<dyn Clock>, blocking: Arc<dyn Blocking>) -> Self {
        Self { clock, blocking }
    }

    /// Tries what a storage really enforces, with the credential that is to be used.
    /// `random` makes the names of what it writes, and deletes again, fresh. An error
    /// means that the storage cannot be used at all.
    pub async fn probe(
        &self,
        storage: &Storage,
        credential: &StorageCredential,
        random: [u8; 16],
    ) -> Result<Vec<Finding>, StoreError> {
        let steward = self.s3_steward(storage, credential)?;
        probe::Probe::new(&steward, &*self.clock, random).run().await
    }

    fn s3_steward(&self, storage: &Storage, credential: &StorageCredential) -> Result<S3Steward, StoreError> {
        S3Steward::new(Arc::new(Place::of(storage)?), credential, self.clock.clone(), self.blocking.clone())
    }
}

impl Storages for S3Storages {
    fn carrier(&self, storage: &Storage) -> Result<Arc<dyn Carrier>, StoreError> {
        Ok(Arc::new(S3Carrier(Arc::new(Line::new(Arc::new(Place::of(storage)?), self.clock.clone())?))))
    }

    fn steward(&self, storage: &Storage, credential: &StorageCredential) -> Result<Arc<dyn Steward>, StoreError> {
        Ok(Arc::new(self.s3_steward(storage, credential)?))
    }
}
