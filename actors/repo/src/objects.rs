//! Where objects go, and come from.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::names::ObjectKey;

use crate::error::RepoError;

/// An object store as the data plane sees it. Tickets, retries and the choice of
/// another orchestrator are the implementor's: an error that comes out ends the job.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Stores an object. The key's name carries the SHA-256 of `body`. An object
    /// that exists already under that name is a success.
    async fn put(&self, key: ObjectKey, body: Bytes) -> Result<(), RepoError>;
    /// Reads an object, or the bytes `range` of it. The result has exactly the
    /// length of the range, or is shorter only if the object is.
    async fn get(&self, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Bytes, RepoError>;
}
