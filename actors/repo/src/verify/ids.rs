//! Sets of chunk ids, in little memory.
//!
//! Invariant: an id is known by its first bytes. Ids are hashes, so two of a set of
//! millions agree in those only if someone made them to; and who could, could as well
//! have damaged a backup of their own.

use std::collections::BTreeSet;

use protocol::ids::ChunkId;

/// Ids of a reference list that are compared with the tree: 64 MiB. A longer list is
/// read and opened, but not compared.
const LISTED_MAX: usize = 8 << 20;
/// Chunks remembered as checked, so that those that snapshots share are checked once:
/// about 24 MiB. Beyond that they are checked again.
const CHECKED_MAX: usize = 1 << 20;

/// The ids of a reference list.
#[derive(Default)]
pub struct Listed {
    sorted: Vec<u64>,
    too_many: bool,
}

impl Listed {
    /// Adds a page.
    pub fn extend(&mut self, ids: &[ChunkId]) {
        self.too_many |= self.sorted.len() + ids.len() > LISTED_MAX;
        if !self.too_many {
            self.sorted.extend(ids.iter().map(leading));
        }
    }

    /// Ready to be asked; None if there were too many.
    pub fn finish(mut self) -> Option<Self> {
        self.sorted.sort_unstable();
        (!self.too_many).then_some(self)
    }

    /// Whether it has this id.
    pub fn has(&self, id: &ChunkId) -> bool {
        self.sorted.binary_search(&leading(id)).is_ok()
    }
}

fn leading(id: &ChunkId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Chunks that were checked.
#[derive(Default)]
pub struct Checked(BTreeSet<[u8; 16]>);

impl Checked {
    /// Notes a chunk; false if it was noted before.
    pub fn insert(&mut self, id: &ChunkId) -> bool {
        if self.0.len() >= CHECKED_MAX {
            self.0.clear();
        }
        let mut leading = [0; 16];
        leading.copy_from_slice(&id.0[..16]);
        self.0.insert(leading)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
