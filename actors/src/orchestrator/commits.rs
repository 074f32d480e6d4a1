//! Reads commit objects for the desk.

use std::time::Duration;

use bytes::Bytes;
use control::commit_check::ReadCommit;
use env::{Steward, store::StoreError};
use protocol::{
    failure::Failure,
    format::commit::CommitObject,
    ids::{PublicKey, Sha256},
    limits,
};
use sha2::Digest as _;

/// How long the storage may take: well below what the caller waits for its commit.
const FETCH_PATIENCE: Duration = Duration::from_secs(4);
const FETCH_ATTEMPTS: u32 = 3;

/// Fetches a commit object. A request that gets no clear answer is sent again: it
/// may have been lost.
pub async fn fetch(steward: &dyn Steward, path: &str) -> Result<Bytes, Failure> {
    let mut last = Failure::retry("the storage did not answer in time");
    for _ in 0..FETCH_ATTEMPTS {
        match tokio::time::timeout(FETCH_PATIENCE, steward.get(path, limits::OBJECT_BYTES_MAX)).await {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(StoreError::NotFound { .. })) => {
                return Err(Failure::retry("the commit object is not in the storage: upload it, then commit again"));
            }
            Ok(Err(error)) => last = Failure::retry(format!("cannot read the commit object: {error}")),
            Err(_) => {}
        }
    }
    Err(last)
}

/// What a commit object says, if its form and signature are right.
pub fn read(bytes: &[u8], commit_key: &PublicKey) -> Result<ReadCommit, Failure> {
    let body = CommitObject::open(bytes, commit_key)?;
    Ok(ReadCommit {
        hash: Sha256(sha2::Sha256::digest(bytes).into()),
        author: *commit_key,
        repository: body.repository,
        client: body.client,
        lease: body.lease,
        sequence: body.sequence,
        previous: body.previous,
        lineage: body.lineage,
        complete: body.complete,
        segments: Some(body.segments),
    })
}
