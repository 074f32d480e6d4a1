//! A few of the chunks that a backup reused and others stored, read again before
//! it commits.
//!
//! Invariant: each chunk that was reused is in the sample with the same chance
//! (Vitter's algorithm R, 1985), so who stores what it did not read cannot know
//! which of it will be looked at.

use env::Rng;
use futures_util::{StreamExt as _, stream};
use protocol::{ids::ChunkId, limits};

use super::{Home, Index, READS_IN_FLIGHT, lock};
use crate::error::{Kind, RepoError};

/// The sample.
#[derive(Default)]
pub(super) struct Sample {
    offered: u64,
    taken: Vec<(ChunkId, Home)>,
}

impl Sample {
    /// Takes a reused chunk into the sample, or not.
    pub fn offer(&mut self, id: ChunkId, home: Home, rng: &dyn Rng) {
        self.offered += 1;
        if self.taken.len() < limits::SAMPLE_CHUNKS_MAX {
            self.taken.push((id, home));
            return;
        }
        let place = u64::from_le_bytes(rng.array()) % self.offered;
        if let Some(taken) = usize::try_from(place).ok().and_then(|place| self.taken.get_mut(place)) {
            *taken = (id, home);
        }
    }
}

impl Index {
    /// Reads the sample. If a chunk in it is not what it should be, its pack is
    /// distrusted, and the job cannot be committed: it may need more of that pack.
    pub async fn check_sample(&self) -> Result<(), RepoError> {
        let mut taken = std::mem::take(&mut *lock(&self.sample)).taken;
        let mut bytes_left = limits::SAMPLE_BYTES_MAX;
        taken.retain(|(_, home)| match bytes_left.checked_sub(u64::from(home.len)) {
            Some(left) => {
                bytes_left = left;
                true
            }
            None => false,
        });
        let mut checks = stream::iter(taken)
            .map(|(id, home)| async move { self.check_chunk(&id, &home).await.map(|sound| (sound, home)) })
            .buffer_unordered(READS_IN_FLIGHT);
        let mut failed = None;
        while let Some((sound, home)) = checks.next().await.transpose()? {
            if !sound {
                let pack = self.context.keys.pack(home.pack.name);
                self.context.distrust.add(pack);
                failed = Some(pack);
            }
        }
        match failed {
            None => Ok(()),
            Some(pack) => Err(RepoError::new(
                Kind::Poisoned,
                format!(
                    "{pack}, whose chunks this backup relied upon, is lost, damaged or false; back up again without it"
                ),
            )),
        }
    }

    async fn check_chunk(&self, id: &ChunkId, home: &Home) -> Result<bool, RepoError> {
        let range = u64::from(home.offset)..u64::from(home.offset) + u64::from(home.len);
        match self.context.objects.get(&self.context.keys.pack(home.pack.name), Some(range)).await {
            Ok(sealed) => Ok(*blake3::hash(&sealed).as_bytes() == id.0),
            Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
