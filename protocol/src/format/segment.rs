//! Index segments: sorted chunk id → (pack, offset, length).
//!
//! `header ‖ object id ‖ author ‖ signature ‖ head length ‖ sealed head ‖ sealed
//! blocks`. The head has the pack table, the block directory and a filter; it
//! stands first, so that a reader who does not know the object's length gets it
//! with one or two range reads. Each block is sealed by itself, under the
//! segment's key and its own number as nonce.
//!
//! Invariant: the author signs header, object id, and the hash of the sealed
//! head, and the head has the hash of every sealed block: one block read alone is
//! as authentic as the whole.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    format::{self, Fields, HEADER_LEN, Magic, filter::Filter, keys},
    ids::{ChunkId, DomainId, Hash, PublicKey, RepositoryId},
    limits,
    names::ObjectName,
    sealed::{self, nonce},
    sign::{self, Signature, Signer},
};

const MAGIC: Magic = Magic { bytes: b"nuthindx", name: "index segment" };
const ROW_LEN: usize = 32 + 3 * 4;
/// Entries of a full block: just under 64 KiB.
pub const BLOCK_ROWS: usize = 1489;
/// Length of everything before the sealed head.
pub const PREFIX_LEN: usize = HEADER_LEN + 32 + 32 + 64 + 4;

/// Where one chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Which chunk.
    pub id: ChunkId,
    /// The number of its pack in the pack table.
    pub pack: u32,
    /// Where its sealed bytes start in the pack.
    pub offset: u32,
    /// Length of its sealed bytes.
    pub len: u32,
}

/// A pack that a segment speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackRow {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub len: u32,
    /// Length of its sealed table of contents and trailer.
    pub tail_len: u32,
}

/// A block of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRow {
    /// The id of its first row.
    pub first: ChunkId,
    /// How many rows it has.
    pub rows: u32,
    /// Hash of its sealed bytes.
    pub hash: Hash,
}

/// What stands in the sealed head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The repository for which it is meant.
    pub repository: RepositoryId,
    /// The domain for which it is meant.
    pub domain: DomainId,
    /// The packs.
    pub packs: Vec<PackRow>,
    /// The blocks, in order of their ids.
    pub blocks: Vec<BlockRow>,
    /// The ids.
    pub filter: Filter,
}

/// Writes a segment. `rows` are sorted by id, each id once, and name packs of
/// `packs`; both are bounded by the caller so that the object stays below
/// `limits::OBJECT_BYTES_MAX`.
pub fn encode(
    repository: RepositoryId,
    domain: DomainId,
    packs: Vec<PackRow>,
    rows: &[Row],
    index_key: &[u8; 32],
    object_id: &[u8; 32],
    signer: &Signer,
) -> Vec<u8> {
    let key = keys::segment_key(index_key, object_id);
    let mut filter = Filter::with_capacity(rows.len());
    rows.iter().for_each(|row| filter.insert(&row.id));
    let mut blocks = Vec::with_capacity(rows.len().div_ceil(BLOCK_ROWS));
    let mut sealed_blocks = Vec::with_capacity(rows.len() * ROW_LEN + blocks.capacity() * sealed::TAG_LEN);
    for (number, rows) in rows.chunks(BLOCK_ROWS).enumerate() {
        let mut block = Vec::with_capacity(rows.len() * ROW_LEN + sealed::TAG_LEN);
        for row in rows {
            block.extend_from_slice(&row.id.0);
            [row.pack, row.offset, row.len].iter().for_each(|field| block.extend_from_slice(&field.to_le_bytes()));
        }
        // Nonce 0 is the head's.
        sealed::seal_in_place(&key, &nonce(number as u64 + 1), b"", &mut block);
        blocks.push(BlockRow { first: rows[0].id, rows: rows.len() as u32, hash: hash(&block) });
        sealed_blocks.extend_from_slice(&block);
    }
    let mut head = codec::encode(&Head { repository, domain, packs, blocks, filter });
    sealed::seal_in_place(&key, &nonce(0), b"", &mut head);

    let mut bytes = format::begin(MAGIC, PREFIX_LEN + head.len() + sealed_blocks.len());
    bytes.extend_from_slice(object_id);
    bytes.extend_from_slice(&signer.public().0);
    bytes.extend_from_slice(&[0; 64]);
    bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&sealed_blocks);
    format::finish(&mut bytes);
    let signature = signer.sign(sign::SEGMENT, &signed_part(&bytes, object_id, &head));
    bytes[HEADER_LEN + 64..HEADER_LEN + 128].copy_from_slice(&signature.to_bytes());
    bytes
}

fn hash(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

fn signed_part(header: &[u8], object_id: &[u8; 32], sealed_head: &[u8]) -> Vec<u8> {
    [&header[..HEADER_LEN], object_id, &hash(sealed_head).0].concat()
}

/// The first bytes of a segment, read before its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    header: [u8; HEADER_LEN],
    object_id: [u8; 32],
    /// Who signed it.
    pub author: PublicKey,
    signature: Signature,
    head_len: u32,
    len: u64,
}

impl Prefix {
    /// Reads at least the first [`PREFIX_LEN`] bytes of a segment.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let len = format::check_header(MAGIC, bytes)? as u64 + HEADER_LEN as u64;
        let mut fields = Fields::new(MAGIC.name, bytes);
        let header = fields.array()?;
        let (object_id, author) = (fields.array()?, PublicKey(fields.array()?));
        let signature = Signature::from_bytes(fields.array()?);
        let head_len = fields.u32()?;
        if len > limits::OBJECT_BYTES_MAX as u64 || PREFIX_LEN as u64 + u64::from(head_len) > len {
            return Err(DecodeError::Malformed { what: MAGIC.name, reason: "its lengths do not add up".into() });
        }
        Ok(Self { header, object_id, author, signature, head_len, len })
    }

    /// Where in the object the sealed head lies.
    pub fn head(&self) -> Range<u64> {
        PREFIX_LEN as u64..PREFIX_LEN as u64 + u64::from(self.head_len)
    }
}

/// A segment whose head was checked: finds blocks, and opens them.
#[derive(Debug)]
pub struct Segment {
    key: [u8; 32],
    prefix: Prefix,
    head: Head,
    /// Where each block starts in the object.
    starts: Vec<u64>,
}

impl Segment {
    /// Checks the author's signature over the sealed head and opens it.
    pub fn open(prefix: Prefix, sealed_head: &[u8], index_key: &[u8; 32]) -> Result<Self, DecodeError> {
        let what = MAGIC.name;
        let signed = signed_part(&prefix.header, &prefix.object_id, sealed_head);
        sign::verify(what, sign::SEGMENT, &prefix.author, &signed, &prefix.signature)?;
        let key = keys::segment_key(index_key, &prefix.object_id);
        let mut head = sealed_head.to_vec();
        sealed::open_in_place(what, &key, &nonce(0), b"", &mut head)?;
        let head: Head = codec::decode(what, &head)?;
        let mut starts = Vec::with_capacity(head.blocks.len() + 1);
        let mut at = prefix.head().end;
        for block in &head.blocks {
            starts.push(at);
            at += block_len(block.rows);
        }
        let sorted = head.blocks.is_sorted_by(|a, b| a.first < b.first);
        if at != prefix.len || !sorted || head.blocks.iter().any(|block| block.rows == 0) {
            return Err(DecodeError::Malformed { what, reason: "its block directory does not add up".into() });
        }
        Ok(Self { key, prefix, head, starts })
    }

    /// What the head says.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Who signed it.
    pub fn author(&self) -> &PublicKey {
        &self.prefix.author
    }

    /// The block in which `id` stands, if it stands in this segment at all.
    pub fn block_of(&self, id: &ChunkId) -> Option<usize> {
        if !self.head.filter.may_contain(id) {
            return None;
        }
        self.head.blocks.partition_point(|block| block.first <= *id).checked_sub(1)
    }

    /// Where in the object a block lies.
    pub fn block_range(&self, block: usize) -> Option<Range<u64>> {
        let start = *self.starts.get(block)?;
        Some(start..start + block_len(self.head.blocks[block].rows))
    }

    /// Opens a sealed block; its rows are sorted by id.
    pub fn open_block(&self, block: usize, sealed_block: &[u8]) -> Result<Vec<Row>, DecodeError> {
        const WHAT: &str = "block of an index segment";
        let malformed = |reason: &str| DecodeError::Malformed { what: WHAT, reason: reason.into() };
        let entry = self.head.blocks.get(block).ok_or_else(|| malformed("there is no such block"))?;
        if hash(sealed_block) != entry.hash {
            return Err(DecodeError::Forged { what: WHAT, reason: "its bytes do not match the hash in the head" });
        }
        let mut bytes = sealed_block.to_vec();
        sealed::open_in_place(WHAT, &self.key, &nonce(block as u64 + 1), b"", &mut bytes)?;
        let mut fields = Fields::new(WHAT, &bytes);
        let mut rows = Vec::with_capacity(bytes.len() / ROW_LEN);
        for _ in 0..bytes.len() / ROW_LEN {
            let id = ChunkId(fields.array()?);
            let row = Row { id, pack: fields.u32()?, offset: fields.u32()?, len: fields.u32()? };
            if row.pack as usize >= self.head.packs.len() {
                return Err(malformed("it names a pack that the head does not have"));
            }
            rows.push(row);
        }
        let whole = fields.rest().is_empty() && rows.len() == entry.rows as usize;
        if whole && rows.is_sorted_by(|a, b| a.id < b.id) { Ok(rows) } else { Err(malformed("its rows do not add up")) }
    }
}

fn block_len(rows: u32) -> u64 {
    u64::from(rows) * ROW_LEN as u64 + sealed::TAG_LEN as u64
}
