//! What goes down the pipeline: batches of file contents, and what they belong to.
//!
//! Invariant: the batches of a backup are numbered without gaps, and their items,
//! in that order, are one depth-first walk of the source in the order of names.

use std::{collections::BTreeSet, ops::Range};

use protocol::{
    format::{
        chunk::ChunkRef,
        tree::{Attributes, Blob, Entry, Xattr},
    },
    ids::ChunkId,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::problems::Problems;

/// One step of the walk.
#[derive(Debug)]
pub enum Item {
    /// A directory begins.
    Enter {
        /// Its name.
        name: Blob,
        /// What `lstat` said.
        attributes: Attributes,
        /// Its extended attributes.
        xattrs: Vec<Xattr>,
    },
    /// The directory ends.
    Leave,
    /// A file begins that is long enough for hints of its chunks to be kept under its name.
    Begin(Blob),
    /// The next chunk of the batch is the next of the file being read.
    Chunk,
    /// The file being read goes on with a hole of this many bytes.
    Hole(u64),
    /// The file being read ends; the entry's content is what was gathered.
    End {
        /// The entry.
        entry: Entry,
        /// Whether further names of it will come as `Link`.
        linked: bool,
    },
    /// The file being read could not be read to its end: forget what was gathered.
    Abort,
    /// The walk was cut short here: what follows only closes what is open.
    Cut,
    /// Chunks that the following `Whole` entry needs beside those in the entry itself.
    Needs(Vec<ChunkId>),
    /// An entry that is complete as it stands: taken over from the parent, or without content.
    Whole {
        /// The entry.
        entry: Entry,
        /// Whether further names of it will come as `Link`.
        linked: bool,
    },
    /// A further name of a file that came before; the content is that file's.
    Link(Entry),
    /// So much was passed over since this was said last.
    Skipped(Skipped),
}

/// Names that are not in the snapshot although nothing went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Left out by the rules.
    pub excluded: u64,
    /// Gone between the listing of their directory and their turn: the snapshot shows the
    /// moment after. Files come and go on a machine that is in use, so this is no problem;
    /// if it were, every backup would end with one, and nobody would read of the others.
    pub vanished: u64,
}

/// Contents as they were read.
#[derive(Debug)]
pub struct Batch {
    /// Its place in the row.
    pub number: u64,
    /// Whether it is the last.
    pub last: bool,
    /// The bytes.
    pub data: Vec<u8>,
    /// Where in `data` the chunks are, in order.
    pub chunks: Vec<Range<usize>>,
    /// Which of the chunks are sealed under the client's own secret.
    pub private: BTreeSet<usize>,
    /// What they belong to.
    pub items: Vec<Item>,
    /// About how many bytes the items take.
    pub items_len: usize,
    /// What could not be read meanwhile.
    pub problems: Problems,
}

/// One chunk, sealed or known.
#[derive(Debug)]
pub struct SealedChunk {
    /// How trees refer to it.
    pub reference: ChunkRef,
    /// The keyed hash of its plaintext.
    pub hash: [u8; 32],
    /// Where its sealed bytes are in the batch; none if it is stored already.
    pub fresh: Option<Range<usize>>,
}

/// Contents as they will be stored.
#[derive(Debug)]
pub struct SealedBatch {
    /// Its place in the row.
    pub number: u64,
    /// Whether it is the last.
    pub last: bool,
    /// The sealed bytes of fresh chunks.
    pub sealed: Vec<u8>,
    /// All chunks, in order.
    pub chunks: Vec<SealedChunk>,
    /// What they belong to.
    pub items: Vec<Item>,
    /// About how many bytes the items take.
    pub items_len: usize,
    /// What could not be read meanwhile.
    pub problems: Problems,
    /// The memory it takes.
    pub credit: OwnedSemaphorePermit,
}
