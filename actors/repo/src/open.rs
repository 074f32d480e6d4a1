//! Opening and decompressing chunks.

use bytes::Bytes;
use protocol::{
    format::chunk::{self, ChunkRef, PayloadCodec},
    limits,
};
use zstd::bulk::Decompressor;

use crate::{error::RepoError, keys::Keys};

/// Opens chunk after chunk, with one decompression context and one buffer for
/// all of them.
pub struct Opener {
    decompressor: Decompressor<'static>,
    payload: Vec<u8>,
}

impl Opener {
    /// A new opener.
    pub fn new() -> Result<Self, RepoError> {
        let decompressor =
            Decompressor::new().map_err(|error| RepoError::internal("no zstd context").because(error))?;
        Ok(Self { decompressor, payload: Vec::new() })
    }

    /// The plaintext of a chunk, checked against its id, its tag, its key and its length.
    pub fn open(&mut self, keys: &Keys, sealed: &[u8], reference: &ChunkRef) -> Result<Bytes, RepoError> {
        let mut plain = Vec::new();
        self.open_into(keys, sealed, reference, &mut plain)?;
        Ok(plain.into())
    }

    /// Like [`Opener::open`], appended to `out`, which is left as it was on failure.
    pub fn open_into(
        &mut self,
        keys: &Keys,
        sealed: &[u8],
        reference: &ChunkRef,
        out: &mut Vec<u8>,
    ) -> Result<(), RepoError> {
        let damaged = |reason: &str| RepoError::corrupt(format!("chunk {} is damaged: {reason}", reference.id));
        let decoding = |error| RepoError::decoding(format_args!("chunk {}", reference.id), error);
        let len = reference.len as usize;
        if len > limits::CHUNK_BYTES_MAX {
            return Err(damaged("its length is beyond the limit"));
        }
        chunk::open_into(keys.chunk_key(reference.under)?, sealed, reference, &mut self.payload).map_err(decoding)?;
        let start = out.len();
        let opened = match chunk::split_payload(&self.payload).map_err(decoding)? {
            (PayloadCodec::Raw, plain) if plain.len() == len => {
                out.extend_from_slice(plain);
                Ok(len)
            }
            (PayloadCodec::Raw, plain) => Ok(plain.len()),
            (PayloadCodec::Zstd, frame) => {
                out.resize(start + len, 0);
                self.decompressor.decompress_to_buffer(frame, &mut out[start..])
            }
        };
        match opened {
            Ok(opened) if opened == len => Ok(()),
            opened => {
                out.truncate(start);
                Err(match opened {
                    Ok(_) => damaged("its length is not that of its reference"),
                    Err(error) => damaged("it does not decompress").because(error),
                })
            }
        }
    }
}
