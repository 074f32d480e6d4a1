//! Names of one and the same thing: hard links of files, links, pipes and devices.
//!
//! Invariant: a group is forgotten when its last name was seen, and what is
//! remembered is bounded in bytes; names beyond that are restored as things of
//! their own, and counted.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use protocol::{
    codec,
    format::tree::{Attributes, What},
    limits,
};

/// The first names of things that have several.
#[derive(Default)]
pub struct Links {
    groups: BTreeMap<(u64, u64), Group>,
    bytes: usize,
    /// Names that were not joined with their others, for want of memory.
    pub parted: u64,
}

struct Group {
    first: PathBuf,
    hash: [u8; 16],
    /// Names that are still to come.
    left: u64,
}

/// What a group takes beside its path.
const GROUP_BYTES: usize = 160;

impl Links {
    /// The first name of what `path` is a further name of. None: it is the first, or
    /// the only one.
    pub fn first(&mut self, path: &Path, attributes: &Attributes, what: &What) -> Option<PathBuf> {
        if attributes.links < 2 {
            return None;
        }
        let mut hash = [0; 16];
        blake3::Hasher::new().update(&codec::encode(what)).finalize_xof().fill(&mut hash);
        let key = (attributes.device, attributes.inode);
        match self.groups.get_mut(&key) {
            Some(group) if group.hash == hash => {
                group.left = group.left.saturating_sub(1);
                if group.left > 0 {
                    return Some(group.first.clone());
                }
                let group = self.groups.remove(&key)?;
                self.bytes -= GROUP_BYTES + group.first.as_os_str().len();
                Some(group.first)
            }
            // It changed between its names while it was backed up: two things.
            Some(_) => None,
            None => {
                let bytes = GROUP_BYTES + path.as_os_str().len();
                if self.bytes + bytes > limits::RESTORE_LINKS_BYTES_MAX {
                    self.parted += 1;
                    return None;
                }
                self.bytes += bytes;
                self.groups.insert(key, Group { first: path.into(), hash, left: attributes.links - 1 });
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_forgotten_with_its_last_name() {
        let attributes = Attributes { inode: 7, links: 3, ..Attributes::default() };
        let mut links = Links::default();
        let name = |links: &mut Links, path: &str| links.first(path.as_ref(), &attributes, &What::Fifo);
        assert_eq!(name(&mut links, "/a"), None);
        assert_eq!(links.first("/other".as_ref(), &attributes, &What::Socket), None);
        assert_eq!(name(&mut links, "/b"), Some("/a".into()));
        assert_eq!(name(&mut links, "/c"), Some("/a".into()));
        assert!(links.groups.is_empty() && links.bytes == 0);
    }
}
