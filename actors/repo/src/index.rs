//! Where chunks are: the index segments that a job may use.
//!
//! A lookup asks each segment's filter, then its block directory, then one block,
//! which comes from memory, the cache, or the store.
//!
//! Invariant: only the segments named to [`Index::new`], and those added since,
//! are ever consulted; what a cache or store returns is used only if it is what
//! its author signed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use protocol::{
    commands::{SnapshotRecord, View},
    format::segment::{PREFIX_LEN, PackRow, Prefix, Row, Segment},
    ids::{ChunkId, ClientId, RepositoryId},
    limits,
    names::ObjectName,
};
use tokio::sync::OnceCell;

use crate::{
    context::Context,
    error::{Kind, RepoError},
};

/// What is read of a segment at first: enough for the head of 50,000 chunks.
const HEAD_GUESS: u64 = 128 << 10;
/// Heads that are read at the same time.
const HEADS_IN_FLIGHT: usize = 8;

/// Names of index segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segments {
    /// The client's own, oldest first.
    pub own: Vec<ObjectName>,
    /// Published for the whole domain.
    pub shared: Vec<ObjectName>,
}

impl Segments {
    /// What a lease may reuse.
    pub fn of_view(view: &View) -> Self {
        Self { own: view.own.clone(), shared: view.shared.clone() }
    }

    /// What a client's snapshots in one repository wrote: what restoring takes.
    pub fn of_snapshots(snapshots: &[SnapshotRecord], client: &ClientId, repository: &RepositoryId) -> Self {
        let mine = snapshots.iter().filter(|snapshot| snapshot.client == *client && snapshot.repository == *repository);
        Self { own: mine.flat_map(|snapshot| snapshot.commit.segments.iter().copied()).collect(), shared: Vec::new() }
    }
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Home {
    /// In which pack.
    pub pack: PackRow,
    /// Where its sealed bytes start.
    pub offset: u32,
    /// Length of its sealed bytes.
    pub len: u32,
}

struct Named {
    name: ObjectName,
    segment: Segment,
}

/// The segments of one job.
pub struct Index {
    context: Context,
    segments: Segments,
    loaded: OnceCell<Vec<Arc<Named>>>,
    /// Segments that this job wrote itself.
    added: Mutex<Vec<Arc<Named>>>,
    blocks: Mutex<Blocks>,
    /// Segments of which something could not be read, and why.
    damaged: Mutex<BTreeMap<ObjectName, RepoError>>,
}

impl Index {
    /// The index of these segments. Nothing is read before the first lookup.
    pub fn new(context: Context, segments: Segments) -> Self {
        Self {
            context,
            segments,
            loaded: OnceCell::new(),
            added: Mutex::default(),
            blocks: Mutex::default(),
            damaged: Mutex::default(),
        }
    }

    /// One place where the chunk is, if there is any.
    pub async fn find(&self, id: &ChunkId) -> Result<Option<Home>, RepoError> {
        self.search(id, true).await.map(|homes| homes.into_iter().next())
    }

    /// All places where the chunk is.
    pub async fn homes(&self, id: &ChunkId) -> Result<Vec<Home>, RepoError> {
        self.search(id, false).await
    }

    /// Segments of which something was missing or damaged, so far.
    pub async fn damaged(&self) -> Result<Vec<(ObjectName, RepoError)>, RepoError> {
        self.loaded().await?;
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(damaged.iter().map(|(name, error)| (*name, error.clone())).collect())
    }

    /// Goes on without what is damaged: other segments may still have what is
    /// needed, and if not, the lookup finds nothing. Other errors are the caller's.
    fn tolerate(&self, name: ObjectName, error: RepoError) -> Result<(), RepoError> {
        if !matches!(error.kind, Kind::Corrupt | Kind::NotFound) {
            return Err(error);
        }
        tracing::warn!(segment = %name, error = error.told(), "an index segment cannot be used");
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_insert(error);
        Ok(())
    }

    /// Takes in a segment that this job wrote.
    pub fn add(&self, name: ObjectName, bytes: &Bytes) -> Result<(), RepoError> {
        let prefix = Prefix::decode(bytes).map_err(|error| RepoError::decoding(name, error))?;
        let head = prefix.head();
        let end = head.end as usize;
        let sealed_head = bytes.get(head.start as usize..end).unwrap_or_default();
        let segment = Segment::open(prefix, sealed_head, &self.context.keys.secrets.index)
            .map_err(|error| RepoError::decoding(name, error))?;
        self.context.cache.insert(self.head_name(&name), bytes.slice(..end));
        for (number, _) in segment.head().blocks.iter().enumerate() {
            if let Some(range) = segment.block_range(number) {
                let block = bytes.slice(range.start as usize..range.end as usize);
                self.context.cache.insert(self.block_name(&name, number), block);
            }
        }
        self.added.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(Named { name, segment }));
        Ok(())
    }

    async fn search(&self, id: &ChunkId, first_only: bool) -> Result<Vec<Home>, RepoError> {
        let added = self.added.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut homes = Vec::new();
        for named in added.iter().chain(self.loaded().await?) {
            let Some(number) = named.segment.block_of(id) else { continue };
            let rows = self.block(named, number).await?;
            let Ok(at) = rows.binary_search_by(|row| row.id.cmp(id)) else { continue };
            let row = rows[at];
            homes.push(Home { pack: named.segment.head().packs[row.pack as usize], offset: row.offset, len: row.len });
            if first_only {
                break;
            }
        }
        Ok(homes)
    }

    async fn loaded(&self) -> Result<&[Arc<Named>], RepoError> {
        self.loaded.get_or_try_init(|| self.load()).await.map(Vec::as_slice)
    }

    async fn load(&self) -> Result<Vec<Arc<Named>>, RepoError> {
        // The newest first: most lookups are for what was stored last.
        let own = self.segments.own.iter().rev().map(|name| (*name, true));
        let shared = self.segments.shared.iter().rev().map(|name| (*name, false));
        let names: Vec<(ObjectName, bool)> = own.chain(shared).collect();
        let mut heads = stream::iter(names)
            .map(|(name, own)| async move { (name, self.head(name, own).await) })
            .buffered(HEADS_IN_FLIGHT);
        let mut loaded = Vec::new();
        while let Some((name, segment)) = heads.next().await {
            match segment {
                Ok(segment) => loaded.push(Arc::new(Named { name, segment })),
                Err(error) => self.tolerate(name, error)?,
            }
        }
        Ok(loaded)
    }

    async fn head(&self, name: ObjectName, own: bool) -> Result<Segment, RepoError> {
        let cache_name = self.head_name(&name);
        if let Some(bytes) = self.context.cache.get(&cache_name).await
            && let Ok(segment) = self.open_head(&name, own, &bytes)
        {
            return Ok(segment);
        }
        let key = self.context.keys.segment(name);
        let mut bytes = self.context.objects.get(&key, Some(0..HEAD_GUESS)).await?;
        let head = Prefix::decode(&bytes).map_err(|error| RepoError::decoding(key, error))?.head();
        if (bytes.len() as u64) < head.end {
            bytes = self.context.objects.get(&key, Some(0..head.end)).await?;
        }
        let end = (head.end as usize).min(bytes.len());
        let segment = self.open_head(&name, own, &bytes[..end])?;
        self.context.cache.insert(cache_name, bytes.slice(..end));
        Ok(segment)
    }

    fn open_head(&self, name: &ObjectName, own: bool, bytes: &[u8]) -> Result<Segment, RepoError> {
        let keys = &self.context.keys;
        let key = keys.segment(*name);
        let fail = |error| RepoError::decoding(key, error);
        let prefix = Prefix::decode(bytes).map_err(fail)?;
        let sealed_head = bytes.get(PREFIX_LEN..prefix.head().end as usize).unwrap_or_default();
        let segment = Segment::open(prefix, sealed_head, &keys.secrets.index).map_err(fail)?;
        let head = segment.head();
        if head.repository != keys.repository || head.domain != keys.domain.id {
            return Err(RepoError::corrupt(format!("{key} was written for another repository or domain")));
        }
        if own && *segment.author() != keys.commit_key() {
            return Err(RepoError::corrupt(format!("{key} was signed by another key than this client's")));
        }
        Ok(segment)
    }

    async fn block(&self, named: &Named, number: usize) -> Result<Arc<Vec<Row>>, RepoError> {
        let place = (named.name, number);
        if let Some(rows) = self.blocks.lock().unwrap_or_else(PoisonError::into_inner).get(&place) {
            return Ok(rows);
        }
        let cache_name = self.block_name(&named.name, number);
        let cached = self.context.cache.get(&cache_name).await;
        let rows = match cached.and_then(|bytes| named.segment.open_block(number, &bytes).ok()) {
            Some(rows) => rows,
            None => match self.fetch_block(named, number).await {
                Ok((rows, bytes)) => {
                    self.context.cache.insert(cache_name, bytes);
                    rows
                }
                Err(error) => {
                    self.tolerate(named.name, error)?;
                    Vec::new()
                }
            },
        };
        let rows = Arc::new(rows);
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).insert(place, rows.clone());
        Ok(rows)
    }

    async fn fetch_block(&self, named: &Named, number: usize) -> Result<(Vec<Row>, Bytes), RepoError> {
        let key = self.context.keys.segment(named.name);
        let bytes = self.context.objects.get(&key, named.segment.block_range(number)).await?;
        let rows = named.segment.open_block(number, &bytes).map_err(|error| RepoError::decoding(key, error))?;
        Ok((rows, bytes))
    }

    fn head_name(&self, name: &ObjectName) -> [u8; 32] {
        self.context.keys.cache_name(b"head", &[name.to_string().as_bytes()])
    }

    fn block_name(&self, name: &ObjectName, number: usize) -> [u8; 32] {
        self.context.keys.cache_name(b"page", &[name.to_string().as_bytes(), &(number as u64).to_le_bytes()])
    }
}

/// A segment, and the number of a block in it.
type BlockPlace = (ObjectName, usize);

/// The blocks that were used last, opened, and when each was.
#[derive(Default)]
struct Blocks {
    uses: u64,
    by_place: BTreeMap<BlockPlace, (u64, Arc<Vec<Row>>)>,
}

impl Blocks {
    fn get(&mut self, place: &BlockPlace) -> Option<Arc<Vec<Row>>> {
        self.uses += 1;
        let (used, rows) = self.by_place.get_mut(place)?;
        *used = self.uses;
        Some(rows.clone())
    }

    fn insert(&mut self, place: BlockPlace, rows: Arc<Vec<Row>>) {
        self.uses += 1;
        if self.by_place.len() >= limits::INDEX_BLOCKS_OPEN_MAX {
            let oldest = self.by_place.iter().min_by_key(|(_, (used, _))| *used).map(|(place, _)| *place);
            oldest.and_then(|place| self.by_place.remove(&place));
        }
        self.by_place.insert(place, (self.uses, rows));
    }
}
