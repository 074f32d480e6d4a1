//! What the chunks of large files were, kept in the local cache: a changed file
//! is read again, but only what changed in it is compressed and sealed again.
//!
//! A page holds (keyed plaintext hash → chunk reference) for one window of a
//! file. Layout: `page id ‖ sealed postcard`; the id is the keyed hash of the
//! plaintext, the key is derived from it, and the page's name is authenticated.
//!
//! Invariant: a hint only saves work. It holds message keys, so it is sealed; it
//! is checked when it is read, and every reference is resolved before it is used.

use bytes::Bytes;
use protocol::{codec, format::chunk::ChunkRef, sealed};
use serde::{Deserialize, Serialize};

use crate::keys::Keys;

/// Files from this length on have hints.
pub const FILE_LEN_MIN: u64 = 4 << 20;
/// Average chunks in a window: a page is under 40 KiB.
const WINDOW_CHUNKS: u64 = 256;

/// One chunk of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// The keyed hash of its plaintext.
    pub hash: [u8; 32],
    /// How trees refer to it.
    pub reference: ChunkRef,
}

/// The hints of a file that is being read, window by window.
pub struct Gathering {
    path: Vec<u8>,
    window: u64,
    hints: Vec<Hint>,
}

impl Gathering {
    /// None yet for the file at `path`.
    pub fn new(path: Vec<u8>) -> Self {
        Self { path, window: 0, hints: Vec::new() }
    }

    /// Takes the next chunk, which is at `offset`. Returns name and bytes of the page
    /// that ends before it, if one does.
    pub fn push(&mut self, keys: &Keys, offset: u64, hint: Hint) -> Option<([u8; 32], Bytes)> {
        let window = window(keys, offset);
        let page = if window == self.window { None } else { self.page(keys) };
        self.window = window;
        self.hints.push(hint);
        page
    }

    /// Name and bytes of the page so far, unless it is empty.
    pub fn page(&mut self, keys: &Keys) -> Option<([u8; 32], Bytes)> {
        let hints = std::mem::take(&mut self.hints);
        let name = name(keys, &self.path, self.window);
        (!hints.is_empty()).then(|| (name, seal(keys, &name, &hints)))
    }
}

/// In which window of a file an offset lies.
pub fn window(keys: &Keys, offset: u64) -> u64 {
    offset / (WINDOW_CHUNKS * u64::from(keys.domain.chunker.average))
}

/// The cache's name for a page.
pub fn name(keys: &Keys, path: &[u8], window: u64) -> [u8; 32] {
    keys.cache_name(b"hint", &[path, &window.to_le_bytes()])
}

fn page_key(keys: &Keys, page_id: &[u8; 32]) -> [u8; 32] {
    keys.cache_name(b"hkey", &[page_id])
}

/// The bytes of a page.
fn seal(keys: &Keys, name: &[u8; 32], hints: &[Hint]) -> Bytes {
    seal_plain(keys, name, codec::encode(&hints))
}

/// A page of this plaintext.
pub fn seal_plain(keys: &Keys, name: &[u8; 32], mut plain: Vec<u8>) -> Bytes {
    let page_id = *blake3::keyed_hash(&keys.secrets.cache, &plain).as_bytes();
    sealed::seal_in_place(&page_key(keys, &page_id), &sealed::nonce(0), name, &mut plain);
    let mut bytes = page_id.to_vec();
    bytes.append(&mut plain);
    bytes.into()
}

/// The hints of a page; none if it is damaged.
pub fn open(keys: &Keys, name: &[u8; 32], bytes: &[u8]) -> Vec<Hint> {
    let Some((page_id, rest)) = bytes.split_first_chunk::<32>() else { return Vec::new() };
    let mut plain = rest.to_vec();
    match sealed::open_in_place("hint page", &page_key(keys, page_id), &sealed::nonce(0), name, &mut plain) {
        Ok(()) => codec::decode("hint page", &plain).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}
