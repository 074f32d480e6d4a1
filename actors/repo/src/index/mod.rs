//! Where chunks are: the index segments that a job may use.
//!
//! A lookup asks each segment's filter, then its block directory, then one block of
//! rows and one of the pack table, which come from memory, the cache, or the store.
//! Nothing is read before the first lookup, and of a segment whose range of ids a
//! lookup misses not even its head. Lookups come in batches, in the order of ids, so
//! that each head and block is needed once for a batch.
//!
//! Invariant: only the segments named to [`Index::new`], and those added since,
//! are ever consulted; what a cache or store returns is used only if it is what
//! its author signed. No home is in a pack that is condemned or distrusted, but for a
//! job that only reads, and finds no other.

mod kept;
mod load;
mod sample;
mod segments;
mod suspects;
mod wanted;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use probe::Plant;
use protocol::{
    format::segment::{PackRow, Prefix, Segment},
    ids::ChunkId,
    names::ObjectName,
};
use tokio::sync::OnceCell;

use self::{
    kept::{Blocks, Heads, Opened},
    sample::Sample,
    segments::{Named, Origin},
    wanted::Wanted,
};
pub use self::{
    segments::{Attic, Segments},
    suspects::Suspects,
};
use crate::{
    context::Context,
    error::{Kind, RepoError},
};

/// Heads, or blocks of one segment, that are read at the same time.
const READS_IN_FLIGHT: usize = 8;

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

/// Segments that were published while a job reads.
#[derive(Default)]
struct Published {
    named: Vec<Named>,
    /// Nothing more is waited for.
    is_all: bool,
}

/// The segments of one job.
pub struct Index {
    context: Context,
    segments: Segments,
    /// In the order in which they are asked.
    named: Vec<Named>,
    attic: OnceCell<Vec<Named>>,
    /// What was published since, as far as anyone had to wait for it.
    published: tokio::sync::Mutex<Published>,
    heads: Mutex<Heads>,
    blocks: Mutex<Blocks>,
    /// Segments that this job wrote itself.
    added: Mutex<Vec<Arc<Opened>>>,
    /// Segments of which something could not be read, and why.
    damaged: Mutex<BTreeMap<ObjectName, RepoError>>,
    sample: Mutex<Sample>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    /// The index of these segments. Nothing is read before the first lookup.
    pub fn new(context: Context, segments: Segments) -> Self {
        // The newest first: most lookups are for what was stored last.
        let own = segments.own.iter().rev().map(|name| Named::own(*name));
        let named = own.chain(segments.shared.iter().rev().map(Named::shared)).collect();
        Self {
            context,
            segments,
            named,
            attic: OnceCell::new(),
            published: tokio::sync::Mutex::default(),
            heads: Mutex::default(),
            blocks: Mutex::default(),
            added: Mutex::default(),
            damaged: Mutex::default(),
            sample: Mutex::default(),
        }
    }

    /// One place for each of these chunks, in their order.
    pub async fn find_all(&self, ids: &[ChunkId]) -> Result<Vec<Option<Home>>, RepoError> {
        let found = self.search(ids, false).await?;
        Ok(found.into_iter().map(|homes| homes.first().map(|(home, _)| *home)).collect())
    }

    /// Which of these chunks are stored already, in their order. Of those that others may
    /// have stored, some are read again before the job commits.
    pub async fn reuse(&self, ids: &[ChunkId]) -> Result<Vec<bool>, RepoError> {
        let found = self.search(ids, false).await?;
        let mut sample = lock(&self.sample);
        for (id, homes) in ids.iter().zip(&found) {
            if let Some((home, Origin::Shared)) = homes.first() {
                sample.offer(*id, *home, &*self.context.rng);
            }
        }
        Ok(found.iter().map(|homes| !homes.is_empty()).collect())
    }

    /// All places where the chunk is; the first is the one that `find_all` gives.
    pub async fn homes(&self, id: &ChunkId) -> Result<Vec<Home>, RepoError> {
        let mut homes: Vec<Home> = Vec::new();
        for (home, _) in self.search(std::slice::from_ref(id), true).await?.pop().unwrap_or_default() {
            if !homes.contains(&home) {
                homes.push(home);
            }
        }
        homes.sort_by_key(|home| self.shuns(&home.pack.name));
        Ok(homes)
    }

    /// Reads the heads of all segments, and tells of which something was missing or damaged.
    pub async fn damaged(&self) -> Result<Vec<(ObjectName, RepoError)>, RepoError> {
        let mut heads = stream::iter(self.named.clone()).map(|named| self.opened(named)).buffered(READS_IN_FLIGHT);
        while heads.next().await.transpose()?.is_some() {}
        Ok(self.damaged_so_far())
    }

    /// Segments of which something was missing or damaged, as far as lookups went.
    pub fn damaged_so_far(&self) -> Vec<(ObjectName, RepoError)> {
        lock(&self.damaged).iter().map(|(name, error)| (*name, error.clone())).collect()
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
        for number in 0..segment.blocks() {
            if let Some(range) = segment.block_range(number) {
                let block = bytes.slice(range.start as usize..range.end as usize);
                self.context.cache.insert(self.block_name(&name, number), block);
            }
        }
        lock(&self.added).push(Arc::new(Opened { name, segment }));
        Ok(())
    }

    /// Goes on without what is damaged: other segments may still have what is
    /// needed, and if not, the lookup finds nothing. Other errors are the caller's.
    fn tolerate(&self, name: ObjectName, error: RepoError) -> Result<(), RepoError> {
        if !matches!(error.kind, Kind::Corrupt | Kind::NotFound) {
            return Err(error);
        }
        if let std::collections::btree_map::Entry::Vacant(entry) = lock(&self.damaged).entry(name) {
            tracing::warn!(segment = %name, error = error.told(), "an index segment cannot be used");
            entry.insert(error);
            self.context.distrust.add(self.context.keys.segment(name));
        }
        Ok(())
    }

    /// Whether a pack must not be relied upon.
    pub fn shuns(&self, pack: &ObjectName) -> bool {
        self.segments.condemned.contains(pack) || self.context.distrust.has(pack)
    }

    /// The homes of these chunks: all of them, or the first that is found.
    async fn search(&self, ids: &[ChunkId], all: bool) -> Result<Vec<Vec<(Home, Origin)>>, RepoError> {
        let mut wanted = Wanted::new(ids, all);
        self.ask_everyone(&mut wanted).await?;
        if self.segments.last_resort && (all || wanted.misses()) {
            wanted.ask_again();
            self.ask_everyone(&mut wanted).await?;
        }
        if wanted.misses() {
            self.ask_later(&mut wanted).await?;
        }
        Ok(wanted.found)
    }

    async fn ask_everyone(&self, wanted: &mut Wanted<'_>) -> Result<(), RepoError> {
        let added = lock(&self.added).clone();
        for opened in added.iter().rev() {
            self.ask(opened, Origin::Own, wanted).await?;
        }
        self.ask_all(&self.named, wanted).await?;
        if wanted.misses() {
            self.ask_all(self.attic().await?, wanted).await?;
        }
        Ok(())
    }

    /// Asks what is published in the meantime, until nothing is missed or nothing comes.
    async fn ask_later(&self, wanted: &mut Wanted<'_>) -> Result<(), RepoError> {
        let Some(attic) = &self.segments.attic else { return Ok(()) };
        let mut asked = 0;
        while wanted.misses() && !probe::planted(Plant::PublishedUnawaited) {
            let mut published = self.published.lock().await;
            if published.named.len() == asked {
                if published.is_all {
                    break;
                }
                let news = attic.published().await?;
                published.is_all = news.is_empty();
                published.named.extend(news.iter().map(Named::shared));
            }
            let named = published.named[asked..].to_vec();
            drop(published);
            asked += named.len();
            self.ask_all(&named, wanted).await?;
        }
        Ok(())
    }

    async fn attic(&self) -> Result<&[Named], RepoError> {
        let Some(attic) = &self.segments.attic else { return Ok(&[]) };
        let names = self.attic.get_or_try_init(|| async {
            let names = attic.names().await?;
            let others = names.into_iter().rev().filter(|name| !self.segments.own.contains(name));
            Ok::<_, RepoError>(others.map(Named::own).collect())
        });
        names.await.map(Vec::as_slice)
    }

    async fn ask_all(&self, named: &[Named], wanted: &mut Wanted<'_>) -> Result<(), RepoError> {
        for group in named.chunks(READS_IN_FLIGHT) {
            if wanted.is_done() {
                break;
            }
            let asked = group.iter().filter(|named| wanted.open().any(|id| named.may_have(id))).copied();
            let asked: Vec<Named> = asked.collect();
            let heads = stream::iter(asked.clone()).map(|named| self.opened(named)).buffered(READS_IN_FLIGHT);
            let opened: Vec<_> = heads.try_collect().await?;
            for (named, opened) in asked.iter().zip(opened) {
                if let Some(opened) = opened {
                    self.ask(&opened, named.origin, wanted).await?;
                }
            }
            lock(&self.heads).trim();
        }
        Ok(())
    }

    /// Asks one segment about everything that is still wanted.
    async fn ask(&self, opened: &Opened, origin: Origin, wanted: &mut Wanted<'_>) -> Result<(), RepoError> {
        let questions = wanted.by_block(&opened.segment);
        let mut found = Vec::new();
        let mut blocks = stream::iter(questions)
            .map(|(block, ids)| async move { self.rows(opened, block).await.map(|rows| (rows, ids)) })
            .buffered(READS_IN_FLIGHT);
        // One block after the other: a batch may need more of them than are kept.
        while let Some((rows, ids)) = blocks.next().await.transpose()? {
            for number in ids {
                let id = wanted.id(number);
                let start = rows.partition_point(|row| row.id < *id);
                found.extend(rows[start..].iter().take_while(|row| row.id == *id).map(|row| (number, *row)));
            }
        }
        drop(blocks);
        found.sort_by_key(|(_, row)| row.pack);
        for (number, row) in found {
            let Some(pack) = self.pack(opened, row.pack).await? else { continue };
            if wanted.takes_anything || !self.shuns(&pack.name) {
                wanted.found(number, Home { pack, offset: row.offset, len: row.len }, origin);
            }
        }
        Ok(())
    }
}
