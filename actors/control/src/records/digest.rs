//! What orchestrators compare to find out whether the other has other records, and
//! what they then send.
//!
//! Invariant: two sets have equal digests exactly if they hold the same records
//! (as far as BLAKE3 goes). Only what has changed since is computed anew.

use protocol::{
    ids::Hash,
    limits,
    reconcile::{FANOUT, Prefix},
    records::Record,
};

use super::RecordSet;

/// How many shards the set is divided into for gossip: by the first digit of the hash.
pub const SHARDS: usize = FANOUT;

/// Bytes that author, signature and length add to a record's body at most.
const SIGNED_OVERHEAD: usize = 32 + 64 + 5;

impl RecordSet {
    /// The digest of the whole set.
    pub fn digest(&self) -> Hash {
        self.by_hash.fingerprint(Prefix::ALL)
    }

    /// The digest of each shard.
    pub fn shard_digests(&self) -> impl Iterator<Item = Hash> {
        Prefix::ALL.children().map(|shard| self.by_hash.fingerprint(shard))
    }

    /// The records with these hashes, in this order, as far as they are here: at most
    /// `limits::RECORDS_PER_FRAME_MAX` and `limits::RECORDS_BYTES_MAX` bytes, but at
    /// least one. `served` tells what is to be asked for again.
    pub fn fetch<'a>(&'a self, hashes: &'a [Hash]) -> impl Iterator<Item = &'a Record> {
        let mut bytes_left = limits::RECORDS_BYTES_MAX;
        let found = hashes.iter().filter_map(|hash| self.get(hash)).take(limits::RECORDS_PER_FRAME_MAX);
        found.enumerate().map_while(move |(place, record)| {
            let left = bytes_left.checked_sub(record.signed().body.len() + SIGNED_OVERHEAD);
            bytes_left = left.unwrap_or(0);
            (left.is_some() || place == 0).then_some(record)
        })
    }
}

/// How many of the hashes that were asked for are done with, by the last record that
/// was given: what stands before it and was not given is not there any more, and what
/// stands behind it had no room. If none was given, none of them is there.
pub fn served(asked: &[Hash], last: Option<Hash>) -> usize {
    asked.iter().position(|hash| Some(*hash) == last).map_or(asked.len(), |place| place + 1)
}
