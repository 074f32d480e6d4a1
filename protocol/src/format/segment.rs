//! Index segments: sorted chunk id → (pack, offset, length).
//!
//! `header ‖ object id ‖ author ‖ signature ‖ head length ‖ sealed head ‖ sealed
//! blocks`. The head has the directory of the blocks and a filter; it stands
//! first, so that a reader who does not know the object's length gets it with one
//! or two range reads. Then come blocks of rows, then blocks of the pack table.
//! Each block is sealed by itself, under the segment's key and its own number as
//! nonce.
//!
//! The pack table is in blocks of its own because a segment cut out of a large
//! sorted index names nearly as many packs as it has rows: in the head it would
//! outweigh the filter twenty times, and few of its rows are ever asked for.
//!
//! Invariant: the author signs header, object id, and the hash of the sealed
//! head, and the head has the hash of every sealed block: one block read alone is
//! as authentic as the whole.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    format::{self, Fields, HEADER_LEN, Magic, filter::Filter, keys},
    ids::{ChunkId, DomainId, Hash, LeaseId, PublicKey, RepositoryId, Sha256},
    limits,
    names::ObjectName,
    sealed::{self, nonce},
    sign::{self, Signature, Signer},
};

const MAGIC: Magic = Magic { bytes: b"nuthindx", name: "index segment" };
const ROW_LEN: usize = 32 + 3 * 4;
const PACK_LEN: usize = 4 + 8 + 32 + 2 * 4;
/// Rows of a full block: just under 64 KiB.
pub const BLOCK_ROWS: usize = 1489;
/// Packs of a full block of the pack table: just under 64 KiB.
pub const BLOCK_PACKS: usize = 1260;
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

/// A block of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockRow {
    /// The id of its first row.
    pub first: ChunkId,
    /// How many rows it has.
    pub rows: u32,
    /// Hash of its sealed bytes.
    pub hash: Hash,
}

/// A block of the pack table. All but the last have [`BLOCK_PACKS`] packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackBlock {
    /// The name of its first pack.
    pub first: ObjectName,
    /// How many packs it has.
    pub packs: u32,
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
    /// The blocks of rows, in order of their ids.
    pub blocks: Vec<BlockRow>,
    /// The blocks of the pack table, in order of the packs' names.
    pub pack_blocks: Vec<PackBlock>,
    /// The ids.
    pub filter: Filter,
}

/// Writes a segment. `packs` ascend by name; `rows` ascend by id and pack, and name
/// packs of `packs`: one chunk may have several homes. Both are bounded by the
/// caller so that the object stays below `limits::OBJECT_BYTES_MAX`.
pub fn encode(
    repository: RepositoryId,
    domain: DomainId,
    packs: &[PackRow],
    rows: &[Row],
    index_key: &[u8; 32],
    object_id: &[u8; 32],
    signer: &Signer,
) -> Vec<u8> {
    let key = keys::segment_key(index_key, object_id);
    let mut filter = Filter::with_capacity(rows.len());
    rows.iter().for_each(|row| filter.insert(&row.id));
    // Nonce 0 is the head's.
    let mut number = 0;
    let mut sealed_blocks = Vec::with_capacity(rows.len() * (ROW_LEN + 1) + packs.len() * (PACK_LEN + 1));
    let mut seal = |mut block: Vec<u8>| {
        number += 1;
        sealed::seal_in_place(&key, &nonce(number), b"", &mut block);
        sealed_blocks.extend_from_slice(&block);
        hash(&block)
    };
    let row_block = |rows: &[Row]| BlockRow { first: rows[0].id, rows: rows.len() as u32, hash: seal(row_bytes(rows)) };
    let blocks = rows.chunks(BLOCK_ROWS).map(row_block).collect();
    let pack_block = |packs: &[PackRow]| PackBlock {
        first: packs[0].name,
        packs: packs.len() as u32,
        hash: seal(pack_bytes(packs)),
    };
    let pack_blocks = packs.chunks(BLOCK_PACKS).map(pack_block).collect();
    let mut head = codec::encode(&Head { repository, domain, blocks, pack_blocks, filter });
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

fn row_bytes(rows: &[Row]) -> Vec<u8> {
    let mut block = Vec::with_capacity(rows.len() * ROW_LEN + sealed::TAG_LEN);
    for row in rows {
        block.extend_from_slice(&row.id.0);
        [row.pack, row.offset, row.len].iter().for_each(|field| block.extend_from_slice(&field.to_le_bytes()));
    }
    block
}

fn pack_bytes(packs: &[PackRow]) -> Vec<u8> {
    let mut block = Vec::with_capacity(packs.len() * PACK_LEN + sealed::TAG_LEN);
    for PackRow { name, len, tail_len } in packs {
        block.extend_from_slice(&name.lease.incarnation.to_le_bytes());
        block.extend_from_slice(&name.lease.index.to_le_bytes());
        block.extend_from_slice(&name.hash.0);
        [*len, *tail_len].iter().for_each(|field| block.extend_from_slice(&field.to_le_bytes()));
    }
    block
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
    /// Where each block starts in the object, and where the last one ends.
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
        let lens = head.blocks.iter().map(|block| block_len(block.rows, ROW_LEN));
        let lens = lens.chain(head.pack_blocks.iter().map(|block| block_len(block.packs, PACK_LEN)));
        let mut starts = Vec::with_capacity(head.blocks.len() + head.pack_blocks.len() + 1);
        let mut at = prefix.head().end;
        for len in lens {
            starts.push(at);
            at += len;
        }
        starts.push(at);
        let malformed = |reason: &str| DecodeError::Malformed { what, reason: reason.into() };
        // Blocks may begin with the id with which the one before ends: a chunk has several homes.
        let rows_sorted = head.blocks.is_sorted_by(|a, b| a.first <= b.first);
        let packs_sorted = head.pack_blocks.is_sorted_by(|a, b| a.first < b.first);
        if at != prefix.len || !rows_sorted || !packs_sorted || head.blocks.iter().any(|block| block.rows == 0) {
            return Err(malformed("its block directory does not add up"));
        }
        let full = |block: &PackBlock| block.packs as usize == BLOCK_PACKS;
        if let Some((last, others)) = head.pack_blocks.split_last()
            && (!others.iter().all(full) || last.packs == 0 || last.packs as usize > BLOCK_PACKS)
        {
            return Err(malformed("its pack table does not add up"));
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

    /// Length of the object in bytes.
    pub fn len(&self) -> u64 {
        self.prefix.len
    }

    /// Length of everything before the blocks, in bytes.
    pub fn head_len(&self) -> u64 {
        self.prefix.head().end
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.head.blocks.is_empty()
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.head.blocks.iter().map(|block| u64::from(block.rows)).sum()
    }

    /// How many blocks there are: first those of rows, then those of the pack table.
    pub fn blocks(&self) -> usize {
        self.starts.len() - 1
    }

    /// The blocks in which homes of `id` stand, if it stands in this segment at all:
    /// one, or two and more where its homes begin in one block and end in another.
    pub fn blocks_of(&self, id: &ChunkId) -> Range<usize> {
        if !self.head.filter.may_contain(id) {
            return 0..0;
        }
        let blocks = &self.head.blocks;
        let start = blocks.partition_point(|block| block.first < *id).saturating_sub(1);
        start..blocks.partition_point(|block| block.first <= *id)
    }

    /// The block of the pack table in which the pack of this number stands, and its place there.
    pub fn pack_block(&self, pack: u32) -> (usize, usize) {
        let pack = pack as usize;
        (self.head.blocks.len() + pack / BLOCK_PACKS, pack % BLOCK_PACKS)
    }

    /// The block of the pack table in which a pack of this name would stand.
    pub fn pack_block_named(&self, name: &ObjectName) -> Option<usize> {
        let before = self.head.pack_blocks.partition_point(|block| block.first <= *name);
        before.checked_sub(1).map(|at| self.head.blocks.len() + at)
    }

    /// Where in the object a block lies.
    pub fn block_range(&self, block: usize) -> Option<Range<u64>> {
        Some(*self.starts.get(block)?..*self.starts.get(block + 1)?)
    }

    /// Opens a sealed block of rows; they ascend by id and pack.
    pub fn open_block(&self, block: usize, sealed_block: &[u8]) -> Result<Vec<Row>, DecodeError> {
        const WHAT: &str = "block of an index segment";
        let malformed = |reason: &str| DecodeError::Malformed { what: WHAT, reason: reason.into() };
        let entry = self.head.blocks.get(block).ok_or_else(|| malformed("there is no such block"))?;
        let bytes = self.unseal(WHAT, block, &entry.hash, sealed_block)?;
        let packs: u64 = self.head.pack_blocks.iter().map(|block| u64::from(block.packs)).sum();
        let mut fields = Fields::new(WHAT, &bytes);
        let mut rows = Vec::with_capacity(bytes.len() / ROW_LEN);
        for _ in 0..bytes.len() / ROW_LEN {
            let id = ChunkId(fields.array()?);
            let row = Row { id, pack: fields.u32()?, offset: fields.u32()?, len: fields.u32()? };
            if u64::from(row.pack) >= packs {
                return Err(malformed("it names a pack that the pack table does not have"));
            }
            rows.push(row);
        }
        let whole = fields.rest().is_empty() && rows.len() == entry.rows as usize;
        let sorted = rows.is_sorted_by(|a, b| (a.id, a.pack) < (b.id, b.pack));
        if whole && sorted { Ok(rows) } else { Err(malformed("its rows do not add up")) }
    }

    /// Opens a sealed block of the pack table; its packs ascend by name.
    pub fn open_packs(&self, block: usize, sealed_block: &[u8]) -> Result<Vec<PackRow>, DecodeError> {
        const WHAT: &str = "pack table of an index segment";
        let malformed = |reason: &str| DecodeError::Malformed { what: WHAT, reason: reason.into() };
        let entry = block.checked_sub(self.head.blocks.len()).and_then(|at| self.head.pack_blocks.get(at));
        let entry = entry.ok_or_else(|| malformed("there is no such block"))?;
        let bytes = self.unseal(WHAT, block, &entry.hash, sealed_block)?;
        let mut fields = Fields::new(WHAT, &bytes);
        let mut packs = Vec::with_capacity(bytes.len() / PACK_LEN);
        for _ in 0..bytes.len() / PACK_LEN {
            let lease = LeaseId { incarnation: fields.u32()?, index: fields.u64()? };
            let name = ObjectName { lease, hash: Sha256(fields.array()?) };
            packs.push(PackRow { name, len: fields.u32()?, tail_len: fields.u32()? });
        }
        let whole = fields.rest().is_empty() && packs.len() == entry.packs as usize;
        let sorted = packs.is_sorted_by(|a, b| a.name < b.name);
        if whole && sorted { Ok(packs) } else { Err(malformed("its packs do not add up")) }
    }

    fn unseal(
        &self,
        what: &'static str,
        block: usize,
        expected: &Hash,
        sealed_block: &[u8],
    ) -> Result<Vec<u8>, DecodeError> {
        if hash(sealed_block) != *expected {
            return Err(DecodeError::Forged { what, reason: "its bytes do not match the hash in the head" });
        }
        let mut bytes = sealed_block.to_vec();
        sealed::open_in_place(what, &self.key, &nonce(block as u64 + 1), b"", &mut bytes)?;
        Ok(bytes)
    }
}

fn block_len(entries: u32, entry_len: usize) -> u64 {
    u64::from(entries) * entry_len as u64 + sealed::TAG_LEN as u64
}
