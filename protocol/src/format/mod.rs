//! On-storage formats, version 1. `FORMAT.md` is the reference.
//!
//! Invariant: every object, and every structured chunk, starts with a header of
//! magic, version and length; what does not match is a named error and never
//! read some other way. Nothing here recurses, and what is allocated while
//! decoding is bounded by the length of the bytes at hand.

pub mod chunk;
pub mod commit;
pub mod content;
pub mod filter;
pub mod keys;
pub mod ledger;
pub mod list;
pub mod manifest;
pub mod marker;
pub mod pack;
pub mod segment;
pub mod tree;

use crate::codec::DecodeError;

/// The version that this program writes, and the newest that it reads.
pub const VERSION: u8 = 1;
/// Length of the header of every object.
pub const HEADER_LEN: usize = 16;

/// What kind of object some bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Magic {
    /// The first eight bytes.
    pub bytes: &'static [u8; 8],
    /// What a person calls it.
    pub name: &'static str,
}

/// Starts an object: a header whose length is filled in by [`finish`].
pub fn begin(magic: Magic, capacity: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + capacity);
    bytes.extend_from_slice(magic.bytes);
    bytes.extend_from_slice(&[VERSION, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// Fills in the length of an object that [`begin`] started. Objects are far
/// below 4 GiB (`limits::OBJECT_BYTES_MAX`).
pub fn finish(bytes: &mut [u8]) {
    let len = u32::try_from(bytes.len() - HEADER_LEN).unwrap_or(u32::MAX);
    bytes[12..HEADER_LEN].copy_from_slice(&len.to_le_bytes());
}

/// Checks the header of the first bytes of an object and returns the length that
/// follows it.
pub fn check_header(magic: Magic, bytes: &[u8]) -> Result<usize, DecodeError> {
    let what = magic.name;
    let mut fields = Fields::new(what, bytes);
    if fields.take(8)? != magic.bytes {
        return Err(DecodeError::Malformed { what, reason: "it does not start with its magic bytes".into() });
    }
    match fields.take(4)? {
        [VERSION, 0, 0, 0] => Ok(fields.u32()? as usize),
        [VERSION, ..] => Err(DecodeError::Malformed { what, reason: "its reserved bytes are not zero".into() }),
        [version, ..] => Err(DecodeError::UnknownVersion { what, found: *version, known: VERSION }),
        [] => Err(fields.short()),
    }
}

/// Checks the header of a whole object and returns what follows it.
pub fn body(magic: Magic, bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let len = check_header(magic, bytes)?;
    let rest = &bytes[HEADER_LEN..];
    match rest.len().checked_sub(len) {
        Some(0) => Ok(rest),
        Some(extra) => Err(DecodeError::Trailing { what: magic.name, extra }),
        None => Err(DecodeError::Malformed {
            what: magic.name,
            reason: format!("{} bytes announced, {} there", len, rest.len()),
        }),
    }
}

/// Reads fixed-width fields, little-endian, front to back.
pub(crate) struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    fn short(&self) -> DecodeError {
        DecodeError::Malformed { what: self.what, reason: "it ends too early".into() }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}
