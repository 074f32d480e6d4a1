//! Which chunks were lost with packs: what may be taken over from a snapshot that
//! was made before the loss was known must not need them.

use std::collections::BTreeSet;

use protocol::{format::segment::BLOCK_PACKS, ids::ChunkId, limits, names::ObjectName};

use super::{Index, kept::Opened};
use crate::error::RepoError;

/// Chunks whose homes are all lost, sorted.
#[derive(Debug, Default)]
pub struct Suspects(Vec<ChunkId>);

impl Suspects {
    /// Whether a chunk is lost.
    pub fn has(&self, id: &ChunkId) -> bool {
        self.0.binary_search(id).is_ok()
    }
}

impl Index {
    /// Chunks that were in these packs and are nowhere else. None if that cannot be
    /// told, as a segment is damaged, or if they are too many: then nothing may be taken
    /// over.
    pub async fn suspects(&self, holes: &BTreeSet<ObjectName>) -> Result<Option<Suspects>, RepoError> {
        let mut lost = BTreeSet::new();
        for named in self.named.iter().copied().filter(|_| !holes.is_empty()) {
            match self.opened(named).await? {
                Some(opened) => self.lost_in(&opened, holes, &mut lost).await?,
                None if self.segments.condemned.contains(&named.name) => {}
                None => return Ok(None),
            }
            super::lock(&self.heads).trim();
            if lost.len() > limits::SUSPECTS_MAX {
                return Ok(None);
            }
        }
        let mut lost: Vec<ChunkId> = lost.into_iter().collect();
        let homes = self.find_all(&lost).await?;
        let mut homes = homes.iter();
        lost.retain(|_| homes.next().is_some_and(Option::is_none));
        Ok(self.damaged_so_far().is_empty().then_some(Suspects(lost)))
    }

    /// The chunks that a segment says are in these packs.
    async fn lost_in(
        &self,
        opened: &Opened,
        holes: &BTreeSet<ObjectName>,
        lost: &mut BTreeSet<ChunkId>,
    ) -> Result<(), RepoError> {
        let segment = &opened.segment;
        let rows_blocks = segment.head().blocks.len();
        let mut numbers = BTreeSet::new();
        for hole in holes {
            let Some(block) = segment.pack_block_named(hole) else { continue };
            let packs = self.packs(opened, block).await?;
            if let Ok(at) = packs.binary_search_by_key(hole, |pack| pack.name) {
                numbers.insert((block - rows_blocks) * BLOCK_PACKS + at);
            }
        }
        for block in (0..rows_blocks).filter(|_| !numbers.is_empty()) {
            let rows = self.rows(opened, block).await?;
            lost.extend(rows.iter().filter(|row| numbers.contains(&(row.pack as usize))).map(|row| row.id));
            if lost.len() > limits::SUSPECTS_MAX {
                break;
            }
        }
        Ok(())
    }
}
