//! Fetching many chunks at once: neighbours in a pack with one request, several
//! requests in flight, opened on all cores.
//!
//! Invariant: a chunk is returned only if it hashes to its id and its key is the
//! hash of its payload. If one home of a chunk is damaged, the others are tried.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use protocol::{format::chunk::ChunkRef, ids::ChunkId, limits, names::ObjectName};
use tokio::sync::Semaphore;

use crate::{
    buffers::Buffers,
    context::Context,
    error::{Kind, RepoError},
    index::{Home, Index},
    keys::Keys,
    open::Opener,
    trees,
};

/// Up to this many bytes between two wanted chunks are fetched along.
const GAP_MAX: u32 = 256 << 10;
/// Longest range of one request: enough that its latency vanishes, few enough
/// bytes that the chunks of one file are opened on all cores.
const RANGE_MAX: u32 = 4 << 20;
/// Most plaintext of one request.
const RANGE_PLAIN_MAX: u64 = 8 << 20;
/// Buffers that are kept to be used again: what is free while a wave is written.
const BUFFERS_KEPT: usize = 4;

/// Fetches chunks.
#[derive(Clone)]
pub struct Fetcher {
    context: Context,
    index: Arc<Index>,
    in_flight: usize,
    /// Requests that may be under way, whoever asked for them.
    requests: Arc<Semaphore>,
    buffers: Arc<Buffers>,
}

/// Plaintext of many chunks; its memory is used again when the last of them is
/// dropped, since fresh memory costs a page fault for every 4 KiB.
struct Pooled {
    bytes: Vec<u8>,
    buffers: Arc<Buffers>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.buffers.give(std::mem::take(&mut self.bytes));
    }
}

/// What was fetched.
#[derive(Default)]
pub struct Fetched {
    /// Plaintext, or why there is none.
    pub chunks: BTreeMap<ChunkId, Result<Bytes, RepoError>>,
    /// Bytes that came from the store.
    pub bytes_fetched: u64,
    /// Packs that were damaged where a chunk was first looked for, found elsewhere or not.
    pub damaged: Vec<(ObjectName, RepoError)>,
}

/// Wanted chunks that lie close together in one pack, by their offset.
struct Range {
    homes: Vec<(Home, ChunkRef)>,
    plain_len: u64,
}

/// Chunks that were opened, or not.
type Opened = Vec<(ChunkRef, Result<Bytes, RepoError>)>;

impl Fetcher {
    /// Makes up to `in_flight` requests at a time, however many fetches are under way.
    pub fn new(context: Context, index: Arc<Index>, in_flight: usize) -> Self {
        let buffers = Arc::new(Buffers::new(BUFFERS_KEPT));
        let in_flight = in_flight.clamp(1, limits::TRANSFERS_MAX);
        Self { context, index, in_flight, requests: Arc::new(Semaphore::new(in_flight)), buffers }
    }

    /// Fetches these chunks; fails only if the store does not answer.
    pub async fn fetch(&self, refs: &[ChunkRef]) -> Result<Fetched, RepoError> {
        let mut fetched = Fetched::default();
        // By id: each block of the index is then needed once.
        let wanted: BTreeMap<ChunkId, ChunkRef> = refs.iter().map(|reference| (reference.id, *reference)).collect();
        let ids: Vec<ChunkId> = wanted.keys().copied().collect();
        let mut homes = Vec::with_capacity(wanted.len());
        for (reference, home) in wanted.into_values().zip(self.index.find_all(&ids).await?) {
            match home {
                Some(home) => homes.push((home, reference)),
                None => {
                    let error = trees::missing(&self.index, &reference).await?;
                    fetched.chunks.insert(reference.id, Err(error));
                }
            }
        }
        homes.sort_unstable_by_key(|(home, _)| (home.pack.name, home.offset));
        let requests: Vec<_> = coalesce(homes).into_iter().map(|range| self.clone().fetch_range(range)).collect();
        let mut replies = stream::iter(requests).buffer_unordered(self.in_flight);
        while let Some(reply) = replies.next().await {
            let reply = reply?;
            fetched.bytes_fetched += reply.bytes_fetched;
            fetched.chunks.extend(reply.chunks);
            fetched.damaged.extend(reply.damaged);
        }
        Ok(fetched)
    }

    async fn fetch_range(self, range: Range) -> Result<Fetched, RepoError> {
        let mut reply = Fetched::default();
        let Some(((first, _), (last, _))) = range.homes.first().zip(range.homes.last()) else { return Ok(reply) };
        let pack = first.pack.name;
        let (start, end) = (first.offset, last.offset + last.len);
        let key = self.context.keys.pack(pack);
        // The semaphore is never closed.
        let turn = self.requests.clone().acquire_owned().await;
        let got = self.context.objects.get(&key, Some(u64::from(start)..u64::from(end))).await;
        drop(turn);
        let (sealed, unread) = match got {
            Ok(sealed) => (sealed, None),
            Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => (Bytes::new(), Some(error)),
            Err(error) => return Err(error),
        };
        reply.bytes_fetched = sealed.len() as u64;
        let (keys, buffers) = (self.context.keys.clone(), self.buffers.clone());
        let opened = self.context.run(move || open_all(&keys, buffers, range, start, &sealed)).await?;
        for (reference, opened) in opened {
            let chunk = match opened {
                Err(error) if error.kind == Kind::Corrupt => {
                    let damaged = RepoError::corrupt(format!("{key} is damaged where chunk {} lies", reference.id));
                    let damaged = damaged.because(unread.clone().unwrap_or(error));
                    if reply.damaged.is_empty() {
                        tracing::warn!(%key, error = damaged.told(), "a pack is damaged");
                        reply.damaged.push((pack, damaged.clone()));
                    }
                    self.elsewhere(&reference, damaged).await?
                }
                opened => opened,
            };
            reply.chunks.insert(reference.id, chunk);
        }
        Ok(reply)
    }

    /// Tries all homes of a chunk that was damaged where it was looked for first.
    async fn elsewhere(&self, reference: &ChunkRef, damaged: RepoError) -> Result<Result<Bytes, RepoError>, RepoError> {
        let mut opener = Opener::new()?;
        for home in self.index.homes(&reference.id).await?.into_iter().skip(1) {
            let range = u64::from(home.offset)..u64::from(home.offset) + u64::from(home.len);
            match self.context.objects.get(&self.context.keys.pack(home.pack.name), Some(range)).await {
                Ok(sealed) => {
                    if let Ok(plain) = opener.open(&self.context.keys, &sealed, reference) {
                        return Ok(Ok(plain));
                    }
                }
                Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Err(damaged))
    }
}

fn open_all(keys: &Keys, buffers: Arc<Buffers>, range: Range, start: u32, sealed: &[u8]) -> Result<Opened, RepoError> {
    let mut opener = Opener::new()?;
    let mut plain = buffers.take();
    plain.clear();
    plain.reserve_exact(range.homes.iter().map(|(_, reference)| reference.len as usize).sum());
    let mut opened = Vec::with_capacity(range.homes.len());
    for (home, reference) in range.homes {
        let at = (home.offset - start) as usize;
        let sealed = sealed.get(at..at + home.len as usize).unwrap_or_default();
        let from = plain.len();
        let chunk = opener.open_into(keys, sealed, &reference, &mut plain).map(|()| from..plain.len());
        opened.push((reference, chunk));
    }
    let plain = Bytes::from_owner(Pooled { bytes: plain, buffers });
    Ok(opened.into_iter().map(|(reference, chunk)| (reference, chunk.map(|chunk| plain.slice(chunk)))).collect())
}

fn coalesce(homes: Vec<(Home, ChunkRef)>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (home, reference) in homes {
        let near = ranges.last_mut().filter(|range| match (range.homes.first(), range.homes.last()) {
            (Some((first, _)), Some((last, _))) => {
                first.pack.name == home.pack.name
                    && home.offset.saturating_sub(last.offset + last.len) <= GAP_MAX
                    && (home.offset + home.len).saturating_sub(first.offset) <= RANGE_MAX
                    && range.plain_len + u64::from(reference.len) <= RANGE_PLAIN_MAX
            }
            _ => false,
        });
        match near {
            Some(range) => {
                range.plain_len += u64::from(reference.len);
                range.homes.push((home, reference));
            }
            None => ranges.push(Range { homes: vec![(home, reference)], plain_len: reference.len.into() }),
        }
    }
    ranges
}
