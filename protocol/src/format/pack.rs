//! Packs: sealed chunks back to back, then their sealed table of contents.
//!
//! `header ‖ sealed chunks ‖ sealed table ‖ trailer`. The table is a row of chunk
//! id and length for each chunk, in order, sealed under a key of the domain's
//! index key and the random object id in the trailer.
//!
//! Invariant: the chunks of a pack lie without gaps, so the table alone says
//! where each is, and the pack can be read front to back without any key.

use std::ops::Range;

use crate::{
    codec::DecodeError,
    format::{self, Fields, HEADER_LEN, Magic, VERSION, keys},
    ids::ChunkId,
    limits, sealed,
};

const MAGIC: Magic = Magic { bytes: b"nuthpack", name: "pack" };
const MAGIC_END: &[u8; 8] = b"kcaphtun";
const ROW_LEN: usize = 32 + 4;
/// Length of the trailer in bytes.
pub const TRAILER_LEN: usize = 64;

/// One chunk in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Which chunk.
    pub id: ChunkId,
    /// Where its sealed bytes start in the pack.
    pub offset: u32,
    /// Length of its sealed bytes.
    pub len: u32,
}

/// Gathers sealed chunks into a pack.
#[derive(Debug)]
pub struct PackWriter {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

/// A finished pack.
#[derive(Debug)]
pub struct Pack {
    /// The object.
    pub bytes: Vec<u8>,
    /// Its chunks, in order.
    pub rows: Vec<Row>,
    /// Length of sealed table and trailer: the last bytes of the object.
    pub tail_len: u32,
}

impl PackWriter {
    /// An empty pack with room for `capacity` bytes of chunks.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: format::begin(MAGIC, capacity), rows: Vec::new() }
    }

    /// Adds one sealed chunk.
    pub fn push(&mut self, id: ChunkId, sealed: &[u8]) {
        // Packs stay below `OBJECT_BYTES_MAX`, so both fit.
        let (offset, len) = (self.bytes.len() as u32, sealed.len() as u32);
        self.rows.push(Row { id, offset, len });
        self.bytes.extend_from_slice(sealed);
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no chunk yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Appends the table, sealed under the domain's index key and a random id.
    pub fn finish(mut self, index_key: &[u8; 32], object_id: &[u8; 32]) -> Pack {
        let mut table = Vec::with_capacity(self.rows.len() * ROW_LEN + sealed::TAG_LEN);
        for row in &self.rows {
            table.extend_from_slice(&row.id.0);
            table.extend_from_slice(&row.len.to_le_bytes());
        }
        sealed::seal_in_place(&keys::pack_key(index_key, object_id), &sealed::nonce(0), b"", &mut table);
        let (start, len) = (self.bytes.len() as u64, table.len() as u32);
        self.bytes.extend_from_slice(&table);
        self.bytes.extend_from_slice(object_id);
        self.bytes.extend_from_slice(&start.to_le_bytes());
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        self.bytes.extend_from_slice(MAGIC_END);
        format::finish(&mut self.bytes);
        Pack { bytes: self.bytes, rows: self.rows, tail_len: len + TRAILER_LEN as u32 }
    }
}

/// The last bytes of a pack: where its table is, and the id in its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// Random; part of the table's key.
    pub object_id: [u8; 32],
    /// Where in the pack the sealed table lies.
    pub table: Range<u64>,
}

impl Trailer {
    /// Reads the last [`TRAILER_LEN`] bytes of a pack of `pack_len` bytes.
    pub fn decode(bytes: &[u8], pack_len: u64) -> Result<Self, DecodeError> {
        let what = MAGIC.name;
        let malformed = |reason: &str| DecodeError::Malformed { what, reason: reason.into() };
        if bytes.len() != TRAILER_LEN || &bytes[TRAILER_LEN - 8..] != MAGIC_END {
            return Err(malformed("it does not end with its trailer"));
        }
        let mut fields = Fields::new(what, bytes);
        let object_id = fields.array()?;
        let start = fields.u64()?;
        let len = u64::from(fields.u32()?);
        let zeros: [u8; 8] = fields.array()?;
        match fields.take(4)? {
            [VERSION, 0, 0, 0] if zeros == [0; 8] => {}
            [VERSION, ..] => return Err(malformed("its reserved bytes are not zero")),
            [found, ..] => return Err(DecodeError::UnknownVersion { what, found: *found, known: VERSION }),
            [] => return Err(malformed("it ends too early")),
        }
        let end = start.checked_add(len).filter(|end| end.checked_add(TRAILER_LEN as u64) == Some(pack_len));
        match end {
            Some(end) if start >= HEADER_LEN as u64 && pack_len <= limits::OBJECT_BYTES_MAX as u64 => {
                Ok(Self { object_id, table: start..end })
            }
            _ => Err(malformed("its table is not where the trailer says")),
        }
    }

    /// Opens the sealed table of contents.
    pub fn open_table(&self, index_key: &[u8; 32], sealed_table: &[u8]) -> Result<Vec<Row>, DecodeError> {
        const WHAT: &str = "pack's table of contents";
        let malformed = |reason: &str| DecodeError::Malformed { what: WHAT, reason: reason.into() };
        let mut table = sealed_table.to_vec();
        sealed::open_in_place(WHAT, &keys::pack_key(index_key, &self.object_id), &sealed::nonce(0), b"", &mut table)?;
        if !table.len().is_multiple_of(ROW_LEN) {
            return Err(malformed("it has a part of a row"));
        }
        let mut offset = HEADER_LEN as u32;
        let mut rows = Vec::with_capacity(table.len() / ROW_LEN);
        let mut fields = Fields::new(WHAT, &table);
        for _ in 0..table.len() / ROW_LEN {
            let (id, len) = (ChunkId(fields.array()?), fields.u32()?);
            rows.push(Row { id, offset, len });
            offset = offset.checked_add(len).ok_or_else(|| malformed("its lengths do not add up"))?;
        }
        if u64::from(offset) == self.table.start { Ok(rows) } else { Err(malformed("its lengths do not add up")) }
    }
}

/// Checks the first [`HEADER_LEN`] bytes of a pack of `pack_len` bytes.
pub fn check_head(bytes: &[u8], pack_len: u64) -> Result<(), DecodeError> {
    let len = format::check_header(MAGIC, bytes)?;
    match pack_len.checked_sub(HEADER_LEN as u64) {
        Some(rest) if rest == len as u64 => Ok(()),
        _ => Err(DecodeError::Malformed {
            what: MAGIC.name,
            reason: format!("it says that {len} bytes follow its header"),
        }),
    }
}

/// Reads the table of a whole pack, for those who have it all at hand.
pub fn open(index_key: &[u8; 32], bytes: &[u8]) -> Result<Vec<Row>, DecodeError> {
    let body = format::body(MAGIC, bytes)?;
    let tail = body.len().checked_sub(TRAILER_LEN).map(|at| &body[at..]).unwrap_or_default();
    let trailer = Trailer::decode(tail, bytes.len() as u64)?;
    trailer.open_table(index_key, &bytes[trailer.table.start as usize..trailer.table.end as usize])
}
