//! What a client finds lost or damaged, and how it goes on without it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use env::Clock;
use protocol::{
    commands::{SharedSegment, SnapshotRecord, View},
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
/// How often a verifier looks for something to publish, about.
const PUBLISHED_INTERVAL: Duration = Duration::from_secs(1);
/// How often a client looks for what was published, before it takes a chunk for lost.
const PUBLISHED_LOOKS: u32 = 20;

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

/// Where a client that reads looks when the segments it was told of lack a chunk.
pub(super) struct Attic {
    link: Link,
    clock: Arc<dyn Clock>,
    client: ClientId,
    repository: RepositoryId,
    /// The published segments that it knows.
    known: Mutex<BTreeSet<ObjectName>>,
}

impl Attic {
    pub fn new(link: Link, clock: Arc<dyn Clock>, snapshot: &SnapshotRecord, view: &View) -> Self {
        let known = Mutex::new(view.shared.iter().map(|segment| segment.name).collect());
        Self { link, clock, client: snapshot.client, repository: snapshot.repository, known }
    }

    async fn news(&self) -> Result<Vec<SharedSegment>, RepoError> {
        let view = self.link.call(wire::Survey { repository: self.repository }).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(view.shared.into_iter().filter(|segment| known.insert(segment.name)).collect())
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

    async fn published(&self) -> Result<Vec<SharedSegment>, RepoError> {
        for look in 0..PUBLISHED_LOOKS {
            let news = self.news().await?;
            if !news.is_empty() {
                return Ok(news);
            }
            if look == 0 {
                tracing::warn!(
                    "a chunk is in no index segment: waiting, as the orchestrators may be indexing it again"
                );
            }
            self.clock.sleep(PUBLISHED_INTERVAL).await;
        }
        Ok(Vec::new())
    }
}
