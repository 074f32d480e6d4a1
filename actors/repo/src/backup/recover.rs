//! Adopts the packs that dead leases left: reads from storage what is in each, and
//! writes index segments of it under the lease that is open now.
//!
//! Invariant: a pack is adopted only if its table of contents is where its row says,
//! and authentic; and only under a lease whose view names the one that wrote it. What
//! is missing or damaged is left out, and costs an upload.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{StreamExt as _, stream};
use protocol::{
    format::pack::{Row, TRAILER_LEN, Trailer},
    ids::ChunkId,
    limits,
    names::ObjectName,
};

use crate::{
    backup::{
        BackupJob,
        journal::StoredPack,
        segments::{self, PackContents},
        upload,
    },
    context::Context,
    error::{Kind, RepoError},
    index::Index,
    progress::Progress,
};

/// Tables that are read at the same time.
const TABLES_IN_FLIGHT: usize = 8;

/// What was adopted.
#[derive(Default)]
pub struct Recovered {
    /// The segments that name it, stored.
    pub segments: Vec<ObjectName>,
    /// Their bytes.
    pub bytes_stored: u64,
    /// The parts of trees in it: these are not looked for in the index.
    pub trees: BTreeSet<ChunkId>,
}

/// Adopts what the job's view allows of what it was told of.
pub async fn recover(
    context: &Context,
    job: &BackupJob,
    index: &Index,
    progress: &Arc<Progress>,
) -> Result<Recovered, RepoError> {
    let view = &job.lease.view;
    let condemned: BTreeSet<ObjectName> = view.condemned.iter().map(|condemned| condemned.name).collect();
    let allowed =
        |left: &&StoredPack| view.left.contains(&left.pack.name.lease) && !condemned.contains(&left.pack.name);
    // The newest first: if there are too many, they are worth most.
    let mut left: Vec<StoredPack> = job.left.iter().filter(allowed).copied().collect();
    left.sort_unstable_by_key(|found| std::cmp::Reverse(found.pack.name));
    left.dedup();
    let mut tables =
        stream::iter(left).map(|left| async move { (left, table(context, &left).await) }).buffered(TABLES_IN_FLIGHT);
    let mut recovered = Recovered::default();
    let mut packs: Vec<PackContents> = Vec::new();
    let mut rows_count = 0;
    while let Some((left, rows)) = tables.next().await {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => {
                tracing::warn!(error = error.told(), "a pack that was left by an interrupted backup cannot be used");
                continue;
            }
            Err(error) => return Err(error),
        };
        if left.trees && recovered.trees.len() + rows.len() <= limits::LEFT_TREES_MAX {
            recovered.trees.extend(rows.iter().map(|row| row.id));
        }
        probe::sometimes("a pack that a dead lease left is adopted");
        rows_count += rows.len();
        packs.push((left.pack, rows));
        if rows_count >= limits::SEGMENT_ROWS_MAX {
            rows_count = 0;
            recovered.write(context, job, index, progress, std::mem::take(&mut packs)).await?;
            if recovered.segments.len() >= limits::LEFT_SEGMENTS_MAX {
                return Ok(recovered);
            }
        }
    }
    if !packs.is_empty() {
        recovered.write(context, job, index, progress, packs).await?;
    }
    Ok(recovered)
}

impl Recovered {
    async fn write(
        &mut self,
        context: &Context,
        job: &BackupJob,
        index: &Index,
        progress: &Arc<Progress>,
        packs: Vec<PackContents>,
    ) -> Result<(), RepoError> {
        let bytes = segments::encode(context, packs).await;
        let name = upload::name(context, job.lease.id, bytes.clone()).await;
        context.objects.put(context.keys.segment(name), bytes.clone()).await?;
        index.add(name, &bytes)?;
        self.segments.push(name);
        self.bytes_stored += bytes.len() as u64;
        progress.bytes_moved.add(bytes.len() as u64);
        Ok(())
    }
}

/// Reads a pack's table of contents.
async fn table(context: &Context, left: &StoredPack) -> Result<Vec<Row>, RepoError> {
    let key = context.keys.pack(left.pack.name);
    let damaged = || RepoError::corrupt(format!("{key} is not what was stored under this name"));
    let (len, tail_len) = (u64::from(left.pack.len), u64::from(left.pack.tail_len));
    let start = len.checked_sub(tail_len).ok_or_else(damaged)?;
    let tail = context.objects.get(&key, Some(start..len)).await?;
    let at = tail.len().checked_sub(TRAILER_LEN).filter(|_| tail.len() as u64 == tail_len).ok_or_else(damaged)?;
    let fail = |error| RepoError::decoding(key, error);
    let trailer = Trailer::decode(&tail[at..], len).map_err(fail)?;
    if trailer.table.start != start {
        return Err(damaged());
    }
    trailer.open_table(&context.keys.secrets.index, &tail[..at]).map_err(fail)
}
