//! A Bloom filter (Bloom 1970) over chunk ids.
//!
//! A chunk id is already a uniform hash, so its own words are the probes: the
//! `i`-th of seven probes is the `i`-th little-endian 32-bit word of the id,
//! scaled to the number of bits: `bit = word × bits >> 32`. Bit `b` is bit
//! `b % 8` of byte `b / 8`.

use serde::{Deserialize, Serialize};

use crate::{format::tree::Blob, ids::ChunkId};

/// With seven probes and ten bits for each id, 0.8% of foreign ids seem to be there.
const BITS_PER_ID: usize = 10;
const PROBES: usize = 7;

/// Says of an id that it is certainly not there, or perhaps is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    bits: Blob,
}

impl Filter {
    /// An empty filter for about this many ids.
    pub fn with_capacity(ids: usize) -> Self {
        Self { bits: Blob(vec![0; (ids * BITS_PER_ID).div_ceil(8).max(8)]) }
    }

    /// Adds an id.
    pub fn insert(&mut self, id: &ChunkId) {
        for bit in probes(id, self.bits.0.len()) {
            self.bits.0[bit / 8] |= 1 << (bit % 8);
        }
    }

    /// False if the id was certainly not added.
    pub fn may_contain(&self, id: &ChunkId) -> bool {
        !self.bits.0.is_empty() && probes(id, self.bits.0.len()).all(|bit| self.bits.0[bit / 8] & (1 << (bit % 8)) != 0)
    }
}

fn probes(id: &ChunkId, bytes: usize) -> impl Iterator<Item = usize> {
    let bits = bytes as u64 * 8;
    let (words, _) = id.0.as_chunks::<4>();
    let words: [[u8; 4]; PROBES] = std::array::from_fn(|i| words[i]);
    words.into_iter().map(move |word| ((u64::from(u32::from_le_bytes(word)) * bits) >> 32) as usize)
}
