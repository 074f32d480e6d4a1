//! Taking over an unchanged file from the parent snapshot.

use env::files::Metadata;
use probe::Plant;
use protocol::{
    format::{
        chunk::ChunkRef,
        tree::{Blob, Entry, What},
    },
    ids::ChunkId,
    limits,
};

use super::{Item, Need, Scanner, Step, xattrs_len};
use crate::paths;

/// An unchanged file whose blocks of references are being gone through.
pub(super) struct Taking {
    pub(super) entry: Entry,
    /// The block, its level, and what is left of it.
    pub(super) stack: Vec<(Option<ChunkId>, u8, std::vec::IntoIter<ChunkRef>)>,
    pub(super) ids: Vec<ChunkId>,
}

impl Scanner {
    /// Goes on taking over an unchanged file. Some if the step ends here.
    pub(super) fn take_over(&mut self) -> Option<Step> {
        let mut taking = self.taking.take()?;
        // The references of an entry itself are in it; only those of blocks are listed beside.
        loop {
            let in_block = taking.stack.len() > 1;
            let Some((block, level, refs)) = taking.stack.last_mut() else { break };
            let next = refs.next();
            if next.as_ref().is_some_and(|reference| self.suspects.has(&reference.id)) {
                // It was lost since, and is stored again only if it is read again.
                self.reread(Some(taking.entry.name));
                return None;
            }
            match (next, *level) {
                (Some(reference), 0) if in_block && !reference.is_hole() => taking.ids.push(reference.id),
                (Some(_), 0) => {}
                (Some(reference), _) => {
                    // The block follows what it lists; until it is entered its id waits here.
                    taking.ids.push(reference.id);
                    self.taking = Some(taking);
                    return Some(Step::Need(Need::Block(reference)));
                }
                (None, _) => {
                    let block = *block;
                    taking.ids.extend(block);
                    taking.stack.pop();
                }
            }
            if taking.ids.len() >= 4096 && taking.stack.last().is_some_and(|(_, level, _)| *level == 0) {
                let ids = std::mem::take(&mut taking.ids);
                let len = ids.len() * ChunkId::LEN;
                self.item(Item::Needs(ids), len);
                if self.filling.items_len >= limits::BATCH_BYTES {
                    self.taking = Some(taking);
                    return Some(Step::Batch(self.end_batch(0)));
                }
            }
        }
        if !taking.ids.is_empty() {
            let len = taking.ids.len() * ChunkId::LEN;
            self.item(Item::Needs(taking.ids), len);
        }
        let entry = taking.entry;
        let (mut linked, mut more_len) = (false, xattrs_len(&entry.xattrs));
        if let What::File { len, content } = &entry.what {
            self.progress.bytes.add(*len);
            more_len += content.refs.len() * size_of::<ChunkRef>();
            linked = self.links.remember(&entry.attributes, content.refs.len() as u64, &entry.xattrs);
        }
        self.item(Item::Whole { entry, linked }, more_len);
        self.progress.files.add(1);
        self.progress.files_unchanged.add(1);
        None
    }

    pub(super) fn reread(&mut self, name: Option<Blob>) {
        if let Some(name) = name {
            self.start_reading(paths::join(&self.path, &name), name, false);
        }
    }
}

/// Whether a file is what the parent's entry says, as far as can be told without
/// opening it. The number of its device says nothing: with many file systems it is
/// another one after every start of the machine.
pub(super) fn unchanged(entry: &Entry, metadata: &Metadata) -> bool {
    let was = &entry.attributes;
    let What::File { len, .. } = entry.what else { return false };
    if probe::planted(Plant::UnchangedByLength) {
        return len == metadata.len;
    }
    !entry.unsettled
        && len == metadata.len
        && was.mtime == metadata.mtime
        && was.ctime == metadata.ctime
        && was.inode == metadata.inode
}
