//! Content: the chunks of a file or a directory, in order, however many.
//!
//! A short list stands in the tree entry itself. A longer one is cut into blocks,
//! each a chunk of its own, listed by the entry one level up, and so on: a list
//! of any length costs an entry at most [`INLINE_MAX`] references.
//!
//! A hole in a sparse file is a reference too, of as many bytes as it is long, up to
//! [`limits::HOLE_BYTES_MAX`]; a longer one is several.
//!
//! Invariant: blocks are cut where the list says (by its chunk ids), so an edit
//! changes the blocks around it and no others.

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    format::{self, Magic, chunk::ChunkRef},
    limits,
};

const MAGIC: Magic = Magic { bytes: b"nuthrefl", name: "block of chunk references" };
/// References that an entry holds itself: about 4 KiB.
pub const INLINE_MAX: usize = 64;
/// A block is not cut before it has this many references.
const BLOCK_MIN: usize = 256;
/// A block is cut when it has this many: under 300 KiB.
const BLOCK_MAX: usize = 4096;
/// One reference in 1024 ends a block.
const BLOCK_MASK: u32 = 1023;
/// Deepest indirection: even blocks of the least size address 2⁶⁴ bytes with it.
pub const DEPTH_MAX: u8 = 8;

/// A list of chunks, direct or through blocks of references.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// 0: `refs` are the chunks. Otherwise they are blocks whose references have one level less.
    pub depth: u8,
    /// In order.
    pub refs: Vec<ChunkRef>,
}

impl Content {
    /// Refuses what no writer makes.
    pub fn check(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.depth > DEPTH_MAX || self.refs.len() > INLINE_MAX {
            return Err(DecodeError::Malformed { what, reason: "its list of chunks is too long or too deep".into() });
        }
        if self.depth > 0 && self.refs.iter().any(ChunkRef::is_hole) {
            return Err(DecodeError::Malformed {
                what,
                reason: "a hole stands where a list of chunks should be".into(),
            });
        }
        check_holes(what, &self.refs)
    }

    /// Refuses what no writer makes of a directory.
    pub fn check_directory(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.refs.iter().any(ChunkRef::is_hole) {
            return Err(DecodeError::Malformed { what, reason: "a directory has a hole in it".into() });
        }
        self.check(what)
    }
}

/// A hole is written in one way only.
fn check_holes(what: &'static str, refs: &[ChunkRef]) -> Result<(), DecodeError> {
    let sane = |hole: &ChunkRef| (1..=limits::HOLE_BYTES_MAX).contains(&hole.len) && *hole == ChunkRef::hole(hole.len);
    if refs.iter().filter(|reference| reference.is_hole()).all(sane) {
        return Ok(());
    }
    Err(DecodeError::Malformed { what, reason: "a hole is malformed".into() })
}

/// Gathers references into a [`Content`]. Blocks are handed out to be sealed and
/// come back as references one level up.
#[derive(Debug, Default)]
pub struct ContentBuilder {
    levels: Vec<Vec<ChunkRef>>,
}

impl ContentBuilder {
    /// Adds the next chunk; `seal` makes a chunk of a block.
    pub fn push<E>(
        &mut self,
        reference: ChunkRef,
        seal: &mut dyn FnMut(&[u8]) -> Result<ChunkRef, E>,
    ) -> Result<(), E> {
        let mut carry = reference;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let refs = &mut self.levels[level];
            refs.push(carry);
            if !ends_block(refs.len(), &carry) {
                return Ok(());
            }
            carry = seal(&encode_block(refs))?;
            refs.clear();
        }
        Ok(())
    }

    /// The whole list.
    pub fn finish<E>(mut self, seal: &mut dyn FnMut(&[u8]) -> Result<ChunkRef, E>) -> Result<Content, E> {
        let mut level = 0;
        loop {
            let top = level + 1 >= self.levels.len();
            let refs = self.levels.get_mut(level).map(std::mem::take).unwrap_or_default();
            if top && refs.len() <= INLINE_MAX {
                return Ok(Content { depth: level as u8, refs });
            }
            if !refs.is_empty() {
                let block = seal(&encode_block(&refs))?;
                if top {
                    self.levels.push(Vec::new());
                }
                self.levels[level + 1].push(block);
            }
            level += 1;
        }
    }
}

fn ends_block(len: usize, last: &ChunkRef) -> bool {
    let [a, b, c, d, ..] = last.id.0;
    // The id of a hole is all zeros and says nothing.
    let says_so = !last.is_hole() && u32::from_le_bytes([a, b, c, d]) & BLOCK_MASK == 0;
    len >= BLOCK_MAX || len >= BLOCK_MIN && says_so
}

/// The plaintext of a block of references.
pub fn encode_block(refs: &[ChunkRef]) -> Vec<u8> {
    let mut bytes = format::begin(MAGIC, refs.len() * 72);
    bytes.extend_from_slice(&codec::encode(&refs));
    format::finish(&mut bytes);
    bytes
}

/// Reads a block of references.
pub fn decode_block(bytes: &[u8]) -> Result<Vec<ChunkRef>, DecodeError> {
    let refs: Vec<ChunkRef> = codec::decode(MAGIC.name, format::body(MAGIC, bytes)?)?;
    if refs.is_empty() || refs.len() > BLOCK_MAX {
        return Err(DecodeError::Malformed { what: MAGIC.name, reason: format!("it has {} references", refs.len()) });
    }
    check_holes(MAGIC.name, &refs)?;
    Ok(refs)
}

/// What a [`Cursor`] comes to next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next chunk.
    Chunk(ChunkRef),
    /// A block to be read and handed to [`Cursor::enter`] before it goes on.
    Block(ChunkRef),
    /// The end.
    End,
}

/// Goes through a content in order, without recursion and without holding more
/// than one block of each level.
#[derive(Debug, Clone)]
pub struct Cursor {
    stack: Vec<(u8, std::vec::IntoIter<ChunkRef>)>,
}

impl Cursor {
    /// At the first chunk.
    pub fn new(content: Content) -> Self {
        Self { stack: vec![(content.depth, content.refs.into_iter())] }
    }

    /// Moves on.
    pub fn advance(&mut self) -> Next {
        while let Some((depth, refs)) = self.stack.last_mut() {
            match (refs.next(), *depth) {
                (Some(reference), 0) => return Next::Chunk(reference),
                (Some(reference), _) => return Next::Block(reference),
                (None, _) => {
                    self.stack.pop();
                }
            }
        }
        Next::End
    }

    /// Goes into the block that [`Cursor::advance`] named last.
    pub fn enter(&mut self, refs: Vec<ChunkRef>) {
        let depth = self.stack.last().map_or(0, |(depth, _)| depth.saturating_sub(1));
        self.stack.push((depth, refs.into_iter()));
    }
}
