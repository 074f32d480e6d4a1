//! Reads commit objects for the desk.

use control::commit_check::ReadCommit;
use protocol::{
    failure::Failure,
    format::commit::CommitObject,
    ids::{PublicKey, Sha256},
};
use sha2::Digest as _;

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
        complete: body.complete,
        segments: Some(body.segments),
    })
}
