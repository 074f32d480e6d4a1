//! Which segments a job may use.

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use protocol::{
    commands::{SharedSegment, SnapshotRecord, View},
    ids::{ChunkId, ClientId, RepositoryId},
    names::ObjectName,
};

use crate::error::RepoError;

/// Where rows may be that none of the segments named at first has. Only for reading.
#[async_trait]
pub trait Attic: fmt::Debug + Send + Sync {
    /// The client's own segments that published ones have replaced: they lie in the storage
    /// still, and have the same rows. Asked for once.
    async fn names(&self) -> Result<Vec<ObjectName>, RepoError>;

    /// Segments published since this was last asked, or since the first ones were named;
    /// waits a while for some. None: there is nothing to wait for any more.
    ///
    /// Not every row is published at every moment: a cluster that was rebuilt, or has lost a
    /// published segment, makes them again one by one.
    async fn published(&self) -> Result<Vec<SharedSegment>, RepoError>;
}

/// Names of index segments, and of what they must not be believed about.
#[derive(Debug, Clone, Default)]
pub struct Segments {
    /// The client's own, oldest first.
    pub own: Vec<ObjectName>,
    /// Published ones.
    pub shared: Vec<SharedSegment>,
    /// Objects that are never to be used.
    pub condemned: BTreeSet<ObjectName>,
    /// Whether they are used after all where nothing else is left: to read, not to build upon.
    pub last_resort: bool,
    /// What is asked when all of them lack a chunk.
    pub attic: Option<Arc<dyn Attic>>,
}

impl Segments {
    /// What a lease may reuse.
    pub fn of_view(view: &View) -> Self {
        let condemned = view.condemned.iter().map(|condemned| condemned.name).collect();
        Self { own: view.own.clone(), shared: view.shared.clone(), condemned, last_resort: false, attic: None }
    }

    /// To read by, not to build upon: whatever may have the bytes is tried.
    pub fn reading(self, attic: Arc<dyn Attic>) -> Self {
        Self { last_resort: true, attic: Some(attic), ..self }
    }

    /// What a client's snapshots in one repository wrote.
    pub fn of_snapshots(snapshots: &[SnapshotRecord], client: &ClientId, repository: &RepositoryId) -> Self {
        let mine = snapshots.iter().filter(|snapshot| snapshot.client == *client && snapshot.repository == *repository);
        Self { own: mine.flat_map(|snapshot| snapshot.commit.segments.iter().copied()).collect(), ..Self::default() }
    }
}

/// Where a segment comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The client wrote it.
    Own,
    /// A verifier published it for this client alone.
    Private,
    /// A verifier published it for the whole domain.
    Shared,
}

/// A segment that may be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub name: ObjectName,
    pub origin: Origin,
    first: u32,
    last: u32,
}

impl Named {
    pub fn own(name: ObjectName) -> Self {
        Self { name, origin: Origin::Own, first: 0, last: u32::MAX }
    }

    pub fn shared(segment: &SharedSegment) -> Self {
        let origin = if segment.private { Origin::Private } else { Origin::Shared };
        Self { name: segment.name, origin, first: segment.first, last: segment.last }
    }

    /// Whether it is worth asking about this chunk.
    pub fn may_have(&self, id: &ChunkId) -> bool {
        (self.first..=self.last).contains(&leading(id))
    }
}

/// The first 32 bits of a chunk id.
fn leading(id: &ChunkId) -> u32 {
    let [a, b, c, d, ..] = id.0;
    u32::from_be_bytes([a, b, c, d])
}
