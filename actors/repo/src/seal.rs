//! Compressing and sealing chunks.

use protocol::{
    format::chunk::{self, ChunkRef, MessageKey, OVERHEAD, PayloadCodec, Under},
    records::Codec,
};
use zstd::bulk::Compressor;

use crate::error::RepoError;

/// Seals chunk after chunk, with one compression context for all of them.
pub struct Sealer {
    compressor: Option<Compressor<'static>>,
    scratch: Vec<u8>,
}

impl Sealer {
    /// A sealer that compresses as the domain says.
    pub fn new(codec: Codec) -> Result<Self, RepoError> {
        let compressor = match codec {
            Codec::Raw => None,
            Codec::Zstd(level) => Some(Compressor::new(level).map_err(|error| {
                RepoError::invalid(format!("the domain's compression level {level} cannot be used")).because(error)
            })?),
        };
        Ok(Self { compressor, scratch: Vec::new() })
    }

    /// Seals `plain` under a chunk key and appends the sealed bytes to `out`.
    /// Compresses where that makes it smaller.
    pub fn seal(&mut self, chunk_key: &[u8; 32], under: Under, plain: &[u8], out: &mut Vec<u8>) -> ChunkRef {
        let start = out.len();
        match self.compress(plain) {
            true => {
                out.reserve(self.scratch.len() + OVERHEAD);
                out.push(PayloadCodec::Zstd as u8);
                out.extend_from_slice(&self.scratch);
            }
            false => {
                out.reserve(plain.len() + OVERHEAD);
                out.push(PayloadCodec::Raw as u8);
                out.extend_from_slice(plain);
            }
        }
        let (id, key) = chunk::seal(chunk_key, out, start);
        // Chunks are far below 4 GiB (`limits::CHUNK_BYTES_MAX`).
        ChunkRef { id, key, len: plain.len() as u32, under }
    }

    /// The key under which [`Sealer::seal`] would seal `plain`: who has a reference knows
    /// by it whether bytes at hand are the chunk's, without fetching the chunk.
    pub fn key_of(&mut self, chunk_key: &[u8; 32], plain: &[u8]) -> MessageKey {
        let mut hasher = blake3::Hasher::new_keyed(chunk_key);
        match self.compress(plain) {
            true => hasher.update(&[PayloadCodec::Zstd as u8]).update(&self.scratch),
            false => hasher.update(&[PayloadCodec::Raw as u8]).update(plain),
        };
        MessageKey(*hasher.finalize().as_bytes())
    }

    /// Whether `scratch` now holds `plain`, compressed and smaller.
    fn compress(&mut self, plain: &[u8]) -> bool {
        let Some(compressor) = &mut self.compressor else { return false };
        self.scratch.clear();
        self.scratch.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        // A failure of the compressor costs the saving, not the chunk.
        compressor.compress_to_buffer(plain, &mut self.scratch).is_ok_and(|len| len < plain.len())
    }
}
