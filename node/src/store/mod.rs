//! Object storage that speaks S3.
//!
//! Invariant: a `Carrier` holds no credential and sends nothing but what a ticket
//! signed; only a `Steward` holds one, and no error text ever contains it.

mod answer;
mod carrier;
mod minter;
mod place;
mod steward;

use std::{fmt, sync::Arc};

use ::env::{Blocking, Carrier, Clock, Steward, Storages, store::StoreError};
use protocol::records::{Storage, StorageCredential};

pub(crate) use self::place::{is_bucket, is_path};
use self::{carrier::S3Carrier, place::Place, steward::S3Steward};

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
}

impl Storages for S3Storages {
    fn carrier(&self, storage: &Storage) -> Result<Arc<dyn Carrier>, StoreError> {
        Ok(Arc::new(S3Carrier::new(Arc::new(Place::of(storage)?), self.clock.clone())?))
    }

    fn steward(&self, storage: &Storage, credential: &StorageCredential) -> Result<Arc<dyn Steward>, StoreError> {
        let place = Arc::new(Place::of(storage)?);
        Ok(Arc::new(S3Steward::new(place, credential, self.clock.clone(), self.blocking.clone())?))
    }
}
