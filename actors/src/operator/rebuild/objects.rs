//! Reading what the lost cluster has stored.
//!
//! Invariant: what is handed on are the bytes that the object's name says.

use bytes::Bytes;
use env::{Steward, store::StoreError};
use protocol::{
    failure::{Code, Failure},
    ids::Sha256,
    limits,
    names::ObjectName,
};
use sha2::Digest as _;

/// How often an object is read that arrives damaged: that may have happened on its way.
const READS_MAX: usize = 3;

/// Reads an object that is named after its bytes.
///
/// Fails with `Corrupt` if the storage has other bytes, and with `Retry` if it does not answer.
pub async fn read(steward: &dyn Steward, path: &str) -> Result<Bytes, Failure> {
    let name = named(path).ok_or_else(|| Failure::corrupt("it is not named after its bytes"))?;
    for _ in 0..READS_MAX {
        let bytes = steward.get(path, limits::OBJECT_BYTES_MAX).await.map_err(unusable)?;
        if Sha256(sha2::Sha256::digest(&bytes).into()) == name.hash {
            return Ok(bytes);
        }
    }
    Err(Failure::corrupt("its bytes are not those that were written: the storage has damaged it"))
}

/// The name that an object of a listing has.
pub fn named(path: &str) -> Option<ObjectName> {
    path.rsplit_once('/')?.1.parse().ok()
}

/// Why a storage is of no use now.
pub fn unusable(error: StoreError) -> Failure {
    let code = if matches!(error, StoreError::Unclear { .. }) { Code::Retry } else { Code::Invalid };
    Failure::new(code, error.to_string())
}
