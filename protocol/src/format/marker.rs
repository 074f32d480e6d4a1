//! The marker that makes a prefix a repository: header and repository id.

use crate::{
    codec::DecodeError,
    format::{self, Fields, Magic},
    ids::RepositoryId,
};

const MAGIC: Magic = Magic { bytes: b"nuthatch", name: "repository marker" };
/// Length of a marker in bytes.
pub const LEN: usize = format::HEADER_LEN + RepositoryId::LEN;

/// The bytes of a repository's marker.
pub fn encode(repository: &RepositoryId) -> Vec<u8> {
    let mut bytes = format::begin(MAGIC, RepositoryId::LEN);
    bytes.extend_from_slice(&repository.0);
    format::finish(&mut bytes);
    bytes
}

/// Which repository this is the marker of.
pub fn decode(bytes: &[u8]) -> Result<RepositoryId, DecodeError> {
    let body = format::body(MAGIC, bytes)?;
    let mut fields = Fields::new(MAGIC.name, body);
    let repository = RepositoryId(fields.array()?);
    match fields.rest().len() {
        0 => Ok(repository),
        extra => Err(DecodeError::Trailing { what: MAGIC.name, extra }),
    }
}
