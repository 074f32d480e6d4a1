//! Objects on their way: packs that still fill, and what is ready to be written.
//!
//! Invariant: the bytes of a pack are covered by credit from before they are sealed
//! until they are written.

use bytes::Bytes;
use protocol::format::pack::{PackWriter, Row};
use tokio::sync::OwnedSemaphorePermit;

/// An object ready to be written.
pub struct Ready {
    /// Which kind.
    pub kind: ReadyKind,
    /// Its bytes.
    pub bytes: Bytes,
    /// The memory it takes, given back when it is written.
    pub credit: Option<OwnedSemaphorePermit>,
}

/// What kind of object is ready.
pub enum ReadyKind {
    /// A pack; its rows go into the index once it is written.
    Pack {
        /// Its chunks.
        rows: Vec<Row>,
        /// Length of its table and trailer.
        tail_len: u32,
        /// Whether its chunks are nodes and blocks of trees, not contents of files.
        trees: bool,
    },
    /// A page of the reference list.
    Page,
    /// An index segment.
    Segment,
}

/// A pack that chunks are added to.
pub(super) struct OpenPack {
    pub(super) writer: PackWriter,
    credit: Option<OwnedSemaphorePermit>,
    target: usize,
}

impl OpenPack {
    /// An empty one, to be closed at `target` bytes.
    pub(super) fn new(target: usize) -> Self {
        Self { writer: PackWriter::new(0), credit: None, target }
    }

    pub(super) fn take_credit(&mut self, credit: OwnedSemaphorePermit) {
        match &mut self.credit {
            Some(mine) => mine.merge(credit),
            None => self.credit = Some(credit),
        }
    }

    /// Gives back what is more than lies in the pack: one that never fills would
    /// keep it all.
    pub(super) fn trim_credit(&mut self) {
        if let Some(mine) = &mut self.credit {
            let excess = mine.num_permits().saturating_sub(self.writer.len());
            drop(mine.split(excess));
        }
    }

    /// The credit of a pack that is closed; what is more stays for the next.
    fn closing_credit(&mut self) -> Option<OwnedSemaphorePermit> {
        let mine = self.credit.as_mut()?;
        mine.split(self.writer.len().min(mine.num_permits()))
    }

    /// Makes room at once for all that it will hold, if it holds nothing yet.
    pub(super) fn reserve(&mut self) {
        if self.writer.is_empty() {
            // The last chunk may reach beyond the target.
            self.writer = PackWriter::new(self.target + (1 << 20));
        }
    }

    /// Whether it has as many bytes as it should.
    pub(super) fn is_full(&self) -> bool {
        self.writer.len() >= self.target
    }

    /// Seals its table under the index key, and begins the next pack.
    pub(super) fn close(&mut self, index: &[u8; 32], object_id: &[u8; 32], trees: bool) -> Ready {
        let credit = self.closing_credit();
        let writer = std::mem::replace(&mut self.writer, PackWriter::new(0));
        let finished = writer.finish(index, object_id);
        let kind = ReadyKind::Pack { rows: finished.rows, tail_len: finished.tail_len, trees };
        Ready { kind, bytes: finished.bytes.into(), credit }
    }
}
