//! Fetching many chunks at once: neighbours in a pack with one request, several
//! requests in flight, opened on all cores.
//!
//! Invariant: a chunk is returned only if it hashes to its id and its key is the
//! hash of its payload. If one home of a chunk is damaged, the others are tried.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use protocol::{format::chunk::ChunkRef, ids::ChunkId, limits};

use crate::{
    context::Context,
    error::{Kind, RepoError},
    index::{Home, Index},
    open::Opener,
    trees,
};

/// Up to this many bytes between two wanted chunks are fetched along.
const GAP_MAX: u32 = 256 << 10;
/// Longest range of one request: enough that its latency vanishes.
const RANGE_MAX: u32 = 8 << 20;

/// Fetches chunks.
#[derive(Clone)]
pub struct Fetcher {
    context: Context,
    index: Arc<Index>,
    in_flight: usize,
}

/// What was fetched.
#[derive(Default)]
pub struct Fetched {
    /// Plaintext, or why there is none.
    pub chunks: BTreeMap<ChunkId, Result<Bytes, RepoError>>,
    /// Bytes that came from the store.
    pub bytes_fetched: u64,
}

/// Wanted chunks that lie close together in one pack, by their offset.
struct Range {
    homes: Vec<(Home, ChunkRef)>,
}

impl Fetcher {
    /// Makes up to `in_flight` requests at a time.
    pub fn new(context: Context, index: Arc<Index>, in_flight: usize) -> Self {
        Self { context, index, in_flight: in_flight.clamp(1, limits::TRANSFERS_MAX) }
    }

    /// Fetches these chunks; fails only if the store does not answer.
    pub async fn fetch(&self, refs: &[ChunkRef]) -> Result<Fetched, RepoError> {
        let mut fetched = Fetched::default();
        // By id: each block of the index is then needed once.
        let wanted: BTreeMap<ChunkId, ChunkRef> = refs.iter().map(|reference| (reference.id, *reference)).collect();
        let mut homes = Vec::with_capacity(wanted.len());
        for (id, reference) in wanted {
            match self.index.find(&id).await? {
                Some(home) => homes.push((home, reference)),
                None => {
                    let error = trees::missing(&self.index, &reference).await?;
                    fetched.chunks.insert(id, Err(error));
                }
            }
        }
        homes.sort_unstable_by_key(|(home, _)| (home.pack.name, home.offset));
        let requests: Vec<_> = coalesce(homes).into_iter().map(|range| self.clone().fetch_range(range)).collect();
        let mut replies = stream::iter(requests).buffer_unordered(self.in_flight);
        while let Some(reply) = replies.next().await {
            let (bytes, chunks) = reply?;
            fetched.bytes_fetched += bytes;
            fetched.chunks.extend(chunks);
        }
        Ok(fetched)
    }

    async fn fetch_range(self, range: Range) -> Result<(u64, Vec<(ChunkId, Result<Bytes, RepoError>)>), RepoError> {
        let Some(((first, _), (last, _))) = range.homes.first().zip(range.homes.last()) else {
            return Ok((0, Vec::new()));
        };
        let (start, end) = (first.offset, last.offset + last.len);
        let key = self.context.keys.pack(first.pack.name);
        let sealed = match self.context.objects.get(&key, Some(u64::from(start)..u64::from(end))).await {
            Ok(sealed) => sealed,
            Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => {
                tracing::warn!(%key, %error, "a pack cannot be read");
                Bytes::new()
            }
            Err(error) => return Err(error),
        };
        let fetched = sealed.len() as u64;
        let keys = self.context.keys.clone();
        let opened = self
            .context
            .run(move || {
                let mut opener = Opener::new()?;
                let open = |(home, reference): (Home, ChunkRef)| {
                    let at = (home.offset - start) as usize;
                    let sealed = sealed.get(at..at + home.len as usize).unwrap_or_default();
                    (reference, opener.open(&keys, sealed, &reference))
                };
                Ok::<_, RepoError>(range.homes.into_iter().map(open).collect::<Vec<_>>())
            })
            .await?;
        let mut chunks = Vec::with_capacity(opened.len());
        for (reference, opened) in opened {
            let chunk = match opened {
                Err(error) if error.kind == Kind::Corrupt => {
                    let damaged = RepoError::corrupt(format!("{key} is damaged where chunk {} lies", reference.id));
                    self.elsewhere(&reference, damaged.because(error)).await?
                }
                opened => opened,
            };
            chunks.push((reference.id, chunk));
        }
        Ok((fetched, chunks))
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

fn coalesce(homes: Vec<(Home, ChunkRef)>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (home, reference) in homes {
        let near = ranges.last_mut().filter(|range| match (range.homes.first(), range.homes.last()) {
            (Some((first, _)), Some((last, _))) => {
                first.pack.name == home.pack.name
                    && home.offset.saturating_sub(last.offset + last.len) <= GAP_MAX
                    && (home.offset + home.len).saturating_sub(first.offset) <= RANGE_MAX
            }
            _ => false,
        });
        match near {
            Some(range) => range.homes.push((home, reference)),
            None => ranges.push(Range { homes: vec![(home, reference)] }),
        }
    }
    ranges
}
