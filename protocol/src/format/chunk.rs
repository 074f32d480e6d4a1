//! Chunks: message-locked encryption with a convergence secret (Bellare,
//! Keelveedhi, Ristenpart 2013; Tahoe-LAFS).
//!
//! `payload = codec byte ‖ data`, `key = BLAKE3-keyed(chunk key, payload)`,
//! `sealed = ChaCha20-Poly1305(key, nonce 0, payload)`, `id = BLAKE3(sealed)`.
//!
//! Invariant: a message key is a function of the exact payload, so it never meets
//! a second one, and the nonce can be fixed. Opening checks the id, the tag and
//! that the key is the keyed hash of what came out (key commitment).

use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _};
use serde::{Deserialize, Serialize};

use crate::{codec::DecodeError, ids::ChunkId, sealed::TAG_LEN};

/// What sealing adds to the plaintext of a chunk that is not compressed.
pub const OVERHEAD: usize = 1 + TAG_LEN;

const WHAT: &str = "chunk";
const NONCE: [u8; 12] = [0; 12];

/// How a payload's data became its plaintext. The codec byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PayloadCodec {
    /// The data is the plaintext.
    Raw = 0,
    /// The data is one zstd frame of the plaintext.
    Zstd = 1,
}

/// The key of one chunk. Whoever has it, and the sealed bytes, has the plaintext.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageKey(pub [u8; 32]);

impl std::fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageKey(..)")
    }
}

/// Which chunk key keyed a message key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Under {
    /// The client's own tree key.
    Own,
    /// The domain's chunk key of this generation.
    Generation(u32),
    /// Nothing: these bytes are a hole in a sparse file, and no chunk is stored for them.
    Hole,
}

/// How trees refer to a chunk: its id, never its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkRef {
    /// Which chunk.
    pub id: ChunkId,
    /// What opens it.
    pub key: MessageKey,
    /// Length of the plaintext in bytes.
    pub len: u32,
    /// What keyed `key`.
    pub under: Under,
}

impl ChunkRef {
    /// A hole of `len` bytes: they read as zeros and are not stored.
    pub const fn hole(len: u32) -> Self {
        Self { id: ChunkId([0; 32]), key: MessageKey([0; 32]), len, under: Under::Hole }
    }

    /// Whether these bytes are a hole.
    pub fn is_hole(&self) -> bool {
        self.under == Under::Hole
    }
}

/// Seals the payload `buffer[start..]` in place and appends the tag.
pub fn seal(chunk_key: &[u8; 32], buffer: &mut Vec<u8>, start: usize) -> (ChunkId, MessageKey) {
    let payload = &mut buffer[start..];
    let key = MessageKey(*blake3::keyed_hash(chunk_key, payload).as_bytes());
    // Fails only for plaintexts of 256 GiB and more.
    let tag = ChaCha20Poly1305::new((&key.0).into())
        .encrypt_inout_detached(&NONCE.into(), b"", payload.into())
        .unwrap_or_else(|_| unreachable!("no chunk comes near the 256 GiB that ChaCha20-Poly1305 can seal"));
    buffer.extend_from_slice(&tag);
    (id_of(&buffer[start..]), key)
}

/// The id of these sealed bytes.
pub fn id_of(sealed: &[u8]) -> ChunkId {
    ChunkId(*blake3::hash(sealed).as_bytes())
}

/// Opens a chunk and returns its payload. `chunk_key` is the one that
/// `reference.under` names.
pub fn open(chunk_key: &[u8; 32], sealed: &[u8], reference: &ChunkRef) -> Result<Vec<u8>, DecodeError> {
    let mut payload = Vec::new();
    open_into(chunk_key, sealed, reference, &mut payload)?;
    Ok(payload)
}

/// Like [`open`], into a buffer that is used again. On failure its content is
/// not to be used.
pub fn open_into(
    chunk_key: &[u8; 32],
    sealed: &[u8],
    reference: &ChunkRef,
    payload: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let forged = |reason| DecodeError::Forged { what: WHAT, reason };
    if id_of(sealed) != reference.id {
        return Err(forged("its bytes do not match its id"));
    }
    let (ciphertext, tag) = sealed
        .split_at_checked(sealed.len().wrapping_sub(TAG_LEN))
        .ok_or_else(|| forged("it is shorter than its tag"))?;
    let tag = chacha20poly1305::Tag::try_from(tag).map_err(|_| forged("it is shorter than its tag"))?;
    payload.clear();
    payload.extend_from_slice(ciphertext);
    ChaCha20Poly1305::new((&reference.key.0).into())
        .decrypt_inout_detached(&NONCE.into(), b"", payload.as_mut_slice().into(), &tag)
        .map_err(|_| forged("its key does not open it"))?;
    if *blake3::keyed_hash(chunk_key, payload).as_bytes() != reference.key.0 {
        return Err(forged("its key is not the hash of its payload"));
    }
    Ok(())
}

/// Splits a payload into its codec and its data.
pub fn split_payload(payload: &[u8]) -> Result<(PayloadCodec, &[u8]), DecodeError> {
    match payload.split_first() {
        Some((0, data)) => Ok((PayloadCodec::Raw, data)),
        Some((1, data)) => Ok((PayloadCodec::Zstd, data)),
        Some((codec, _)) => Err(DecodeError::Malformed { what: WHAT, reason: format!("unknown codec {codec}") }),
        None => Err(DecodeError::Malformed { what: WHAT, reason: "it is empty".into() }),
    }
}
