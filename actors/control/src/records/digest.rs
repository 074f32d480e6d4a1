//! What orchestrators compare to find out which records the other lacks.
//!
//! Invariant: two sets have equal digests exactly if they hold the same records
//! (as far as BLAKE3 goes). A digest is computed when it is asked for and kept
//! until its shard changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use protocol::{
    ids::{Hash, PublicKey},
    limits,
    records::{Record, Subject},
};

use super::RecordSet;

/// How many shards the set is divided into.
pub const SHARDS: u8 = 16;

/// The shard of a record: the first four bits of its hash.
pub const fn shard_of(hash: &Hash) -> u8 {
    hash.0[0] >> 4
}

#[derive(Debug, Clone, Default)]
pub(super) struct Shards([Shard; SHARDS as usize]);

#[derive(Debug, Clone, Default)]
struct Shard {
    /// Where each record stands.
    records: BTreeMap<Hash, (Subject, PublicKey)>,
    digest: OnceLock<Hash>,
}

impl Shard {
    fn digest(&self) -> Hash {
        *self.digest.get_or_init(|| {
            let mut hasher = blake3::Hasher::new();
            for hash in self.records.keys() {
                hasher.update(&hash.0);
            }
            Hash(*hasher.finalize().as_bytes())
        })
    }
}

impl Shards {
    pub fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.records.len()).sum()
    }

    pub fn add(&mut self, hash: Hash, place: (Subject, PublicKey)) {
        let shard = &mut self.0[usize::from(shard_of(&hash))];
        shard.records.insert(hash, place);
        shard.digest.take();
    }

    pub fn remove(&mut self, hash: &Hash) {
        let shard = &mut self.0[usize::from(shard_of(hash))];
        shard.records.remove(hash);
        shard.digest.take();
    }
}

impl RecordSet {
    /// The digest of each shard: BLAKE3 over the hashes of its records, sorted.
    pub fn shard_digests(&self) -> [Hash; SHARDS as usize] {
        std::array::from_fn(|shard| self.shards.0[shard].digest())
    }

    /// The digest of the whole set: BLAKE3 over the digests of its shards.
    pub fn digest(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for digest in self.shard_digests() {
            hasher.update(&digest.0);
        }
        Hash(*hasher.finalize().as_bytes())
    }

    /// The hashes of a shard's records, sorted. Empty for a shard that does not exist.
    pub fn hashes(&self, shard: u8) -> Vec<Hash> {
        self.shards.0.get(usize::from(shard)).map_or_else(Vec::new, |shard| shard.records.keys().copied().collect())
    }

    /// Records of a shard that are not among `have`: at most
    /// `limits::RECORDS_PER_FRAME_MAX` of them and `limits::RECORDS_BYTES_MAX`
    /// bytes, the rest when asked again.
    ///
    /// Whoever pulls stops when an answer brings nothing `New`: what the callee
    /// holds may all be superseded here, until it has pulled from here in turn.
    pub fn missing(&self, shard: u8, have: &[Hash]) -> Vec<&Record> {
        self.missing_within(shard, have, limits::RECORDS_PER_FRAME_MAX, limits::RECORDS_BYTES_MAX)
    }

    pub(super) fn missing_within(
        &self,
        shard: u8,
        have: &[Hash],
        records_max: usize,
        bytes_max: usize,
    ) -> Vec<&Record> {
        let Some(shard) = self.shards.0.get(usize::from(shard)) else { return Vec::new() };
        let have: BTreeSet<&Hash> = have.iter().collect();
        let mut bytes_left = bytes_max;
        shard
            .records
            .iter()
            .filter(|(hash, _)| !have.contains(hash))
            .filter_map(|(_, (subject, author))| self.heads.get(subject)?.get(author))
            .take(records_max)
            .map_while(|record| {
                bytes_left = bytes_left.checked_sub(record.signed().body.len() + SIGNED_OVERHEAD)?;
                Some(record)
            })
            .collect()
    }
}

/// Bytes that author, signature and length add to a record's body at most.
const SIGNED_OVERHEAD: usize = 32 + 64 + 5;
