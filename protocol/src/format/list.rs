//! Reference lists: the chunk ids that a snapshot needs, in pages.
//!
//! Leaf pages hold chunk ids in the order in which the backup met them; one root
//! page names the leaves. `header ‖ page id ‖ sealed page`, where the page id is
//! the keyed hash of the plaintext and the page's key is derived from the
//! client's list key and that id.
//!
//! Invariant: a page's bytes are a function of its plaintext, and leaves are cut
//! where the ids say, so what did not change since the parent snapshot gives the
//! same pages, and the new root names the old objects.

use crate::{
    codec::DecodeError,
    format::{self, Fields, Magic, keys},
    ids::{ChunkId, LeaseId, Sha256},
    names::ObjectName,
    sealed,
};

const MAGIC: Magic = Magic { bytes: b"nuthrefs", name: "reference-list page" };
const NAME_LEN: usize = 4 + 8 + 32;
/// A leaf is not cut before it has this many ids.
const LEAF_MIN: usize = 1024;
/// A leaf is cut when it has this many ids: half a mebibyte.
const LEAF_MAX: usize = 16_384;
/// One id in 4096 ends a leaf.
const LEAF_MASK: u32 = 4095;
/// Leaves that a root may name: with the least leaves a billion chunks, in 44 MiB.
pub const LEAVES_MAX: usize = 1 << 20;

/// What a page holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// Chunk ids.
    Leaf(Vec<ChunkId>),
    /// The objects of the leaves, in order.
    Root(Vec<ObjectName>),
}

impl Page {
    /// The object of this page.
    pub fn seal(&self, list_key: &[u8; 32]) -> Vec<u8> {
        let mut plain = Vec::new();
        match self {
            Self::Leaf(ids) => {
                plain.push(0);
                ids.iter().for_each(|id| plain.extend_from_slice(&id.0));
            }
            Self::Root(names) => {
                plain.push(1);
                for name in names {
                    plain.extend_from_slice(&name.lease.incarnation.to_le_bytes());
                    plain.extend_from_slice(&name.lease.index.to_le_bytes());
                    plain.extend_from_slice(&name.hash.0);
                }
            }
        }
        let page_id = *blake3::keyed_hash(&keys::page_id_key(list_key), &plain).as_bytes();
        sealed::seal_in_place(&keys::page_key(list_key, &page_id), &sealed::nonce(0), b"", &mut plain);
        let mut bytes = format::begin(MAGIC, page_id.len() + plain.len());
        bytes.extend_from_slice(&page_id);
        bytes.extend_from_slice(&plain);
        format::finish(&mut bytes);
        bytes
    }

    /// Opens a page.
    pub fn open(bytes: &[u8], list_key: &[u8; 32]) -> Result<Self, DecodeError> {
        let what = MAGIC.name;
        let malformed = |reason: &str| DecodeError::Malformed { what, reason: reason.into() };
        let mut fields = Fields::new(what, format::body(MAGIC, bytes)?);
        let page_id = fields.array()?;
        let mut plain = fields.rest().to_vec();
        sealed::open_in_place(what, &keys::page_key(list_key, &page_id), &sealed::nonce(0), b"", &mut plain)?;
        if *blake3::keyed_hash(&keys::page_id_key(list_key), &plain).as_bytes() != page_id {
            return Err(DecodeError::Forged { what, reason: "its id is not the hash of its contents" });
        }
        let (kind, rows) = plain.split_first().ok_or_else(|| malformed("it is empty"))?;
        match kind {
            0 if rows.len() % ChunkId::LEN == 0 => {
                let (ids, _) = rows.as_chunks();
                Ok(Self::Leaf(ids.iter().map(|id| ChunkId(*id)).collect()))
            }
            1 if rows.len() % NAME_LEN == 0 && rows.len() / NAME_LEN <= LEAVES_MAX => {
                let mut fields = Fields::new(what, rows);
                let names = (0..rows.len() / NAME_LEN).map(|_| {
                    let lease = LeaseId { incarnation: fields.u32()?, index: fields.u64()? };
                    Ok(ObjectName { lease, hash: Sha256(fields.array()?) })
                });
                Ok(Self::Root(names.collect::<Result<_, DecodeError>>()?))
            }
            0 | 1 => Err(malformed("its rows do not add up")),
            _ => Err(malformed("it is neither leaf nor root")),
        }
    }
}

/// Cuts the ids of a snapshot into leaves.
#[derive(Debug, Default)]
pub struct LeafBuilder {
    ids: Vec<ChunkId>,
    last: Option<ChunkId>,
}

impl LeafBuilder {
    /// Adds the next id; the same one twice in a row counts once. Returns a whole
    /// leaf if it ends here.
    pub fn push(&mut self, id: ChunkId) -> Option<Page> {
        if self.last == Some(id) {
            return None;
        }
        self.last = Some(id);
        self.ids.push(id);
        let [a, b, c, d, ..] = id.0;
        let len = self.ids.len();
        let ends = len >= LEAF_MAX || len >= LEAF_MIN && u32::from_le_bytes([a, b, c, d]) & LEAF_MASK == 0;
        if ends { self.finish() } else { None }
    }

    /// The last leaf, if there is anything in it.
    pub fn finish(&mut self) -> Option<Page> {
        if self.ids.is_empty() { None } else { Some(Page::Leaf(std::mem::take(&mut self.ids))) }
    }
}
