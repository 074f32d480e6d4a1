//! The small files of a node's data directory: its keys, and what it belongs to.
//!
//! `version ‖ postcard ‖ BLAKE3 of all before (32 bytes)`. Invariant: a file that
//! rotted is an error that names it, and never other keys.

use std::io;

use env::Disk;
use protocol::{
    codec::{self, DecodeError},
    failure::Failure,
};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::{Zeroize, Zeroizing};

const VERSION: u8 = 1;
const SUM_LEN: usize = 32;

/// Replaces a file. The bytes in between are wiped: they may hold keys.
pub fn write<T: Serialize>(disk: &dyn Disk, name: &str, value: &T) -> Result<(), Failure> {
    let mut body = codec::encode(value);
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 + body.len() + SUM_LEN));
    bytes.push(VERSION);
    bytes.extend_from_slice(&body);
    body.zeroize();
    let sum = blake3::hash(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    disk.replace(name, &bytes).map_err(|error| failure("write", disk, &error))
}

/// Reads a file; None if there is none.
pub fn read<T: DeserializeOwned>(disk: &dyn Disk, name: &'static str) -> Result<Option<T>, Failure> {
    let bytes = match disk.read(name) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failure("read", disk, &error)),
    };
    let damaged =
        || Failure::corrupt(format!("the file {name} in {} is damaged: restore it from a copy", disk.place()));
    let (content, sum) = bytes.split_at_checked(bytes.len().wrapping_sub(SUM_LEN)).ok_or_else(damaged)?;
    if blake3::hash(content).as_bytes() != sum {
        return Err(damaged());
    }
    match content.split_first() {
        Some((&VERSION, body)) => Ok(Some(codec::decode(name, body)?)),
        Some((&found, _)) => Err(DecodeError::UnknownVersion { what: name, found, known: VERSION }.into()),
        None => Err(damaged()),
    }
}

/// A failure of the node's own data directory.
pub fn failure(verb: &str, disk: &dyn Disk, error: &io::Error) -> Failure {
    Failure::internal(format!("cannot {verb} the data directory {}: {error}", disk.place()))
}
