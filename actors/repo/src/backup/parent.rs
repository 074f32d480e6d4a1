//! A directory of the parent snapshot, read along with the walk.
//!
//! Names are asked for in ascending order, so each node is read once. Reading is
//! asynchronous and the walk is not: a lookup says what it needs, and is made
//! again once that was supplied.

use std::iter::Peekable;

use protocol::format::{
    chunk::ChunkRef,
    content::{Content, Cursor, Next},
    tree::{Blob, Entry},
};

/// What a lookup came to.
#[derive(Debug)]
pub enum Lookup {
    /// The parent's entry of this name.
    Found(Box<Entry>),
    /// The parent has no such name.
    Absent,
    /// The node must be supplied first.
    Node(ChunkRef),
    /// The block of references must be supplied first.
    Block(ChunkRef),
}

/// One directory.
pub struct ParentDirectory {
    cursor: Cursor,
    entries: Peekable<std::vec::IntoIter<Entry>>,
    ended: bool,
}

impl ParentDirectory {
    /// At its first name.
    pub fn new(content: Content) -> Self {
        Self { cursor: Cursor::new(content), entries: Vec::new().into_iter().peekable(), ended: false }
    }

    /// Looks for a name, which is after all names looked for before.
    pub fn lookup(&mut self, name: &Blob) -> Lookup {
        while self.entries.next_if(|entry| entry.name < *name).is_some() {}
        if self.entries.peek().is_some() {
            let found = self.entries.next_if(|entry| entry.name == *name);
            return found.map_or(Lookup::Absent, |entry| Lookup::Found(Box::new(entry)));
        }
        if self.ended {
            return Lookup::Absent;
        }
        match self.cursor.advance() {
            Next::Chunk(reference) => Lookup::Node(reference),
            Next::Block(reference) => Lookup::Block(reference),
            Next::End => {
                self.ended = true;
                Lookup::Absent
            }
        }
    }

    /// Hands over a node. None if it cannot be read: the rest counts as absent.
    pub fn supply_node(&mut self, entries: Option<Vec<Entry>>) {
        match entries {
            Some(entries) => self.entries = entries.into_iter().peekable(),
            None => self.ended = true,
        }
    }

    /// Hands over a block of references. None if it cannot be read.
    pub fn supply_block(&mut self, refs: Option<Vec<ChunkRef>>) {
        match refs {
            Some(refs) => self.cursor.enter(refs),
            None => self.ended = true,
        }
    }
}
