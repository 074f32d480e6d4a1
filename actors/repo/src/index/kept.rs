//! What of segments is kept in memory: opened heads, within a bound of bytes, and
//! opened blocks, within a bound of their number.

use std::{collections::BTreeMap, sync::Arc};

use protocol::{
    format::segment::{PackRow, Row, Segment},
    limits,
    names::ObjectName,
};
use tokio::sync::OnceCell;

/// A segment whose head was opened.
pub(super) struct Opened {
    pub name: ObjectName,
    pub segment: Segment,
}

/// Where a head is, or will be: whoever comes first reads it, others wait.
pub(super) type HeadCell = Arc<OnceCell<Arc<Opened>>>;

/// The heads that were used last.
#[derive(Default)]
pub(super) struct Heads {
    uses: u64,
    by_name: BTreeMap<ObjectName, (u64, HeadCell)>,
}

impl Heads {
    /// The place of a head, used now.
    pub fn place(&mut self, name: &ObjectName) -> HeadCell {
        self.uses += 1;
        let (used, cell) = self.by_name.entry(*name).or_default();
        *used = self.uses;
        cell.clone()
    }

    /// Forgets the heads that were used longest ago, until the rest is within the bound.
    pub fn trim(&mut self) {
        let len = |cell: &HeadCell| cell.get().map_or(0, |opened| opened.segment.head_len());
        let mut total: u64 = self.by_name.values().map(|(_, cell)| len(cell)).sum();
        while total > limits::INDEX_HEADS_BYTES_MAX {
            let read = self.by_name.iter().filter(|(_, (_, cell))| cell.initialized());
            let Some(oldest) = read.min_by_key(|(_, (used, _))| *used).map(|(name, _)| *name) else { return };
            if let Some((_, cell)) = self.by_name.remove(&oldest) {
                total -= len(&cell);
            }
        }
    }
}

/// A segment, and the number of a block in it.
pub(super) type BlockPlace = (ObjectName, usize);

/// An opened block.
#[derive(Clone)]
pub(super) enum Block {
    Rows(Arc<Vec<Row>>),
    Packs(Arc<Vec<PackRow>>),
}

/// The blocks that were used last.
#[derive(Default)]
pub(super) struct Blocks {
    uses: u64,
    by_place: BTreeMap<BlockPlace, (u64, Block)>,
}

impl Blocks {
    pub fn get(&mut self, place: &BlockPlace) -> Option<Block> {
        self.uses += 1;
        let (used, block) = self.by_place.get_mut(place)?;
        *used = self.uses;
        Some(block.clone())
    }

    pub fn insert(&mut self, place: BlockPlace, block: Block) {
        self.uses += 1;
        if self.by_place.len() >= limits::INDEX_BLOCKS_OPEN_MAX {
            let oldest = self.by_place.iter().min_by_key(|(_, (used, _))| *used).map(|(place, _)| *place);
            oldest.and_then(|place| self.by_place.remove(&place));
        }
        self.by_place.insert(place, (self.uses, block));
    }
}
