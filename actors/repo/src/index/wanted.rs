//! What a lookup wants, and what it has found so far.

use std::collections::BTreeMap;

use protocol::{format::segment::Segment, ids::ChunkId};

use super::{Home, segments::Origin};

/// Chunks that are looked up together.
pub(super) struct Wanted<'a> {
    ids: &'a [ChunkId],
    /// Numbers of `ids`, in the order of the ids; those that need no more are taken out.
    open: Vec<usize>,
    all: bool,
    /// Whether homes in packs that are shunned will do.
    pub takes_anything: bool,
    /// The homes of each, in the order in which they were found.
    pub found: Vec<Vec<(Home, Origin)>>,
}

impl<'a> Wanted<'a> {
    /// Wants the homes of these chunks: all, or the first of each.
    pub fn new(ids: &'a [ChunkId], all: bool) -> Self {
        let mut open: Vec<usize> = (0..ids.len()).collect();
        open.sort_unstable_by_key(|number| ids[*number]);
        Self { ids, open, all, takes_anything: false, found: vec![Vec::new(); ids.len()] }
    }

    /// The chunk of this number.
    pub fn id(&self, number: usize) -> &'a ChunkId {
        &self.ids[number]
    }

    /// Whether nothing more is wanted.
    pub fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether there is a chunk of which no home was found.
    pub fn misses(&self) -> bool {
        self.found.iter().any(Vec::is_empty)
    }

    /// Goes on with what was not found, and takes anything.
    pub fn ask_again(&mut self) {
        self.takes_anything = true;
    }

    /// The chunks that are still wanted.
    pub fn open(&self) -> impl Iterator<Item = &'a ChunkId> {
        self.open.iter().map(|number| &self.ids[*number])
    }

    /// The blocks of a segment in which wanted chunks may stand, and which these are.
    pub fn by_block(&mut self, segment: &Segment) -> BTreeMap<usize, Vec<usize>> {
        if !self.all {
            self.open.retain(|number| self.found[*number].is_empty());
        }
        let mut blocks: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &number in &self.open {
            for block in segment.blocks_of(&self.ids[number]) {
                blocks.entry(block).or_default().push(number);
            }
        }
        blocks
    }

    /// Notes a home.
    pub fn found(&mut self, number: usize, home: Home, origin: Origin) {
        if self.all || self.found[number].is_empty() {
            self.found[number].push((home, origin));
        }
    }
}
