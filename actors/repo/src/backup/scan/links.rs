//! Files of several names that were read, so that their other names need not be.
//!
//! Invariant: what it knows, the assembly knows: a file is remembered from its first
//! name until its last, by the number of names that it had when it was first seen.

use std::collections::BTreeMap;

use protocol::{
    format::{
        chunk::ChunkRef,
        content::INLINE_MAX,
        tree::{Attributes, Xattr},
    },
    limits,
};

/// What remembering a file costs beside its chunks: here and in the assembly.
const LINK_BYTES: usize = 256;

/// The files, by device and inode.
#[derive(Default)]
pub struct Links {
    seen: BTreeMap<(u64, u64), Link>,
    bytes: usize,
}

struct Link {
    names_left: u64,
    bytes: usize,
}

impl Links {
    /// Remembers a file whose first name this is, with about so many chunks; false if it
    /// has no other or there is no more room. Its other names are then read as well, and
    /// still are hard links: their device and inode say so.
    pub fn remember(&mut self, attributes: &Attributes, chunks: u64, xattrs: &[Xattr]) -> bool {
        let refs = usize::try_from(chunks).map_or(INLINE_MAX, |chunks| chunks.min(INLINE_MAX));
        let bytes = LINK_BYTES + refs * size_of::<ChunkRef>() + super::xattrs_len(xattrs);
        if attributes.links < 2 || self.bytes + bytes > limits::BACKUP_LINKS_BYTES_MAX {
            return false;
        }
        let link = Link { names_left: attributes.links - 1, bytes };
        self.bytes += bytes;
        if let Some(before) = self.seen.insert((attributes.device, attributes.inode), link) {
            self.bytes -= before.bytes;
        }
        true
    }

    /// Whether this is a further name of a file that is remembered.
    pub fn take(&mut self, device: u64, inode: u64) -> bool {
        let Some(link) = self.seen.get_mut(&(device, inode)) else { return false };
        link.names_left -= 1;
        if link.names_left == 0 {
            self.bytes -= link.bytes;
            self.seen.remove(&(device, inode));
        }
        true
    }
}
