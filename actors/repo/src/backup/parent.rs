//! A directory of the parent snapshots, read along with the walk.
//!
//! Names are asked for in ascending order, so each node is read once. Reading is
//! asynchronous and the walk is not: a lookup says what it needs, and is made
//! again once that was supplied.
//!
//! There are two parents while a long backup is under way: its last partial
//! snapshot, and the complete one before it.

use std::iter::Peekable;

use protocol::format::{
    chunk::ChunkRef,
    content::{Content, Cursor, Next},
    tree::{Blob, Entry},
};

/// What a lookup in one parent came to.
#[derive(Debug)]
enum Lookup {
    /// The parent's entry of this name.
    Found(Box<Entry>),
    /// The parent has no such name.
    Absent,
    /// The node must be supplied first.
    Node(ChunkRef),
    /// The block of references must be supplied first.
    Block(ChunkRef),
}

/// What a lookup in all parents came to.
#[derive(Debug)]
pub enum Before {
    /// Their entries of this name, the newest parent's first.
    Found(Vec<Entry>),
    /// The node must be supplied first.
    Node(ChunkRef),
    /// The block of references must be supplied first.
    Block(ChunkRef),
}

/// The same directory in each of the parents, the newest first; none if it is new.
pub struct Parents {
    /// Each with the entry of the name that is looked for, once its lookup is done.
    directories: Vec<(ParentDirectory, Option<Option<Entry>>)>,
}

impl Parents {
    /// Each at its first name.
    pub fn new(mut contents: Vec<Content>) -> Self {
        // What is the same in both need not be read twice.
        contents.dedup();
        Self { directories: contents.into_iter().map(|content| (ParentDirectory::new(content), None)).collect() }
    }

    /// Looks for a name, which is after all names looked for before.
    pub fn lookup(&mut self, name: &Blob) -> Before {
        for (directory, looked) in self.directories.iter_mut().filter(|(_, looked)| looked.is_none()) {
            *looked = Some(match directory.lookup(name) {
                Lookup::Found(entry) => Some(*entry),
                Lookup::Absent => None,
                Lookup::Node(reference) => return Before::Node(reference),
                Lookup::Block(reference) => return Before::Block(reference),
            });
        }
        Before::Found(self.directories.iter_mut().filter_map(|(_, looked)| looked.take().flatten()).collect())
    }

    /// Hands over the node that the last lookup needs. None if it cannot be read.
    pub fn supply_node(&mut self, entries: Option<Vec<Entry>>) {
        if let Some(directory) = self.waiting() {
            directory.supply_node(entries);
        }
    }

    /// Hands over the block that the last lookup needs. None if it cannot be read.
    pub fn supply_block(&mut self, refs: Option<Vec<ChunkRef>>) {
        if let Some(directory) = self.waiting() {
            directory.supply_block(refs);
        }
    }

    fn waiting(&mut self) -> Option<&mut ParentDirectory> {
        self.directories.iter_mut().find(|(_, looked)| looked.is_none()).map(|(directory, _)| directory)
    }
}

/// One directory of one parent.
struct ParentDirectory {
    cursor: Cursor,
    entries: Peekable<std::vec::IntoIter<Entry>>,
    ended: bool,
}

impl ParentDirectory {
    /// At its first name.
    fn new(content: Content) -> Self {
        Self { cursor: Cursor::new(content), entries: Vec::new().into_iter().peekable(), ended: false }
    }

    /// Looks for a name, which is after all names looked for before.
    fn lookup(&mut self, name: &Blob) -> Lookup {
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
    fn supply_node(&mut self, entries: Option<Vec<Entry>>) {
        match entries {
            Some(entries) => self.entries = entries.into_iter().peekable(),
            None => self.ended = true,
        }
    }

    /// Hands over a block of references. None if it cannot be read.
    fn supply_block(&mut self, refs: Option<Vec<ChunkRef>>) {
        match refs {
            Some(refs) => self.cursor.enter(refs),
            None => self.ended = true,
        }
    }
}
