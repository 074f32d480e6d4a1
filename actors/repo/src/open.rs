//! Opening and decompressing chunks.

use bytes::Bytes;
use protocol::{
    format::chunk::{self, ChunkRef, PayloadCodec},
    limits,
};
use zstd::bulk::Decompressor;

use crate::{error::RepoError, keys::Keys};

/// Opens chunk after chunk, with one decompression context for all of them.
pub struct Opener {
    decompressor: Decompressor<'static>,
}

impl Opener {
    /// A new opener.
    pub fn new() -> Result<Self, RepoError> {
        let decompressor =
            Decompressor::new().map_err(|error| RepoError::internal("no zstd context").because(error))?;
        Ok(Self { decompressor })
    }

    /// The plaintext of a chunk, checked against its id, its tag, its key and its length.
    pub fn open(&mut self, keys: &Keys, sealed: &[u8], reference: &ChunkRef) -> Result<Bytes, RepoError> {
        let damaged = |reason: &str| RepoError::corrupt(format!("chunk {} is damaged: {reason}", reference.id));
        let len = reference.len as usize;
        if len > limits::CHUNK_BYTES_MAX {
            return Err(damaged("its length is beyond the limit"));
        }
        let payload = chunk::open(keys.chunk_key(reference.under)?, sealed, reference)
            .map_err(|error| RepoError::decoding(format_args!("chunk {}", reference.id), error))?;
        let codec = chunk::split_payload(&payload)
            .map_err(|error| RepoError::decoding(format_args!("chunk {}", reference.id), error))?
            .0;
        let plain = match codec {
            PayloadCodec::Raw => Bytes::from(payload).slice(1..),
            PayloadCodec::Zstd => {
                let mut plain = Vec::with_capacity(len);
                self.decompressor
                    .decompress_to_buffer(&payload[1..], &mut plain)
                    .map_err(|error| damaged("it does not decompress").because(error))?;
                Bytes::from(plain)
            }
        };
        if plain.len() == len { Ok(plain) } else { Err(damaged("its length is not that of its reference")) }
    }
}
