//! What a client finds lost or damaged, and how it goes on without it.

use async_trait::async_trait;
use protocol::{
    commands::SnapshotRecord,
    ids::{ClientId, RepositoryId},
    names::{ObjectKey, ObjectName, Place},
    wire,
};
use repo::{RepoError, Segments};

use super::{Client, link::Link};

/// Objects told of in one call: the orchestrator reads each whole before it answers.
const OBJECTS_PER_CALL: usize = 4;
/// Objects told of after one job; the next job finds what is left.
const OBJECTS_MAX: usize = 256;

impl Client {
    /// Tells the orchestrators of objects that seem lost or damaged. What they confirm is
    /// condemned, so that no backup relies on it any more. Best effort: whoever needs an
    /// object next finds the same.
    pub(super) async fn report(&self, repository: RepositoryId, objects: &[ObjectKey]) {
        let of_use = |key: &&ObjectKey| !matches!(key.place, Place::Snapshot(_));
        let objects: Vec<ObjectKey> = objects.iter().filter(of_use).take(OBJECTS_MAX).copied().collect();
        for some in objects.chunks(OBJECTS_PER_CALL) {
            match self.link.call(wire::Report { repository, objects: some.to_vec() }).await {
                Ok(condemned) => {
                    for key in condemned {
                        tracing::warn!(%key, "the orchestrators found it lost or damaged too: it is not used any more");
                    }
                }
                Err(failure) => {
                    tracing::warn!(%failure, "the orchestrators could not be told of damaged objects");
                    return;
                }
            }
        }
    }
}

/// The index segments of all snapshots of a client.
pub(super) struct Attic {
    link: Link,
    client: ClientId,
    repository: RepositoryId,
}

impl Attic {
    pub fn new(link: Link, client: ClientId, repository: RepositoryId) -> Self {
        Self { link, client, repository }
    }
}

impl std::fmt::Debug for Attic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attic({:?})", self.client)
    }
}

#[async_trait]
impl repo::Attic for Attic {
    async fn names(&self) -> Result<Vec<ObjectName>, RepoError> {
        let page =
            |last: Option<&SnapshotRecord>| wire::ListSnapshots { client: None, after: last.map(|last| last.id) };
        let all = self.link.list(page).await?;
        Ok(Segments::of_snapshots(&all, &self.client, &self.repository).own)
    }
}
