//! Chunks that this client knows by their plaintext, so that they need not be
//! compressed and sealed to be recognised.
//!
//! Invariant: what is known from the cache is in doubt until the index has
//! resolved it; only what was stored in this job, or is in the pinned parent, is
//! taken as it is.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Mutex, PoisonError},
};

use protocol::{format::chunk::ChunkRef, limits};

/// A chunk that was sealed before.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// How trees refer to it.
    pub reference: ChunkRef,
    /// Whether the index must still say that it is stored.
    pub doubtful: bool,
}

/// The first eight bytes of a keyed hash are hash enough, and the same in every run.
#[derive(Default)]
struct FirstWord(u64);

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        if let Some(word) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*word);
        }
    }
    fn write_usize(&mut self, _: usize) {}
}

/// Never iterated.
type Map = HashMap<[u8; 32], Known, BuildHasherDefault<FirstWord>>;

/// Keyed plaintext hash → chunk, bounded: when the newer half is full, the older
/// is forgotten.
#[derive(Default)]
pub struct KnownChunks {
    halves: Mutex<[Map; 2]>,
}

impl KnownChunks {
    /// What is known of a plaintext.
    pub fn get(&self, hash: &[u8; 32]) -> Option<Known> {
        let halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        halves.iter().find_map(|half| half.get(hash)).copied()
    }

    /// Remembers a chunk.
    pub fn insert(&self, hash: [u8; 32], reference: ChunkRef, doubtful: bool) {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        let [newer, older] = &mut *halves;
        if newer.len() >= limits::KNOWN_CHUNKS_MAX / 2 {
            std::mem::swap(newer, older);
            newer.clear();
        }
        newer.insert(hash, Known { reference, doubtful });
    }
}
