//! Looks at an object of which someone says that it is damaged.
//!
//! Invariant: an object is judged bad only by bytes that the storage gave, or by its
//! plain word that there is no such object; a storage that does not answer proves
//! nothing.

use std::time::Duration;

use bytes::Bytes;
use env::{Env, Steward, run_blocking, store::StoreError};
use protocol::{
    format::pack,
    ids::Sha256,
    limits,
    names::{ObjectKey, Place},
};
use sha2::Digest as _;

/// How long reading one object may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is what its name says.
    Sound,
    /// It is not, or is not there: why.
    Bad(String),
    /// Nothing was found out: why.
    Unknown(String),
}

/// Reads an object whole and judges it. A pack is bad as well if its table of contents
/// promises chunks that are not there: its bytes are those of its name, but whoever
/// wrote it lied.
pub async fn judge(env: &Env, steward: &dyn Steward, key: &ObjectKey, index_key: &[u8; 32]) -> Verdict {
    let bytes = match tokio::time::timeout(PATIENCE, read(steward, key)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(StoreError::NotFound { .. })) => return Verdict::Bad("it is not in the storage".into()),
        Ok(Err(error)) => return Verdict::Unknown(error.to_string()),
        Err(_) => return Verdict::Unknown("the storage did not answer in time".into()),
    };
    let (key, index_key) = (*key, *index_key);
    run_blocking(&*env.blocking, move || judge_bytes(&key, &bytes, &index_key)).await
}

async fn read(steward: &dyn Steward, key: &ObjectKey) -> Result<Bytes, StoreError> {
    steward.get(&key.to_string(), limits::OBJECT_BYTES_MAX).await
}

fn judge_bytes(key: &ObjectKey, bytes: &[u8], index_key: &[u8; 32]) -> Verdict {
    if Sha256(sha2::Sha256::digest(bytes).into()) != key.name.hash {
        return Verdict::Bad("its bytes are not those of its name".into());
    }
    match key.place {
        Place::Pack(_) => match false_chunks(bytes, index_key) {
            Ok(0) => Verdict::Sound,
            Ok(count) => Verdict::Bad(format!("{count} chunks of its table of contents are not in it")),
            Err(reason) => Verdict::Bad(reason),
        },
        _ => Verdict::Sound,
    }
}

/// How many chunks of a pack's table do not hash to their ids.
fn false_chunks(bytes: &[u8], index_key: &[u8; 32]) -> Result<usize, String> {
    let rows = pack::open(index_key, bytes).map_err(|error| error.to_string())?;
    let is_false = |row: &&pack::Row| {
        let sealed = bytes.get(row.offset as usize..row.offset as usize + row.len as usize);
        sealed.is_none_or(|sealed| *blake3::hash(sealed).as_bytes() != row.id.0)
    };
    Ok(rows.iter().filter(is_false).count())
}
